"""By what a gallery's images can be filtered, and how many there are of each: counted once, then remembered.

A page asks each time that somebody opens it; the change sequence tells whether anything became different since.
"""

import threading
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import apsw

from index.gallery import MOST_ATTRIBUTES, MOST_CAMERAS, MOST_VALUES, AttributeFacet, Facets
from index.storage import image_rows
from index.storage.row_filter import Condition, passing_since
from index.storage.stored_time import moment


@dataclass(frozen=True, kw_only=True)
class _Known:
    """``oldest``: ingestion time, microseconds since 1970, of the image that retention takes first."""

    facets: Facets
    oldest: int | None

    def holds(self, change: int, since: int | None) -> bool:
        """Whether they are so after a change and with all gone that was ingested before ``since``."""
        return self.facets.last_change == change and (since is None or self.oldest is None or self.oldest >= since)


class FacetCounts:
    """Of one space, ``space_id``, whose viewpoints are counted. Safe to use from any thread; they count one by one."""

    def __init__(self, space_id: int) -> None:
        self._space_id = space_id
        self._counting = threading.Lock()
        self._known: _Known | None = None

    def of(self, connection: apsw.Connection, since: int | None) -> Facets:
        """Those of a view of the database, of images ingested at ``since`` (microseconds since 1970) or later."""
        change = image_rows.last_change(connection)
        with self._counting:
            known = self._known
            if known is None or not known.holds(change, since):
                known = _counted(connection, change, space_id=self._space_id, since=since)
                if self._known is None or self._known.facets.last_change <= change:  # else: this view is an older one
                    self._known = known
        return known.facets


def _counted(connection: apsw.Connection, change: int, *, space_id: int, since: int | None) -> _Known:
    here = passing_since(since)
    images, vehicles, first, last, oldest = connection.execute(
        "SELECT count(*), count(DISTINCT vehicle_id), min(captured_at), max(captured_at), min(ingested_at)"  # noqa: S608
        f" FROM images WHERE {here.sql}",
        here.bindings,
    ).get
    there = _of(here, "embeddings")
    cameras: list[Any] = connection.execute(
        f"SELECT camera_id, count(*) AS images FROM images WHERE camera_id IS NOT NULL AND {here.sql}"  # noqa: S608
        f" GROUP BY camera_id ORDER BY images DESC, camera_id LIMIT {MOST_CAMERAS}",
        here.bindings,
    ).fetchall()
    viewpoints: list[Any] = connection.execute(
        "SELECT viewpoint, count(*) AS images FROM embeddings WHERE space_id = ? AND viewpoint IS NOT NULL"  # noqa: S608
        f" AND {there.sql} GROUP BY viewpoint ORDER BY images DESC, viewpoint",
        (space_id, *there.bindings),
    ).fetchall()
    facets = Facets(
        images=images, last_change=change, vehicles=vehicles, cameras=cameras, viewpoints=viewpoints,
        attributes=_attributes(connection, _of(here, "attributes")),
        first_captured_at=None if first is None else moment(first),
        last_captured_at=None if last is None else moment(last),
    )  # fmt: skip
    return _Known(facets=facets, oldest=oldest)


def _attributes(connection: apsw.Connection, here: Condition) -> list[AttributeFacet]:
    """Names with most images first."""
    found = connection.execute(
        "SELECT name, images, value, number FROM ("  # noqa: S608
        " SELECT name, value, count(*) AS number, sum(count(*)) OVER (PARTITION BY name) AS images,"
        " row_number() OVER (PARTITION BY name ORDER BY count(*) DESC, value) AS place"
        f" FROM attributes WHERE {here.sql} GROUP BY name, value"
        f") WHERE place <= {MOST_VALUES} ORDER BY images DESC, name, place",
        here.bindings,
    )
    return [
        AttributeFacet(name=name, images=images, values=[(value, number) for *_, value, number in rows])
        for (name, images), rows in islice(groupby(found, lambda row: (row[0], row[1])), MOST_ATTRIBUTES)
    ]


def _of(here: Condition, table: str) -> Condition:
    """That the image which a row of ``table`` belongs to passes."""
    if not here.bindings:
        return here
    passing = f"EXISTS (SELECT 1 FROM images WHERE images.row_id = {table}.row_id AND {here.sql})"  # noqa: S608
    return Condition(passing, here.bindings)
