"""What finds the rows near a query: the protocol of every kind of index, and what it answers.

Indexes are derived from the database. They know rows by our own int64 ids, never by places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RELATIVE_ERROR = 2e-5  # of FAISS's squared float32 sums, D up to some thousands
BATCH = 20  # queries from which FAISS's flat kinds compute ‖a‖² + ‖b‖² − 2ab: faster on several cores, but it cancels


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Rows near one query: ``row_ids`` int64 (n,), ``distances`` float64 (n,), Euclidean, ascending.

    ``exact``: whether distances are; where not, they are those to the index's own form of the vectors.

    ``certain``: every row nearer than that, by exact distance, is among them; rows from there on may be missing.
    Infinity: all rows are there. An approximate kind (ivf, hnsw) looks at a part of its rows only and says how far it
    looked: what it overlooked within that is its measured lack of recall. ``scan`` and ``among`` overlook nothing.
    """

    row_ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    certain: float
    exact: bool = True


class VectorIndex(Protocol):
    """Vectors float32 (D,) by row id. The caller sees to it that nobody reads while a row is added or retired."""

    def __len__(self) -> int:
        """How many rows can be found."""
        ...

    def add(self, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows int64 (n,) with vectors (n, D)."""
        ...

    def retire(self, row_ids: NDArray[np.int64]) -> None:
        """Take rows that are in the index out of every answer from now on."""
        ...

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> list[Candidates]:
        """About ``count`` nearest rows of each query (Q, D), of those ``among`` (in the index) where it is given."""
        ...

    def scan(self, queries: NDArray[np.float32], count: int) -> list[Candidates]:
        """As :meth:`search`, looking at every row."""
        ...


NOTHING = Candidates(row_ids=np.empty(0, np.int64), distances=np.empty(0, np.float64), certain=np.inf)


def merged(parts: Sequence[Candidates]) -> Candidates:
    """What several indexes, each with rows of its own, found for one query."""
    parts = [part for part in parts if part is not NOTHING]
    if len(parts) <= 1:
        return parts[0] if parts else NOTHING
    row_ids = np.concatenate([part.row_ids for part in parts])
    distances = np.concatenate([part.distances for part in parts])
    order = np.argsort(distances, kind="stable")
    return Candidates(
        row_ids=row_ids[order],
        distances=distances[order],
        certain=min(part.certain for part in parts),
        exact=all(part.exact for part in parts),
    )


def measured(
    query: NDArray[np.float32], row_ids: NDArray[np.int64], vectors: NDArray[np.float32], *, certain: float
) -> Candidates:
    """Candidates with exact distances: ‖a − b‖ in float64 from the exact vectors (n, D)."""
    distances = np.linalg.norm(vectors.astype(np.float64) - query.astype(np.float64), axis=1)
    order = np.argsort(distances, kind="stable")
    return Candidates(row_ids=row_ids[order], distances=distances[order], certain=certain)


def surely_within(query: NDArray[np.float32], square: float, *, relative_error: float = RELATIVE_ERROR) -> float:
    """The distance up to which FAISS's order can be trusted where the last squared distance it told is ``square``.

    ``relative_error``: of its squares, as a share of the squared lengths of the two vectors.
    """
    length = float(np.linalg.norm(query.astype(np.float64)))
    error = relative_error * (length**2 + (length + max(square, 0.0) ** 0.5) ** 2)
    return float(max(square - error, 0.0) ** 0.5)
