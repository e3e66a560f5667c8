"""The keys of a data folder: a SQLite file that a command writes to while the service that reads it runs.

It needs no lock of the data folder. There is no write-ahead log, so that reading leaves nothing beside the file and
works on a mount that cannot be written; what is committed is on the disk, a revocation above all.
"""

import errno
import json
import os
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import apsw

from index.access_key import AccessKey, could_be_key_id
from index.errors import DataFolderUnusable, KeyNotFound, StorageError, StorageFull
from index.storage.database_file import open_read_only, translated
from index.storage.stored_time import microseconds, moment

LAYOUT: Final = 1
FILE: Final = "keys.sqlite"

_COUNTER = 24  # offset of SQLite's counter of changes, four bytes, big-endian
_BUSY = 2_000  # milliseconds that a command waits for another one
_SCHEMA = """
CREATE TABLE keys (
    key_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,           -- SHA-256 of the token
    scopes TEXT NOT NULL,           -- JSON array
    galleries TEXT,                 -- JSON array; NULL: all
    rate REAL,                      -- requests a second; NULL: any
    burst INTEGER NOT NULL,
    created_at INTEGER NOT NULL,    -- microseconds since 1970, UTC
    expires_at INTEGER,             -- the same
    revoked_at INTEGER              -- the same
) STRICT, WITHOUT ROWID;
"""

Stamp = tuple[int, int, int]


class KeyDatabase:
    """Every key that was made for a data folder, the revoked ones too. Raises StorageFull, StorageError.

    DataFolderUnusable for a file of a newer release. Nothing is opened before it is asked, and nothing stays open.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.place, self.way_back = str(self.path), f"remove {self.path}"

    def stamp(self) -> Stamp | None:
        """What differs after every change; None where there is no file, so that no key was ever made."""
        try:
            with self.path.open("rb") as file:
                about, head = os.fstat(file.fileno()), os.pread(file.fileno(), _COUNTER + 4, 0)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror}") from error
        count = struct.unpack_from(">I", head, _COUNTER)[0] if len(head) == _COUNTER + 4 else -1
        return about.st_dev, about.st_ino, count

    def all(self) -> list[AccessKey]:
        """Every key, oldest first; none where there is no file."""
        if self.stamp() is None:
            return []
        with self._told(), closing(open_read_only(self.path)) as connection:
            connection.set_busy_timeout(_BUSY)
            if not self._layout(connection):
                return []
            if (found := str(connection.execute("PRAGMA quick_check(1)").get)) != "ok":
                raise apsw.CorruptError(" ".join(found.split()))
            return [_key(row) for row in connection.execute("SELECT * FROM keys ORDER BY created_at, key_id")]

    def add(self, key: AccessKey) -> None:
        """Keep a new key."""
        values = (
            key.key_id, key.name, key.digest, json.dumps(sorted(key.scopes)),
            None if key.galleries is None else json.dumps(sorted(key.galleries)), key.rate, key.burst,
            microseconds(key.created_at), _or_none(key.expires_at), _or_none(key.revoked_at),
        )  # fmt: skip
        self._make_file()
        with self._writing() as connection:
            connection.execute(f"INSERT INTO keys VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608

    def revoke(self, key_id: str, now: datetime) -> AccessKey:
        """End a key; one that was revoked before stays as it is. Raises KeyNotFound."""
        if self.stamp() is None:
            raise KeyNotFound(f"there is no key {key_id!a}: none was ever made in {self.path.parent}")
        known = key_id if could_be_key_id(key_id) else ""
        with self._writing() as connection:
            connection.execute(
                "UPDATE keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL", (microseconds(now), known)
            )
            row: tuple[Any, ...] | None = connection.execute("SELECT * FROM keys WHERE key_id = ?", (known,)).get
        if row is None:
            raise KeyNotFound(f"there is no key {key_id!a}; `vehicle-search keys list` names all")
        return _key(row)

    def _make_file(self) -> None:
        """Only its owner may read it; where root makes it, the folder's owner is that.

        What is there is left to whom it belongs: through a link root would give any file of the machine away.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if os.geteuid() == 0:
                    owner = self.path.parent.stat()
                    os.fchown(handle, owner.st_uid, owner.st_gid)
            finally:
                os.close(handle)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no space left for {self.path}; no key was made; free some space") from error
            raise DataFolderUnusable(f"{self.path} cannot be made: {error.strerror}") from error

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """A transaction that is on the disk at the end."""
        with (
            self._told(),
            closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection,
        ):
            connection.set_busy_timeout(_BUSY)
            connection.execute("PRAGMA synchronous = EXTRA")  # or a loss of power could undo a revocation
            connection.execute("BEGIN IMMEDIATE")  # closing it without a COMMIT takes everything back
            if not self._layout(connection):
                connection.execute(f"{_SCHEMA} PRAGMA user_version = {LAYOUT}").fetchall()
            yield connection
            connection.execute("COMMIT")

    def _layout(self, connection: apsw.Connection) -> int:
        layout: int = connection.execute("PRAGMA user_version").get
        if layout > LAYOUT:
            raise DataFolderUnusable(
                f"{self.path} has layout {layout}, this release reads up to {LAYOUT}: use the newer release"
            )
        return layout

    @contextmanager
    def _told(self) -> Iterator[None]:
        with translated(self.path):
            try:
                yield
            except (apsw.CorruptError, apsw.NotADBError) as error:
                raise StorageError(
                    f"{self.path} is damaged: {error}; put a copy of it back, or remove it with the service stopped "
                    "and make keys anew"
                ) from error


def _key(row: tuple[Any, ...]) -> AccessKey:
    key_id, name, digest, scopes, galleries, rate, burst, created_at, expires_at, revoked_at = row
    return AccessKey(
        key_id=key_id, name=name, digest=digest, scopes=frozenset(json.loads(scopes)),
        galleries=None if galleries is None else frozenset(json.loads(galleries)), rate=rate, burst=burst,
        created_at=moment(created_at), expires_at=None if expires_at is None else moment(expires_at),
        revoked_at=None if revoked_at is None else moment(revoked_at),
    )  # fmt: skip


def _or_none(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)
