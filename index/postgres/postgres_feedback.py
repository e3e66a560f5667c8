"""What people said of matches, of all replicas: rows in the database, pictures of queries in the object store.

Of a gallery one change is made at a time, so that limits hold for all replicas together. A picture has its row before
its bytes are put, and until they are removed, so that whoever dies leaves nothing behind that nobody knows of: with
``remove_at`` bytes belong to no answer, and whoever sweeps after that time removes them. Bytes have a name that no
others had, so that removing them takes nothing from an answer that is given meanwhile.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Final

import psycopg

from index.errors import GalleryNotFound, StorageError
from index.gallery import Answer
from index.objects.crop_home import CropHome
from index.objects.object_store import ObjectStore
from index.postgres.postgres_database import PostgresDatabase
from index.storage.answer_row import COLUMNS, EXCLUDED, answer_of, answer_row, require_bytes, require_place
from index.storage.crop_store import is_as_written
from index.storage.stored_time import microseconds

PICTURES: Final = "_feedback"  # beside the galleries in the object store: no gallery can have this name

_AT_ONCE = 1000
_LAST = 2**63 - 1
_KNOW = "INSERT INTO vehicle_search.feedback_galleries (gallery) VALUES (%s) ON CONFLICT DO NOTHING"
_TURN = "SELECT dropped FROM vehicle_search.feedback_galleries WHERE gallery = %s FOR UPDATE"
_DROP = (
    "INSERT INTO vehicle_search.feedback_galleries VALUES (%s, true) ON CONFLICT (gallery) DO UPDATE SET dropped = true"
)
_PUT = (
    f"INSERT INTO vehicle_search.feedback (gallery, pair, {COLUMNS}) VALUES ({', '.join(['%s'] * 12)})"  # noqa: S608
    f" ON CONFLICT (gallery, pair) DO UPDATE SET ({COLUMNS}) = ({EXCLUDED})"
)
_LATEST = (
    f"SELECT place, {COLUMNS} FROM vehicle_search.feedback WHERE gallery = %(gallery)s AND place < %(below)s"  # noqa: S608
    " AND (%(query_id)s::text IS NULL OR query_id = %(query_id)s)"
    " AND (%(query_image_id)s::text IS NULL OR query_image_id = %(query_image_id)s)"
    " ORDER BY place DESC LIMIT %(limit)s"
)
_PICTURES = "vehicle_search.feedback_pictures"
_NAME = (
    f"INSERT INTO {_PICTURES} (object, gallery, name, size, remove_at)"  # noqa: S608
    " VALUES (%s, %s, %s, %s, now() + interval '1 day')"
)
_TAKE = f"UPDATE {_PICTURES} SET remove_at = NULL WHERE object = %s"  # noqa: S608
_REFUSE = f"UPDATE {_PICTURES} SET remove_at = now() WHERE object = %s AND remove_at IS NOT NULL RETURNING object"  # noqa: S608
_LET_GO = f"UPDATE {_PICTURES} SET remove_at = now() WHERE gallery = %s AND remove_at IS NULL"  # noqa: S608
_NAMED = " AND name = %s"
_UNNAMED = (
    " AND name = ANY(%s) AND NOT EXISTS (SELECT 1 FROM vehicle_search.feedback AS answer WHERE answer.gallery ="
    " feedback_pictures.gallery AND query_crop = name AND query_image_id IS NULL)"
)
_TAKEN = f"SELECT coalesce(sum(size), 0) FROM {_PICTURES} WHERE gallery = %s AND remove_at IS NULL"  # noqa: S608
_FIND = f"SELECT object FROM {_PICTURES} WHERE gallery = %s AND name = %s AND remove_at IS NULL"  # noqa: S608
_DUE = f"SELECT object FROM {_PICTURES} WHERE remove_at <= now() LIMIT {_AT_ONCE}"  # noqa: S608
_REMOVED = f"DELETE FROM {_PICTURES} WHERE object = ANY(%s)"  # noqa: S608


class PostgresFeedback:
    """See ``index.feedback.answer_home.FeedbackHome``. Raises StorageFull and StorageError."""

    def __init__(self, database: PostgresDatabase, objects: ObjectStore) -> None:
        self.database, self.pictures = database, CropHome(objects)

    def answers(self, identity: str) -> "PostgresAnswers":
        return PostgresAnswers(self, identity)

    def drop(self, identity: str) -> None:
        with self.database.transaction() as connection:
            connection.execute(_DROP, (identity,))
            connection.execute("DELETE FROM vehicle_search.feedback WHERE gallery = %s", (identity,))
            gone = _let_go(connection, identity)
        self.remove_soon(gone)

    def sweep(self) -> None:
        """Remove bytes that are no answer's, of any gallery."""
        while True:
            with self.database.transaction() as connection:
                due = _objects(connection, _DUE)
            if not due:
                return
            self._remove(due)

    def remove_soon(self, objects: list[str]) -> None:
        """Remove bytes now, or the next sweep does it: what they belonged to is gone already."""
        with suppress(StorageError):
            self._remove(objects)

    def refuse(self, own: str) -> None:
        """Remove bytes that no answer came to have; where that cannot be done now, a sweep does it after a day."""
        with suppress(StorageError):
            with self.database.transaction() as connection:
                refused = _objects(connection, _REFUSE, own)
            self._remove(refused)

    def _remove(self, objects: list[str]) -> None:
        if objects:
            self.pictures.delete(PICTURES, objects)
            with self.database.transaction() as connection:
                connection.execute(_REMOVED, (objects,))


