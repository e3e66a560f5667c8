"""The exact index: FAISS flat L2 under our own row ids. Derived from the database; it holds one copy of the vectors.

Further kinds (ivf, hnsw) get a module of their own with the same methods.
"""

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from index.read_write_lock import ReadWriteLock

_EXTRA = 16  # candidates beyond those asked for, so that ties at the cut are seen without asking again
_TIE = 1e-4  # FAISS's float32 sums differ from ours by less


@dataclass(frozen=True)
class Nearest:
    """Candidates of one query: ``row_ids`` int64 (n,), ``distances`` float64 (n,), Euclidean, ascending.

    ``exhausted``: there are no others. All candidates that could tie with the last asked-for one are among them.
    """

    row_ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    exhausted: bool


class FlatIndex:
    """Vectors float32 (D,) by row id. Safe for many readers and one writer at a time."""

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlat(dim, faiss.METRIC_L2))
        self._lock = ReadWriteLock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows (n,) with vectors (n, D)."""
        with self._lock.write():
            self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), row_ids)

    def remove(self, row_ids: NDArray[np.int64]) -> None:
        """Forget rows; ids that are not there are ignored."""
        if len(row_ids):
            with self._lock.write():
                self._index.remove_ids(faiss.IDSelectorBatch(row_ids))

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> list[Nearest]:
        """At least ``count`` nearest rows of each query (Q, D), of those ``among`` where it is given.

        Exact, and exhaustive at the cut: rows at the same distance as the last are all there.
        """
        with self._lock.read():
            total = len(self) if among is None else len(among)
            parameters, keep = _selection(among)
            # one query a call: from 20 on, FAISS computes ‖a‖² + ‖b‖² − 2ab, which cancels for near pictures
            found = [self._nearest(query, min(count, total), total, parameters) for query in queries]
            del keep  # FAISS only borrowed it
        return found

    def _nearest(
        self, query: NDArray[np.float32], count: int, total: int, parameters: faiss.SearchParameters | None
    ) -> Nearest:
        asked = min(count + _EXTRA, total)
        while True:
            if asked == 0:
                return Nearest(np.empty(0, np.int64), np.empty(0, np.float64), exhausted=True)
            _, labels = self._index.search(np.ascontiguousarray(query[None]), asked, params=parameters)
            row_ids = labels[0][labels[0] >= 0].astype(np.int64)
            vectors = self._index.reconstruct_batch(row_ids) if len(row_ids) else np.empty((0, len(query)), np.float32)
            distances = np.linalg.norm(vectors.astype(np.float64) - query.astype(np.float64), axis=1)
            order = np.argsort(distances, kind="stable")
            row_ids, distances = row_ids[order], distances[order]
            exhausted = asked >= total or len(row_ids) < asked
            if exhausted or distances[-1] > distances[count - 1] + _TIE:
                return Nearest(row_ids, distances, exhausted)
            asked = min(asked * 4, total)


def _selection(among: NDArray[np.int64] | None) -> tuple[faiss.SearchParameters | None, object]:
    """FAISS search parameters for a set of row ids, and what must stay alive beside them."""
    if among is None or len(among) == 0:
        return None, None
    wanted = np.zeros(int(among.max()) // 8 * 8 + 8, dtype=bool)
    wanted[among] = True
    bits = np.packbits(wanted, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
    parameters = faiss.SearchParameters()
    parameters.sel = selector
    return parameters, (bits, selector)
