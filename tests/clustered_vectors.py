"""Vectors that lie as the default model's do, in any number.

Unit vectors around a common mean; a vehicle is a centre, its pictures lie around it. The three parts' shares are those
that give, on average, the distances measured between the demo gallery's 119 embeddings (24 vehicles): 0.53 within a
vehicle, 1.26 between two. Variances fall as 1/i over the axes, as far as so few vehicles can tell: a hundred thousand
pictures are then as hard to tell apart as look-alikes make them, which vectors drawn evenly on the sphere are not.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PICTURES = 10  # of a vehicle
_COMMON, _CENTRE, _OWN = 0.206, 0.652, 0.142  # of the squared length: 1 − 1.26²/2; 1 − 0.53²/2 less that; the rest
_BLOCK = 10_000


def clustered(count: int, dim: int, *, seed: int = 0) -> Iterator[NDArray[np.float32]]:
    """``count`` unit vectors, block by block, float32 (n, D); a vehicle's pictures are spread over a block.

    Another seed gives other pictures of the same vehicles, to search with.
    """
    spread = (1 / np.arange(1, dim + 1)) ** 0.5
    spread = (spread / np.linalg.norm(spread)).astype(np.float32)
    common = np.zeros(dim, dtype=np.float32)
    common[-1] = _COMMON**0.5
    for start in range(0, count, _BLOCK):
        vehicles = np.random.default_rng((start, 0)).normal(size=(_BLOCK // PICTURES, dim)).astype(np.float32)
        own = np.random.default_rng((start, 1, seed)).normal(size=(_BLOCK, dim)).astype(np.float32)
        x = common + (_CENTRE**0.5 * np.tile(vehicles, (PICTURES, 1)) + _OWN**0.5 * own) * spread  # (n, D)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        yield x[: count - start]