class PostgresAnswers:
    """The answers of one gallery, the same for all replicas; see ``index.feedback.answer_home.Answers``."""

    def __init__(self, home: PostgresFeedback, gallery: str) -> None:
        self._home, self._gallery = home, gallery
        self.turns = nullcontext()

    def put(self, answer: Answer, picture: bytes | None, *, most: int, most_bytes: int) -> tuple[Answer, bool]:
        own = None if picture is None else self._placed(answer.query_crop, picture)
        gone: list[str] = []
        try:
            with self._turn() as connection:
                earlier = connection.execute(
                    "SELECT answer_id, query_crop FROM vehicle_search.feedback WHERE gallery = %s AND pair = %s",
                    (self._gallery, answer.pair),
                ).fetchone()
                if earlier is None:
                    answers = "SELECT count(*) FROM vehicle_search.feedback WHERE gallery = %s"
                    require_place(self._number(connection, answers), most)
                else:
                    answer = replace(answer, answer_id=earlier[0])
                connection.execute(_PUT, (self._gallery, answer.pair, *answer_row(answer)))
                if own is not None:
                    gone += _let_go(connection, self._gallery, _NAMED, answer.query_crop)
                    connection.execute(_TAKE, (own,))
                if earlier is not None:
                    gone += _let_go(connection, self._gallery, _UNNAMED, [earlier[1]])
                if own is not None:
                    require_bytes(self._number(connection, _TAKEN), most_bytes)
        except BaseException:
            if own is not None:
                self._home.refuse(own)
            raise
        self._home.remove_soon(gone)
        return answer, earlier is None

    def latest(
        self, *, below: int | None = None, limit: int = _AT_ONCE, query_id: str | None = None,
        query_image_id: str | None = None,
    ) -> list[tuple[int, Answer]]:  # fmt: skip
        asked = {
            "gallery": self._gallery, "below": _LAST if below is None else below, "limit": limit, "query_id": query_id,
            "query_image_id": query_image_id,
        }  # fmt: skip
        with self._home.database.transaction() as connection:
            rows = connection.execute(_LATEST, asked).fetchall()
        return [(place, answer_of(row)) for place, *row in rows]

    def picture(self, name: str) -> bytes | None:
        before = None
        while True:
            with self._home.database.transaction() as connection:
                found = connection.execute(_FIND, (self._gallery, name)).fetchone()
            if found is None or found == before:
                return None
            data = self._home.pictures.get(PICTURES, found[0])
            if data is not None:
                return data if is_as_written(name, data) else None
            before = found  # it may have been put anew meanwhile

    def delete(self, answer_ids: Iterable[str]) -> int:
        return self._erase("answer_id = ANY(%s)", list(answer_ids))

    def keep(self, answer_ids: Iterable[str]) -> int:
        return self._erase("answer_id <> ALL(%s)", list(answer_ids))

    def forget(self, answers: Sequence[Answer]) -> int:
        return self._erase(
            "(answer_id, given_at) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))",
            [each.answer_id for each in answers], [microseconds(each.given_at) for each in answers],
        )  # fmt: skip

    def sweep(self) -> None:
        self._home.sweep()

    def rewrite(self) -> None:
        """The database's own upkeep does that."""

    def _placed(self, name: str, picture: bytes) -> str:
        """Put the bytes of a picture, which are no answer's yet; what they are called there."""
        own = uuid.uuid4().hex
        with self._home.database.transaction() as connection:
            connection.execute(_NAME, (own, self._gallery, name, len(picture)))
        self._home.pictures.put(PICTURES, {own: picture})
        return own

    def _erase(self, condition: str, *bindings: Sequence[str | int]) -> int:
        with self._turn() as connection:
            rows = connection.execute(
                f"DELETE FROM vehicle_search.feedback WHERE gallery = %s AND {condition} RETURNING query_crop",  # noqa: S608
                (self._gallery, *bindings),
            ).fetchall()
            gone = _let_go(connection, self._gallery, _UNNAMED, [name for (name,) in rows])
        self._home.remove_soon(gone)
        return len(rows)

    @contextmanager
    def _turn(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction beside which nobody changes what is said of the gallery; GalleryNotFound."""
        with self._home.database.transaction() as connection:
            connection.execute(_KNOW, (self._gallery,))
            if self._number(connection, _TURN):
                raise GalleryNotFound("the gallery was dropped, or is being dropped: if it is there, drop it again")
            yield connection

    def _number(self, connection: psycopg.Connection[Any], question: str) -> int:
        """What a question about the gallery is answered with."""
        row = connection.execute(question, (self._gallery,)).fetchone()
        return int(row[0]) if row is not None else 0


def _let_go(
    connection: psycopg.Connection[Any], gallery: str, which: str = "", *bindings: str | list[str]
) -> list[str]:
    """Say of pictures of a gallery that they are no answer's from now on; what they are called in the object store."""
    return _objects(connection, f"{_LET_GO}{which} RETURNING object", gallery, *bindings)


def _objects(connection: psycopg.Connection[Any], question: str, *bindings: str | list[str]) -> list[str]:
    return [name for (name,) in connection.execute(question, bindings).fetchall()]
