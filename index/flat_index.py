"""The exact index: FAISS flat L2 under our own row ids, derived from the database; it holds the vectors once.

Further kinds (ivf, hnsw) get a module of their own with the same methods.
"""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.cpu_quota import usable_cpus

_RETIRED_AT_LEAST = 256  # rows; taking one row out moves all behind it, 25 ms in 100,000 × 512, so it is done for many
_RETIRED_SHARE = 64
_RELATIVE_ERROR = 2e-5  # of FAISS's squared float32 sums, D up to some thousands
_BITMAP_UP_TO = 1 << 25  # row ids; they only grow, and a bitmap takes a byte for each that ever was while it is made
_BATCH = 20  # queries from which FAISS computes ‖a‖² + ‖b‖² − 2ab: faster on several cores, but it cancels


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Rows near one query: ``row_ids`` int64 (n,), ``distances`` float64 (n,), Euclidean, exact and ascending.

    Every row nearer than ``certain`` is among them; rows from there on may be missing. Infinity: all rows are there.
    """

    row_ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    certain: float


class FlatIndex:
    """Vectors float32 (D,) by row id. The caller sees to it that nobody reads while a row is added or retired."""

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlat(dim, faiss.METRIC_L2))
        self._cores = usable_cpus()
        self._retired: set[int] = set()
        self._alive: Any = None  # selector of the rows that are not retired, None for all

    def __len__(self) -> int:
        return int(self._index.ntotal) - len(self._retired)

    def add(self, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows int64 (n,) with vectors (n, D); a row id is not used again, except after ``forget``."""
        self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), row_ids)

    def retire(self, row_ids: NDArray[np.int64]) -> None:
        """Take rows that are in the index out of every answer from now on; their memory is freed in larger lots."""
        self._retired.update(row_ids.tolist())
        if len(self._retired) >= max(_RETIRED_AT_LEAST, self._index.ntotal // _RETIRED_SHARE):
            self._index.remove_ids(faiss.IDSelectorBatch(np.fromiter(self._retired, dtype=np.int64)))
            self._retired.clear()
        self._alive = None
        if self._retired:
            retired = faiss.IDSelectorBatch(np.fromiter(self._retired, dtype=np.int64))
            self._alive = _Selection(faiss.IDSelectorNot(retired), retired)

    def forget(self, row_ids: NDArray[np.int64]) -> None:
        """Take rows out at once, so that their ids may be used again, as those of a write that is rolled back are."""
        self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(row_ids)))

    def vectors(self, row_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors (n, D) of rows that are in the index."""
        found: NDArray[np.float32] = self._index.reconstruct_batch(row_ids)
        return found

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> list[Candidates]:
        """About ``count`` nearest rows of each query (Q, D), of those ``among`` (not retired) where it is given."""
        total = len(self) if among is None else len(among)
        if total == 0 or len(queries) == 0:
            nothing = Candidates(row_ids=np.empty(0, np.int64), distances=np.empty(0, np.float64), certain=np.inf)
            return [nothing] * len(queries)
        selection = self._alive if among is None else _selection(among)
        asked = min(count, total)
        # For this thread only. Few queries gain nothing from a second core, and waiting for a busy one costs 20 ms.
        faiss.omp_set_num_threads(self._cores if len(queries) >= _BATCH else 1)
        squares, labels = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32),
            asked,
            params=None if selection is None else selection.parameters,
        )  # (Q, asked) each
        return [
            self._exact(query, square, label, everything=asked == total)
            for query, square, label in zip(queries, squares, labels, strict=True)
        ]

    def _exact(
        self, query: NDArray[np.float32], squares: NDArray[np.float32], labels: NDArray[np.int64], *, everything: bool
    ) -> Candidates:
        """Distances computed again as ‖a − b‖, and how far FAISS's own order can be trusted."""
        found = labels[labels >= 0]  # FAISS pads with −1
        wanted = query.astype(np.float64)
        distances = np.linalg.norm(self.vectors(found).astype(np.float64) - wanted, axis=1)
        order = np.argsort(distances, kind="stable")
        certain = np.inf
        if not everything and len(found) == len(labels):
            length, last = float(np.linalg.norm(wanted)), float(squares[-1])
            error = _RELATIVE_ERROR * (length**2 + (length + max(last, 0.0) ** 0.5) ** 2)
            certain = max(last - error, 0.0) ** 0.5
        return Candidates(row_ids=found[order], distances=distances[order], certain=certain)


class _Selection:
    """FAISS search parameters for a selector, and what FAISS only borrows and must outlive them."""

    def __init__(self, selector: Any, *borrowed: object) -> None:
        self.parameters = faiss.SearchParameters()
        self.parameters.sel = selector
        self._borrowed = (selector, *borrowed)


def _selection(row_ids: NDArray[np.int64]) -> _Selection:
    largest = int(row_ids.max())
    if largest >= _BITMAP_UP_TO:
        return _Selection(faiss.IDSelectorBatch(row_ids))
    wanted = np.zeros(largest + 1, dtype=bool)
    wanted[row_ids] = True
    bits = np.packbits(wanted, bitorder="little")
    return _Selection(faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), bits)
