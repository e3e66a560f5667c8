"""Which data set a folder seems to hold."""

from pathlib import Path

import pytest

from model_export.data_sets.layout import looks_like
from tests.data_set_trees import manifest, uc3m_vri, vehicle_orientation, vehicleid, veri776, write


def test_each_layout_is_known_from_within_and_from_above(tmp_path: Path) -> None:
    places = {
        "veri776": veri776(tmp_path / "1" / "a"),
        "vehicleid": vehicleid(tmp_path / "2" / "a"),
        "vehicle-orientation": vehicle_orientation(tmp_path / "3") / "vehicle-orientation-1",
        "uc3m-vri": uc3m_vri(tmp_path / "4") / "highway",
        "manifest": manifest(tmp_path / "5" / "a", [("1.jpg", "v", "c")]),
    }
    for kind, place in places.items():
        folder = place.parent if kind == "manifest" else place
        assert looks_like(folder) == looks_like(folder.parent) == f"{kind}:{place}"


@pytest.mark.parametrize(
    ("entry", "name"),
    [("train_test_split/vehicle_info.txt", "VERI-Wild"), ("Pic/1.jpg", "VRU"), ("bounding_box_train/1.jpg", "Market-1501")],
)  # fmt: skip
def test_sets_that_are_not_read_are_named(tmp_path: Path, entry: str, name: str) -> None:
    write(tmp_path / entry, "")
    assert name in str(looks_like(tmp_path))


def test_nothing_known_is_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.doc", "")
    assert looks_like(tmp_path) is None
