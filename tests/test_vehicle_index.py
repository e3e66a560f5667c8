"""The indexer's door, with a real model and real pictures."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from index.contract import METADATA_KEY
from index.crops import model_crop, read_picture, stored_crop
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import Filters, GallerySpec, SearchOptions
from index.maintenance.verification import examine
from index.vehicle_index import main
from tests.archives import pack
from tests.index_kinds import build_early
from tests.pictures import encoded, jpeg, photograph
from tests.server_process import serving
from tests.small_disk import fill, small_disk

DEMO = Path(__file__).parents[1] / "examples/demo-gallery"


class Door:
    """The door on one data folder, with what it printed."""

    def __init__(self, data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data, self.model, self._capsys = data, model, capsys
        self.code, self.out, self.err = 0, "", ""

    def __call__(self, command: str, *words: object) -> str:
        """Run a command; what it printed on stdout."""
        model = ["--model", str(self.model), "--device", "cpu"] if command in ("add", "search") else []
        self.code = main([command, "--data-dir", str(self.data), *model, *map(str, words)])
        self.out, self.err = self._capsys.readouterr()
        return self.out

    def refused(self, command: str, *words: object) -> str:
        """Run a command that must end with 2 and one line on stderr."""
        self(command, *words)
        assert (self.code, self.out) == (2, "")
        (line,) = self.err.splitlines()
        assert line.startswith("vehicle-index: ")
        return line

    def listed(self, *words: object) -> list[str]:
        return [json.loads(line)["image_id"] for line in self("list", "--json", *words).splitlines()]


@pytest.fixture
def door(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Door:
    return Door(tmp_path / "data", tiny_model, capsys)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    folder = tmp_path / "crops"
    (folder / "cam1").mkdir(parents=True)
    for n, name in enumerate(("a.jpg", "cam1/b.jpg", "cam1/c d.jpg")):
        (folder / name).write_bytes(jpeg(n))
    return folder


@pytest.fixture(scope="module")
def demo(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the demo gallery; not to be changed."""
    data = tmp_path_factory.mktemp("demo") / "data"
    command = ["add", str(DEMO / "manifest.csv"), "--data-dir", str(data), "--model", str(tiny_model)]
    assert main([*command, "--device", "cpu"]) == 0
    return data


