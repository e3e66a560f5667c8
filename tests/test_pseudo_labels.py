"""Groups of pictures from embeddings and cameras alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import InvalidValue
from model_export.adapting import pseudo_labels
from model_export.adapting.pseudo_labels import GroupConfig, groups

Seen = tuple[NDArray[np.float32], list[str], NDArray[np.intp]]


def seen(vehicles: int, each: int, *, shift: float = 0.0, spread: float = 0.15, cameras: int = 2) -> Seen:
    """Unit embeddings of vehicles, ``each`` pictures by every camera, which moves all it sees; cameras; the truth."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(vehicles, 1, 1, 32))
    moved = shift * rng.normal(size=(1, cameras, 1, 32))
    # a vehicle's pictures by one camera differ a tenth as much as those of two
    views = spread * rng.normal(size=(vehicles, cameras, 1, 32))
    vectors = centres + moved + views + spread / 10 * rng.normal(size=(vehicles, cameras, each, 32))
    vectors = vectors.reshape(-1, 32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"c{camera}" for _ in range(vehicles) for camera in range(cameras) for _ in range(each)]
    return vectors.astype(np.float32), names, np.repeat(np.arange(vehicles), cameras * each)


def found_pairs(found: NDArray[np.intp], truth: NDArray[np.intp]) -> tuple[float, float]:
    """Precision and recall of the pairs that are said to be one vehicle."""
    said = (found[:, None] == found[None, :]) & (found >= 0)[:, None]
    of_one = truth[:, None] == truth[None, :]
    np.fill_diagonal(said, False)
    np.fill_diagonal(of_one, False)
    return float((said & of_one).sum() / max(said.sum(), 1)), float((said & of_one).sum() / of_one.sum())


@pytest.mark.parametrize("cameras", [2, 4])
def test_one_picture_by_each_camera_is_a_group(cameras: int) -> None:
    vectors, names, truth = seen(40, 1, cameras=cameras)
    assert found_pairs(groups(vectors, names, GroupConfig()), truth) == (1.0, 1.0)


def test_pictures_of_one_camera_are_linked_where_they_are_very_much_alike() -> None:
    vectors, names, truth = seen(40, 2)
    precision, recall = found_pairs(groups(vectors, names, GroupConfig(chance=0)), truth)
    assert precision > 0.95
    assert recall > 0.95
    precision, cautious = found_pairs(groups(vectors, names, GroupConfig()), truth)
    assert precision > 0.95
    assert cautious > 0.5  # here all links are right, and some are weaker than others
    precision, apart = found_pairs(groups(vectors, names, GroupConfig(chance=0, same_camera=1)), truth)
    assert precision > 0.95
    assert apart < 0.6


def test_a_vehicle_that_a_camera_never_saw_is_not_found_there() -> None:
    """Each vehicle passes two of six cameras: in four of five others its nearest is another vehicle."""
    vectors, names, truth = seen(120, 1, cameras=6, spread=0.4)
    passed = np.random.default_rng(1).permuted(np.tile([True] * 2 + [False] * 4, (120, 1)), axis=1).ravel()
    found = groups(vectors[passed], [name for name, one in zip(names, passed, strict=True) if one], GroupConfig())
    precision, recall = found_pairs(found, truth[passed])
    assert precision > 0.7
    assert recall > 0.7
    assert np.bincount(found[found >= 0]).max() <= 6


def test_otsu_parts_where_the_classes_do() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.05, 300), rng.normal(0.8, 0.05, 100)]).astype(np.float32)
    between = [low.mean() * (1 - low.mean()) * (values[low].mean() - values[~low].mean()) ** 2
               for low in (values < value for value in np.sort(values)[1:])]  # fmt: skip
    assert (
        np.sort(values)[np.argmax(between)] < pseudo_labels._parting(values) < np.sort(values)[np.argmax(between) + 1]
    )
    assert pseudo_labels._parting(np.array([1, 2], np.float32)) == 1.5


def test_what_a_camera_does_to_all_pictures_does_not_part_vehicles() -> None:
    vectors, names, truth = seen(40, 1, shift=2.0, spread=0.4)
    _, centred = found_pairs(groups(vectors, names, GroupConfig()), truth)
    _, as_they_are = found_pairs(groups(vectors, names, GroupConfig(centred=False, hubs=1)), truth)
    assert centred > 0.8
    assert as_they_are < centred - 0.1


def test_a_picture_that_is_nobodys_nearest_is_alone() -> None:
    vectors, names, _ = seen(10, 1)
    found = groups(np.concatenate([vectors, vectors[:1]]), [*names, "c0"], GroupConfig(centred=False, same_camera=1))
    assert sorted(np.bincount(found + 1)) == [1] + [2] * 10  # two equal ones of one camera: one of them is linked


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, names, _ = seen(30, 2, spread=0.8)
    whole = groups(vectors, names, GroupConfig())
    monkeypatch.setattr(pseudo_labels, "_BLOCK", 7)
    np.testing.assert_array_equal(groups(vectors, names, GroupConfig()), whole)


def test_the_nearest_by_csls_is_that_of_a_loop() -> None:
    vectors, names, _ = seen(12, 1, spread=3.0)
    cosine = vectors[::2] @ vectors[1::2].T  # c0 × c1
    left, right = (np.sort(own, 1)[:, -3:].mean(1) for own in (cosine, cosine.T))
    score = 2 * cosine - left[:, None] - right[None, :]
    expected = {(n, int(score[n].argmax())) for n in range(12) if score[:, score[n].argmax()].argmax() == n}
    found = groups(vectors, names, GroupConfig(hubs=3, chance=0, same_camera=1, centred=False))
    got = {(n, m) for n in range(12) for m in range(12) if found[2 * n] >= 0 and found[2 * n] == found[2 * m + 1]}
    assert got == expected
    assert 0 < len(expected) < 12


def test_very_few_pictures() -> None:
    assert groups(np.zeros((0, 8), np.float32), [], GroupConfig()).tolist() == []
    one = np.eye(8, dtype=np.float32)[:1]
    assert groups(one, ["c"], GroupConfig()).tolist() == [-1]
    assert groups(np.repeat(one, 2, 0), ["a", "b"], GroupConfig()).tolist() == [0, 0]


@pytest.mark.parametrize(("key", "value"), [("hubs", 0), ("chance", 2.0), ("same_camera", 1.5), ("same_camera", -0.1)])
def test_values_that_group_nothing_are_refused(key: str, value: float) -> None:
    with pytest.raises(InvalidValue, match=key):
        GroupConfig(**{key: value})  # type: ignore[arg-type]
