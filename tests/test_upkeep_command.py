"""``vehicle-index verify``, ``repair`` and ``compact`` as an operator meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from index.camera import Camera
from index.crops import content_name
from index.data_folder import DataFolder
from index.storage.camera_folder import CameraFolder
from index.upkeep_command import examples
from index.vehicle_index import main
from tests.pictures import jpeg
from tests.server_process import serving
from tests.test_local_gallery import SPEC, image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two galleries, of thirty images and of three."""
    home = DataFolder(tmp_path / "data", default_spec=SPEC)
    home.get("default").add([image(n) for n in range(30)])
    home.create("yard", SPEC)[0].add([image(n) for n in range(3)])
    home.close()
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on the folder: exit code, stdout, stderr."""

    def run(command: str, *words: object) -> tuple[int, str, str]:
        code = main([command, "--data-dir", str(data), *map(str, words)])
        return code, *capsys.readouterr()

    return run


def crop_file(data: Path, n: int) -> Path:
    (path,) = (data / "galleries/default/crops").rglob(content_name(image(n).crop))
    return path


def flip(data: Path, n: int) -> None:
    """Flip a bit of an image's vector."""
    file = data / "galleries/default/gallery.sqlite"
    content = bytearray(file.read_bytes())
    content[content.index(image(n).embedding.tobytes()) + 5] ^= 4
    file.write_bytes(content)


def test_a_sound_folder_is_told_to_be_sound(run: Run) -> None:
    code, out, err = run("verify")
    assert (code, out) == (0, "default: 30 images, 30 crops: sound\nyard: 3 images, 3 crops: sound\n")
    assert "53/53" in err
    assert run("verify", "--gallery", "yard")[1] == "yard: 3 images, 3 crops: sound\n"


def test_cameras_that_are_damaged_are_told(run: Run, data: Path) -> None:
    CameraFolder(data).place((Camera(camera_id="c1", x=1, y=2),))
    assert run("verify")[:2] == (0, "default: 30 images, 30 crops: sound\nyard: 3 images, 3 crops: sound\n")
    note = data / "cameras/cameras.json"
    note.write_text(note.read_text().replace('"x": 1', '"x": 3'))
    code, out, _ = run("verify")
    assert code == 1
    assert out.startswith(f"cameras: {note} is not what was written")
    assert run("verify", "--gallery", "yard")[0] == 0
    document = json.loads(run("verify", "--json")[1])
    assert (document["sound"], document["cameras"]["sound"]) == (False, False)
    assert all(each["sound"] for each in document["galleries"])


def test_what_is_found_is_one_table(run: Run, data: Path) -> None:
    for n in range(5):
        crop_file(data, n).unlink()
    flip(data, 7)
    code, out, _ = run("verify")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].split() == ["GALLERY", "COUNT", "WHAT", "FOR", "EXAMPLE"]
    assert [line.split("  ")[0:2] for line in lines[1:3]] == [["default", "1"], ["default", "5"]]
    assert "an image's vector is not what was written" in lines[1]
    assert lines[1].endswith("i7")
    assert lines[2].endswith(", …")
    assert lines[3:] == [
        "default: 30 images, 30 crops: 2 kinds of findings",
        "yard: 3 images, 3 crops: sound",
        "`vehicle-index repair` tells what can be mended and what is lost",
    ]
    assert run("verify", "--gallery", "yard")[0] == 0


