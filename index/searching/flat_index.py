"""The exact index: FAISS flat L2 under our own row ids, derived from the database; it holds the vectors once."""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.machine.cpu_quota import usable_cpus
from index.searching.vector_index import BATCH, NOTHING, Candidates, measured, surely_within

_RETIRED_AT_LEAST = 256  # rows; taking one row out moves all behind it, 25 ms in 100,000 × 512, so it is done for many
_RETIRED_SHARE = 64
_BITMAP_UP_TO = 1 << 25  # row ids; they only grow, and a bitmap takes a byte for each that ever was while it is made


class FlatIndex:
    """See ``index.searching.vector_index.VectorIndex``; rows may be added in any order."""

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

    def row_ids(self) -> NDArray[np.int64]:
        """The rows that can be found, int64 (n,), in no order."""
        held: NDArray[np.int64] = faiss.vector_to_array(self._index.id_map)
        return held[~np.isin(held, np.fromiter(self._retired, dtype=np.int64))] if self._retired else held

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
            return [NOTHING] * len(queries)
        selection = self._alive if among is None else _selection(among)
        asked = min(count, total)
        # For this thread only. Few queries gain nothing from a second core, and waiting for a busy one costs 20 ms.
        faiss.omp_set_num_threads(self._cores if len(queries) >= BATCH else 1)
        squares, labels = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32),
            asked,
            params=None if selection is None else selection.parameters(),
        )  # (Q, asked) each
        return [
            self._exact(query, square, label, everything=asked == total)
            for query, square, label in zip(queries, squares, labels, strict=True)
        ]

    def scan(self, queries: NDArray[np.float32], count: int) -> list[Candidates]:
        return self.search(queries, count)

    def _exact(
        self, query: NDArray[np.float32], squares: NDArray[np.float32], labels: NDArray[np.int64], *, everything: bool
    ) -> Candidates:
        """Distances computed again as ‖a − b‖, and how far FAISS's own order can be trusted."""
        found = labels[labels >= 0]  # FAISS pads with −1
        cut = not everything and len(found) == len(labels)
        certain = surely_within(query, float(squares[-1])) if cut else np.inf
        return measured(query, found, self.vectors(found), certain=certain)


class _Selection:
    """A selector, and what FAISS only borrows and must outlive it."""

    def __init__(self, selector: Any, *borrowed: object) -> None:
        self._selector = selector
        self._borrowed = borrowed

    def parameters(self) -> Any:
        """For one search: FAISS's id map writes into them while it searches, so threads must not share them."""
        parameters = faiss.SearchParameters()
        parameters.sel = self._selector
        return parameters


def _selection(row_ids: NDArray[np.int64]) -> _Selection:
    largest = int(row_ids.max())
    if largest >= _BITMAP_UP_TO:
        return _Selection(faiss.IDSelectorBatch(row_ids))
    wanted = np.zeros(largest + 1, dtype=bool)
    wanted[row_ids] = True
    bits = np.packbits(wanted, bitorder="little")
    return _Selection(faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), bits)
