"""VehicleID as it is on disk, and the flaws that its copies have."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, Finding, open_data_set
from tests.data_set_trees import edit, vehicleid, veri776, write
from tests.pictures import jpeg


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return vehicleid(tmp_path / "VehicleID_V1.0")


def opened(root: Path) -> DataSet:
    return open_data_set(f"vehicleid:{root}")


def found(root: Path) -> dict[str, Finding]:
    """Findings by what they say, without those that small trees always have."""
    usual = ("than published", "not UTF-8")
    return {
        finding.what: finding for finding in opened(root).findings if not any(word in finding.what for word in usual)
    }


def test_a_sound_copy_is_read_whole_and_has_nothing_odd(tree: Path) -> None:
    data = opened(tree)
    assert found(tree) == {}
    assert data.protocol == "vehicleid"
    assert {part: len(rows) for part, rows in data.parts.items()} == {"train": 4, "gallery": 6}
    assert data.test_sizes == {"2": ("20", "21"), "2400": ("20", "21", "22")}
    row = data.part("gallery")[0]
    assert (row.path, row.vehicle_id, row.camera_id) == (tree / "image" / "0000005.jpg", "20", None)
    assert row.attributes == {"model": "奥迪 A6L 2012", "colour": "black"}
    assert data.part("gallery")[-1].attributes == {}
    data.require_sound()


def test_a_list_that_is_not_the_published_one_is_said(tree: Path) -> None:
    said = [finding for finding in opened(tree).findings if "than published" in finding.what]
    assert [finding.examples for finding in said] == [("test_list_2400.txt: 3",)]
    (tree / "train_test_split" / "test_list_2400.txt").unlink()
    assert "2400" in found(tree)["lists that are missing"].examples[0]


def test_missing_pictures_are_skipped_in_training_and_fatal_in_a_test(tree: Path) -> None:
    (tree / "image" / "0000001.jpg").unlink()
    finding = found(tree)["pictures that are listed and missing (train)"]
    assert (finding.skipped, finding.fatal, finding.examples) == (1, False, ("train_list.txt line 1: 0000001",))
    assert found(tree)["pictures that img2vid.txt names and image/ lacks"].examples == ("0000001",)
    assert found(tree)["identities with one picture (train)"].examples == ("7",)
    (tree / "image" / "0000010.jpg").unlink()
    assert found(tree)["pictures that are listed and missing (test)"].fatal
    assert len(opened(tree).part("gallery")) == 5


def test_a_vehicle_in_train_and_test_is_fatal(tree: Path) -> None:
    edit(tree / "train_test_split" / "train_list.txt", "0000004 9", "0000004 22")
    edit(tree / "attribute" / "img2vid.txt", "0000004 9", "0000004 22")
    assert found(tree)["vehicles in train and in query or gallery"].examples == ("22",)
    with pytest.raises(InvalidValue, match="vehicles in train"):
        opened(tree).require_sound()


def test_a_picture_of_two_vehicles_is_fatal(tree: Path) -> None:
    edit(tree / "train_test_split" / "test_list_2.txt", "0000008 21", "0000008 20")
    findings = found(tree)
    assert findings["pictures whose vehicle differs between a list and img2vid.txt"].fatal
    assert findings["pictures that test lists give to two vehicles"].examples == ("test_list_2400.txt: 0000008",)


def test_lines_twice_and_lines_that_do_not_parse(tree: Path) -> None:
    path = tree / "train_test_split" / "train_list.txt"
    write(path, path.read_text() + "0000001 7\n0000002\nx y z\n0000003 7\n")
    findings = found(tree)
    assert findings["names that a list holds twice"].examples == ("train_list.txt line 5: 0000001",)
    assert findings["names that a list gives to two vehicles"].fatal
    assert findings["lines of the lists that are not PICTURE VEHICLE"].count == 2
    assert len(opened(tree).part("train")) == 4


def test_windows_files_lose_nothing(tree: Path) -> None:
    for path in (tree / "train_test_split").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").replace(b"00000", b"image\\00000"))
    findings = found(tree)
    assert findings["files that begin with a byte-order mark"].count == 3
    assert findings["files with Windows line ends (CRLF)"].count == 3
    assert findings["files with back-slashes in paths; read as slashes"].count == 3
    assert [len(rows) for rows in opened(tree).parts.values()] == [4, 6]


def test_pictures_in_no_list_and_lists_of_unequal_pictures(tree: Path) -> None:
    write(tree / "image" / "7777777.jpg", jpeg())
    edit(tree / "train_test_split" / "test_list_2.txt", "0000006 20\n", "")
    findings = found(tree)
    assert findings["pictures in image that no list takes"].examples == ("7777777.jpg",)
    assert findings["vehicles that test_list_2.txt holds with fewer pictures than another list"].examples == ("20",)


def test_attributes_are_optional_and_numbers_without_a_name_stay_numbers(tree: Path) -> None:
    edit(tree / "attribute" / "color_attr.txt", "20 0", "20 5")
    assert found(tree)["colour numbers without a name; kept as numbers"].examples == ("vehicle 20: 5",)
    assert opened(tree).part("gallery")[0].attributes["colour"] == "5"
    (tree / "attribute" / "color_attr.txt").unlink()
    assert found(tree)["label files that are missing"].examples == ("attribute/color_attr.txt",)
    assert "colour" not in opened(tree).part("gallery")[0].attributes


@pytest.mark.parametrize(
    ("content", "meaning"),
    [("black 0\nlight blue 1\n", {"0": "black", "1": "light blue"}), ("0 black\n1 light blue\n", {"0": "black", "1": "light blue"}),
     ("0 Audi A6L 2012\n1 BMW X1 2012\n", {"0": "Audi A6L 2012", "1": "BMW X1 2012"})],
)  # fmt: skip
def test_names_stand_on_either_side_of_their_number(tree: Path, content: str, meaning: dict[str, str]) -> None:
    write(tree / "attribute" / "color_names.txt", content)
    rows = opened(tree).parts
    assert rows["train"][0].attributes["colour"] == meaning["1"]
    assert rows["gallery"][0].attributes["colour"] == meaning["0"]


def test_other_sets_are_named(tmp_path: Path) -> None:
    veri776(tmp_path / "VeRi")
    with pytest.raises(InvalidValue, match=f"looked for image, train_test_split; .*looks like veri776:{tmp_path}/VeRi"):
        opened(tmp_path / "VeRi")
    wild = tmp_path / "wild"
    write(wild / "train_test_split" / "vehicle_info.txt", "id/image;Camera ID\n")
    with pytest.raises(InvalidValue, match=r"VERI-Wild, which is not read: write a manifest\.csv"):
        opened(wild)
    write(tmp_path / "empty" / "image" / "a.jpg", jpeg())
    write(tmp_path / "empty" / "train_test_split" / "train_list.txt", "")
    with pytest.raises(InvalidValue, match="no picture is both listed"):
        opened(tmp_path / "empty")
