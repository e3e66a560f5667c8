"""Sampling: what a batch is made of, and that seed and number alone decide it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.training.sampling import LabelledRows, PKSampler, ViewpointSampler


def _rows(pictures: dict[str, list[str]]) -> list[ManifestRow]:
    return [
        ManifestRow(line=1, path=Path(f"{vehicle}_{n}.jpg"), vehicle_id=vehicle, camera_id=camera)
        for vehicle, cameras in pictures.items()
        for n, camera in enumerate(cameras)
    ]


def test_every_batch_has_p_vehicles_with_k_pictures() -> None:
    rows = _rows({f"v{n}": ["c1", "c2", "c3", "c3", "c3"] for n in range(9)})
    sampler = PKSampler(rows, p=4, k=4, seed=0)
    for batch in map(sampler.batch, range(20)):
        assert sorted(Counter(row.vehicle_id for row in batch).values()) == [4, 4, 4, 4]
        assert len({row.path for row in batch}) == 16
        for vehicle in {row.vehicle_id for row in batch}:
            assert {row.camera_id for row in batch if row.vehicle_id == vehicle} == {"c1", "c2", "c3"}


def test_a_pass_visits_each_vehicle_once_and_leaves_single_pictures_out() -> None:
    rows = _rows({**{f"v{n}": ["c1", "c2"] for n in range(8)}, "alone": ["c1"]})
    sampler = PKSampler(rows, p=4, k=2, seed=0)
    seen = [row.vehicle_id for number in range(2, 4) for row in sampler.batch(number)]
    assert Counter(seen) == {f"v{n}": 2 for n in range(8)}


def test_every_camera_has_its_turn_where_there_are_more_than_k() -> None:
    sampler = PKSampler(_rows({"a": ["c1", "c2", "c3", "c4"], "b": ["c1", "c2"]}), p=2, k=2, seed=0)
    drawn = [row.camera_id for number in range(30) for row in sampler.batch(number) if row.vehicle_id == "a"]
    assert set(drawn) == {"c1", "c2", "c3", "c4"}
    assert max(Counter(drawn).values()) < 30  # none is in every batch


def test_every_picture_of_a_camera_has_its_turn() -> None:
    sampler = PKSampler(_rows({"a": ["c1"] * 5, "b": ["c1", "c2"]}), p=2, k=2, seed=0)
    drawn = [row.path for number in range(30) for row in sampler.batch(number) if row.vehicle_id == "a"]
    assert len(set(drawn)) == 5
    assert max(Counter(drawn).values()) < 30


def test_fewer_than_k_pictures_are_given_again() -> None:
    batch = PKSampler(_rows({"a": ["c1", "c2"], "b": ["c1", "c1"]}), p=2, k=4, seed=0).batch(0)
    assert Counter(row.vehicle_id for row in batch) == {"a": 4, "b": 4}


def test_the_seed_decides() -> None:
    rows = _rows({f"v{n}": ["c1", "c2"] for n in range(8)})

    def paths(seed: int) -> list[Path]:
        return [row.path for number in range(5) for row in PKSampler(rows, p=4, k=2, seed=seed).batch(number)]

    assert paths(1) == paths(1)
    assert paths(1) != paths(2)


def test_too_few_vehicles_are_refused_with_the_count() -> None:
    with pytest.raises(InvalidValue, match="there are 2"):
        PKSampler(_rows({"a": ["c1", "c2"], "b": ["c1", "c2"], "c": ["c1"]}), p=3, k=2, seed=0)


def test_the_smallest_batch_is_one_vehicle_of_two() -> None:
    batch = PKSampler(_rows({"a": ["c1", "c2"], "b": ["c1", "c2"]}), p=1, k=2, seed=0).batch(7)
    assert len({row.vehicle_id for row in batch}) == 1
    assert len(batch) == 2


def _labelled(origin: str, counts: list[int], weight: float = 1.0) -> LabelledRows:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    rows = [ManifestRow(line=1, path=Path(f"{origin}{n}"), vehicle_id=None, camera_id=None) for n in range(len(labels))]
    return LabelledRows(rows, labels, origin, weight)


def test_viewpoints_are_drawn_evenly_and_origins_by_weight_and_root() -> None:
    parts = [_labelled("a", [400, 4]), _labelled("b", [100, 0], weight=2.0)]
    sampler = ViewpointSampler(parts, viewpoints=("front", "rear"), batch=100, seed=0)
    drawn = [pair for number in range(40) for pair in zip(*sampler.batch(number), strict=True)]
    assert abs(Counter(label for _, label in drawn)[0] - 2000) < 150
    fronts = Counter(str(row.path)[0] for row, label in drawn if label == 0)
    assert abs(fronts["a"] - fronts["b"]) < 150  # 1 · √400 against 2 · √100
    assert {str(row.path)[0] for row, label in drawn if label == 1} == {"a"}
    assert sampler.batch(3) == ViewpointSampler(parts, viewpoints=("front", "rear"), batch=100, seed=0).batch(3)
    assert sampler.batch(3) != sampler.batch(4)


def test_a_kind_is_drawn_as_often_for_every_viewpoint_that_shows_it() -> None:
    cars, motorcycles, buses = (
        replace(_labelled(name, counts), kind=name)
        for name, counts in (("car", [900, 100]), ("motorcycle", [4, 900]), ("bus", [16, 0]))
    )
    sampler = ViewpointSampler([cars, motorcycles, buses], viewpoints=("front", "side"), batch=100, seed=0)
    drawn = Counter(
        (str(row.path).rstrip("0123456789"), label)
        for number in range(100)
        for row, label in zip(*sampler.batch(number), strict=True)
    )
    side_share, front_share = (
        drawn["motorcycle", view] / (drawn["motorcycle", view] + drawn["car", view]) for view in (1, 0)
    )
    assert side_share == pytest.approx(32 / 72, abs=0.03)  # √900 + √4 against √900 + √100
    assert front_share == pytest.approx(side_share, abs=0.03)
    assert drawn["bus", 0] / sum(drawn[kind, 0] for kind in ("car", "motorcycle", "bus")) == pytest.approx(
        4 / 76, abs=0.02
    )
    assert drawn["bus", 1] == 0


def test_a_viewpoint_without_pictures_is_named() -> None:
    with pytest.raises(InvalidValue, match="labelled rear"):
        ViewpointSampler([_labelled("a", [3, 0])], viewpoints=("front", "rear"), batch=4, seed=0)
