"""``vehicle-model data``, as it is typed."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from model_export.data_sets.catalogue import catalogue
from model_export.vehicle_model import main
from tests.data_set_trees import manifest, vehicleid, veri776, write
from tests.file_server import serving_files
from tests.test_catalogue import API, DEPOSITED

Capture = pytest.CaptureFixture[str]


def test_list_names_every_set_its_terms_and_how_it_is_had(capsys: Capture) -> None:
    assert main(["data", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == {"NAME", "manifest", *catalogue()}
    assert "  ask  " in lines["vehicleid"]
    assert "  download  MIT" in lines["vehicle-orientation"]


def test_check_shows_one_table_and_its_exit_code_says_whether_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    tree = veri776(tmp_path)
    (tree / "image_train" / "0001_c001_00000000_0.jpg").unlink()
    assert main(["data", "check", f"veri776:{tree}"]) == 0
    out = capsys.readouterr().out
    assert f"veri776 at {tree}: 4 crops in train, 2 crops in query, 6 crops in gallery" in out
    line = next(line for line in out.splitlines() if "listed and missing (train)" in line)
    assert line.split()[:2] == ["1", "1"]  # count and skipped
    assert line.endswith("name_train.txt line 1: 0001_c001_00000000_0.jpg")
    assert "nothing here falsifies a result" in out
    (tree / "image_test" / "0005_c003_00000004_0.jpg").unlink()
    assert main(["data", "check", f"veri776:{tree}"]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[2].startswith("FATAL  1      1        pictures that are listed and missing (gallery)")
    assert "mend it before training" in out


def test_check_as_json(tmp_path: Path, capsys: Capture) -> None:
    path = manifest(tmp_path, [("1.jpg", "a", "c1"), ("1.jpg", "b", "c1"), ("2.jpg", "a", "c2")])
    assert main(["data", "check", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["sound"], found["taken"]) == (False, {"train": 2})
    assert found["findings"] == [
        {"what": "pictures that two rows give to different vehicles", "count": 1, "skipped": 1, "fatal": True, "examples": ["lines 2 and 3: 1.jpg"]}
    ]  # fmt: skip


def test_a_sound_set_has_no_table(tmp_path: Path, capsys: Capture) -> None:
    path = manifest(tmp_path, [("1.jpg", "a", "c1"), ("2.jpg", "a", "c2")])
    assert main(["data", "check", f"manifest:{path}"]) == 0
    assert "COUNT" not in capsys.readouterr().out


def test_check_names_pictures_that_cannot_be_read(tmp_path: Path, capsys: Capture) -> None:
    tree = veri776(tmp_path / "VeRi")
    (tree / "image_train" / "0001_c001_00000000_0.jpg").write_bytes(b"")
    assert main(["data", "check", f"veri776:{tree}"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "cannot be read" in line)
    assert line.split()[0] == "1"
    assert line.endswith("image_train/0001_c001_00000000_0.jpg")
    path = manifest(tmp_path / "own", [(f"{n}.jpg", "a", f"c{n}") for n in range(3)])
    write(path.parent / "0.jpg", "no picture")
    write(path.parent / "2.jpg", (path.parent / "2.jpg").read_bytes()[:-200])
    assert main(["data", "check", str(path), "--json"]) == 0
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["count"], finding["examples"]) == (2, ["0.jpg", "2.jpg"])


def test_check_says_that_a_copy_without_test_lists_cannot_be_measured(tmp_path: Path, capsys: Capture) -> None:
    tree = vehicleid(tmp_path)
    for path in (tree / "train_test_split").glob("test_list_*.txt"):
        path.unlink()
    assert main(["data", "check", f"vehicleid:{tree}"]) == 0
    out = capsys.readouterr().out
    assert "test lists: none is there, nothing can be measured" in out
    assert out.splitlines()[-1].startswith("nothing can be measured on it")


@pytest.mark.parametrize("spec", ["veri776:nowhere", "market:x", "nowhere.csv"])
def test_what_is_not_a_data_set_is_one_line(spec: str, capsys: Capture) -> None:
    assert main(["data", "check", spec]) == 2
    assert capsys.readouterr().err.startswith("vehicle-model: ")


def test_describe_counts_and_draws(tmp_path: Path, capsys: Capture) -> None:
    tree = veri776(tmp_path / "VeRi")
    sheet = tmp_path / "sheet.png"
    assert main(["data", "describe", f"veri776:{tree}", "--sheet", str(sheet), "--part", "query"]) == 0
    assert "gallery: 6 crops of 6 pictures, 2 vehicles" in capsys.readouterr().out
    with Image.open(sheet) as picture:
        assert picture.height == 2 * (128 + 14 + 4) + 4  # two vehicles
    assert main(["data", "describe", f"veri776:{tree}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"]["train"]["crops"] == 5
    assert main(["data", "describe", f"veri776:{tree}", "--part", "test"]) == 2
    assert "it has train, query, gallery" in capsys.readouterr().err
    assert main(["data", "describe", f"veri776:{tree}", "--sample", "-1"]) == 2


def test_a_set_by_request_says_whom_to_ask_and_what_to_write(capsys: Capture) -> None:
    assert main(["data", "download", "veri776"]) == 0
    out = capsys.readouterr().out
    assert "xinchenliu at bupt dot edu dot cn" in out
    assert "Subject: Request for VeRi-776" in out
    assert "licence: non-commercial research" in out


def test_a_download_shows_the_licence_goes_on_and_says_that_nothing_vouches_for_it(
    tmp_path: Path, capsys: Capture
) -> None:
    content = b"z" * 5_000
    words = ["data", "download", "vehicle-orientation", "--only", "-5", "--out", str(tmp_path)]
    with serving_files() as server:
        server.files["/vehicle-orientation-5.zip"] = content
        server.cut_after = [2_000]
        write(tmp_path / "vehicle-orientation-5.zip.part", content[:1_000])
        write(tmp_path / "vehicle-orientation-5.zip.part.tag", '"one"')
        assert main([*words, "--yes", "--mirror", server.address]) == 0
        assert [wanted for _, wanted in server.asked] == ["bytes=1000-", "bytes=3000-"]
    out = capsys.readouterr().out
    assert out.index("licence: MIT") < out.index("SHA-256")
    assert f"5,000 bytes, SHA-256 {hashlib.sha256(content).hexdigest()} (none is published to compare it with)" in out
    assert (tmp_path / "vehicle-orientation-5.zip").read_bytes() == content


def test_a_deposits_files_are_compared_with_its_checksums(tmp_path: Path, capsys: Capture) -> None:
    words = ["data", "download", "uc3m-vri", "--out", str(tmp_path), "--yes", "--mirror"]
    with serving_files() as server:
        server.files = {
            API: json.dumps(DEPOSITED).encode(), "/api/access/datafile/7": b"abc", "/api/access/datafile/8": b"{}",
        }  # fmt: skip
        assert main([*words, server.address]) == 0
        out = capsys.readouterr().out
        assert "licence: CC BY 4.0" in out
        assert out.count("(as published)") == 2
        assert (tmp_path / "a" / "b" / "c.json").read_bytes() == b"{}"
        assert main([*words, server.address]) == 0
        assert capsys.readouterr().out.count("(was there already)") == 2
        (tmp_path / "highway.zip").write_bytes(b"abd")
        assert main([*words, server.address]) == 2
        assert "highway.zip: MD5 " in capsys.readouterr().err


def test_nothing_is_fetched_unless_somebody_agrees(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data", "download", "vehicle-orientation", "--out", str(tmp_path / "out"), "--mirror"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # not a terminal
    with serving_files() as server:
        assert main([*words, server.address]) == 2
        assert server.asked == []
    assert "give --yes to accept the licence" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_part_that_there_is_not(capsys: Capture) -> None:
    assert main(["data", "download", "vehicle-orientation", "--only", "9", "--yes"]) == 2
    assert "no file is called so; vehicle-orientation-1.zip, " in capsys.readouterr().err


def test_render_is_here(tmp_path: Path, capsys: Capture) -> None:
    assert main(["data", "render", "--meshes", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no .glb mesh" in capsys.readouterr().err
