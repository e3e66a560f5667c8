"""How far a figure can be trusted: 95 % intervals."""

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1000


def wilson(share: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share seen in ``count`` trials (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * ((share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    values: NDArray[np.float64], pictures: NDArray[np.intp], *, seed: int = 0, resamples: int = _RESAMPLES
) -> list[tuple[float, float]]:
    """95 % percentile intervals (Efron 1979) of the means of ``values`` (n, m), one for each column.

    ``pictures`` (n,) says which picture was the probe of each row: pictures are drawn again with replacement, each with
    all its rows, so that a picture that probes in several draws counts as one.
    """
    _, group = np.unique(pictures, return_inverse=True)
    counts = np.bincount(group)  # (p,)
    sums = np.stack([np.bincount(group, weights=column) for column in values.T], axis=1)  # (p, m)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for row in range(resamples):
        drawn = rng.integers(0, len(counts), len(counts))
        means[row] = sums[drawn].sum(0) / counts[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
