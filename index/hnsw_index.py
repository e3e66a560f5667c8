"""FAISS's HNSW: a graph of neighbours over the rows; searches walk it and look at a few hundred of a million."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.built_index import QUANTIZERS, BuiltIndex, faiss
from index.gallery import Vectors

LINKS = 32  # M
_BREADTH_BUILT, _BREADTH = 128, 128  # efConstruction, efSearch: recall@10 and rate in DECISIONS.md, 2026-11-26


class HnswIndex(BuiltIndex):
    """See ``BuiltIndex``."""

    kind = "hnsw"

    @classmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        if vectors == "fp32":
            graph = faiss.IndexHNSWFlat(dim, LINKS)
        else:
            graph = faiss.IndexHNSWSQ(dim, QUANTIZERS[vectors], LINKS)
            graph.train(sample)
        graph.hnsw.efConstruction = _BREADTH_BUILT
        return cls(graph, vectors)

    def _nearest(
        self, queries: NDArray[np.float32], count: int, selector: Any, *, everywhere: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        parameters = faiss.SearchParameters() if everywhere else faiss.SearchParametersHNSW()
        parameters.sel = selector
        if not everywhere:
            breadth = max(_BREADTH, count)
            parameters.efSearch = int(breadth / (1 - min(self.retired_share, 0.5)))  # retired rows take up places
        target = faiss.downcast_index(self._index.storage) if everywhere else self._index
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = target.search(queries, count, params=parameters)
        return found
