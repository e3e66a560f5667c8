"""Distances of probes to a gallery, a block of probes at a time, so that no whole matrix is ever held."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]

_BLOCK = 1 << 24  # distances of one block: 64 MiB
_MOST_PROBES = 256  # of one block
_COLUMNS = 8192  # gallery vectors that are float64 at a time
_NOISE = 1e-13  # of ‖p‖² + ‖g‖²: what the expansion of ‖p − g‖² leaves of two equal vectors in float64


class Distances(Protocol):
    """Distances float32 between Q probes and G gallery pictures."""

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, G)."""

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop``, float32 (stop − start, G); the caller may write into them."""


class Euclidean:
    """‖p − g‖, for rows ``probes`` (Q,) against rows ``gallery`` (G,) of ``vectors`` float32 (N, D).

    Computed in float64 and rounded to float32, so that equal vectors are at equal distances, and at 0 from themselves.
    """

    def __init__(self, vectors: NDArray[np.float32], probes: Positions, gallery: Positions) -> None:
        self._vectors, self._probes, self._gallery = vectors, probes, gallery

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._probes), len(self._gallery)

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        probes = self._vectors[self._probes[start:stop]].astype(np.float64)  # (q, D)
        lengths = (probes**2).sum(1)[:, None]  # (q, 1)
        block = np.empty((len(probes), len(self._gallery)), np.float32)
        for left in range(0, len(self._gallery), _COLUMNS):
            pictures = self._vectors[self._gallery[left : left + _COLUMNS]].astype(np.float64)  # (g, D)
            both = lengths + (pictures**2).sum(1)  # (q, g)
            squares = probes @ pictures.T
            squares *= -2
            squares += both
            squares[squares < _NOISE * both] = 0
            block[:, left : left + _COLUMNS] = np.sqrt(squares, out=squares)
        return block


def block_rows(gallery: int) -> int:
    """How many probes make a block against so large a gallery."""
    return max(1, min(_MOST_PROBES, _BLOCK // max(gallery, 1)))
