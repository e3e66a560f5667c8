"""A device beside the processors that holds copies of indexes: one caller at a time, no more memory than allowed."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import NotEnoughMemory
from index.gallery import Vectors
from index.searching.placed_index import Bits, Found, faiss, selector

FAILURES = (RuntimeError, MemoryError)  # as which FAISS tells its own and CUDA's

_QUERIES, _ROWS = 64, 16_384  # that one call is given at most
_NUMBER = 8  # bytes of scratch memory a query and row: a distance, and what sorting it takes


class IndexDevice(ABC):
    """Makes, fills and searches FAISS's flat L2 indexes (``empty``) on a device.

    FAISS's resources of a device are not thread-safe: whoever calls anything of it, or lets go of an index of it, holds
    ``lock``. ``cap``: bytes that the indexes may take together, None: whatever is free. ``scratch``: bytes that one
    call may need beside them.
    """

    name: str
    lock: threading.RLock
    proven: dict[tuple[int, Vectors], float]  # by dimension and form: see ``index.searching.device_trial``

    def __init__(self, *, cap: int | None, scratch: int) -> None:
        self.lock, self.proven = threading.RLock(), {}
        self._cap, self._scratch = cap, scratch
        self._taken = 0

    @property
    def taken(self) -> int:
        """Bytes that indexes have taken."""
        return self._taken

    @abstractmethod
    def empty(self, dim: int, vectors: Vectors) -> Any:
        """A flat L2 index without rows, fp32 or fp16. The caller holds ``lock``."""

    @abstractmethod
    def free(self) -> int | None:
        """Bytes of the device's memory that nobody has taken; None where nobody knows."""

    def take(self, needed: int, what: str) -> None:
        """Take so many bytes of what indexes may have. Raises NotEnoughMemory, naming ``what`` and the ways out."""
        with self.lock:
            free = self.free()
            left = None if self._cap is None else self._cap - self._taken
            if (left is not None and needed > left) or (free is not None and needed > free):
                raise NotEnoughMemory(f"{what} needs {_mb(needed)} MB more of the GPU's memory, {self._said(free)}")
            self._taken += needed

    def give_back(self, count: int) -> None:
        """Bytes that were taken."""
        with self.lock:
            self._taken -= count

    def add(self, index_on_device: Any, vectors: NDArray[np.float32]) -> None:
        """Add rows (n, D). The caller holds ``lock``."""
        rows = max(1, min(_ROWS, self._scratch // (vectors.shape[1] * vectors.itemsize * 2)))
        for start in range(0, len(vectors), rows):
            index_on_device.add(np.ascontiguousarray(vectors[start : start + rows]))

    def search(self, index_on_device: Any, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        """Squared distances and places, (Q, count), of rows that ``bits`` lets pass, which are at least ``count``.

        The caller holds ``lock``.
        """
        together = max(1, min(_QUERIES, self._scratch // (int(index_on_device.ntotal) * _NUMBER)))
        parameters = None if bits is None else faiss.SearchParameters(sel=selector(bits))
        parts: list[Found] = [
            index_on_device.search(queries[start : start + together], count, params=parameters)
            for start in range(0, len(queries), together)
        ]
        return parts[0] if len(parts) == 1 else _stacked(parts)

    def _said(self, free: int | None) -> str:
        """What there is, and what to do."""
        cap = "" if self._cap is None else f" of gpu_index_memory ({_mb(self._cap)} MB) {_mb(self._taken)} MB are taken"
        known = "" if free is None else f"{' and' if cap else ''} {_mb(free)} MB are free on the device"
        ways = "" if self._cap is None else "raise gpu_index_memory, "
        return (
            f"where{cap}{known}: {ways}use vectors fp16 (half of fp32's), let other programs (or the model: "
            "gpu_model_memory) take less, or use index_device cpu"
        )


def one_line(error: BaseException) -> str:
    """What FAISS says, shortened: it tells functions, files and lines, and the reason last."""
    return " ".join(str(error).split())[-300:] or type(error).__name__


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f}"


def _stacked(parts: Sequence[Found]) -> Found:
    """What was found for the queries of several calls."""
    return np.concatenate([squares for squares, _ in parts]), np.concatenate([places for _, places in parts])
