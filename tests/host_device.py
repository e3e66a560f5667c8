"""A device that is none: FAISS's indexes on the processors behind everything that the GPU's are used through."""

from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.gallery import Vectors
from index.searching.index_device import IndexDevice
from index.searching.placed_index import Bits, Found

faiss: Any = _faiss


class HostDevice(IndexDevice):
    """See ``IndexDevice``; fp16 rows as FAISS's scalar quantiser keeps them. ``memory``: bytes that are free."""

    name = "host"

    def __init__(self, *, cap: int | None = None, scratch: int = 1 << 20, memory: int | None = None) -> None:
        super().__init__(cap=cap, scratch=scratch)
        self.memory = memory

    def empty(self, dim: int, vectors: Vectors) -> Any:
        if vectors == "fp32":
            return faiss.IndexFlat(dim, faiss.METRIC_L2)
        codes = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
        codes.train(np.empty((0, dim), dtype=np.float32))
        return codes

    def free(self) -> int | None:
        return None if self.memory is None else self.memory - self.taken


class AilingDevice(HostDevice):
    """Fails, or errs, once it is told to."""

    ails: str | None = None
    adds = 0  # that go well before one does not

    def add(self, index_on_device: Any, vectors: NDArray[np.float32]) -> None:
        self.adds -= 1
        if self.ails == "room" and self.adds < 0:
            faiss.IndexFlat(1).merge_from(faiss.IndexFlat(2))  # FAISS's own error
        super().add(index_on_device, vectors)

    def search(self, index_on_device: Any, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        if self.ails == "memory":
            faiss.IndexFlat(1).merge_from(faiss.IndexFlat(2))  # FAISS's own error
        if self.ails == "deaf":
            return super().search(index_on_device, queries, count, None)
        squares, places = super().search(index_on_device, queries, count, bits)
        if self.ails == "distances":
            squares = squares * np.float32(1.01)
        if self.ails == "nan":
            squares = squares * np.float32(np.nan)
        if self.ails == "padding":
            places = places - places[:, -1:] - 1
        return squares, places
