"""P × K sampling: what a batch is made of, and that a seed means the same batches."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.training.sampling import pk_batches


def _rows(pictures: dict[str, list[str]]) -> list[ManifestRow]:
    return [
        ManifestRow(line=1, path=Path(f"{vehicle}_{n}.jpg"), vehicle_id=vehicle, camera_id=camera)
        for vehicle, cameras in pictures.items()
        for n, camera in enumerate(cameras)
    ]


def test_every_batch_has_p_vehicles_with_k_pictures() -> None:
    rows = _rows({f"v{n}": ["c1", "c2", "c3", "c3", "c3"] for n in range(9)})
    for batch in islice(pk_batches(rows, p=4, k=4, seed=0), 20):
        assert sorted(Counter(row.vehicle_id for row in batch).values()) == [4, 4, 4, 4]
        assert len({row.path for row in batch}) == 16
        for vehicle in {row.vehicle_id for row in batch}:
            assert {row.camera_id for row in batch if row.vehicle_id == vehicle} == {"c1", "c2", "c3"}


def test_a_pass_visits_each_vehicle_once_and_leaves_single_pictures_out() -> None:
    rows = _rows({**{f"v{n}": ["c1", "c2"] for n in range(8)}, "alone": ["c1"]})
    seen = [row.vehicle_id for batch in islice(pk_batches(rows, p=4, k=2, seed=0), 2) for row in batch]
    assert Counter(seen) == {f"v{n}": 2 for n in range(8)}


def test_fewer_than_k_pictures_are_given_again() -> None:
    batch = next(pk_batches(_rows({"a": ["c1", "c2"], "b": ["c1", "c1"]}), p=2, k=4, seed=0))
    assert Counter(row.vehicle_id for row in batch) == {"a": 4, "b": 4}


def test_the_seed_decides() -> None:
    rows = _rows({f"v{n}": ["c1", "c2"] for n in range(8)})

    def paths(seed: int) -> list[Path]:
        return [row.path for batch in islice(pk_batches(rows, p=4, k=2, seed=seed), 5) for row in batch]

    assert paths(1) == paths(1)
    assert paths(1) != paths(2)


def test_too_few_vehicles_are_refused_with_the_count() -> None:
    with pytest.raises(InvalidValue, match="there are 2"):
        pk_batches(_rows({"a": ["c1", "c2"], "b": ["c1", "c2"], "c": ["c1"]}), p=3, k=2, seed=0)
