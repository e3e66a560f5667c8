"""A user's own manifest as a data set: what is odd about it."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import Finding, open_data_set
from tests.data_set_trees import edit, manifest

SOUND = [("a/1.jpg", "v1", "c1"), ("a/2.jpg", "v1", "c2"), ("b/1.jpg", "v2", "c1"), ("b/2.jpg", "v2", "c2")]


def found(path: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in open_data_set(f"manifest:{path}").findings}


def test_a_sound_manifest_has_nothing_odd(tmp_path: Path) -> None:
    assert found(manifest(tmp_path, SOUND)) == {}


def test_missing_pictures_are_skipped(tmp_path: Path) -> None:
    path = manifest(tmp_path, SOUND)
    (tmp_path / "a" / "2.jpg").unlink()
    finding = found(path)["pictures that are missing"]
    assert (finding.count, finding.skipped, finding.examples) == (1, 1, (f"line 3: {tmp_path}/a/2.jpg",))
    assert len(open_data_set(str(path)).part("train")) == 3
    for picture in tmp_path.glob("*/*.jpg"):
        picture.unlink()
    with pytest.raises(InvalidValue, match=r"none of its 4 pictures is there, for one .*a/1\.jpg"):
        open_data_set(str(path))


def test_a_picture_with_an_unusual_ending_is_there(tmp_path: Path) -> None:
    assert found(manifest(tmp_path, [("a/1.tif.bak", "v1", "c1"), ("a/2", "v1", "c2")])) == {}


def test_repeated_rows_are_taken_once_and_two_owners_are_fatal(tmp_path: Path) -> None:
    path = manifest(tmp_path, [*SOUND, SOUND[0], ("a/2.jpg", "v2", "c2")])
    findings = found(path)
    assert findings["rows that repeat another's picture and box"].examples == ("lines 2 and 6: 1.jpg",)
    assert findings["pictures that two rows give to different vehicles"].fatal
    assert len(open_data_set(str(path)).part("train")) == 4
    with pytest.raises(InvalidValue, match="different vehicles"):
        open_data_set(str(path)).require_sound()


def test_two_boxes_of_one_picture_are_two_rows(tmp_path: Path) -> None:
    path = manifest(tmp_path, [*SOUND, SOUND[0]])
    text = path.read_text().splitlines()
    boxes = ["box", '"0,0,9,9"', "", "", "", '"9,9,9,9"']
    path.write_text("".join(f"{line},{box}\n" for line, box in zip(text, boxes, strict=True)))
    assert found(path) == {}
    assert len(open_data_set(str(path)).part("train")) == 5


def test_what_rows_lack_is_told(tmp_path: Path) -> None:
    findings = found(manifest(tmp_path, [*SOUND[:3], ("c/1.jpg", "", "c1"), ("c/2.jpg", "v3", "")]))
    assert findings["rows without a vehicle"].examples == ("line 5",)
    assert findings["rows without a camera"].examples == ("line 6",)
    assert findings["identities with one picture (train)"].examples == ("v2", "v3")
    assert "rows without a viewpoint" not in findings


def test_one_camera_and_gaps(tmp_path: Path) -> None:
    one = found(manifest(tmp_path / "one", [("1.jpg", "v1", "c1"), ("2.jpg", "v1", "c1")]))
    assert one["one camera only: nothing can be measured from camera to camera"].examples == ("c1",)
    assert one["identities seen by one camera only (train)"].examples == ("v1",)
    gaps = found(manifest(tmp_path / "gaps", [("1.jpg", "v1", "c1"), ("2.jpg", "v1", "c4"), ("3.jpg", "v1", "gate")]))
    assert gaps["camera numbers that are left out"].examples == ("c2", "c3")


def test_a_vehicle_on_both_sides_of_a_split_is_told(tmp_path: Path) -> None:
    path = manifest(tmp_path, SOUND)
    for old, new in (
        ("camera_id", "camera_id,part"),
        ("v1,c1", "v1,c1,train"),
        ("v1,c2", "v1,c2,test"),
        ("v2,c1", "v2,c1,test"),
        ("v2,c2", "v2,c2,test"),
    ):
        edit(path, old, new)
    assert found(path)["vehicles with several values of the column part"].examples == ("v1",)


def test_a_folder_is_not_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"is a folder; give the path of a manifest\.csv"):
        open_data_set(str(tmp_path))
