"""A data set in numbers."""

import json
from pathlib import Path

from model_export.data_sets.data_set import open_data_set
from model_export.data_sets.survey import survey
from tests.data_set_trees import manifest, vehicle_orientation, vehicleid, veri776, write
from tests.pictures import jpeg


def test_parts_are_counted_by_vehicle_camera_and_viewpoint(tmp_path: Path) -> None:
    found = survey(open_data_set(f"veri776:{veri776(tmp_path)}"))
    train = found.parts[0]
    assert (train.name, train.crops, train.pictures, train.vehicles) == ("train", 5, 5, 2)
    assert train.per_vehicle == (2, 2.5, 3)
    assert train.cameras == {"c001": 2, "c002": 1, "c003": 2}
    assert train.viewpoints == {"front": 5}
    text = str(found)
    assert "train: 5 crops of 5 pictures, 2 vehicles (2 to 3 crops each, median 2.5), 3 cameras" in text
    assert "  camera c003: 2" in text
    assert json.loads(json.dumps(found.to_dict()))["parts"]["gallery"]["vehicles"] == 2


def test_what_rows_lack_and_test_lists(tmp_path: Path) -> None:
    found = survey(open_data_set(f"vehicleid:{vehicleid(tmp_path)}"))
    assert found.parts[0].without == {"vehicle": 0, "camera": 4, "viewpoint": 4}
    assert "  4 without a camera, 4 without a viewpoint" in str(found)
    assert "test lists: 2 (2 vehicles), 2400 (3 vehicles)" in str(found)


def test_sizes_are_those_of_the_crops(tmp_path: Path) -> None:
    boxes = survey(open_data_set(f"vehicle-orientation:{vehicle_orientation(tmp_path)}")).sizes
    assert (boxes.looked_at, boxes.smallest, boxes.median, boxes.largest) == (5, 50, 60, 100)
    assert {edge: count for edge, count in boxes.counts.items() if count} == {32: 3, 96: 2}


def test_a_sample_is_seeded_and_said_and_damage_is_counted(tmp_path: Path) -> None:
    path = manifest(tmp_path, [(f"{n}.jpg", "v", "c") for n in range(20)])
    for n in range(20):
        write(tmp_path / f"{n}.jpg", jpeg(n, (40 + n, 30)))
    write(tmp_path / "0.jpg", b"broken")
    data = open_data_set(str(path))
    samples = [survey(data, sample=5, seed=seed).sizes for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2]
    assert "longer side of 5 of 20 crops" in str(survey(data, sample=5))
    whole = survey(data, sample=0)
    assert (whole.sizes.looked_at, whole.sizes.unreadable, whole.sizes.largest) == (20, 1, 59)
    assert "  1 could not be read" in str(whole)
    bars = [line for line in str(whole).splitlines() if "█" in line]
    assert bars == ["          32–63       19  " + "█" * 40]
