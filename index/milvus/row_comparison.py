"""What one collection has and another lacks, where rows keep their ids: some thousands at a time, of however many.

A row that is gone never comes back, and only one process writes to ``new``. So what is in ``new`` and, looked at later,
not in ``old`` was erased.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from index.milvus.collection_rows import MOST, CollectionRows
from index.milvus.image_row import KEY
from index.milvus.row_clock import LAST
from index.milvus.row_condition import EVERY, all_of, rows_among

_WINDOW: Final = MOST // 4  # rows that are compared one by one
_AGAIN: Final = 64  # rows that are made anew where one of them is there twice


@dataclass(frozen=True)
class Difference:
    """Of the rows above ``after`` up to ``until``: which ``new`` lacks, and which it has to lose."""

    after: int
    until: int
    lacking: list[int]
    surplus: list[int]


@dataclass(frozen=True)
class RowComparison:
    """``new`` is to have every row of ``old``, and no other."""

    old: CollectionRows
    new: CollectionRows

    def alike(self) -> bool:
        """Whether both have as many rows; none is missing then where every row was compared.

        They may be the same where they have not: see ``differing``.
        """
        old, new = self._counts(EVERY)
        return old == new

    def passes(self, after: int) -> Iterator[Difference]:
        """Every row of ``old`` above a row id, some at a time, ascending; also where nothing differs."""
        for page in self.old.pages(f"row_id > {after}", KEY):
            until = max(row.row_id for row in page)
            yield self._difference(after, until, {row.row_id for row in page})
            after = until
        yield self._difference(after, LAST, set())

    def differing(self, after: int = 0, until: int = LAST) -> Iterator[Difference]:
        """Where the numbers of rows differ, found by counting halves of what differs."""
        old, new = self._counts(_between(after, until))
        if old == new:
            return
        if max(old, new) <= _WINDOW:
            ids = self._ids(self.old, after, until)
            found = self._difference(after, until, ids)
            if found.lacking or found.surplus:
                yield found
                return
            if new == len(ids):  # ``old`` has one of them twice: a client lost the answer to a write, and wrote again
                return
            if new <= _AGAIN or until - after < 2:  # one of them was written twice
                yield Difference(after, until, [], sorted(self._ids(self.new, after, until)))
                return
        middle = (after + until) // 2
        yield from self.differing(after, middle)
        yield from self.differing(middle, until)

    def gone(self, row_ids: set[int]) -> set[int]:
        """Those of some rows that ``old`` has no more."""
        there = set[int]()
        listed = sorted(row_ids)
        for start in range(0, len(listed), _WINDOW):
            some = listed[start : start + _WINDOW]
            there |= {row.row_id for row in self.old.some(rows_among(some), KEY, len(some))}
        return row_ids - there

    def _counts(self, expression: str) -> tuple[int, int]:
        with ThreadPoolExecutor(2) as pool:  # each waits for the server's tick
            old, new = pool.map(lambda rows: rows.count(expression), (self.old, self.new))
        return old, new

    def _difference(self, after: int, until: int, old: set[int]) -> Difference:
        new = self._ids(self.new, after, until)
        return Difference(after, until, sorted(old - new), sorted(self.gone(new - old)))

    def _ids(self, rows: CollectionRows, after: int, until: int) -> set[int]:
        return {row.row_id for page in rows.pages(_between(after, until), KEY) for row in page}


def _between(after: int, until: int) -> str:
    return all_of(f"row_id > {after}", f"row_id <= {until}")
