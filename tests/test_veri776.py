"""VeRi-776 as it is on disk, and each of the flaws that its copies have."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, Finding, open_data_set
from tests.data_set_trees import FRONT_KEYPOINTS, REAR_KEYPOINTS, edit, vehicleid, veri776, write
from tests.pictures import jpeg


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return veri776(tmp_path / "VeRi")


def opened(root: Path) -> DataSet:
    return open_data_set(f"veri776:{root}")


def found(root: Path) -> dict[str, Finding]:
    """Findings by what they say, without the one that small trees always have."""
    return {finding.what: finding for finding in opened(root).findings if "than published" not in finding.what}


def test_a_sound_copy_is_read_whole_and_has_nothing_odd(tree: Path) -> None:
    data = opened(tree)
    assert found(tree) == {}
    assert data.protocol == "veri776"
    assert {part: len(rows) for part, rows in data.parts.items()} == {"train": 5, "query": 2, "gallery": 6}
    row = data.part("train")[3]
    assert (row.vehicle_id, row.camera_id, row.viewpoint) == ("0002", "c003", "front")
    assert row.path == tree / "image_train" / "0002_c003_00000003_0.jpg"
    assert row.attributes == {"frame": 3, "colour": "gray", "type": "suv", "orientation": "left-front"}
    assert {row.path.parent.name for row in data.part("query")} == {"image_query"}
    data.require_sound()


def test_a_part_of_another_size_than_published_is_said(tree: Path) -> None:
    (size,) = opened(tree).findings
    assert size.count == 2
    assert size.examples == ("query: 2, not 1,678", "gallery: 6, not 11,579")


def test_missing_pictures_are_skipped_in_training_and_fatal_in_the_gallery(tree: Path) -> None:
    (tree / "image_train" / "0002_c003_00000003_0.jpg").unlink()
    train = found(tree)["pictures that are listed and missing (train)"]
    assert (train.count, train.skipped, train.fatal) == (1, 1, False)
    assert train.examples == ("name_train.txt line 4: 0002_c003_00000003_0.jpg",)
    assert len(opened(tree).part("train")) == 4
    opened(tree).require_sound()
    (tree / "image_test" / "0005_c003_00000004_0.jpg").unlink()
    assert found(tree)["pictures that are listed and missing (gallery)"].fatal
    with pytest.raises(InvalidValue, match=r"listed and missing \(gallery\)"):
        opened(tree).require_sound()


def bom(tree: Path) -> None:
    path = tree / "name_train.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def crlf(tree: Path) -> None:
    path = tree / "name_train.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def back_slashes(tree: Path) -> None:
    path = tree / "name_train.txt"
    path.write_bytes(b"".join(b"image_train\\" + line for line in path.read_bytes().splitlines(keepends=True)))


def keypoint_back_slashes(tree: Path) -> None:
    path = tree / "keypoint_train.txt"
    path.write_bytes(path.read_bytes().replace(b"/", b"\\"))


def other_case(tree: Path) -> None:
    for path in (tree / "image_train").iterdir():
        path.rename(path.with_suffix(".JPG"))


@pytest.mark.parametrize(
    ("flaw", "what"),
    [
        (bom, "files that begin with a byte-order mark"),
        (crlf, "files with Windows line ends (CRLF)"),
        (back_slashes, "files with back-slashes in paths; read as slashes"),
        (keypoint_back_slashes, "files with back-slashes in paths; read as slashes"),
        (other_case, None),
    ],
)
def test_how_a_file_was_written_loses_no_picture_and_no_label(
    tree: Path, flaw: Callable[[Path], None], what: str | None
) -> None:
    flaw(tree)
    assert list(found(tree)) == ([what] if what else [])
    rows = opened(tree).part("train")
    assert len(rows) == 5
    assert all(row.viewpoint == "front" and "colour" in row.attributes for row in rows)


def test_names_listed_twice_or_not_parsing_are_left_out(tree: Path) -> None:
    name = "0001_c001_00000000_0.jpg"
    write(tree / "name_train.txt", (tree / "name_train.txt").read_text() + f"{name}\nhello.jpg\n")
    findings = found(tree)
    assert findings["names that a list holds twice"].examples == (f"name_train.txt line 6: {name}",)
    assert findings["names that do not parse as VVVV_cCCC_FRAME_N.jpg"].examples == (
        "name_train.txt line 7: hello.jpg",
    )
    assert len(opened(tree).part("train")) == 5


def test_pictures_in_no_list_are_not_taken(tree: Path) -> None:
    write(tree / "image_train" / "0009_c001_00000000_0.jpg", jpeg())
    finding = found(tree)["pictures in image_train that are not taken"]
    assert (finding.count, finding.skipped, finding.examples) == (1, 1, ("0009_c001_00000000_0.jpg",))
    assert len(opened(tree).part("train")) == 5


def test_without_lists_the_folders_count(tree: Path) -> None:
    for path in tree.glob("name_*.txt"):
        path.unlink()
    assert found(tree)["lists that are missing; all pictures of the folder are taken"].count == 3
    assert [len(rows) for rows in opened(tree).parts.values()] == [5, 2, 6]


def test_a_vehicle_in_train_and_test_is_fatal(tree: Path) -> None:
    write(tree / "image_train" / "0004_c002_00000099_0.jpg", jpeg())
    write(tree / "name_train.txt", (tree / "name_train.txt").read_text() + "0004_c002_00000099_0.jpg\n")
    finding = found(tree)["vehicles in train and in query or gallery"]
    assert finding.examples == ("0004",)
    with pytest.raises(InvalidValue, match=r"vehicles in train and in query or gallery .*0004"):
        opened(tree).require_sound()


def test_identities_cameras_and_queries_are_looked_at(tree: Path) -> None:
    names = "0001_c001_00000000_0.jpg\n0002_c001_00000002_0.jpg\n"
    write(tree / "name_train.txt", names)
    write(tree / "name_test.txt", "0004_c001_00000000_0.jpg\n0004_c001_00000001_0.jpg\n0005_c009_00000007_0.jpg\n")
    write(tree / "image_test" / "0005_c009_00000007_0.jpg", jpeg())
    for path in (tree / "gt_index.txt", tree / "jk_index.txt"):
        path.unlink()
    findings = found(tree)
    assert findings["identities with one picture (train)"].examples == ("0001", "0002")
    assert findings["identities seen by one camera only (gallery)"].examples == ("0004",)
    assert findings["queries without a match by another camera"].examples == ("0004_c001_00000000_0.jpg",)
    assert findings["camera numbers that are left out"].examples == ("c003", "c004", "c005", "c006", "c007")
    assert findings["camera numbers that are left out"].count == 6


def test_one_camera_only_is_said(tmp_path: Path) -> None:
    for vehicle, part in (("0001", "train"), ("0002", "query"), ("0002", "test")):
        write(tmp_path / f"image_{part}" / f"{vehicle}_c001_00000000_0.jpg", jpeg())
    assert found(tmp_path)["one camera only: nothing can be measured from camera to camera"].examples == ("c001",)


def test_labels_are_read_although_a_strict_parser_refuses_them(tree: Path) -> None:
    path = tree / "train_label.xml"
    broken = path.read_text().replace("</Items>\n</TrainingImages>", '<Item imageName="unfinished')
    path.write_bytes("<!-- 车辆 -->".encode("gb2312") + broken.encode())
    assert list(found(tree)) == ["files that are not UTF-8; read as GB18030"]
    assert all("colour" in row.attributes for row in opened(tree).part("train"))


def test_labels_of_unknown_pictures_and_numbers_are_said(tree: Path) -> None:
    edit(tree / "train_label.xml", "0001_c001_00000000_0.jpg", "0999_c001_00000000_0.jpg")
    edit(tree / "train_label.xml", 'colorID="2" typeID="2"', 'colorID="2" typeID="0"')
    edit(tree / "train_label.xml", 'colorID="3"', 'colorID="03"')
    edit(tree / "train_label.xml", 'number="5"', 'number="7"')
    findings = found(tree)
    assert findings["pictures that train_label.xml labels and nobody knows"].examples == ("0999_c001_00000000_0.jpg",)
    assert findings["pictures without colour and type labels"].examples == ("0001_c001_00000000_0.jpg",)
    assert findings["typeID numbers without a name; left out"].examples == ("0001_c002_00000001_0.jpg: 0",)
    assert findings["label files with another number of items than they say"].examples == ("train_label.xml: 5, not 7",)
    assert opened(tree).part("train")[1].attributes["colour"] == "orange"
    assert "type" not in opened(tree).part("train")[1].attributes
    assert opened(tree).part("train")[2].attributes["colour"] == "green"


def test_a_label_that_contradicts_the_name_is_fatal(tree: Path) -> None:
    edit(
        tree / "test_label.xml",
        '"0004_c002_00000002_0.jpg" vehicleID="0004"',
        '"0004_c002_00000002_0.jpg" vehicleID="0005"',
    )
    finding = found(tree)["labels that contradict the vehicle or camera of the name"]
    assert (finding.fatal, finding.examples) == (True, ("0004_c002_00000002_0.jpg: 0005 c002",))


def test_missing_label_files_are_said_and_published_names_fill_in(tree: Path) -> None:
    (tree / "test_label.xml").unlink()
    (tree / "list_color.txt").unlink()
    findings = found(tree)
    assert findings["label files that are missing: no colour, no type"].examples == ("test_label.xml",)
    assert findings["lists that are missing; the published names are taken"].examples == ("list_color.txt",)
    assert opened(tree).part("train")[0].attributes["colour"] == "yellow"


def test_matches_and_junk_are_held_against_the_names(tree: Path) -> None:
    write(tree / "gt_index.txt", "3\n5\n")
    finding = found(tree)["queries for which gt_index.txt and the file names disagree"]
    assert (finding.fatal, finding.examples) == (True, ("0005_c002_00000003_0.jpg",))
    write(tree / "gt_index.txt", "3\n5 6\n1\n")
    assert found(tree)["queries for which gt_index.txt and the file names disagree"].examples == (
        "3 lines for 2 queries",
    )


def test_matches_may_be_given_as_names(tree: Path) -> None:
    names = (tree / "name_test.txt").read_text().split()
    for kind in ("gt", "jk"):
        lines = (tree / f"{kind}_index.txt").read_text().splitlines()
        (tree / f"{kind}_index.txt").unlink()
        named = [" ".join(names[int(word) - 1] for word in line.split()) for line in lines]
        write(tree / f"{kind}_image.txt", "\r\n".join(named))
    assert found(tree) == {}
    edit(tree / "jk_image.txt", names[1], names[2])
    assert found(tree)["queries for which jk_image.txt and the file names disagree"].examples == (names[0],)


@pytest.mark.parametrize(
    ("number", "viewpoint"), list(enumerate(["front", "rear", "side", "front", "rear", "side", "front", "rear"]))
)
def test_eight_orientations_are_three_viewpoints(tree: Path, number: int, viewpoint: str) -> None:
    points = REAR_KEYPOINTS if viewpoint == "rear" else FRONT_KEYPOINTS
    name = "0001_c001_00000000_0.jpg"
    write(tree / "keypoint_train.txt", f"VeRi/image_train/{name} {' '.join(map(str, points))} {number}\n")
    assert opened(tree).part("train")[0].viewpoint == viewpoint
    assert found(tree)["pictures without a viewpoint label"].count == 4


def test_viewpoints_that_cannot_be_right_are_left_out(tree: Path) -> None:
    names = (tree / "name_train.txt").read_text().split()
    front = " ".join(map(str, FRONT_KEYPOINTS))
    lines = [
        f"a/{names[0]} {front} 1",  # front lamps on a rear
        f"a/{names[1]} {front} 0",
        f"a/{names[1]} {front} 2",  # another orientation
        f"a/{names[2]} {front} 8",
        f"a/{names[3]} 1 2 3",
        f"a/0999_c001_00000000_0.jpg {front} 0",
        f"a/{names[4]} {front} 0",
        f"a/{names[4]} {front} 0",
    ]
    write(tree / "keypoint_train.txt", "\n".join(lines))
    findings = found(tree)
    assert findings["viewpoints that their own keypoints contradict; left out"].examples == (names[0],)
    assert findings["pictures with two orientation labels; the first counts"].examples == (names[1],)
    assert findings["lines of keypoint_train.txt that do not parse"].examples == ("line 4", "line 5")
    assert findings["pictures that keypoint_train.txt labels and nobody knows"].count == 1
    assert [row.viewpoint for row in opened(tree).part("train")] == [None, "front", None, None, "front"]


def test_viewpoint_files_may_lie_in_a_folder_of_their_own(tree: Path) -> None:
    for path in tree.glob("keypoint_*.txt"):
        (tree / "VehicleReIDKeyPointData-master").mkdir(exist_ok=True)
        path.rename(tree / "VehicleReIDKeyPointData-master" / path.name)
    assert {row.viewpoint for row in opened(tree).part("query")} == {"front"}


def test_another_set_is_named(tmp_path: Path) -> None:
    vehicleid(tmp_path / "VehicleID")
    with pytest.raises(
        InvalidValue, match=rf"looked for image_train, .*found attribute, image, .*looks like vehicleid:{tmp_path}"
    ):
        opened(tmp_path / "VehicleID")
    veri776(tmp_path / "outer" / "VeRi")
    with pytest.raises(InvalidValue, match=f"looks like veri776:{tmp_path}/outer/VeRi"):
        opened(tmp_path / "outer")
    with pytest.raises(InvalidValue, match="there is no such folder"):
        opened(tmp_path / "nowhere")
    write(tmp_path / "VeRi.zip", b"PK")
    with pytest.raises(InvalidValue, match="is a file; unpack it"):
        opened(tmp_path / "VeRi.zip")


def test_folders_of_the_same_names_with_other_pictures_are_refused(tree: Path) -> None:
    for part in ("train", "query", "test"):
        shutil.rmtree(tree / f"image_{part}")
        write(tree / f"image_{part}" / "000001.jpg", jpeg())
        write(tree / f"name_{part}.txt", "000001.jpg\n")
    with pytest.raises(InvalidValue, match=r"no picture is listed.*000001\.jpg"):
        opened(tree)
