"""Which rows pass a filter, remembered: listed by SQLite once, then kept up with the change sequence.

A camera is asked for again and again, and listing ten thousand rows takes as long as looking at their vectors.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import apsw
import numpy as np
from numpy.typing import NDArray

from index.gallery import Filters
from index.storage import image_rows
from index.storage.row_filter import Condition, passing

_ROOM = 32 << 20  # bytes of row ids
_ENTRY = 1024  # bytes that remembering a filter takes besides, about
_SPARE = 4  # one in so many more than the limit are listed, so that a limit that grows with the gallery is met again
_CAUGHT_UP = 2048  # changes; after more of them listing anew is as quick


@dataclass(frozen=True, kw_only=True)
class _Known:
    """``row_ids``, ascending, pass after a change; None: more than ``limit`` do."""

    change: int
    limit: int
    row_ids: NDArray[np.int64] | None

    @property
    def size(self) -> int:
        return _ENTRY + (0 if self.row_ids is None else self.row_ids.nbytes)


class SelectedRows:
    """Safe to use from any thread. Whether a row's time is over is not looked at: who takes some asks again of them.

    ``space_id``: the space whose viewpoints filters mean.
    """

    def __init__(self, space_id: int, *, room: int = _ROOM) -> None:
        self._space_id, self._room = space_id, room
        self._guard = threading.Lock()
        self._known: OrderedDict[Condition, _Known] = OrderedDict()  # the last used at the end
        self._size = 0

    def few(self, connection: apsw.Connection, filters: Filters, limit: int) -> NDArray[np.int64] | None:
        """The rows that pass in a view of the database, ids int64 (n,), ascending; None where they are many.

        More than ``limit`` may be many, and those that are more by a quarter are.
        """
        if filters.image_id:  # a listing itself, found as quickly as remembered, and seldom asked for twice
            return self._listed(connection, filters, change=0, limit=limit + limit // _SPARE).row_ids
        condition, change = self._passing(filters), image_rows.last_change(connection)
        with self._guard:
            known = self._known.get(condition)
        known = self._caught_up(connection, filters, known, change=change, limit=limit)
        if known is None:
            known = self._listed(connection, filters, change=change, limit=limit + limit // _SPARE)
        self._remember(condition, known)
        return known.row_ids

    def _caught_up(
        self, connection: apsw.Connection, filters: Filters, known: _Known | None, *, change: int, limit: int
    ) -> _Known | None:
        """What is known, as of ``change``; None where that cannot be told."""
        if known is None or not 0 <= change - known.change <= _CAUGHT_UP:
            return None
        if known.row_ids is None:  # each change took one row away at most
            return known if known.limit - (change - known.change) >= limit else None
        if change == known.change:
            return known
        changed = image_rows.changed_since(connection, known.change)
        now = image_rows.row_ids(connection, image_rows.listed(changed) & self._passing(filters, lambda _: False))
        row_ids = _without(known.row_ids, changed)
        if len(row_ids) == len(known.row_ids) and not len(now):  # the same array, by which others know it
            return replace(known, change=change)
        row_ids = np.insert(row_ids, np.searchsorted(row_ids, now), now)
        return _Known(change=change, limit=known.limit, row_ids=row_ids if len(row_ids) <= known.limit else None)

    def _listed(self, connection: apsw.Connection, filters: Filters, *, change: int, limit: int) -> _Known:
        condition = self._passing(filters, lambda listed: image_rows.at_most(connection, listed, limit))
        row_ids = image_rows.row_ids(connection, condition, limit=limit + 1)
        return _Known(change=change, limit=limit, row_ids=row_ids if len(row_ids) <= limit else None)

    def _remember(self, condition: Condition, known: _Known) -> None:
        with self._guard:
            before = self._known.pop(condition, None)
            if before is not None:
                self._size -= before.size
                if before.change > known.change:  # a reader with an older view came later
                    known = before
            self._known[condition] = known
            self._size += known.size
            while self._size > self._room:
                _, forgotten = self._known.popitem(last=False)
                self._size -= forgotten.size

    def _passing(self, filters: Filters, listing: Callable[[Condition], bool] = lambda _: True) -> Condition:
        return passing(filters, space_id=self._space_id, since=None, listing=listing)


def _without(row_ids: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ascending rows less some."""
    places = np.searchsorted(row_ids, some)
    inside = places < len(row_ids)
    inside[inside] = row_ids[places[inside]] == some[inside]
    return np.delete(row_ids, places[inside])
