"""The truth about a gallery: one SQLite file, written in transactions that reach the disk before they return."""

import json
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from index.errors import DataFolderUnusable, GalleryNotFound, ReadOnly, StorageError
from index.gallery import GallerySpec
from index.storage.about_rows import ensure_checksum, require_about
from index.storage.database_file import (
    BUSY,
    LONGEST_LOG,
    PAGE,
    connect,
    create_file,
    file_size,
    open_immutable,
    translated,
)
from index.storage.gallery_schema import LAYOUT, STEPS
from index.storage.space_reserve import LOG, SpaceReserve
from index.storage.stored_time import microseconds, moment
from index.storage.vector_block import stacked
from index.storage.write_ahead_log import log_of, require_whole_log

_BLOCK = 8192  # rows a read of vectors
_BROUGHT_IN = 1000  # pages of the log, after which SQLite brings it into the file; its own default
_LOG_PATIENCE = 250  # milliseconds to wait for readers of a log that has grown; who writes waits as long
_LAST_ROW = 2**63 - 1
_WRITTEN_AT_ONCE = 32 << 10  # KiB of pages that a transaction changes before some go to the log more than once


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
        if self.log_bytes() > (LOG if self._lent else LONGEST_LOG):
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
            self._writer.set_busy_timeout(BUSY)
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
        return file_size(self.path) + self.log_bytes()

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        return file_size(log_of(self.path))

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
            require_about(self._writer, self.path)
            if not self._read_only:
                ensure_checksum(self._writer)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StorageError(
                f"{self.path} cannot be used: what the gallery was created with cannot be read; `vehicle-index verify` "
                "tells what is damaged, `vehicle-index repair` turns back one flipped bit, `vehicle-index restore` "
                "brings back a backup"
            ) from error

    @property
    def _lent(self) -> bool:
        return self._reserve is not None and self._reserve.lent

    def _can_grow(self) -> bool:
        """Whether the file can become as long as its log says; to begin in vain would take the space from erasing."""
        with translated(self.path):
            pages: int = self._writer.execute("PRAGMA page_count").get
        return pages * PAGE - file_size(self.path) <= shutil.disk_usage(self.path.parent).free

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
                self._writer.execute(f"{STEPS[step]} PRAGMA user_version = {step + 1}").fetchall()

    def _connected(self) -> apsw.Connection:
        return open_immutable(self.path) if self._read_only else connect(self.path)

    def _require_finished(self) -> None:
        """Refuse a file whose last writes are still in its log: reading alone cannot bring them in."""
        if self.log_bytes():
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
        yield np.array(row_ids, dtype=np.int64), stacked(vectors, bound.spec.embedding_dim)
