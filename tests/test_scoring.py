"""Places of right matches, against sorting the whole gallery in a loop."""

import numpy as np
import pytest

from model_export.measuring.distances import Euclidean
from model_export.measuring.scoring import Contest, Label, Rule, places, score

INF = float("inf")


def test_places_by_hand() -> None:
    distances = np.array([0.4, 0.1, 0.3, INF, 0.2, 0.5], np.float32)  # the fourth is junk
    assert places(distances, np.array([2, 5])).tolist() == [3, 5]


def test_of_equals_the_wrong_ones_stand_first() -> None:
    distances = np.array([0.2, 0.2, 0.2, 0.1, 0.2], np.float32)
    assert places(distances, np.array([0, 2])).tolist() == [4, 5]


def view_of(camera: str, vehicle: str) -> str:
    """A camera sees some vehicles from the front and some from the rear."""
    return ("front", "rear")[(int(camera[1:]) + int(vehicle[1:])) % 2]


def naive(
    probes: np.ndarray[tuple[int, int], np.dtype[np.float32]], probe_labels: list[Label],
    gallery: np.ndarray[tuple[int, int], np.dtype[np.float32]], labels: list[Label], rule: Rule,
) -> list[tuple[int, int, float, float]]:  # fmt: skip
    """(probe, first place, average precision, inverse penalty), by the definitions."""
    told = []
    for number, (probe, (vehicle, camera)) in enumerate(zip(probes, probe_labels, strict=True)):
        ranking = []
        for picture, (v, c) in zip(gallery, labels, strict=True):
            junk = {
                "everything": False, "other-cameras": c == camera, "same-camera-junk": (v, c) == (vehicle, camera),
                "other-viewpoints": c == camera or view_of(c, v) == view_of(camera, vehicle),
            }  # fmt: skip
            if not junk[rule]:
                ranking.append((float(np.linalg.norm(probe - picture)), v == vehicle))
        ranking.sort()  # False before True: wrong before right among equals
        stand = [place for place, (_, right) in enumerate(ranking, 1) if right]
        if stand:
            precision = sum(n / place for n, place in enumerate(stand, 1)) / len(stand)
            told.append((number, stand[0], precision, len(stand) / stand[-1]))
    return told


@pytest.mark.parametrize("rule", ["same-camera-junk", "other-cameras", "other-viewpoints", "everything"])
@pytest.mark.parametrize(
    ("gallery_size", "vehicles", "values"), [(1, 2, 3), (3, 2, 2), (40, 9, 2), (300, 50, 4), (300, 400, 1000)]
)
def test_scores_are_those_of_a_naive_loop(rule: Rule, gallery_size: int, vehicles: int, values: int) -> None:
    rng = np.random.default_rng(gallery_size + values)
    gallery = rng.integers(0, values, (gallery_size, 3)).astype(np.float32)  # whole numbers: many equal distances
    labels = [(f"v{rng.integers(vehicles)}", f"c{rng.integers(3)}") for _ in range(gallery_size)]
    probes = rng.integers(0, values, (30, 3)).astype(np.float32)
    probe_labels = [(f"v{rng.integers(vehicles)}", f"c{rng.integers(3)}") for _ in range(30)]
    vectors = np.concatenate([probes, gallery])
    views = [view_of(c, v) for v, c in probe_labels], [view_of(c, v) for v, c in labels]
    contest = Contest(probe_labels, labels, rule, views)
    found = score(Euclidean(vectors, np.arange(30), np.arange(30, len(vectors))), contest)
    wanted = naive(probes, probe_labels, gallery, labels, rule)
    assert found.excluded == 30 - len(wanted)
    assert list(zip(found.probe.tolist(), found.first.tolist(), strict=True)) == [(row[0], row[1]) for row in wanted]
    assert found.precision.tolist() == pytest.approx([row[2] for row in wanted])
    assert found.inverse_penalty.tolist() == pytest.approx([row[3] for row in wanted])


def test_the_gap_tells_how_much_nearer_the_wrong_one_is() -> None:
    vectors = np.array([[0.0], [1.0], [3.0], [0.5]], np.float32)
    labels = [("a", "c1"), ("b", "c2"), ("a", "c2"), ("a", "c1")]  # the last is junk
    found = score(
        Euclidean(vectors, np.array([0]), np.arange(1, 4)), Contest(labels[:1], labels[1:], "same-camera-junk")
    )
    assert found.gap.tolist() == pytest.approx([3.0 - 1.0])
    assert found.of_pictures(np.array([17])).probe.tolist() == [17]