def test_json_names_everything(run: Run, data: Path) -> None:
    assert json.loads(run("verify", "--json")[1])["sound"]
    for n in range(5):
        crop_file(data, n).unlink()
    code, out, _ = run("verify", "--json")
    told = json.loads(out)
    assert (code, told["sound"], told["data_dir"]) == (1, False, str(data))
    (finding,) = told["galleries"][0]["findings"]
    assert (finding["what"], finding["count"]) == ("an image's crop is missing on the disk", 5)
    assert sorted(finding["subjects"]) == [f"i{n}" for n in range(5)]
    assert told["galleries"][1] == {"gallery": "yard", "images": 3, "crops": 3, "sound": True, "findings": []}


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_what_cannot_be_looked_at_is_one_line_and_2(run: Run, data: Path, command: str) -> None:
    assert run(command, "--gallery", "none")[0] == 2
    (data / "layout").write_text("7\n")
    code, out, err = run(command)
    assert (code, out) == (2, "")
    assert "layout '7'" in err
    (data / "layout").unlink()
    assert "is no data folder" in run(command)[2]
    code, out, err = run(command, "--data-dir", data / "none")
    assert (code, len(err.splitlines())) == (2, 1)


def test_a_gallery_that_cannot_be_looked_at_keeps_no_other_from_being_examined(run: Run, data: Path) -> None:
    file = data / "galleries/default/gallery.sqlite-wal"
    file.unlink(missing_ok=True)
    file.symlink_to(file)  # a circle, at which the system gives up
    code, out, _ = run("verify")
    assert code == 2
    assert "it cannot be looked at" in out
    assert str(file) in out
    assert "yard: 3 images, 3 crops: sound" in out
    code, out, _ = run("verify", "--json")
    assert code == 2
    assert [each["sound"] for each in json.loads(out)["galleries"]] == [False, True]
    code, out, err = run("repair")
    assert code == 2
    assert str(file) in err
    assert "Traceback" not in err


def test_crops_that_cannot_be_looked_at_are_told_and_nothing_is_done_about_them(run: Run, data: Path) -> None:
    crops = data / "galleries/default/crops"
    (crops / "incoming").rmdir()
    crops.rename(data / "elsewhere")
    crops.symlink_to(crops)
    code, out, _ = run("verify")
    assert code == 1
    assert "an image's crop cannot be read from the disk" in out
    assert "yard: 3 images, 3 crops: sound" in out
    assert run("repair")[0] == 1  # tells that it would keep the images without them
    crops.unlink()
    (data / "elsewhere").rename(crops)
    assert run("repair", "--yes")[0] == 0
    assert run("verify")[0] == 0


def test_repair_tells_first_and_then_acts(run: Run, data: Path) -> None:
    flip(data, 7)
    crop_file(data, 8).write_bytes(b"\xff\xd8\xff another picture")
    code, told, _ = run("repair")
    assert code == 1
    assert told.splitlines()[-1] == "nothing was changed; `vehicle-index repair --yes` does this"
    assert run("verify")[0] == 1
    code, done, _ = run("repair", "--yes")
    assert code == 1  # something is lost
    assert done.splitlines()[:-1] == told.splitlines()[:-1]
    assert done.splitlines()[-1] == (
        f"done; set aside: {data}/set-aside/default (`vehicle-index compact` erases it)"
    )  # fmt: skip
    assert [line.split()[:4] for line in done.splitlines() if "LOSS" in line] == [
        ["default", "LOSS", "1", "lost"], ["default", "LOSS", "1", "kept,"],
    ]  # fmt: skip
    assert run("verify")[0] == 0
    assert run("repair", "--yes")[:2] == (0, "nothing to mend\n")
    assert run("compact")[0] == 0
    assert list((data / "set-aside").iterdir()) == []
    assert run("verify")[0] == 0


def test_a_backup_is_verified_and_not_repaired(run: Run, data: Path, tmp_path: Path) -> None:
    assert main(["backup", str(tmp_path / "backup"), "--data-dir", str(data)]) == 0
    next((tmp_path / "backup").rglob("*.jpg")).unlink()
    code, out, _ = run("verify", "--data-dir", tmp_path / "backup")
    assert (code, out.splitlines()[-1]) == (1, "a backup to a new folder is whole where the data folder is")
    code, _, err = run("repair", "--yes", "--data-dir", tmp_path / "backup")
    assert code == 2
    assert "is a backup: back up to a new folder, or restore it and repair what was restored" in err