@pytest.fixture
def demo_door(demo: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Door:
    capsys.readouterr()
    return Door(demo, tiny_model, capsys)


# add


def test_a_manifest_is_stored_with_all_that_it_says(demo: Path, tiny_model: Path) -> None:
    home = DataFolder(demo)
    gallery, embedder = home.get("default"), Embedder(tiny_model, device="cpu")
    assert gallery.spec == GallerySpec.for_model(embedder.contract)
    assert gallery.count() == len((DEMO / "manifest.csv").read_text().splitlines()) - 1
    stored = gallery.get("v0000_00")
    assert (stored.metadata.vehicle_id, stored.metadata.camera_id) == ("v0000", "c001")
    assert stored.metadata.attributes == {"body": "audi"}
    assert stored.metadata.captured_at is not None

    crop = stored_crop((DEMO / "images/v0000_00.jpg").read_bytes(), box=None, max_pixels=10**6)
    assert gallery.crop("v0000_00")[1] == crop.data
    alone = embedder.embed(model_crop(read_picture(crop.data, max_pixels=10**6), embedder.contract.resize)[None])
    np.testing.assert_allclose(gallery.embedding("v0000_00"), alone.embedding[0], atol=1e-4)
    home.close()


def kinds(data: Path) -> dict[str, tuple[str, str]]:
    home = DataFolder(data)
    found: dict[str, tuple[str, str]] = {
        name: (home.get(name).spec.kind, home.get(name).spec.vectors) for name in home.names()
    }
    home.close()
    return found


def test_a_gallery_is_created_of_the_kind_that_is_asked_for(
    door: Door, crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    door("add", crops, "--gallery", "yard", "--kind", "hnsw", "--vectors", "sq8")
    assert kinds(door.data) == {"default": ("flat", "fp32"), "yard": ("hnsw", "sq8")}
    door("add", crops, "--gallery", "yard")  # it keeps its own
    door("add", crops, "--gallery", "yard", "--kind", "hnsw")
    assert (door.code, door.out) == (0, "0 created, 0 updated, 3 unchanged, 0 failed; gallery yard has 3\n")
    assert "hnsw, vectors sq8" in door("describe", "--gallery", "yard")
    ranked = json.loads(door("search", crops / "a.jpg", "--gallery", "yard", "--json"))
    assert ranked[0]["image_id"].startswith("a.jpg")
    assert len(ranked) == 3


def test_the_default_gallery_is_created_so_too(door: Door, crops: Path) -> None:
    door("add", crops, "--kind", "auto")
    assert kinds(door.data) == {"default": ("auto", "fp32")}


@pytest.mark.parametrize(("option", "value", "own"), [("kind", "ivf", "flat"), ("vectors", "fp16", "fp32")])
def test_a_gallery_of_another_kind_is_not_added_to(door: Door, crops: Path, option: str, value: str, own: str) -> None:
    door("add", crops / "a.jpg")
    assert f"gallery default exists with {option} {own}, which" in door.refused("add", crops, f"--{option}", value)
    assert len(door.listed()) == 1


def test_a_second_run_updates_and_never_doubles(door: Door, crops: Path) -> None:
    assert door("add", crops) == "3 created, 0 updated, 0 failed; gallery default has 3\n"
    first = door.listed()
    assert [name[:7] for name in first] == ["a.jpg", "cam1:b.", "cam1:c-"]
    assert door("add", crops) == "0 created, 0 updated, 3 unchanged, 0 failed; gallery default has 3\n"
    assert door("add", crops, "--anew") == "0 created, 3 updated, 0 failed; gallery default has 3\n"
    assert door.listed() == first


def test_pictures_that_fail_are_named_and_the_rest_is_stored(door: Door, crops: Path) -> None:
    (crops / "bad.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    (crops / "text.png").write_text("text")
    (crops / "empty.jpg").touch()
    assert door("add", crops, crops.parent / "none.jpg") == "3 created, 0 updated, 4 failed; gallery default has 3\n"
    assert door.code == 1
    lines = [line for line in door.err.splitlines() if line.startswith("vehicle-index: ")]
    assert sorted(line.split(": ")[1] for line in lines) == [
        *(str(crops / name) for name in ("bad.jpg", "empty.jpg", "text.png")), str(crops.parent / "none.jpg"),
    ]  # fmt: skip
    assert any("none.jpg: No such file or directory" in line for line in lines)


def test_progress_is_shown(door: Door, crops: Path) -> None:
    door("add", crops)
    assert "3/3" in door.err
    assert "pictures/s" in door.err


def test_boxes_cut_vehicles_out_of_one_frame(door: Door, tmp_path: Path) -> None:
    (tmp_path / "frame.png").write_bytes(encoded(photograph(1, (200, 100)), "PNG"))
    (tmp_path / "manifest.csv").write_text(
        'path,box\nframe.png,"0,0,90,80"\nframe.png,"100,10,90,80"\nframe.png,"150,0,90,80"\n'
    )
    assert door("add", tmp_path / "manifest.csv").startswith("2 created, 0 updated, 1 failed")
    assert "frame.png: " in door.err
    assert door.listed() == ["frame.png:0-0-90-80", "frame.png:100-10-90-80"]
    found = json.loads(door("search", tmp_path / "frame.png", "--box", "100,10,90,80", "--json"))
    assert found[0]["image_id"] == "frame.png:100-10-90-80"
    assert found[0]["distance"] <= 1e-3


def test_more_pictures_than_a_write_takes(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    picture = jpeg(0, (16, 16))
    for n in range(600):
        (folder / f"{n:03}.jpg").write_bytes(picture)
    (folder / "299.jpg").write_bytes(b"")
    assert door("add", folder) == "599 created, 0 updated, 1 failed; gallery default has 599\n"
    assert len(door.listed()) == 599


def test_what_failed_can_be_added_when_it_is_mended(door: Door, crops: Path, tmp_path: Path) -> None:
    """Pictures of a folder, of an archive, and a row that is wrong."""
    good, failed = jpeg(7), tmp_path / "failed.csv"
    (crops / "bad.jpg").write_bytes(good[:30])
    (tmp_path / "manifest.csv").write_text("path,vehicle_id,box\ncrops/a.jpg,v1,1-2-3\ncrops/a.jpg,v2,\n")
    archive = pack(tmp_path / "x.zip", {"cam9/z.jpg": good[:30], "cam9/y.jpg": jpeg(8)})
    sources = [crops, archive, tmp_path / "manifest.csv"]
    assert door("add", *sources, "--failures", failed).startswith("5 created, 0 updated, 3 failed")
    assert failed.read_text() == (
        "path,image_id,vehicle_id,box,import_failure\n"
        "crops/a.jpg,,v1,1-2-3,\"manifest.csv line 2, column box: '1-2-3' is not x,y,width,height in whole pixels\"\n"
        "crops/bad.jpg,bad.jpg,,,the JPEG is truncated: it ends within a segment\n"
        "x.zip/cam9/z.jpg,cam9:z.jpg,,,the JPEG is truncated: it ends within a segment\n"
    )
    assert "3 failed" in door("add", failed, "--failures", tmp_path / "again.csv")
    (crops / "bad.jpg").write_bytes(good)
    pack(archive, {"cam9/z.jpg": good})
    failed.write_text(failed.read_text().replace("1-2-3", '"1,2,3,4"', 1))
    assert door("add", failed).startswith("3 created, 0 updated, 0 failed")
    assert {"bad.jpg", "cam9:z.jpg", "crops:a.jpg:1-2-3-4"} < set(door.listed())
    assert "is what is to be added" in door.refused("add", failed, "--failures", failed)
    door("add", crops, "--failures", failed)
    assert failed.read_text() == "path,image_id,import_failure\n"


def test_many_failures_are_not_all_printed(door: Door, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path\n" + "".join(f"{n}.jpg\n" for n in range(130)))
    assert door("add", tmp_path / "manifest.csv").startswith("0 created, 0 updated, 130 failed")
    lines = [line for line in door.err.splitlines() if line.startswith("vehicle-index: ")]
    assert len(lines) == 101
    assert lines[-1] == "vehicle-index: 30 more failed; --failures FILE names them all"


@pytest.mark.parametrize("kind", ["folder", ".tar.gz", ".zip"])
def test_an_import_that_is_killed_goes_on_where_it_was(door: Door, tmp_path: Path, kind: str) -> None:
    """A real process, killed as soon as some images are stored; nothing of them is embedded or written again."""
    count = 1200
    files = {f"{n:04}.jpg": jpeg(n % 50, (40, 30)) for n in range(count)}
    source = tmp_path / "many"
    if kind == "folder":
        source.mkdir()
        for name, data in files.items():
            (source / name).write_bytes(data)
    else:
        source = pack(tmp_path / f"many{kind}", files)
    command = ["add", str(source), "--data-dir", str(door.data), "--model", str(door.model), "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-m", "index.vehicle_index", *command], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        shown = b""
        while not re.search(rb"[1-9]\d*/1200", shown[-200:]):
            shown += process.stderr.read1()  # type: ignore[attr-defined]
        process.kill()
    home = DataFolder(door.data)
    stored = home.get("default").info()
    home.close()
    assert 0 < stored.images < count
    out = door("add", source)
    assert out == (
        f"{count - stored.images} created, 0 updated, {stored.images} unchanged, 0 failed; gallery default has {count}\n"
    )
    home = DataFolder(door.data)
    assert home.get("default").info().last_change == count  # every image was written once
    home.close()
    assert examine(door.data / "galleries/default").findings == []


def test_a_gallery_that_does_not_exist_is_made(door: Door, crops: Path) -> None:
    assert door("add", crops, "--gallery", "yard").endswith("gallery yard has 3\n")
    assert door.listed("--gallery", "yard") != []
    assert door.listed() == []


def test_a_vector_that_is_not_finite_fails_its_picture_only(door: Door, crops: Path, tmp_path: Path) -> None:
    """The model divides by the blue of the upper left pixel less that of one of the pictures."""
    picture = read_picture((crops / "a.jpg").read_bytes(), max_pixels=10**6)
    resize = Embedder(door.model, device="cpu").contract.resize
    blue = float(model_crop(picture, resize)[0, 0, 2])
    model = onnx.load(door.model)
    for node in model.graph.node:
        node.output[:] = ["finite" if name == "embedding" else name for name in node.output]
        node.input[:] = ["finite" if name == "embedding" else name for name in node.input]
    for name, values in {"starts": [0, 0, 2], "ends": [1, 1, 3], "axes": [1, 2, 3]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, dtype=np.int64), f"t_{name}"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), "t_shape"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(blue, dtype=np.float32), "t_blue"))
    make = onnx.helper.make_node
    model.graph.node.extend(
        [
            make("Slice", ["crops", "t_starts", "t_ends", "t_axes"], ["t_pixel"]),
            make("Reshape", ["t_pixel", "t_shape"], ["t_flat"]),
            make("Cast", ["t_flat"], ["t_float"], to=onnx.TensorProto.FLOAT),
            make("Sub", ["t_float", "t_blue"], ["t_zero"]),
            make("Div", ["finite", "t_zero"], ["embedding"]),
        ]
    )
    door.model = tmp_path / "divides.onnx"
    onnx.save(model, door.model)
    door("add", crops)
    assert door.code == 1
    assert f"vehicle-index: {crops / 'a.jpg'}: the model's answer holds a value that is not finite" in door.err
    assert "a.jpg" not in door.listed()
    assert "not finite" in door.refused("search", crops / "a.jpg")


def test_a_full_disk_is_one_line(door: Door, crops: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        door.data = disk / "data"
        door("add", crops / "a.jpg")
        filler = fill(disk)
        door("add", crops)
        assert (door.code, door.out) == (2, "")
        assert "vehicle-index: no space left" in door.err
        filler.unlink()
        assert door("add", crops) == "2 created, 0 updated, 1 unchanged, 0 failed; gallery default has 3\n"


# search


def test_a_stored_picture_is_found_first(demo_door: Door) -> None:
    lines = demo_door("search", DEMO / "images/v0000_00.jpg", "--top-k", "3").splitlines()
    assert lines[0].split() == ["rank", "distance", "image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at"]
    assert lines[1].split()[:5] == ["1", "0.0000", "v0000_00", "v0000", "c001"]
    assert len(lines) == 4
    assert len({line.index(line.split()[2]) for line in lines}) == 1  # aligned


def test_search_answers_in_json_what_the_gallery_answers(demo_door: Door) -> None:
    found = json.loads(demo_door("search", DEMO / "images/v0000_00.jpg", "--json", "--top-k", "5"))
    home = DataFolder(demo_door.data)
    gallery = home.get("default")
    (expected,) = gallery.search(gallery.embedding("v0000_00")[None], SearchOptions(top_k=5))
    home.close()
    assert [match["image_id"] for match in found] == [match.image.image_id for match in expected]
    assert found[0].keys() == {
        "rank", "distance", "image_id", "vehicle_id", "camera_id", "captured_at", "viewpoint", "attributes",
    }  # fmt: skip
    assert found[0]["captured_at"] == "2026-05-04T08:00:00Z"


@pytest.mark.parametrize(
    ("words", "filters"),
    [
        (["--camera-id", "c001"], Filters(camera_id=("c001",))),
        (["--image-id", "v0001_00", "--image-id", "none"], Filters(image_id=("v0001_00", "none"))),
        (["--exclude-camera-id", "c001", "--exclude-camera-id", "c002"], Filters(exclude_camera_id=("c001", "c002"))),
        (["--vehicle-id", "v0000", "--vehicle-id", "v0001"], Filters(vehicle_id=("v0000", "v0001"))),
        (["--viewpoint", "rear"], Filters(viewpoint=("rear",))),
        (["--attribute", "body=audi"], Filters(attributes={"body": ("audi",)})),
        (["--attribute", "body=1", "--attribute", 'body="1"'], Filters(attributes={"body": (1, "1")})),
    ],
)
def test_filters_reach_the_gallery(demo_door: Door, words: list[str], filters: Filters) -> None:
    home = DataFolder(demo_door.data)
    page = home.get("default").page(filters, limit=1000)
    home.close()
    expected = [image.image_id for image in page.images]
    assert demo_door.listed(*words) == expected
    found = json.loads(demo_door("search", DEMO / "images/v0000_00.jpg", "--json", "--top-k", "1000", *words))
    assert sorted(match["image_id"] for match in found) == expected


def test_times_are_inclusive_and_exclusive(demo_door: Door) -> None:
    window = ("--captured-after", "2026-05-04T10:00:00+02:00", "--captured-before", "2026-05-04T08:01:37Z")
    assert demo_door.listed(*window) == ["v0000_00"]


def test_groups_and_distances(demo_door: Door) -> None:
    picture = DEMO / "images/v0000_00.jpg"
    groups = json.loads(demo_door("search", picture, "--json", "--top-k", "1000", "--group-by", "vehicle_id"))
    vehicles = [match["vehicle_id"] for match in groups]
    assert len(vehicles) == len(set(vehicles)) > 1
    near = json.loads(demo_door("search", picture, "--json", "--max-distance", "0.001"))
    assert [match["image_id"] for match in near] == ["v0000_00"]


# list, delete, describe


def test_a_listing_is_a_table(demo_door: Door) -> None:
    lines = demo_door("list", "--vehicle-id", "v0000").splitlines()
    assert lines[0].split() == ["image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at"]
    assert [line.split()[1] for line in lines[1:]] == ["v0000"] * (len(lines) - 1)


def test_what_somebody_stored_stays_on_its_line(door: Door, crops: Path, tmp_path: Path) -> None:
    manifest = crops / "manifest.csv"
    manifest.write_text('path,vehicle_id\na.jpg,"v\n\x1b[2J"\n')
    door("add", manifest)
    (_, line) = door("list").splitlines()
    assert "v\\n\\x1b[2J" in line


def test_images_are_erased_by_id_and_the_unknown_are_named(door: Door, crops: Path) -> None:
    door("add", crops)
    assert door("delete", "none", "a.jpg", "cam1:b.jpg") == "2 erased; gallery default has 1\n"
    assert (door.code, door.err) == (1, "vehicle-index: gallery default has no image none\n")
    assert "a.jpg" not in door.listed()


def test_images_are_erased_by_filter_or_all(door: Door, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "demo")
    door("add", tmp_path / "demo/manifest.csv")
    before = len(door.listed())
    gone = len(door.listed("--camera-id", "c001"))
    assert door("delete", "--camera-id", "c001") == f"{gone} erased; gallery default has {before - gone}\n"
    assert door("delete", "--all") == f"{before - gone} erased; gallery default has 0\n"


def test_a_gallery_is_described_without_a_model(demo_door: Door) -> None:
    demo_door.model = Path("none.onnx")
    out = demo_door("describe")
    assert demo_door.code == 0
    assert "images           119" in out
    assert "embedding dim    32" in out


# What is refused


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["delete"], "exactly one of the three"),
        (["delete", "--all", "a.jpg"], "exactly one of the three"),
        (["delete", "../x"], "image_id must match"),
        (["list", "--viewpoint", "top"], "knows front, rear, side"),
        (["list", "--captured-after", "yesterday"], "--captured-after: 'yesterday' is not an RFC 3339 time"),
        (["list", "--attribute", "body"], "write NAME=VALUE"),
        (["list", "--attribute", "n=99999999999999999999"], "64 bits"),
        (["list", "--attribute", "n=1e999"], "finite"),
        (["list", "--camera-id", ""], "--camera-id must be"),
        (["list", "--camera-id", "\udcff"], "--camera-id must be"),
        (["list", "--gallery", "yard"], "there is no gallery 'yard'"),
        (["search", DEMO / "images/v0000_00.jpg", "--top-k", "0"], "--top-k must be from 1 to 1000"),
        (["search", DEMO / "images/v0000_00.jpg", "--max-distance", "nan"], "--max-distance must be a finite number"),
        (["search", DEMO / "images/v0000_00.jpg", "--box", "0,0,9999,1"], "v0000_00.jpg: "),
        (["search", DEMO / "manifest.csv"], "manifest.csv: "),
        (["search", "none.jpg"], "none.jpg: No such file or directory"),
        (["add", DEMO / "images", "--gallery", "../yard"], "the name of a gallery must match"),
        (["add", "none.csv"], "none.csv does not exist"),
    ],
)
def test_mistakes_are_one_line(demo_door: Door, words: list[object], problem: str) -> None:
    assert problem in demo_door.refused(str(words[0]), *words[1:])


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "1,2,3,-4", f"1,2,3,{'9' * 5000}"])
def test_a_box_is_four_numbers(box: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["search", "car.jpg", "--box", box])
    assert left.value.code == 2
    assert "not x,y,width,height" in capsys.readouterr().err


