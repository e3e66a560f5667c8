"""k-reciprocal re-ranking against the method written out with whole matrices."""

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import InvalidValue
from model_export.measuring.re_ranking import KReciprocal, require_fits


def dense(vectors: NDArray[np.float32], probes: int, *, k1: int, k2: int, weight: float) -> NDArray[np.float64]:
    """Zhong et al. 2017 with every matrix held, the first ``probes`` rows against the others."""
    squares = (np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=2)) ** 2
    original = squares / squares.max(1, keepdims=True)
    order = np.argsort(original, axis=1)
    count = len(vectors)

    def reciprocal(row: int, k: int) -> set[int]:
        return {int(other) for other in order[row, : k + 1] if row in order[other, : k + 1]}

    codes = np.zeros((count, count))
    for row in range(count):
        near = reciprocal(row, k1)
        expanded = set(near)
        for candidate in near:
            theirs = reciprocal(candidate, round(k1 / 2))
            if len(theirs & near) > 2 / 3 * len(theirs):
                expanded |= theirs
        named = sorted(expanded)
        codes[row, named] = np.exp(-original[row, named])
        codes[row] /= codes[row].sum()
    codes = np.stack([codes[order[row, :k2]].mean(0) for row in range(count)])
    smaller = np.minimum(codes[:probes, None], codes[None, probes:]).sum(2)
    larger = np.maximum(codes[:probes, None], codes[None, probes:]).sum(2)
    return (1 - weight) * (1 - smaller / larger) + weight * original[:probes, probes:]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (5, 1, 0.0), (4, 3, 0.7), (200, 6, 0.3)])
def test_it_is_the_method_of_the_paper(k1: int, k2: int, weight: float) -> None:
    rng = np.random.default_rng(k1)
    centres = rng.normal(size=(15, 8))
    vectors = (np.repeat(centres, 6, axis=0) + rng.normal(size=(90, 8)) * 0.4).astype(np.float32)
    vectors = vectors[rng.permutation(90)]
    codes = KReciprocal(vectors, k1=k1, k2=k2, weight=weight)
    found = codes.between(np.arange(20), np.arange(20, 90))
    assert found.shape == (20, 70)
    wanted = dense(vectors, 20, k1=k1, k2=k2, weight=weight)
    np.testing.assert_allclose(np.concatenate([found.block(0, 3), found.block(3, 20)]), wanted, rtol=1e-4, atol=1e-5)


def test_what_would_not_fit_is_refused_with_its_size() -> None:
    require_fits(20_000)
    with pytest.raises(
        InvalidValue, match=r"re-ranking 1,000,000 pictures .* 45\.1 GiB, the limit is 4\.0 GiB; measure without"
    ):
        require_fits(1_000_000)
    with pytest.raises(InvalidValue, match="re-ranking 50 pictures"):
        KReciprocal(np.zeros((50, 2), np.float32), limit_bytes=1000)
