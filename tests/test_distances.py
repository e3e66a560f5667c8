"""Distances block by block, against NumPy's own."""

import subprocess
import sys

import numpy as np
import pytest

from model_export.measuring import distances
from model_export.measuring.distances import Euclidean, block_rows


def test_blocks_are_the_distances_that_numpy_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_COLUMNS", 7)  # so that a block is made of several pieces
    vectors = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    probes, gallery = np.arange(0, 20), np.arange(15, 60)
    wanted = np.linalg.norm(vectors[probes][:, None].astype(np.float64) - vectors[gallery][None], axis=2)
    found = Euclidean(vectors, probes, gallery)
    assert found.shape == (20, 45)
    joined = np.concatenate([found.block(0, 9), found.block(9, 20)])
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, wanted, rtol=1e-6, atol=1e-9)


def test_equal_vectors_are_at_nought_and_far_ones_at_one_distance() -> None:
    rng = np.random.default_rng(1)
    picture = rng.normal(size=512).astype(np.float32)
    other = rng.normal(size=512).astype(np.float32)
    vectors = np.stack([picture, *rng.normal(size=(300, 512)).astype(np.float32), picture, other, other])
    block = Euclidean(vectors, np.array([0]), np.arange(len(vectors))).block(0, 1)[0]
    assert block[0] == block[301] == 0
    assert block[302] == block[303] > 0


def test_near_vectors_keep_their_order() -> None:
    """float32 would lose these: their squared distances are a millionth of the squared lengths."""
    base = np.full(256, 10.0, np.float32)
    vectors = np.stack(
        [
            base,
            *(base + np.float32(step) * np.eye(256, dtype=np.float32)[n] for n, step in enumerate((3e-3, 2e-3, 1e-3))),
        ]
    )
    block = Euclidean(vectors, np.array([0]), np.arange(1, 4)).block(0, 1)[0]
    np.testing.assert_allclose(block, [3e-3, 2e-3, 1e-3], rtol=2e-3)


def test_a_block_is_never_large() -> None:
    assert block_rows(10) == 256
    assert block_rows(10_000_000) * 10_000_000 * 4 <= 64 << 20


_MEASURE = """
import resource, sys
import numpy as np
from model_export.measuring.distances import Euclidean
from model_export.measuring.scoring import Contest, score

rng = np.random.default_rng(0)
gallery, probes = 100_000, 400
vectors = rng.standard_normal((gallery, 256), dtype=np.float32)
labels = [(f"v{n // 4}", f"c{n % 4}") for n in range(gallery)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ranked = score(Euclidean(vectors, np.arange(probes), np.arange(gallery)), Contest(labels[:probes], labels, "other-cameras"))
print(len(ranked.first), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_gallery_of_100_000_is_ranked_in_bounded_memory() -> None:
    """Float64 distances of all probes alone would be 305 MiB, their order as much again."""
    run = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, timeout=200, check=True)
    probes, kilobytes = map(int, run.stdout.split())
    assert probes == 400
    assert kilobytes < 200_000