def test_looking_into_no_folder_makes_none(door: Door) -> None:
    assert "there is no data folder" in door.refused("list")
    assert not door.data.exists()


def test_a_missing_model_is_one_line(door: Door, crops: Path) -> None:
    door.model = Path("none.onnx")
    assert "there is no model file none.onnx" in door.refused("add", crops)
    assert not door.data.exists()


def test_a_model_of_another_space_is_refused(door: Door, crops: Path, tmp_path: Path) -> None:
    door("add", crops)
    model = onnx.load(door.model)
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    entry.value = json.dumps({**json.loads(entry.value), "embedding_space": "other"})
    door.model = tmp_path / "other.onnx"
    onnx.save(model, door.model)
    for words in (["add", crops], ["search", crops / "a.jpg"]):
        door(*map(str, words))
        assert (door.code, door.out) == (2, "")
        assert "the loaded model makes other" in door.err


def test_a_folder_that_a_service_holds_names_it_and_the_way_in(door: Door, crops: Path, tiny_model: Path) -> None:
    with serving(door.data, tiny_model):
        for words in (["add", crops], ["list"]):
            line = door.refused(*map(str, words))
            assert "is in use by process" in line
            assert "serve" in line
            assert "POST /v1/galleries/{gallery}/images" in line
            assert "/v1/galleries/{gallery}/imports" in line


# The command itself


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in ([], "vehicle-index search car.jpg"), (["add"], "named after its path"), (["search"], "--box"):
        with pytest.raises(SystemExit) as left:
            main([*words, "--help"])
        assert left.value.code == 0
        assert shown in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_error(demo_door: Door) -> None:
    command = [sys.executable, "-m", "index.vehicle_index", "list", "--json", "--data-dir", str(demo_door.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(60) == 0
