"""UC3M-VRI: frames with a JSON file each."""

import json
from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, Finding, open_data_set
from tests.data_set_trees import edit, uc3m_vri, veri776, write
from tests.pictures import jpeg


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return uc3m_vri(tmp_path / "UC3M-VRI")


def opened(root: Path) -> DataSet:
    return open_data_set(f"uc3m-vri:{root}")


def found(root: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in opened(root).findings}


def test_a_label_within_a_subset_is_a_vehicle_and_a_place_has_its_cameras(tree: Path) -> None:
    rows = opened(tree).part("train")
    assert [(row.vehicle_id, row.camera_id) for row in rows] == [
        ("highway/volkswagen polo 2001 gris", "highway"),
        ("intersection/bmw serie 5 1996 azul", "intersection-v1-c1"),
        ("intersection/volkswagen polo 2001 gris", "intersection-v1-c1"),
        ("intersection/bmw serie 5 1996 azul", "intersection-v1-c2"),
        ("intersection/volkswagen polo 2001 gris", "intersection-v2-c2"),
    ]
    assert rows[1].attributes == {"place": "v1", "make": "bmw", "model": "serie 5", "year": 1996, "colour": "azul"}
    assert rows[2].box == (70, 20, 50, 60)
    assert rows[0].path == tree / "highway" / "00009.jpg"
    assert list(found(tree)) == ["identities with one picture (train)"]


def test_corners_in_any_order_are_clipped_to_the_frame(tree: Path) -> None:
    path = tree / "highway" / "00009.json"
    content = json.loads(path.read_text())
    content["ids"][0]["bbox_coords"] = [[400.4, 60.0], [150.6, -3]]
    write(path, json.dumps(content))
    assert opened(tree).part("train")[0].box == (151, 0, 41, 60)


def test_flaws_are_told_and_skipped(tree: Path) -> None:
    highway = tree / "highway"
    content = json.loads((highway / "00009.json").read_text())
    good = content["ids"][0]
    content["ids"] = [good, {"label": "", "bbox_coords": [[0, 0], [9, 9]]}, {"label": "x", "bbox_coords": [[0, 0]]}, "?",
                      {"label": "a b 2001 c", "bbox_coords": [[5, 5], [5, 9]]}, {"label": "van", "bbox_coords": [[1, 1], [9, 9]]}]  # fmt: skip
    write(highway / "00009.json", json.dumps(content))
    write(highway / "00010.json", "{")
    write(highway / "00011.jpg", jpeg())
    write(highway / "notes.json", '{"a": 1}')
    (tree / "intersection" / "c1" / "00036.jpg").unlink()
    findings = found(tree)
    assert findings["boxes without a label or two corners inside the picture"].skipped == 4
    assert findings["labels that are not MAKE MODEL YEAR COLOUR"].count == 1
    assert findings["label files that are not JSON"].examples == (str(highway / "00010.json"),)
    assert findings["pictures without a label file"].examples == (str(highway / "00011.jpg"),)
    assert findings["pictures that are labelled and missing"].skipped == 2
    assert len(opened(tree).part("train")) == 4


def test_one_label_twice_in_a_frame_is_told(tree: Path) -> None:
    edit(tree / "intersection" / "c1" / "00036.json", "volkswagen polo 2001 gris", "BMW  serie 5 1996 azul")
    finding = found(tree)["frames that show one identity twice: several vehicles share it"]
    assert finding.examples == (f"{tree / 'intersection/c1/00036.json'}: intersection/bmw serie 5 1996 azul",)


def test_a_subset_alone_and_one_camera_only(tree: Path) -> None:
    assert found(tree / "highway")["one camera only: nothing can be measured from camera to camera"].examples == (
        "highway",
    )
    rows = opened(tree / "intersection").part("train")
    assert {row.camera_id for row in rows} == {"intersection-v1-c1", "intersection-v1-c2", "intersection-v2-c2"}


def test_windows_paths_in_labels(tree: Path) -> None:
    path = tree / "highway" / "00009.json"
    content = json.loads(path.read_text())
    content["imagePath"] = "highway\\00009.jpg"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    assert opened(tree).part("train")[0].path == tree / "highway" / "00009.jpg"
    assert "files that begin with a byte-order mark" in found(tree)


def test_another_set_is_named(tmp_path: Path) -> None:
    veri776(tmp_path / "VeRi")
    with pytest.raises(
        InvalidValue, match=f"looked for NAME.jpg beside NAME.json; .*looks like veri776:{tmp_path}/VeRi"
    ):
        opened(tmp_path / "VeRi")
