"""The index of a gallery that is written to while it is searched: what was built, and a flat part of what came since.

Parts follow each other by row id: the first may be a built index, the last is a flat one that takes what is new at once.
Only one thread (``index.index_upkeep``) moves rows from part to part or puts a new first part in place; writers touch
the last part, and retire rows wherever they are.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.built_index import BuiltIndex
from index.flat_index import FlatIndex
from index.read_write_lock import ReadWriteLock
from index.vector_index import Candidates, VectorIndex, merged

_LOT_SECONDS = 0.004  # for which rows that are moved keep readers waiting
_LOT_LARGEST = 1024


@dataclass
class _Part:
    """An index for the rows with ids above ``after``, up to where the next part begins."""

    after: int
    index: VectorIndex


class GrowingIndex:
    """See ``index.vector_index.VectorIndex``.

    ``lock``: readers share it; who adds, retires or forgets holds it alone. Moving and replacing take it by themselves.
    """

    def __init__(self, dim: int) -> None:
        self.lock = ReadWriteLock()
        self._dim = dim
        self._open = FlatIndex(dim)
        self._parts = [_Part(0, self._open)]
        self._noted: list[NDArray[np.int64]] | None = None  # rows retired while something is built or moved

    def __len__(self) -> int:
        return sum(len(part.index) for part in self._parts)

    @property
    def built(self) -> BuiltIndex | None:
        """The first part, where it was built."""
        first = self._parts[0].index
        return first if isinstance(first, BuiltIndex) else None

    @property
    def built_up_to(self) -> int:
        """The row id up to which ``built`` answers; 0 where nothing is built."""
        return self._parts[1].after if self.built is not None else 0

    @property
    def waiting(self) -> int:
        """Rows that no built index holds."""
        built = self.built
        return len(self) - (0 if built is None else len(built))

    def add(self, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self._open.add(row_ids, vectors)

    def retire(self, row_ids: NDArray[np.int64]) -> None:
        for part, own in self._divided(row_ids):
            if len(own):
                part.index.retire(own)
        if self._noted is not None:
            self._noted.append(row_ids)

    def forget(self, row_ids: NDArray[np.int64]) -> None:
        """Take rows of a write that is rolled back out at once, so that their ids may be used again."""
        self._open.forget(row_ids)

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> list[Candidates]:
        if among is None:
            return _joined([part.index.search(queries, count) for part in self._parts])
        return _joined([part.index.search(queries, count, among=own) for part, own in self._divided(among)])

    def scan(self, queries: NDArray[np.float32], count: int) -> list[Candidates]:
        return _joined([part.index.scan(queries, count) for part in self._parts])

    def start_with(self, built: BuiltIndex, up_to: int) -> None:
        """Put a built index before everything; nothing was added yet."""
        self._parts = [_Part(0, built), _Part(up_to, self._open)]

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Remember what is retired meanwhile, for ``replace`` and ``move``."""
        with self.lock.write():
            self._noted = []
        try:
            yield
        finally:
            with self.lock.write():
                self._noted = None

    def seal(self, up_to: int) -> None:
        """Begin a new last part for rows above ``up_to``; no row above is in yet, and no write is under way."""
        with self.lock.write():
            if len(self._open):
                self._open = FlatIndex(self._dim)
                self._parts.append(_Part(up_to, self._open))

    def replace(self, first: BuiltIndex | FlatIndex, up_to: int) -> None:
        """Let ``first`` answer for the rows up to ``up_to``, where ``seal`` cut, at once."""
        with self.lock.write():
            later = [part for part in self._parts if part.after >= up_to] or [_Part(up_to, self._open)]
            for retired in self._noted or ():
                first.retire(retired[np.isin(retired, first.row_ids())])
            self._parts = [_Part(0, first), *later]

    def settled(self) -> NDArray[np.int64]:
        """The waiting rows of the oldest flat part, ascending; no write is under way."""
        with self.lock.read():
            flat = next(part.index for part in self._parts if isinstance(part.index, FlatIndex))
            return np.sort(flat.row_ids())

    def move(self, row_ids: NDArray[np.int64], *, lot: int) -> tuple[int, float]:
        """Take the first ``lot`` of ``settled`` rows into the built index; how many to try next, seconds it took."""
        with self.lock.write():
            began = time.perf_counter()
            built, part = self._parts[0].index, self._parts[1]
            assert isinstance(built, BuiltIndex)
            assert isinstance(part.index, FlatIndex)
            moved = row_ids[:lot]
            alive = moved[~np.isin(moved, np.concatenate([*(self._noted or ()), np.empty(0, dtype=np.int64)]))]
            if len(alive):
                built.add(alive, part.index.vectors(alive))
                part.index.retire(alive)
            part.after = int(moved[-1])
            if not len(part.index) and len(self._parts) > 2:
                del self._parts[1]
            took = time.perf_counter() - began
        return max(1, min(int(lot * _LOT_SECONDS / max(took, 1e-6)), 2 * lot, _LOT_LARGEST)), took

    def _divided(self, row_ids: NDArray[np.int64]) -> Iterator[tuple[_Part, NDArray[np.int64]]]:
        """Each part with its share of some rows."""
        for number, part in enumerate(self._parts):
            own = row_ids > part.after
            if number + 1 < len(self._parts):
                own &= row_ids <= self._parts[number + 1].after
            yield part, row_ids[own]


def _joined(found: Sequence[list[Candidates]]) -> list[Candidates]:
    """What each part found for each query, query by query."""
    return [merged(parts) for parts in zip(*found, strict=True)]
