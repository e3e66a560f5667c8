"""sekilab's set: street pictures with darknet boxes, or crops in folders called after a side."""

from pathlib import Path

import pytest

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, Finding, open_data_set
from tests.data_set_trees import uc3m_vri, vehicle_orientation, write
from tests.pictures import jpeg


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return vehicle_orientation(tmp_path / "orientation")


def opened(root: Path) -> DataSet:
    return open_data_set(f"vehicle-orientation:{root}")


def found(root: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in opened(root).findings}


def test_boxes_are_rows_in_pixels_with_our_viewpoints(tree: Path) -> None:
    rows = opened(tree).part("train")
    assert found(tree) == {}
    assert [(row.viewpoint, row.attributes["type"], row.box) for row in rows] == [
        ("front", "car", (50, 25, 100, 50)),
        ("rear", "car", (160, 20, 40, 60)),
        ("side", "bus", (0, 0, 100, 100)),
        ("rear", "truck", (75, 25, 50, 50)),
        ("front", "motorcycle", (125, 25, 50, 50)),
    ]
    assert {row.vehicle_id for row in rows} == {row.camera_id for row in rows} == {None}
    assert rows[0].path == tree / "vehicle-orientation-1" / "A1.jpg"


def test_the_sets_own_list_of_classes_counts(tree: Path) -> None:
    write(tree / "vehicle_orientation.names", "\n".join(["car_front"] * 12))
    assert {row.viewpoint for row in opened(tree).part("train")} == {"front"}
    assert found(tree)["viewpoints that no box shows"].examples == ("rear", "side")


def test_each_flaw_is_told_and_costs_only_its_own_box(tree: Path) -> None:
    labels = tree / "vehicle-orientation-1" / "A1.txt"
    lines = [
        "2 0.5 0.5 0.5",
        "2 a b c d",
        "99 0.5 0.5 0.5 0.5",
        "2 0.5 0.5 0.05 0.5",
        "2 0.5 0.5 1.5 0.5",
        "2 0.5 0.5 0.5 0.5",
    ]
    write(labels, labels.read_text() + "\n".join(lines))
    findings = found(tree)
    assert findings["lines that are not CLASS X Y WIDTH HEIGHT"].count == 3
    assert findings["class numbers without a known side"].examples == (f"{labels} line 5: 99",)
    assert findings["boxes with a side under 24 pixels"].examples == (f"{labels} line 6",)
    assert findings["boxes that a label file holds twice"].examples == (f"{labels} line 8",)
    assert sum(finding.skipped for finding in findings.values()) == 6
    assert len(opened(tree).part("train")) == 5


def test_pictures_and_label_files_that_are_alone_or_damaged(tree: Path) -> None:
    one = tree / "vehicle-orientation-1"
    (one / "A2.jpg").unlink()
    write(one / "A3.jpg", jpeg())
    write(one / "A1.jpg", b"not a picture")
    findings = found(tree)
    assert findings["label files without a picture"].examples == (str(one / "A2.txt"),)
    assert findings["pictures without a label file"].examples == (str(one / "A3.jpg"),)
    assert findings["pictures that cannot be read"].examples == (str(one / "A1.jpg"),)
    assert len(opened(tree).part("train")) == 2


def test_windows_labels_lose_nothing(tree: Path) -> None:
    for path in tree.rglob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert found(tree)["files that begin with a byte-order mark"].count == 3
    assert len(opened(tree).part("train")) == 5


def test_crops_in_folders_called_after_a_side(tmp_path: Path) -> None:
    for folder in ("car_back", "bus_front", "side"):
        write(tmp_path / folder / "1.jpg", jpeg())
    rows = opened(tmp_path).part("train")
    assert [(row.viewpoint, row.attributes) for row in rows] == [
        ("front", {"type": "bus"}), ("rear", {"type": "car"}), ("side", {}),
    ]  # fmt: skip
    assert opened(tmp_path).findings == ()


def test_another_folder_is_refused(tmp_path: Path) -> None:
    uc3m_vri(tmp_path / "uc3m")
    with pytest.raises(
        InvalidValue, match=f"looked for NAME.jpg beside NAME.txt; .*looks like uc3m-vri:{tmp_path}/uc3m"
    ):
        opened(tmp_path / "uc3m" / "highway")