def test_compact_forgets_what_was_set_aside_of_a_dropped_gallery(run: Run, data: Path) -> None:
    (data / "galleries/yard/crops/stray").touch()
    assert run("repair", "--yes")[0] == 0
    home = DataFolder(data)
    home.drop("yard")
    home.close()
    assert run("compact")[0] == 0
    assert list((data / "set-aside").iterdir()) == []


def test_a_gallery_beyond_repair_is_named_and_the_others_are_mended(run: Run, data: Path) -> None:
    (data / "galleries/default/gallery.sqlite").write_bytes(b"noise" * 10_000)
    (data / "galleries/yard/crops/stray").touch()
    code, out, err = run("repair", "--yes")
    assert code == 2
    assert "default/.repair" not in err
    assert "cannot be salvaged: what its gallery was created with cannot be read" in err
    assert "set aside, a file of no image" in out
    assert run("verify", "--gallery", "yard")[0] == 0


def test_compact_tells_what_it_freed(run: Run, data: Path) -> None:
    run("delete", "--all")
    code, out, err = run("compact", "--gallery", "default")
    assert (code, out.split(":")[0]) == (0, "default")
    assert " MB, was " in out
    assert "1/1" in err
    assert "there is no gallery none" in run("compact", "--gallery", "none")[2]


def test_a_damaged_folder_says_where_to_go_on(run: Run, data: Path) -> None:
    with (data / "galleries/default/gallery.sqlite").open("r+b") as file:
        file.seek(16384 * 4)
        file.write(b"noise" * 3000)
    for words in (["list"], ["compact"]):
        code, _, err = run(*words)
        assert code == 2
        assert "`vehicle-index verify` tells what is damaged, `vehicle-index repair` saves the rest" in err


def test_verify_works_beside_a_service_and_the_others_say_who_it_is(run: Run, data: Path, tiny_model: Path) -> None:
    with serving(data, tiny_model) as server:
        gallery = f"{server}/v1/galleries/other"
        assert httpx.put(gallery).status_code == 201
        for n in range(4):
            assert httpx.put(f"{gallery}/images/a{n}", content=jpeg(n)).status_code == 201
        assert httpx.delete(f"{gallery}/images/a3").status_code == 204
        assert run("verify")[:2] == (
            0, "default: 30 images, 30 crops: sound\nother: 3 images, 3 crops: sound\nyard: 3 images, 3 crops: sound\n",
        )  # fmt: skip
        for command in ("repair", "compact"):
            code, _, err = run(command)
            assert code == 2
            assert "is in use by process" in err
    assert run("verify")[0] == 0


def test_three_subjects_stand_for_the_rest() -> None:
    assert examples("abc") == "a, b, c"
    assert examples("abcd") == "a, b, c, …"


@pytest.mark.parametrize("command", ["verify", "repair", "compact", "backup", "restore"])
def test_help_teaches_by_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.count(f"\n  vehicle-index {command}") >= 2


@pytest.mark.parametrize("page", [0, 4])  # one that opening reads, one that only compacting does
def test_a_damaged_gallery_keeps_no_other_from_being_compacted(run: Run, data: Path, page: int) -> None:
    home = DataFolder(data)
    home.get("yard").delete("i2")
    home.close()
    with (data / "galleries/default/gallery.sqlite").open("r+b") as file:
        file.seek(16384 * page)
        file.write(b"noise" * 3000)
    aside = data / "set-aside/default"
    aside.mkdir(parents=True)
    (aside / "gallery.sqlite").write_bytes(b"of an earlier repair")
    code, out, err = run("compact")
    assert code == 2
    assert "yard: " in out
    assert "default/gallery.sqlite" in err
    left = b"".join(path.read_bytes() for path in (data / "galleries/yard").rglob("*") if path.is_file())
    assert b"i1" in left
    assert b"i2" not in left
    assert (aside / "gallery.sqlite").exists()  # default is damaged, not dropped
    assert run("list", "--gallery", "yard")[0] == 0
    assert run("describe", "--gallery", "default")[0] == (2 if page == 0 else 0)
