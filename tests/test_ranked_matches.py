"""The nearest matches of every probe, held against a naive loop."""

from pathlib import Path

import numpy as np
import pytest

from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet
from model_export.measuring.protocols import plan
from model_export.measuring.ranked_matches import ranked_matches


def rows(*seen: tuple[str, str]) -> tuple[ManifestRow, ...]:
    return tuple(
        ManifestRow(line=n, path=Path(f"{n}.jpg"), vehicle_id=vehicle, camera_id=camera)
        for n, (vehicle, camera) in enumerate(seen)
    )


@pytest.mark.parametrize("ranks", [1, 3, 10])
def test_matches_are_those_of_a_naive_loop(ranks: int) -> None:
    rng = np.random.default_rng(3)
    seen = rows(*((f"v{rng.integers(6)}", f"c{rng.integers(3)}") for _ in range(40)))
    data = DataSet(name="d", root=Path(), protocol="cross-camera", parts={"train": seen})
    vectors = rng.normal(size=(40, 8)).astype(np.float32)
    found = ranked_matches(plan(data), vectors, ranks=ranks)
    expected = []
    for probe, vector in enumerate(vectors):
        others = [n for n in range(40) if seen[n].camera_id != seen[probe].camera_id]
        far = {n: float(np.linalg.norm(vector.astype(np.float64) - vectors[n])) for n in others}
        for n in sorted(others, key=lambda n: far[n])[:ranks]:
            own = seen[probe].vehicle_id or ""
            expected.append((round(far[n], 4), seen[n].vehicle_id == own, own))
    assert found.distance.tolist() == pytest.approx([each[0] for each in expected], abs=1e-4)
    assert found.right.tolist() == [each[1] for each in expected]
    names = sorted({each[2] for each in expected})
    assert found.vehicle.tolist() == [names.index(each[2]) for each in expected]
    assert (found.probes, found.gallery) == (40, 40)


def test_a_small_gallery_has_fewer_and_a_probe_without_a_match_counts() -> None:
    seen = rows(("a", "1"), ("a", "2"), ("b", "1"))
    data = DataSet(name="d", root=Path(), protocol="cross-camera", parts={"train": seen})
    found = ranked_matches(plan(data), np.array([[0.0], [1.0], [3.0]], np.float32))
    assert list(zip(found.distance.tolist(), found.right.tolist(), found.vehicle.tolist(), strict=True)) == [
        (1, True, 0), (1, True, 0), (2, False, 0), (2, False, 1),
    ]  # fmt: skip


def test_each_draw_of_the_largest_list_counts() -> None:
    seen = rows(*((f"v{n // 3}", "") for n in range(12)))
    lists = {"800": ("v0", "v1"), "1600": ("v0", "v1", "v2", "v3")}
    data = DataSet(name="d", root=Path(), protocol="vehicleid", parts={"gallery": seen}, test_sizes=lists)
    found = ranked_matches(plan(data), np.arange(12, dtype=np.float32)[:, None])
    assert (found.probes, found.gallery, len(found.distance)) == (80, 4, 320)
    assert found.right.sum() == 80
