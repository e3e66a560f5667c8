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
from index.searching.index_device import FAILURES, one_line
from index.searching.index_snapshot import SnapshotUnusable
from index.searching.placed_index import SPARE, PlacedIndex, faiss, make_room

QUANTIZERS: dict[Vectors, Any] = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}
_CHUNK = 1 << 20  # bytes that FAISS reads and writes at a time
_WIDER = 0.2  # of the range of each number in the sample: beyond it numbers are cut off, which costs ``error`` most


class BuiltIndex(PlacedIndex):
    """See ``PlacedIndex``."""

    kind: ClassVar[BuiltKind]
    _reserved = 0  # rows that its memory has room for

    @classmethod
    @abstractmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        """An empty one for about ``rows`` rows, which learns what it has to learn from ``sample`` float32 (n, D)."""

    @classmethod
    def restored(cls, vectors: Vectors, *, rows: int, error: float, read: Callable[[int], bytes]) -> Self:
        """What ``save`` wrote; ``read(n)`` gives its next n bytes and answers for every one of them.

        Raises SnapshotUnusable where another release of FAISS wrote what this one does not know.
        """
        row_ids = np.frombuffer(read(8 * rows), dtype="<i8")
        alive = np.frombuffer(read(rows // 8 + 1), dtype=np.uint8)
        try:
            restored = cls(faiss.read_index(faiss.PyCallbackIOReader(read, _CHUNK)), vectors)
        except FAILURES as failure:
            raise SnapshotUnusable(f"FAISS {faiss.__version__} cannot read it: {one_line(failure)}") from failure
        restored.error, restored._row_ids, restored._alive = error, row_ids.astype(np.int64), alive.copy()
        restored._retired = int((~restored._whether_alive()).sum())
        return restored

    def save(self, write: Callable[[bytes], object]) -> None:
        """Everything that ``restored`` needs, piece by piece. Nobody may add meanwhile; searches go on."""
        rows = int(self._index.ntotal)
        write(self.row_ids().astype("<i8").tobytes())
        write(self._alive[: rows // 8 + 1].tobytes())
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write, _CHUNK))

    @property
    def room(self) -> int:
        """How many rows can be added before FAISS moves all of them to make room, a second for a million."""
        return max(self._reserved - int(self._index.ntotal), 0)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all, and some."""
        self._reserved = rows + rows // SPARE
        self._make_room(self._reserved)

    def roomier(self, rows: int) -> Self:
        """Another like it with room for so many rows more. Others may search and retire meanwhile, nobody may add.

        Rows that are retired meanwhile are retired in the other or not.
        """
        other = type(self)(faiss.clone_index(self._index), self.vectors)
        other.error, other._row_ids, other._alive = self.error, self._row_ids.copy(), self._alive.copy()
        other._retired = int((~other._whether_alive()).sum())
        other.reserve(int(self._index.ntotal) + rows)
        return other

    def _make_room(self, rows: int) -> None:
        """See ``reserve``; for the arrays that FAISS would double, and copy, as they grow."""
        make_room(self._storage.codes, rows * self._storage.code_size)

    @property
    def retired_share(self) -> float:
        """How much of it is in no answer any more."""
        return self._retired / max(int(self._index.ntotal), 1)


def widen(quantized: Any) -> None:
    """Before it is trained: let 8 bits reach beyond what the sample has."""
    quantized.sq.rangestat = faiss.ScalarQuantizer.RS_minmax
    quantized.sq.rangestat_arg = _WIDER
