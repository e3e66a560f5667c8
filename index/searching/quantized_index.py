"""Every row looked at, as the flat index does, in a half or a quarter of its memory."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.gallery import Vectors
from index.searching.built_index import QUANTIZERS, BuiltIndex, widen
from index.searching.placed_index import Bits, Found, faiss


class QuantizedIndex(BuiltIndex):
    """See ``BuiltIndex``."""

    kind = "flat"

    @classmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        codes = faiss.IndexScalarQuantizer(dim, QUANTIZERS[vectors], faiss.METRIC_L2)
        widen(codes)
        codes.train(sample)
        made = cls(codes, vectors)
        made.reserve(rows)
        return made

    def _look_near(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        return self._look_everywhere(queries, count, bits)
