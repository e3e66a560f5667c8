"""Re-identification figures against a hand-computed table and a naive loop."""

import numpy as np
import pytest

from index.errors import InvalidValue
from model_export.measuring.evaluation import evaluate, wilson


def test_a_table_computed_by_hand() -> None:
    gallery = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]], np.float32)
    labels = [("a", "c1"), ("b", "c2"), ("a", "c2"), ("b", "c1"), ("a", "c3")]
    # probe a/c1 at 0: its own camera's a is left out; order b, a, b, a → hits at 2 and 4 → AP (1/2 + 2/4) / 2
    # probe b/c1 at 3: b/c1 is left out; order a2, a4, b1 (all the others by |x − 3|), a0 → hit at 3 → AP 1/3
    # probe x/c1: no match → excluded
    probes = np.array([[0.0], [3.0], [9.0]], np.float32)
    figures = evaluate(probes, [("a", "c1"), ("b", "c1"), ("x", "c1")], gallery, labels)
    assert figures.map == pytest.approx((0.5 + 1 / 3) / 2)
    assert (figures.rank_1, figures.rank_5) == (0.0, 1.0)
    assert (figures.probes, figures.excluded, figures.gallery) == (2, 1, 5)


@pytest.mark.parametrize("other_cameras_only", [False, True])
def test_a_naive_loop_agrees(other_cameras_only: bool) -> None:
    rng = np.random.default_rng(3)
    gallery = rng.normal(size=(60, 8)).astype(np.float32)
    labels = [(f"v{n % 12}", f"c{n % 5}") for n in range(60)]
    probes, probe_labels = gallery[::4] + 0.4, labels[::4]
    precisions, first = [], []
    for probe, (vehicle, camera) in zip(probes, probe_labels, strict=True):
        kept = [
            (float(np.linalg.norm(probe - picture)), v == vehicle)
            for picture, (v, c) in zip(gallery, labels, strict=True)
            if (c != camera if other_cameras_only else not (v == vehicle and c == camera))
        ]
        hits = [right for _, right in sorted(kept, key=lambda pair: pair[0])]
        places = [place for place, right in enumerate(hits, 1) if right]
        if places:
            precisions.append(sum(n / place for n, place in enumerate(places, 1)) / len(places))
            first.append(places[0])
    figures = evaluate(probes, probe_labels, gallery, labels, other_cameras_only=other_cameras_only)
    assert figures.map == pytest.approx(np.mean(precisions))
    assert figures.rank_1 == pytest.approx(np.mean(np.array(first) <= 1))
    assert figures.rank_10 == pytest.approx(np.mean(np.array(first) <= 10))


def test_one_camera_only_cannot_be_measured() -> None:
    vectors = np.eye(2, dtype=np.float32)
    with pytest.raises(InvalidValue, match="another camera"):
        evaluate(vectors, [("a", "c1"), ("b", "c1")], vectors, [("a", "c1"), ("b", "c1")])


def test_wilson_interval() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)
