"""The index of a gallery that is written to while it is searched: what was built, and flat parts for what came since.

Row ids only grow, so each part answers for a range of them: the built index for those up to a row, flat ones for what
follows, the last of them taking what is new at once. Only one thread (``index.searching.index_upkeep``) moves rows from
part to part or puts a new first part in place; writers touch the last part, and retire rows wherever they are.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.searching.built_index import BuiltIndex
from index.searching.flat_index import FlatIndex
from index.searching.read_write_lock import ReadWriteLock
from index.searching.vector_index import Candidates, VectorIndex, merged

_LOT_SECONDS = 0.004  # for which rows that are moved keep readers waiting
_LOT_LARGEST = 1024


@dataclass
class _FlatPart:
    """Rows with ids above ``after``, up to where the next part begins."""

    after: int
    index: FlatIndex


class GrowingIndex:
    """See ``index.searching.vector_index.VectorIndex``.

    ``lock``: readers share it; who adds, retires or forgets holds it alone. Moving and replacing take it by themselves.
    """

    def __init__(self, dim: int) -> None:
        self.lock = ReadWriteLock()
        self._dim = dim
        self._built: BuiltIndex | None = None
        self._flat = [_FlatPart(0, FlatIndex(dim))]
        self._noted: list[NDArray[np.int64]] | None = None  # rows retired while something is built or moved

    def __len__(self) -> int:
        return self.waiting + (0 if self._built is None else len(self._built))

    @property
    def built(self) -> BuiltIndex | None:
        """What was built, if anything was."""
        return self._built

    @property
    def built_up_to(self) -> int:
        """The row id up to which ``built`` answers; 0 where nothing is built."""
        return self._flat[0].after

    @property
    def waiting(self) -> int:
        """Rows that no built index holds."""
        return sum(len(part.index) for part in self._flat)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows that no built index holds; before the first is added."""
        self._flat[-1].index.reserve(rows)

    def add(self, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self._flat[-1].index.add(row_ids, vectors)

    def retire(self, row_ids: NDArray[np.int64]) -> None:
        for part, own in self._divided(np.sort(row_ids)):
            if len(own):
                part.retire(own)
        if self._noted is not None:
            self._noted.append(row_ids)

    def forget(self, row_ids: NDArray[np.int64]) -> None:
        """Take rows of a write that is rolled back out at once, so that their ids may be used again."""
        self._flat[-1].index.forget(row_ids)

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> list[Candidates]:
        if among is None:
            return _joined([part.search(queries, count) for part in self._parts()])
        return _joined([part.search(queries, count, among=own) for part, own in self._divided(among)])

    def scan(self, queries: NDArray[np.float32], count: int) -> list[Candidates]:
        return _joined([part.scan(queries, count) for part in self._parts()])

    def start_with(self, built: BuiltIndex, up_to: int) -> None:
        """Let a built index answer for the rows up to ``up_to``; nothing was added yet."""
        self._built, self._flat[0].after = built, up_to

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
            if len(self._flat[-1].index):
                self._flat.append(_FlatPart(up_to, FlatIndex(self._dim)))

    def replace(self, first: BuiltIndex | FlatIndex, up_to: int) -> None:
        """Let ``first`` answer for the rows up to ``up_to``, where ``seal`` cut, at once."""
        with self.lock.write():
            for retired in self._noted or ():
                first.retire(retired)
            later = [part for part in self._flat if part.after >= up_to] or [_FlatPart(up_to, self._flat[-1].index)]
            self._built = first if isinstance(first, BuiltIndex) else None
            self._flat = [_FlatPart(0, first), *later] if isinstance(first, FlatIndex) else later

    def settled(self) -> NDArray[np.int64]:
        """The rows of the first flat part that has any, ascending; no write is under way."""
        with self.lock.write():
            while len(self._flat) > 1 and not len(self._flat[0].index):
                del self._flat[0]
            return self._flat[0].index.living()

    def move(self, row_ids: NDArray[np.int64]) -> float:
        """Take some of the first ``settled`` rows into the built index; the seconds that searches waited for it."""
        with self.lock.write():
            began = time.perf_counter()
            noted = np.concatenate([np.empty(0, dtype=np.int64), *(self._noted or ())])
            alive = row_ids[~np.isin(row_ids, noted)]
            if self._built is not None and len(alive):
                self._built.add(alive, self._flat[0].index.stored(alive))
                self._flat[0].index.retire(alive)
            self._flat[0].after = int(row_ids[-1])
            return time.perf_counter() - began

    def use_huge_pages(self) -> None:
        """See ``index.searching.placed_index.PlacedIndex``; writes may go on."""
        with self.lock.read():
            parts = [part.index for part in self._flat]
        for part in (*parts, *filter(None, [self._built])):
            part.use_huge_pages()

    def _parts(self) -> Iterator[VectorIndex]:
        if self._built is not None:
            yield self._built
        for part in self._flat:
            yield part.index

    def _divided(self, row_ids: NDArray[np.int64]) -> Iterator[tuple[VectorIndex, NDArray[np.int64]]]:
        """Each part with its share of some rows, which ascend."""
        starts = np.searchsorted(row_ids, [part.after for part in self._flat], side="right").tolist()
        if self._built is not None:
            yield self._built, row_ids[: starts[0]]
        for part, start, end in zip(self._flat, starts, [*starts[1:], len(row_ids)], strict=True):
            yield part.index, row_ids[start:end]


def next_lot(lot: int, seconds: float) -> int:
    """How many rows to move next where ``lot`` took so long."""
    return max(1, min(int(lot * _LOT_SECONDS / max(seconds, 1e-6)), 2 * lot, _LOT_LARGEST))


def _joined(found: Sequence[list[Candidates]]) -> list[Candidates]:
    """What each part found for each query, query by query."""
    return [merged(parts) for parts in zip(*found, strict=True)]
