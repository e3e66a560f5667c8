"""FAISS's IVF: rows in lists around centroids; searches look at the lists nearest to the query."""

import sys
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.gallery import Vectors
from index.searching.built_index import QUANTIZERS, BuiltIndex, widen
from index.searching.placed_index import Bits, Found, faiss, selector

_PROBED = 3  # a search looks at this part of the lists, one in so many: recall@10 in DECISIONS.md, 2026-11-26


def list_count(rows: int) -> int:
    """How many lists so many rows are put into."""
    return max(1, int(4 * rows**0.5))


class IvfIndex(BuiltIndex):
    """See ``BuiltIndex``."""

    kind = "ivf"

    @classmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        count = min(list_count(rows), len(sample))
        quantizer = faiss.IndexFlat(dim, faiss.METRIC_L2)
        if vectors == "fp32":
            inverted = faiss.IndexIVFFlat(quantizer, dim, count)
        else:
            inverted = faiss.IndexIVFScalarQuantizer(
                quantizer, dim, count, QUANTIZERS[vectors], faiss.METRIC_L2, False
            )  # False: not the residual, so that a code is the vector's own
            widen(inverted)
        inverted.cp.min_points_per_centroid = 1  # or FAISS writes to the terminal
        inverted.train(sample)
        inverted.set_direct_map_type(faiss.DirectMap.Array)  # rows can be read back by place
        return cls(inverted, vectors)

    def _arrays(self) -> Iterator[tuple[Any, int]]:
        yield from ()  # each list is small, and read from one end to the other

    @property
    def room(self) -> int:
        """As much as there is: each list grows by itself, and moving one takes no time that is felt."""
        return sys.maxsize

    def reserve(self, rows: int) -> None:
        """Nothing is to be done."""

    def _look_near(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        return self._probed(queries, count, bits, lists=-(-self._index.nlist // _PROBED))

    def _look_everywhere(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        return self._probed(queries, count, bits, lists=self._index.nlist)

    def _probed(self, queries: NDArray[np.float32], count: int, bits: Bits, *, lists: int) -> Found:
        parameters = faiss.SearchParametersIVF()
        parameters.sel = selector(bits)
        parameters.nprobe = lists
        found: Found = self._index.search(queries, count, params=parameters)
        return found
