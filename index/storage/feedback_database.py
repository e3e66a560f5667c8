"""What people said of pairs of pictures, in a SQLite file of its own beside a gallery's database.

Its own, so that a gallery can be searched whatever becomes of it. A picture that is no image of the gallery, as a kept
query's is none for long, lies in it with the answer; images are named, and read from the gallery. There is no
write-ahead log: answers come one by one, and what is committed is on the disk.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import apsw

from index.errors import DataFolderUnusable, StorageError, StorageFull
from index.gallery import Answer
from index.storage.answer_row import COLUMNS, EXCLUDED, answer_of, answer_row, require_bytes, require_place
from index.storage.crop_store import is_as_written
from index.storage.database_file import file_size, open_immutable, open_read_only, translated
from index.storage.gallery_files import FEEDBACK
from index.storage.row_checksum import row_checksum, teach
from index.storage.stored_time import microseconds
from index.whole_file import sync_file

LAYOUT: Final = 1
DAMAGED: Final = "an answer is not what was written"
LOST: Final = "the picture of an answer is missing, or not what was written"
BROKEN: Final = "the feedback cannot be read"

_BUSY = 30_000  # milliseconds to wait for a backup that reads
_AT_ONCE = 1000  # answers
_LAST = 2**63 - 1
_CHECKSUM = (
    "row_checksum(CAST(answer_id AS BLOB), same, CAST(image_id AS BLOB), CAST(image_crop AS BLOB),"
    " CAST(query_image_id AS BLOB), CAST(query_id AS BLOB), CAST(query_box AS BLOB), CAST(query_crop AS BLOB),"
    " CAST(distance AS BLOB), given_at)"
)
_SCHEMA = """
CREATE TABLE answers (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    answer_id TEXT NOT NULL UNIQUE,
    same INTEGER NOT NULL,          -- 1: one vehicle, 0: two
    image_id TEXT NOT NULL,         -- of the gallery
    image_crop TEXT NOT NULL,       -- content name of its crop: with another one it is another picture
    query_image_id TEXT,            -- the other picture: an image of the gallery,
    query_id TEXT,                  -- or a query that was kept for a while,
    query_box TEXT,                 -- x,y,width,height in it; NULL: all of it
    query_crop TEXT NOT NULL,       -- in either case by its content
    distance TEXT,                  -- that was shown
    given_at INTEGER NOT NULL,      -- microseconds since 1970, UTC
    pair TEXT NOT NULL UNIQUE,      -- both content names, in order
    checksum INTEGER NOT NULL       -- of all but place and pair
) STRICT;
CREATE INDEX answers_own ON answers (query_crop) WHERE query_image_id IS NULL;
CREATE TABLE pictures (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE INDEX pictures_bytes ON pictures (bytes);
"""
_PUT = (
    f"INSERT INTO answers ({COLUMNS}, pair, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    f" ON CONFLICT (pair) DO UPDATE SET ({COLUMNS}, checksum) = (SELECT {EXCLUDED}, excluded.checksum)"
)
_OWN_PICTURES = "SELECT DISTINCT query_crop FROM answers WHERE query_image_id IS NULL"
_FORGET = (  # those of some pictures that no answer has any more
    "DELETE FROM pictures WHERE name IN (SELECT value FROM json_each(?))"
    " AND NOT EXISTS (SELECT 1 FROM answers WHERE query_crop = name AND query_image_id IS NULL)"
)
_PICTURE_BYTES = "SELECT coalesce(sum(bytes), 0) FROM pictures"
_PRAGMAS = """
PRAGMA synchronous = EXTRA;         -- a commit that returned survives a loss of power
PRAGMA secure_delete = ON;          -- what is erased is overwritten
"""


class FeedbackDatabase:
    """The answers of one gallery, see ``index.feedback.answer_home``; there is no file before the first.

    Callers take ``turns``: SQLite looks for journals by their names, so none may be open while the folder moves.

    Nothing stays open. Raises StorageFull, StorageError, and DataFolderUnusable for a file of a newer release.
    ``read_only``: the file is not touched; nobody else may write to it.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path, self._read_only = folder / FEEDBACK, read_only
        self.turns = threading.Lock()

    @property
    def exists(self) -> bool:
        """Whether anything was ever said."""
        return self.path.exists()

    def put(self, answer: Answer, picture: bytes | None, *, most: int, most_bytes: int) -> tuple[Answer, bool]:
        """See ``Answers``."""
        with self._writing() as connection:
            earlier: tuple[str, str] | None = connection.execute(
                "SELECT answer_id, query_crop FROM answers WHERE pair = ?", (answer.pair,)
            ).fetchone()
            if earlier is None:
                require_place(connection.execute("SELECT count(*) FROM answers").get, most)
            else:
                answer = replace(answer, answer_id=earlier[0])
            said = answer_row(answer)
            connection.execute(_PUT, (*said, answer.pair, row_checksum(*said)))
            if picture is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)", (answer.query_crop, len(picture), picture)
                )
            if earlier is not None:
                connection.execute(_FORGET, (json.dumps([earlier[1]]),))
            if picture is not None:
                require_bytes(connection.execute(_PICTURE_BYTES).get, most_bytes)
        return answer, earlier is None

    def latest(
        self, *, below: int | None = None, limit: int = _AT_ONCE, query_id: str | None = None,
        query_image_id: str | None = None,
    ) -> list[tuple[int, Answer]]:  # fmt: skip
        """See ``Answers``; those that are damaged are left out."""
        if not self.exists:
            return []
        with self._reading() as connection:
            rows: list[Any] = connection.execute(
                f"SELECT place, {COLUMNS} FROM answers WHERE place < :below"  # noqa: S608
                " AND (:query_id IS NULL OR query_id = :query_id)"
                " AND (:query_image_id IS NULL OR query_image_id = :query_image_id)"
                f" AND checksum IS {_CHECKSUM} ORDER BY place DESC LIMIT :limit",
                {
                    "below": _LAST if below is None else below,
                    "limit": limit,
                    "query_id": query_id,
                    "query_image_id": query_image_id,
                },
            ).fetchall()
        return [(place, answer_of(row)) for place, *row in rows]

    def all(self) -> Iterator[Answer]:
        """Every answer, the latest first, some at a time."""
        below = None
        while block := self.latest(below=below):
            yield from (answer for _, answer in block)
            below = block[-1][0]

    def picture(self, name: str) -> bytes | None:
        """The picture of an answer; None where there is none, or not as it was written."""
        if not self.exists:
            return None
        with self._reading() as connection:
            found: bytes | None = connection.execute("SELECT data FROM pictures WHERE name = ?", (name,)).get
        return found if found is not None and is_as_written(name, found) else None

    def delete(self, answer_ids: Iterable[str]) -> int:
        """Erase answers, and the pictures that no other has; how many there were."""
        return self._delete("answer_id IN (SELECT value FROM json_each(?))", json.dumps(list(answer_ids)))

    def keep(self, answer_ids: Iterable[str]) -> int:
        """Erase all answers but these; how many there were."""
        return self._delete("answer_id NOT IN (SELECT value FROM json_each(?))", json.dumps(list(answer_ids)))

    def forget(self, answers: Sequence[Answer]) -> int:
        """Erase those of some answers that nobody has given anew since they were read; how many there were."""
        return self._delete(
            "(answer_id, given_at) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
            json.dumps([(each.answer_id, microseconds(each.given_at)) for each in answers]),
        )

    def sweep(self) -> None:
        """Nothing is left behind: a write is there or not."""

    def rewrite(self) -> None:
        """Write the file anew with nothing in it but its rows."""
        if self.exists:
            with self._connected() as connection:
                connection.execute("VACUUM")

    def disk_bytes(self) -> int:
        """Size of the file."""
        return file_size(self.path)

    def answer_ids(self) -> list[str]:
        """Ids of all answers, damaged or not; read beside whoever has the file."""
        if not self.exists:
            return []
        with self._beside() as connection:
            return [str(answer_id) for (answer_id,) in connection.execute("SELECT answer_id FROM answers")]

    def problems(self) -> dict[str, list[str]]:
        """What is not as it was written: answers by their ids, pictures by their names. Nothing is changed."""
        if not self.exists:
            return {}
        try:
            with self._beside() as connection:
                connection.execute("BEGIN")
                return _problems(connection)
        except StorageError as error:
            if isinstance(error.__cause__, apsw.CorruptError | apsw.NotADBError | apsw.SQLError):
                return {BROKEN: [f"{self.path.name}: {' '.join(str(error.__cause__).split())}"]}
            raise

    def drop_bad(self) -> None:
        """Erase what ``problems`` names, of a file that can be read."""
        with self._writing() as connection:
            lost = json.dumps(_problems(connection).get(LOST, []))
            connection.execute(f"DELETE FROM answers WHERE checksum IS NOT {_CHECKSUM}")  # noqa: S608
            connection.execute(
                "DELETE FROM answers WHERE query_image_id IS NULL AND query_crop IN (SELECT value FROM json_each(?))",
                (lost,),
            )
            connection.execute(f"DELETE FROM pictures WHERE name NOT IN ({_OWN_PICTURES})")  # noqa: S608

    def copy_to(self, part: Path) -> None:
        """A copy of one moment, flushed, without what was erased; taken beside whoever has the file."""
        with self._beside() as connection:
            try:
                connection.execute("VACUUM INTO ?", (str(part),))
            except apsw.FullError as error:
                raise StorageFull(f"no space left for {part}; free some space and repeat it") from error
        sync_file(part)

    def _delete(self, condition: str, *bindings: str) -> int:
        if not self.exists:
            return 0
        with self._writing() as connection:
            gone = [
                name
                for (name,) in connection.execute(
                    f"DELETE FROM answers WHERE {condition} RETURNING query_crop",  # noqa: S608
                    bindings,
                )
            ]
            connection.execute(_FORGET, (json.dumps(sorted(set(gone))),))
        return len(gone)

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """A transaction that is on the disk at the end; the file is made where there is none."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")  # closing it without a COMMIT takes everything back
            if not _require_layout(connection, self.path):
                connection.execute(f"{_SCHEMA} PRAGMA user_version = {LAYOUT}").fetchall()
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """A view of one moment; what a write that was killed left is taken back first."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            _require_layout(connection, self.path)
            yield connection

    @contextmanager
    def _beside(self) -> Iterator[apsw.Connection]:
        """For reading, whoever else has the file open."""
        with translated(self.path), closing(open_read_only(self.path)) as connection:
            connection.set_busy_timeout(_BUSY)
            _require_layout(connection, self.path)
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        with translated(self.path), closing(self._connection()) as connection:
            connection.set_busy_timeout(_BUSY)
            yield connection

    def _connection(self) -> apsw.Connection:
        if self._read_only:
            if file_size(self.path.with_name(f"{FEEDBACK}-journal")):
                raise DataFolderUnusable(
                    f"a write to {self.path} was cut off: open the data folder once for writing before it is read only "
                    "(a service on it, or `vehicle-index list`)"
                )
            return open_immutable(self.path)
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        teach(connection)
        connection.execute(_PRAGMAS).fetchall()
        return connection


def _require_layout(connection: apsw.Connection, path: Path) -> int:
    layout: int = connection.execute("PRAGMA user_version").get
    if layout > LAYOUT:
        raise DataFolderUnusable(
            f"{path} has layout {layout}, this release reads up to {LAYOUT}: use the newer release"
        )
    return layout


def _problems(connection: apsw.Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    pages = [str(message) for (message,) in connection.execute("PRAGMA integrity_check(100)") if message != "ok"]
    damaged = [
        row[0].decode(errors="replace")
        for row in connection.execute(
            f"SELECT CAST(answer_id AS BLOB) FROM answers WHERE checksum IS NOT {_CHECKSUM}"  # noqa: S608
        )
    ]
    names: list[Any] = connection.execute(
        "SELECT DISTINCT query_crop FROM answers WHERE query_image_id IS NULL"
    ).fetchall()
    lost = []
    for (name,) in names:
        data = connection.execute("SELECT data FROM pictures WHERE name = ?", (name,)).get
        if data is None or not is_as_written(name, data):
            lost.append(str(name))
    for what, subjects in ((BROKEN, pages), (DAMAGED, damaged), (LOST, lost)):
        if subjects:
            found[what] = subjects
    return found
