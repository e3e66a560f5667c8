"""What the kinds have in common that are built beside the running index.

Rows are never taken out of a built index: HNSW cannot, and bits leave them out at search time until their share is
worth building anew.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from index.gallery import BuiltKind, Vectors
from index.searching.placed_index import PlacedIndex, faiss

QUANTIZERS: dict[Vectors, Any] = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}
_CHUNK = 1 << 20  # bytes that FAISS reads and writes at a time
_WIDER = 0.2  # of the range of each number in the sample: beyond it numbers are cut off, which costs ``error`` most


class BuiltIndex(PlacedIndex):
    """See ``PlacedIndex``."""

    kind: ClassVar[BuiltKind]

    @classmethod
    @abstractmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        """An empty one for about ``rows`` rows, which learns what it has to learn from ``sample`` float32 (n, D)."""

    @classmethod
    def restored(cls, vectors: Vectors, *, rows: int, error: float, read: Callable[[int], bytes]) -> Self:
        """What ``save`` wrote; ``read(n)`` gives its next n bytes and answers for every one of them."""
        row_ids = np.frombuffer(read(8 * rows), dtype="<i8")
        alive = np.frombuffer(read(rows // 8 + 1), dtype=np.uint8)
        restored = cls(faiss.read_index(faiss.PyCallbackIOReader(read, _CHUNK)), vectors)
        restored.error, restored._row_ids, restored._alive = error, row_ids.astype(np.int64), alive.copy()
        restored._retired = rows - int(np.unpackbits(alive, bitorder="little")[:rows].sum())
        return restored

    def save(self, write: Callable[[bytes], object]) -> None:
        """Everything that ``restored`` needs, piece by piece. Nobody may add meanwhile; searches go on."""
        rows = int(self._index.ntotal)
        write(self.row_ids().astype("<i8").tobytes())
        write(self._alive[: rows // 8 + 1].tobytes())
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write, _CHUNK))

    @property
    def retired_share(self) -> float:
        """How much of it is in no answer any more."""
        return self._retired / max(int(self._index.ntotal), 1)


def reserve(storage: Any, rows: int) -> None:
    """Room for so many rows in FAISS's storage of codes, which otherwise doubles, and copies, as it grows."""
    storage.codes.resize(rows * storage.code_size)
    storage.codes.resize(0)


def widen(quantized: Any) -> None:
    """Before it is trained: let 8 bits reach beyond what the sample has."""
    quantized.sq.rangestat = faiss.ScalarQuantizer.RS_minmax
    quantized.sq.rangestat_arg = _WIDER
