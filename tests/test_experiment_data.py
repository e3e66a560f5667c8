"""What is trained and measured on, by kind of data set."""

import json
from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.reproducing.budgets import Renders
from model_export.reproducing.experiment_data import given, held_meshes, rendered
from tests import data_set_trees


def test_a_manifest_holds_out_and_is_measured_from_viewpoint_to_viewpoint(data: Path) -> None:
    spec = f"manifest:{data / 'manifest.csv'}"
    found = given(spec, "", "part=test", seed=0)
    assert (found.plan.protocol, len(found.plan.rows)) == ("cross-viewpoint", 18)
    assert (found.vnet_spec, found.vnet_hold_out, found.leave_out) == (spec, "part=test", ())
    assert found.what == f"{spec}: cross-viewpoint, 18 probes × 18, held out: part=test"
    assert given(spec, "", "", seed=0).hold_out == "30%"
    assert found.digest == given(spec, "", "part=test", seed=0).digest
    for other in (given(spec, "", "part=test", seed=1), given(spec, "", "25%", seed=0)):
        assert other.digest != found.digest


def test_other_labels_are_other_data(data: Path, tmp_path: Path) -> None:
    lines = (data / "manifest.csv").read_text(encoding="utf-8")
    digests = []
    for text in (lines, lines.replace("v5,c0,front", "v5,c0,rear")):
        for picture in data.glob("*.png"):
            (tmp_path / picture.name).write_bytes(picture.read_bytes())
        (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
        digests.append(given(f"manifest:{tmp_path / 'manifest.csv'}", "", "part=test", seed=0).digest)
    assert digests[0] != digests[1]


def test_without_viewpoints_cameras_count(data: Path, tmp_path: Path) -> None:
    rows = [("a1.jpg", "a", "c1"), ("a2.jpg", "a", "c2"), ("b1.jpg", "b", "c1"), ("b2.jpg", "b", "c2")]
    place = data_set_trees.manifest(tmp_path / "m", rows)
    with pytest.raises(InvalidValue, match="labels no picture front, which V-Net has to learn"):
        given(f"manifest:{place}", "", "50%", seed=0)
    found = given(f"manifest:{place}", str(data / "manifest.csv"), "50%", seed=0)
    assert (found.plan.protocol, found.vnet_hold_out) == ("cross-camera", "")
    unlabelled = given(f"manifest:{place}", "", "50%", seed=0, viewpoints_needed=False)  # no row has a V-Net
    assert unlabelled.plan.protocol == "cross-camera"


def test_vehicleid_has_two_viewpoints_and_its_v_net_other_labels(data: Path, tmp_path: Path) -> None:
    place = data_set_trees.vehicleid(tmp_path / "vid")
    found = given(f"vehicleid:{place}", str(data / "manifest.csv"), "", seed=0)
    assert (found.viewpoints, found.leave_out, found.hold_out) == (("front", "rear"), ("side",), "")
    assert found.largest == "2400"
    assert found.what.endswith("(list 2400): vehicleid, 10 draws, 3 probes × 3")
    with pytest.raises(InvalidValue, match="has a test part of its own; leave --hold-out away"):
        given(f"vehicleid:{place}", str(data / "manifest.csv"), "10%", seed=0)


def test_whole_meshes_are_held_out_by_the_seed() -> None:
    names = [f"m{n}" for n in range(10)]
    held = held_meshes(names, share=0.3, seed=1)
    assert held == held_meshes(names, share=0.3, seed=1) != held_meshes(names, share=0.3, seed=2)
    assert len(held) == 3
    assert set(held) < set(names)
    assert len(held_meshes(names[:4], share=0.1, seed=1)) == 2


def test_renders_are_made_once_and_others_are_refused(data: Path, tmp_path: Path) -> None:
    meshes, folder = tmp_path / "meshes", tmp_path / "renders"
    meshes.mkdir()
    with pytest.raises(InvalidValue, match=r"holds 0 \.glb meshes; four are needed"):
        rendered(Renders(identities=12, views=6, size=40), meshes, folder, seed=0)
    names = [f"m{n}" for n in range(4)]
    for name in names:
        (meshes / f"{name}.glb").write_bytes(b"none is read again")
    folder.mkdir()
    for picture in data.glob("*.png"):
        (folder / picture.name).write_bytes(picture.read_bytes())
    header, *lines = (data / "manifest.csv").read_text(encoding="utf-8").splitlines()
    meshed = [f"{line},m{int(line.split(',')[1][1:]) % 4}" for line in lines]
    (folder / "manifest.csv").write_text("\n".join([f"{header},mesh", *meshed]) + "\n", encoding="utf-8")
    made = {"meshes": names, "identities": 12, "views": 6, "size": 40, "seed": 0, "clean": False}
    (folder / "renders.json").write_text(json.dumps(made), encoding="utf-8")
    found = rendered(Renders(identities=12, views=6, size=40), meshes, folder, seed=0)
    assert found.hold_out.startswith("mesh=m")
    assert len({row.attributes["mesh"] for row in found.plan.rows}) == 2
    with pytest.raises(InvalidValue, match="holds renders of other meshes, sizes or seeds"):
        rendered(Renders(identities=12, views=6, size=48), meshes, folder, seed=0)
