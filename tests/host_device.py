"""A device that is none: FAISS's indexes on the processors behind everything that the GPU's are used through."""

from typing import Any

import faiss as _faiss
import numpy as np

from index.gallery import Vectors
from index.searching.index_device import IndexDevice

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
