"""The truth about a gallery: one SQLite file, written in transactions that reach the disk before they return.

Layout 2. ``images`` has a row an image; row ids are never reused, a replacement is a new row. ``embeddings`` keeps what
a model says by (row, space), so that a migration can write beside the old ones and switch ``about.space``. ``changes``
counts every write, so that a derived index can tell what it has missed. ``crops`` lists the stored files, ``discarded``
those that no row needs any more and that are still to be removed. What a client gave or a model said carries a
checksum (``index.storage.row_checksum``); a file of layout 1, which had none, gets them on opening, and the time in the
cameras' index.
"""

import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import apsw
import numpy as np
from numpy.typing import NDArray

from index.errors import DataFolderUnusable, GalleryNotFound, ReadOnly, StorageError, StorageFull
from index.gallery import GallerySpec
from index.storage.row_checksum import OF_EMBEDDING, OF_IMAGE, teach
from index.storage.space_reserve import LOG, SpaceReserve
from index.storage.write_ahead_log import log_of, require_whole_log

LAYOUT: Final = 2
PAGE: Final = 16_384  # bytes of a page of the file

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BLOCK = 8192  # rows a read of vectors
_LONGEST_LOG = 64 << 20  # bytes of the write-ahead log
_BROUGHT_IN = 1000  # pages of the log, after which SQLite brings it into the file; its own default
_LOG_PATIENCE = 250  # milliseconds to wait for readers of a log that has grown; who writes waits as long
_BUSY = 10_000  # milliseconds; only recovery after a crash holds others up
_LAST_ROW = 2**63 - 1
_WRITTEN_AT_ONCE = 32 << 10  # KiB of pages that a transaction changes before some go to the log more than once
_NO_SPACE = 1 << 20  # bytes free; an error of SQLite's with less than this left means that the disk is full
_PRAGMAS = f"""
PRAGMA page_size = {PAGE};          -- measured: half the time and disk that 4 KiB pages take for vectors of 2 KB
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;          -- a commit that returned survives a loss of power
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;          -- erased images are overwritten
PRAGMA journal_size_limit = {_LONGEST_LOG};
"""
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE crops (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE discarded (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE images (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id TEXT NOT NULL UNIQUE,
    vehicle_id TEXT,
    camera_id TEXT,
    captured_at INTEGER,            -- microseconds since 1970, UTC
    ingested_at INTEGER NOT NULL,   -- the same
    crop TEXT REFERENCES crops,
    attributes TEXT NOT NULL,       -- JSON object, as it is given back
    checksum INTEGER                -- of all that but row_id
) STRICT;
CREATE INDEX images_vehicle ON images (vehicle_id) WHERE vehicle_id IS NOT NULL;
CREATE INDEX images_camera ON images (camera_id, captured_at) WHERE camera_id IS NOT NULL;
CREATE INDEX images_captured ON images (captured_at) WHERE captured_at IS NOT NULL;
CREATE INDEX images_ingested ON images (ingested_at);
CREATE INDEX images_crop ON images (crop);
CREATE TABLE attributes (           -- the same again, one by one, for filters; a value keeps its type
    row_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    name TEXT NOT NULL,
    value ANY NOT NULL,
    PRIMARY KEY (name, value, row_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX attributes_row ON attributes (row_id);
CREATE TABLE spaces (
    space_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dim INTEGER NOT NULL,           -- D
    viewpoints TEXT NOT NULL        -- JSON array of V names
) STRICT;
CREATE TABLE embeddings (
    row_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    space_id INTEGER NOT NULL REFERENCES spaces,
    viewpoint TEXT,                 -- the most probable one
    probabilities BLOB,             -- of the viewpoints, float32 (V,), little-endian
    vector BLOB NOT NULL,           -- float32 (D,), little-endian
    checksum INTEGER,               -- of all that
    UNIQUE (row_id, space_id)
) STRICT;
CREATE INDEX embeddings_viewpoint ON embeddings (space_id, viewpoint, row_id) WHERE viewpoint IS NOT NULL;
CREATE TABLE changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    row_id INTEGER NOT NULL,
    kind TEXT NOT NULL              -- added, changed, removed; lost: to damage, row 0 where nobody knows which
) STRICT;
"""
_STEPS = {  # from a layout to the next; each runs in one transaction with the new number
    1: f"""
        ALTER TABLE images ADD COLUMN checksum INTEGER;
        ALTER TABLE embeddings ADD COLUMN checksum INTEGER;
        UPDATE images SET checksum = {OF_IMAGE};
        UPDATE embeddings SET checksum = {OF_EMBEDDING};
        DROP INDEX images_camera;
        CREATE INDEX images_camera ON images (camera_id, captured_at) WHERE camera_id IS NOT NULL;
    """  # noqa: S608
}


@dataclass(frozen=True)
class Bound:
    """What a gallery is when it is searched in one space, and that space's number in the database."""

    space_id: int
    spec: GallerySpec


class GalleryDatabase:
    """One file, a connection that writes and as many that read as there are readers at a time.

    ``name``, ``created_at`` and ``secret`` (the gallery's own, for signing) are read on opening. Raises
    DataFolderUnusable for a file of a newer release, LogDamaged where opening it would lose commits, StorageError for
    one that cannot be read; every use raises StorageFull, StorageError, and GalleryNotFound after ``close``.

    ``read_only``: the file is not touched, nor a file beside it, and may lie where nothing can be written; nobody else
    may write to it. Raises DataFolderUnusable where it would have to be written first, ReadOnly for every write.
    ``reserve``: while it is lent only what erases is written, and all else raises StorageFull.
    """

    name: str
    created_at: datetime
    secret: bytes

    def __init__(self, path: Path, *, read_only: bool = False, reserve: SpaceReserve | None = None) -> None:
        self.path, self._read_only, self._reserve = path, read_only, reserve
        self._idle: list[apsw.Connection] = []
        self._guard = threading.Lock()
        self._closed, self._by_itself = False, True
        with translated(path):
            if read_only:
                self._require_finished()
            else:
                require_whole_log(path, page=PAGE)  # once it is open, nothing of what is hidden can be saved
            self._writer = self._connected()
            try:
                self._writer.execute(f"PRAGMA cache_size = -{_WRITTEN_AT_ONCE}")
                self._migrate()
                self._read_about()
            except BaseException:
                self._writer.close()
                raise

    @staticmethod
    def create(path: Path, name: str, spec: GallerySpec) -> None:
        """Write the file of an empty gallery."""
        about = {
            "name": name,
            "space": "1",
            "spec": json.dumps({**asdict(spec), "embedding_space": None, "embedding_dim": None, "viewpoints": None}),
            "created_at": str(microseconds(datetime.now(UTC))),
            "secret": secrets.token_hex(16),
        }
        with translated(path):
            spaces = [(1, spec.embedding_space, spec.embedding_dim, json.dumps(spec.viewpoints))]
            create_file(path, about, spaces).close()

    @contextmanager
    def transaction(self, *, erasing: bool = False) -> Iterator[apsw.Connection]:
        """The writing connection inside a transaction that is durable at the end; callers take turns."""
        self.require_writable()
        if not erasing:
            self.require_room()
        if self._by_itself == self._lent:  # while the reserve is lent SQLite brings no log in: see empty_log
            self._by_itself = not self._lent
            self._writer.wal_autocheckpoint(_BROUGHT_IN if self._by_itself else 0)
        with translated(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite rolls some errors back by itself
                    self._writer.execute("ROLLBACK")
                raise
        if self._log_bytes() > (LOG if self._lent else _LONGEST_LOG):
            self.empty_log()

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """A reading connection that sees the state of this moment throughout."""
        connection = self._reader()
        with translated(self.path):
            try:
                connection.execute("BEGIN")
                connection.execute("SELECT 1 FROM about").get  # noqa: B018  # the first read pins the state, BEGIN does not
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    def vectors(
        self, bound: Bound, *, up_to: int = _LAST_ROW, every: int = 1
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """As :func:`blocks`, of this moment."""
        with self.snapshot() as connection:
            yield from blocks(connection, bound, up_to=up_to, every=every)

    def empty_log(self) -> bool:
        """Bring the log into the file and cut it to nothing; False where readers or the disk do not let us now.

        SQLite does the first by itself, but starts the log anew only when nobody reads from it: readers that overlap
        make it grow for ever, and what was erased stays in it. The caller is the one that may write.
        """
        self.require_writable()
        if self._lent and not self._can_grow():
            return False
        self._writer.set_busy_timeout(_LOG_PATIENCE)
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error:
            return False
        finally:
            self._writer.set_busy_timeout(_BUSY)
        return True

    def require_sound(self) -> None:
        """Read every page; raises StorageError where SQLite finds one damaged."""
        with translated(self.path), self.snapshot() as connection:
            message: str = connection.execute("PRAGMA quick_check(1)").get
            if message != "ok":
                raise apsw.CorruptError(" ".join(message.split()))

    def rewrite(self) -> None:
        """Write the file anew with nothing in it but its rows. The caller is the one that may write."""
        self.require_writable()
        with translated(self.path):
            self._writer.execute("VACUUM")

    def disk_bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        return _size(self.path) + self._log_bytes()

    def require_open(self) -> None:
        """Raise GalleryNotFound after ``close``."""
        if self._closed:
            raise GalleryNotFound("the gallery was closed or dropped")

    def require_writable(self) -> None:
        """Raise ReadOnly where nothing may be written, GalleryNotFound after ``close``."""
        self.require_open()
        if self._read_only:
            raise ReadOnly(
                f"gallery {self.name} is open for reading only (read_only): nothing can be written, changed or erased "
                "here; send it to the service that owns the data folder"
            )

    def require_room(self) -> None:
        """Raise StorageFull where what is left of the disk is kept for erasing."""
        if self._reserve is not None:
            self._reserve.require_room()

    def close(self) -> None:
        """Close what nobody uses, and the rest when it is given back. The caller is the one that may write."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in (*idle, self._writer):
            connection.close()

    def _read_about(self) -> None:
        try:
            about: dict[str, str] = dict(self._writer.execute("SELECT key, value FROM about"))
            self.name, self.secret = about["name"], bytes.fromhex(about["secret"])
            self.created_at = moment(int(about["created_at"]))
            bound_of(self._writer)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StorageError(
                f"{self.path} cannot be used: what the gallery was created with cannot be read; `vehicle-index verify` "
                "tells what is damaged, `vehicle-index restore` brings back a backup"
            ) from error

    def _log_bytes(self) -> int:
        return _size(log_of(self.path))

    @property
    def _lent(self) -> bool:
        return self._reserve is not None and self._reserve.lent

    def _can_grow(self) -> bool:
        """Whether the file can become as long as its log says; to begin in vain would take the space from erasing."""
        with translated(self.path):
            pages: int = self._writer.execute("PRAGMA page_count").get
        return pages * PAGE - _size(self.path) <= shutil.disk_usage(self.path.parent).free

    def _migrate(self) -> None:
        """Bring the file of an earlier release to this layout; an interruption leaves it as it was."""
        layout: int = self._writer.execute("PRAGMA user_version").get
        if layout > LAYOUT:
            raise DataFolderUnusable(
                f"{self.path} has layout {layout}, this release reads up to {LAYOUT}: use the newer release"
            )
        if layout < LAYOUT and self._read_only:
            raise DataFolderUnusable(
                f"{self.path} has layout {layout}, older than {LAYOUT}, and reading alone does not upgrade it: open it "
                "once for writing (`vehicle-index list`)"
            )
        for step in range(max(layout, 1), LAYOUT):
            with self._writer:
                self._writer.execute(f"{_STEPS[step]} PRAGMA user_version = {step + 1}").fetchall()

    def _connected(self) -> apsw.Connection:
        return open_immutable(self.path) if self._read_only else connect(self.path)

    def _require_finished(self) -> None:
        """Refuse a file whose last writes are still in its log: reading alone cannot bring them in."""
        if self._log_bytes():
            raise DataFolderUnusable(
                f"the log of {self.path} holds writes that are not in the file yet (its service was killed, or runs): "
                "open the data folder once for writing (`vehicle-index list`) before it is read only"
            )

    def _reader(self) -> apsw.Connection:
        with self._guard:
            self.require_open()
            if self._idle:
                return self._idle.pop()
        try:
            with translated(self.path):
                connection = self._connected()  # WAL's index is written by readers too
                connection.execute("PRAGMA query_only = ON")
        except StorageError:
            self.require_open()  # dropped meanwhile
            raise
        if self._closed:  # what was opened may be a successor's file
            connection.close()
        self.require_open()
        return connection

    def _give_back(self, connection: apsw.Connection) -> None:
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def create_file(path: Path, about: Mapping[str, str], spaces: Iterable[tuple[int, str, int, str]]) -> apsw.Connection:
    """A file with these rows of ``about`` and ``spaces`` and no images; raises apsw's errors."""
    connection = connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        with connection:
            connection.execute(_SCHEMA)
            connection.executemany("INSERT INTO spaces VALUES (?, ?, ?, ?)", spaces)
            connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
    except BaseException:
        connection.close()
        raise
    return connection


def bound_of(connection: apsw.Connection) -> Bound:
    """The space in which a gallery is searched, and what the gallery is there."""
    about: dict[str, str] = dict(connection.execute("SELECT key, value FROM about WHERE key IN ('space', 'spec')"))
    space_id = int(about["space"])
    space, dim, viewpoints = connection.execute(
        "SELECT name, dim, viewpoints FROM spaces WHERE space_id = ?", (space_id,)
    ).get
    spec: dict[str, Any] = json.loads(about["spec"])
    spec |= {"embedding_space": space, "embedding_dim": dim, "viewpoints": tuple(json.loads(viewpoints))}
    return Bound(space_id, GallerySpec(**spec))


def searched_space(connection: apsw.Connection) -> int:
    """The number of the space in which a gallery is searched."""
    return int(connection.execute("SELECT value FROM about WHERE key = 'space'").get)


def blocks(
    connection: apsw.Connection, bound: Bound, *, above: int = 0, up_to: int = _LAST_ROW, every: int = 1
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Row ids int64 (n,), ascending, and vectors float32 (n, D) of one space, block by block.

    Of the rows with ids above ``above``, up to ``up_to``, and of these of about one in ``every``.
    """
    cursor = connection.execute(
        "SELECT row_id, vector FROM embeddings WHERE space_id = ? AND row_id > ? AND row_id <= ?"
        " AND row_id * 2654435761 % 4294967296 % ? = 0 ORDER BY row_id",  # scattered, whatever order they came in
        (bound.space_id, above, up_to, every),
    )
    while block := [row for _, row in zip(range(_BLOCK), cursor, strict=False)]:
        row_ids, vectors = zip(*block, strict=True)
        if any(len(vector) != 4 * bound.spec.embedding_dim for vector in vectors):
            raise StorageError(
                f"a vector of gallery {bound.spec.embedding_space} has not {bound.spec.embedding_dim} numbers; "
                "`vehicle-index verify` names it, `vehicle-index repair` saves the rest"
            )
        joined = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(block), bound.spec.embedding_dim)
        yield np.array(row_ids, dtype=np.int64), joined.astype(np.float32, copy=False)


def lacking(connection: apsw.Connection) -> list[str]:
    """Tables and indexes of this layout that a file has not, or not with these columns; of an older one the former."""
    whole = connection.execute("PRAGMA user_version").get >= LAYOUT
    with closing(apsw.Connection(":memory:")) as new:
        new.execute(_SCHEMA).fetchall()
        expected = _shape(new)
    own = _shape(connection)
    return sorted(name for name in expected if name not in own or (whole and own[name] != expected[name]))


def open_read_only(path: Path) -> apsw.Connection:
    """A connection that changes nothing and needs no lock of the data folder.

    Raises apsw's errors, and LogDamaged where it would not see all commits.
    """
    if _unchanging(path):  # SQLite would not read it without a place for the log's shared memory
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)
    else:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(_BUSY)
    teach(connection)
    if _size(log_of(path)):
        try:
            connection.execute("PRAGMA schema_version").get  # noqa: B018  # the first read brings the log in
            require_whole_log(path, page=PAGE, shared=True)
        except BaseException:
            connection.close()
            raise
    return connection


def open_immutable(path: Path) -> apsw.Connection:
    """As :func:`open_read_only`, of a file to which nobody writes; no file is made beside it, as a log needs one."""
    connection = apsw.Connection(
        f"file:{quote(str(path.absolute()))}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
    teach(connection)
    return connection


def microseconds(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The UTC time of microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def connect(path: Path, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
    """A connection with the settings that durability rests on; raises apsw's errors."""
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(_BUSY)
    teach(connection)
    connection.execute(_PRAGMAS).fetchall()  # to the end: a statement that gives a row holds up those behind it
    return connection


def _shape(connection: apsw.Connection) -> dict[str, str]:
    """Columns of each table and index by its name."""
    return dict(
        connection.execute(
            "SELECT name, coalesce("
            " (SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(entry.name) ORDER BY cid)),"
            " (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(entry.name) ORDER BY seqno)))"
            " FROM sqlite_schema AS entry"
        )
    )


def _unchanging(path: Path) -> bool:
    """Whether a file lies on a medium that nobody can write to, and is whole without a log."""
    try:
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
    return read_only and not _size(log_of(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except apsw.FullError as error:
        raise _full(path) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StorageError(
            f"{path} cannot be used: {error}; `vehicle-index verify` tells what is damaged, `vehicle-index repair` "
            "saves the rest"
        ) from error
    except apsw.Error as error:
        if isinstance(error, apsw.IOError | apsw.CantOpenError) and _no_space(path.parent):
            raise _full(path) from error  # SQLite says "full" of the file itself, not of its log's shared memory
        raise StorageError(f"{path} cannot be used: {error}") from error


def _no_space(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _NO_SPACE
    except FileNotFoundError:  # dropped meanwhile
        return False


def _full(path: Path) -> StorageFull:
    return StorageFull(f"no space left for {path}; nothing was written; free some space and send it again")
