"""FAISS's HNSW: a graph of neighbours over the rows; searches walk it and look at a few hundred of a million."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.gallery import Vectors
from index.searching.built_index import QUANTIZERS, BuiltIndex, make_room, widen
from index.searching.placed_index import Bits, Found, faiss, selector

LINKS = 32  # M
_BREADTH_BUILT, _BREADTH = 128, 128  # efConstruction, efSearch: recall@10 and rate in DECISIONS.md, 2026-11-26
_BREADTH_SHARE, _BREADTH_MOST = 4, 512  # for each row asked for, so that a filter that half pass costs no recall
_MANY, _BREADTH_OF_MANY = 300_000, 1.5  # rows from which on so much more is needed: DECISIONS.md, 2026-11-26


class HnswIndex(BuiltIndex):
    """See ``BuiltIndex``."""

    kind = "hnsw"

    @classmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        if vectors == "fp32":
            graph = faiss.IndexHNSWFlat(dim, LINKS)
        else:
            graph = faiss.IndexHNSWSQ(dim, QUANTIZERS[vectors], LINKS)
            widen(faiss.downcast_index(graph.storage))
            graph.train(sample)
        graph.hnsw.efConstruction = _BREADTH_BUILT
        made = cls(graph, vectors)
        made.reserve(rows)
        return made

    @property
    def _storage(self) -> Any:
        return faiss.downcast_index(self._index.storage)

    def _arrays(self) -> Iterator[tuple[Any, int]]:
        yield from super()._arrays()
        yield self._index.hnsw.neighbors, 4

    def _make_room(self, rows: int) -> None:
        super()._make_room(rows)
        graph = self._index.hnsw
        make_room(graph.neighbors, rows * (2 * LINKS + 4))  # one row in LINKS has links of higher levels, too
        make_room(graph.offsets, rows + 1)
        make_room(graph.levels, rows)

    def _look_near(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        parameters = faiss.SearchParametersHNSW()
        parameters.sel = selector(bits)
        breadth = max(_BREADTH, min(_BREADTH_SHARE * count, _BREADTH_MOST))
        many = _BREADTH_OF_MANY if self._index.ntotal >= _MANY else 1.0
        breadth = max(int(breadth * many), count)
        parameters.efSearch = int(breadth / (1 - min(self.retired_share, 0.5)))  # retired ones take room
        found: Found = self._index.search(queries, count, params=parameters)
        return found
