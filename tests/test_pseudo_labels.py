"""Groups of pictures from embeddings and cameras alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import InvalidValue
from model_export.training.pseudo_labels import ClusterConfig, clusters

SMALL = ClusterConfig(k1=4, k2=2)


def seen(
    vehicles: int, each: int, *, camera_shift: float = 0.0, seed: int = 0
) -> tuple[NDArray[np.float32], list[str]]:
    """Unit embeddings of ``vehicles``, ``each`` pictures by two cameras in turn, which move all they see."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(vehicles, 1, 32))
    shift = np.zeros((1, each, 32))
    shift[:, 1::2] = camera_shift * rng.normal(size=32)
    vectors = (centres + 0.15 * rng.normal(size=(vehicles, each, 32)) + shift).reshape(-1, 32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"c{n % 2}" for n in range(vehicles * each)]


def test_pictures_of_one_vehicle_are_one_cluster() -> None:
    vectors, cameras = seen(20, 4)
    found = clusters(vectors, cameras, SMALL)
    assert found.tolist() == np.repeat(found[::4], 4).tolist()
    assert len(set(found.tolist())) == 20
    assert -1 not in found


def test_a_picture_like_no_other_is_alone() -> None:
    vectors, cameras = seen(10, 4)
    lonely = np.eye(32, dtype=np.float32)[:1] * -1
    found = clusters(np.concatenate([vectors, lonely]), [*cameras, "c0"], ClusterConfig(k1=4, k2=1, centred=False))
    assert found[-1] == -1
    assert (found[:-1] >= 0).all()


def test_what_a_camera_does_to_all_pictures_does_not_part_vehicles() -> None:
    vectors, cameras = seen(30, 4, camera_shift=2.0)
    together = clusters(vectors, cameras, SMALL)
    apart = clusters(vectors, cameras, ClusterConfig(k1=4, k2=2, centred=False))
    truth = np.repeat(np.arange(30), 4)

    def pairs(found: NDArray[np.intp]) -> float:
        """Share of pairs of one vehicle that are in one cluster."""
        same = (found[:, None] == found[None, :]) & (found >= 0)[:, None]
        of_one = truth[:, None] == truth[None, :]
        return float(same[of_one].mean())

    assert pairs(together) > 0.95
    assert pairs(apart) < 0.7


def test_very_few_pictures() -> None:
    assert clusters(np.zeros((0, 8), np.float32), [], SMALL).tolist() == []
    assert clusters(np.eye(8, dtype=np.float32)[:1], ["c"], SMALL).tolist() == [-1]
    twins = np.repeat(np.eye(8, dtype=np.float32)[:1], 2, 0)
    assert clusters(twins, ["c", "c"], ClusterConfig(centred=False)).tolist() == [0, 0]


@pytest.mark.parametrize(("key", "value"), [("radius", 0.0), ("radius", 1.0), ("k1", 0), ("neighbours", 0)])
def test_values_that_group_nothing_are_refused(key: str, value: float) -> None:
    with pytest.raises(InvalidValue, match=key):
        ClusterConfig(**{key: value})  # type: ignore[arg-type]
