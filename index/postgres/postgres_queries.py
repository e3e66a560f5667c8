"""Kept queries of all replicas: a row a picture in the database, its bytes in the object store.

The row decides: bytes are put before it, and what has none is no picture. Bytes whose row never came, or went without
them when a replica died, are removed after a day.
"""

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import psycopg

from index.errors import StorageError
from index.objects.object_store import ObjectMissing, ObjectStore
from index.postgres.postgres_database import PostgresDatabase
from index.storage.kept_query import QUERY_ID, KeptQuery, QueryTerms

PICTURES: Final = "_queries"  # beside the galleries in the object store: no gallery can have this name
ORPHANED_AFTER: Final = timedelta(days=1)
LOOKED_FOR_EVERY: Final = timedelta(hours=1)  # a listing is a few hundred requests to the store

_COLUMNS = "query_id, created_at, width, height, digest, extension, size"
_SELECT = f"SELECT {_COLUMNS} FROM vehicle_search.queries"  # noqa: S608
_INSERT = f"INSERT INTO vehicle_search.queries ({_COLUMNS}) VALUES ({', '.join(['%s'] * 7)})"  # noqa: S608
_SIZE = "SELECT count(*), coalesce(sum(size), 0) FROM vehicle_search.queries"
_OLDEST = (
    f"SELECT {_COLUMNS} FROM (SELECT *, sum(size) OVER (ORDER BY created_at, query_id) - size AS older"  # noqa: S608
    " FROM vehicle_search.queries) AS each WHERE older < %s ORDER BY created_at, query_id"
)  # those that have to go so that so many bytes are free
_REMOVE = "DELETE FROM vehicle_search.queries WHERE query_id = ANY(%s) RETURNING query_id"
_LOCK = "LOCK TABLE vehicle_search.queries IN SHARE ROW EXCLUSIVE MODE"  # one change at a time; readers go on


class PostgresQueries(QueryTerms):
    """All kept pictures of the replicas; see ``QueryHome``. Their terms must be the same everywhere."""

    def __init__(
        self, database: PostgresDatabase, objects: ObjectStore, *, hours: float, max_bytes: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        erasing_clock: Callable[[], datetime] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(hours=hours, max_bytes=max_bytes, clock=clock, erasing_clock=erasing_clock)
        self._database, self._objects = database, objects
        self._look_again: datetime | None = None
        with database.transaction() as connection:
            self._size = _size(connection)

    def keep(self, data: bytes, *, width: int, height: int, digest: str, extension: Literal["jpg", "png"]) -> KeptQuery:
        """Keep a picture as it is; durable on return. Raises QueriesNotKept, and PictureTooLarge for one alone."""
        query = self.new(data, width=width, height=height, digest=digest, extension=extension)
        self._objects.put(PICTURES, query.picture_name, data)
        values = (
            query.query_id, query.created_at, query.width, query.height, query.digest, query.extension, query.size,
        )  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute(_LOCK)
            crowded = _oldest(connection, _size(connection)[1] + query.size - self.max_bytes)
            _remove(connection, crowded)
            connection.execute(_INSERT, values)
            size = _size(connection)
        self._size = size
        with suppress(StorageError):  # the picture is kept; what is left of others has no row any more
            for each in crowded:
                self._objects.delete(PICTURES, each.picture_name)
        return query

    def get(self, query_id: str) -> KeptQuery:
        """A kept picture; raises QueryNotFound, also for one whose time is over."""
        row = None
        if re.fullmatch(QUERY_ID, query_id, re.ASCII):  # no database can be asked for some others
            with self._database.transaction() as connection:
                row = connection.execute(f"{_SELECT} WHERE query_id = %s", (query_id,)).fetchone()
        return self.current(None if row is None else _query(row), query_id)

    def held(self, query_ids: Collection[str]) -> set[str]:
        """Those of them that no replica has removed yet."""
        if not query_ids:
            return set()
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT query_id FROM vehicle_search.queries WHERE query_id = ANY(%s)", (list(query_ids),)
            ).fetchall()
        return {query_id for (query_id,) in rows}

    def read(self, query: KeptQuery) -> bytes:
        """A picture's bytes; raises QueryNotFound where it went meanwhile."""
        try:
            return self._objects.get(PICTURES, query.picture_name)
        except ObjectMissing as error:
            raise self.not_found(query.query_id) from error

    def erase(self, query_id: str) -> None:
        """Remove a picture before its time, for all replicas; raises QueryNotFound."""
        if not self._removed([self.get(query_id)]):
            raise self.not_found(query_id)

    def sweep(self) -> list[str]:
        """Remove what is over, and the oldest where all take more than they may; the ids of those.

        What another replica has removed meanwhile is not among them.
        """
        now = self.erasing_clock()
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE created_at <= %s ORDER BY created_at, query_id", (now - timedelta(hours=self.hours),)
            ).fetchall()
        gone = self._removed([_query(row) for row in rows])
        with self._database.transaction() as connection:
            crowded = _oldest(connection, _size(connection)[1] - self.max_bytes)
        gone += self._removed(crowded)
        if self._look_again is None or self._look_again <= now:
            self._remove_orphans(now - ORPHANED_AFTER)
            self._look_again = now + LOOKED_FOR_EVERY
        return gone

    def size(self) -> tuple[int, int]:
        """How many pictures there are, and their bytes, by what was last done here: the database is not asked."""
        return self._size

    def _removed(self, queries: Sequence[KeptQuery]) -> list[str]:
        """Remove pictures, first the bytes, so that whoever is told of a failure can ask again; the ids of those."""
        for query in queries:
            self._objects.delete(PICTURES, query.picture_name)
        with self._database.transaction() as connection:
            connection.execute(_LOCK)
            removed = _remove(connection, queries)
            size = _size(connection)
        self._size = size
        return [each.query_id for each in queries if each.query_id in removed]

    def _remove_orphans(self, before: datetime) -> None:
        names = [name for name, put in self._objects.names(PICTURES) if put < before]
        held = self.held([name.partition(".")[0] for name in names])
        for name in names:
            if name.partition(".")[0] not in held:
                self._objects.delete(PICTURES, name)


def _size(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    row = connection.execute(_SIZE).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _oldest(connection: psycopg.Connection[Any], surplus: int) -> list[KeptQuery]:
    return [_query(row) for row in connection.execute(_OLDEST, (surplus,)).fetchall()] if surplus > 0 else []


def _remove(connection: psycopg.Connection[Any], queries: Sequence[KeptQuery]) -> set[str]:
    """The ids of those that were there."""
    if not queries:
        return set()
    rows = connection.execute(_REMOVE, ([each.query_id for each in queries],)).fetchall()
    return {query_id for (query_id,) in rows}


def _query(row: tuple[Any, ...]) -> KeptQuery:
    query_id, created_at, width, height, digest, extension, size = row
    return KeptQuery(
        query_id=query_id, created_at=created_at.astimezone(UTC), width=width, height=height, digest=digest,
        extension="jpg" if extension == "jpg" else "png", size=size,
    )  # fmt: skip
