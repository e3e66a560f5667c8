"""The first rows of an index on a device, in order of their places: what is there is searched there.

The copy is cut into segments, because FAISS copies a flat index whole, and measures every row of it anew, whenever rows
are added: only the last segment grows, by at most its own size for a moment.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.gallery import Vectors
from index.searching.device_trial import as_kept, proven_error
from index.searching.index_device import IndexDevice
from index.searching.placed_index import Bits, Found

WIDEST: Final = 16_384  # neighbours that cuVS finds at most
_SEGMENT = 600_000_000  # bytes at most
_LARGEST, _SMALLEST = 1 << 20, 1 << 8  # rows of a segment; a multiple of 32, as the words of a filter are
_BYTES: dict[Vectors, int] = {"fp32": 4, "fp16": 2}


def copy_bytes(rows: int, dim: int, vectors: Vectors) -> int:
    """Bytes of the device's memory that a copy of so many rows takes, with what its last segment needs to grow."""
    return (rows + min(rows, segment_rows(dim, vectors))) * _row_bytes(dim, vectors)


def segment_rows(dim: int, vectors: Vectors) -> int:
    """Rows of a segment, a power of two."""
    rows = _LARGEST
    while rows > _SMALLEST and rows * _row_bytes(dim, vectors) > _SEGMENT:
        rows //= 2
    return rows


def _row_bytes(dim: int, vectors: Vectors) -> int:
    return dim * _BYTES[vectors] + 4  # and its length


class DeviceCopy:
    """Rows of ``dim`` numbers by place on a device, fp32 or fp16. ``what`` names it where memory does not suffice.

    ``relative_error`` as ``index.searching.device_trial.proven_error`` says. Raises IndexDeviceUnavailable.
    """

    def __init__(self, device: IndexDevice, dim: int, vectors: Vectors, what: str) -> None:
        self._device, self._dim, self._vectors, self._what = device, dim, vectors, what
        self.relative_error = proven_error(device, dim, vectors)
        self._segment_rows = segment_rows(dim, vectors)
        self._segments: list[Any] = []
        self._rows = self._taken = 0
        self._closed = False

    @property
    def rows(self) -> int:
        """How many are there."""
        return self._rows

    @property
    def closed(self) -> bool:
        """Whether it holds nothing any more."""
        return self._closed

    def require_room(self, rows: int) -> None:
        """Take the memory that so many rows in all need; raises NotEnoughMemory, and what is there stays."""
        with self._device.lock:
            needed = copy_bytes(rows, self._dim, self._vectors) - self._taken
            if needed > 0 and not self._closed:
                self._device.take(needed, f"{self._what}, {rows:,} rows,")
                self._taken += needed

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add the next rows (n, D). Where FAISS fails (RuntimeError, MemoryError) the copy is to be closed."""
        with self._device.lock:
            while len(vectors) and not self._closed:
                if self._rows == len(self._segments) * self._segment_rows:
                    self._segments.append(self._device.empty(self._dim, self._vectors))
                part = vectors[: len(self._segments) * self._segment_rows - self._rows]
                self._device.add(self._segments[-1], part)
                self._rows += len(part)
                vectors = vectors[len(part) :]

    def search(self, queries: NDArray[np.float32], count: int, bits: Bits) -> tuple[Found, int] | None:
        """Squared distances and places (Q, m) of rows that ``bits`` lets pass, and the rows that were looked at.

        m is ``count`` or all that pass. None where the copy is closed.
        """
        asked = as_kept(queries, self._vectors)
        parts = []
        with self._device.lock:
            if self._closed:
                return None
            for number, segment in enumerate(self._segments):
                start, rows = number * self._segment_rows, int(segment.ntotal)
                own = None if bits is None else bits[start // 8 : (start + rows + 7) // 8]
                passing = rows if own is None else int(np.unpackbits(own, count=rows, bitorder="little").sum())
                if passing:
                    squares, places = self._device.search(segment, asked, min(count, passing), own)
                    parts.append((squares, np.where(places < 0, -1, places + start)))
            return nearest(parts, len(queries), count), self._rows

    def close(self) -> None:
        """Give the device's memory back; a search that waits finds nothing."""
        with self._device.lock:
            self._closed = True
            self._segments.clear()
            self._device.give_back(self._taken)
            self._rows = self._taken = 0


def nearest(parts: Sequence[Found], queries: int, count: int) -> Found:
    """The ``count`` nearest of what several parts of an index found for each query."""
    if not parts:
        return np.empty((queries, 0), dtype=np.float32), np.empty((queries, 0), dtype=np.int64)
    if len(parts) == 1 and parts[0][0].shape[1] <= count:
        return parts[0]
    squares = np.concatenate([part[0] for part in parts], axis=1)
    places = np.concatenate([part[1] for part in parts], axis=1)
    order = np.argsort(squares, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(squares, order, axis=1), np.take_along_axis(places, order, axis=1)
