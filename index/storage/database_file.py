"""A gallery's SQLite file: made, opened for writing, for reading alone, or as one that nobody changes."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw

from index.errors import StorageError, StorageFull
from index.storage.about_rows import write_about
from index.storage.gallery_schema import LAYOUT, SCHEMA
from index.storage.row_checksum import teach
from index.storage.write_ahead_log import log_of, require_whole_log

PAGE: Final = 16_384  # bytes of a page of the file
LONGEST_LOG: Final = 64 << 20  # bytes of the write-ahead log
BUSY: Final = 10_000  # milliseconds to wait for others; only recovery after a crash holds them up

_NO_SPACE = 1 << 20  # bytes free; an error of SQLite's with less than this left means that the disk is full
_PRAGMAS = f"""
PRAGMA page_size = {PAGE};          -- measured: half the time and disk that 4 KiB pages take for vectors of 2 KB
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;          -- a commit that returned survives a loss of power
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;          -- erased images are overwritten
PRAGMA journal_size_limit = {LONGEST_LOG};
"""


def create_file(path: Path, about: Mapping[str, str], spaces: Iterable[tuple[int, str, int, str]]) -> apsw.Connection:
    """A file with these rows of ``about`` and ``spaces`` and no images; raises apsw's errors."""
    connection = connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        with connection:
            connection.execute(SCHEMA)
            connection.executemany("INSERT INTO spaces VALUES (?, ?, ?, ?)", spaces)
            write_about(connection, about)
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
    """A connection with the settings that durability rests on; raises apsw's errors."""
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY)
    teach(connection)
    connection.execute(_PRAGMAS).fetchall()  # to the end: a statement that gives a row holds up those behind it
    return connection


def open_read_only(path: Path) -> apsw.Connection:
    """A connection that changes nothing and needs no lock of the data folder.

    Raises apsw's errors, and LogDamaged where it would not see all commits.
    """
    if _unchanging(path):  # SQLite would not read it without a place for the log's shared memory
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)
    else:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY)
    teach(connection)
    if file_size(log_of(path)):
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


def _unchanging(path: Path) -> bool:
    """Whether a file lies on a medium that is mounted for reading, is whole without a log, and nobody has it open.

    Mounted for reading may be only here: where the log's shared memory is there somebody writes by another mount.
    """
    try:
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
    return read_only and not file_size(log_of(path)) and not path.with_name(f"{path.name}-shm").exists()


def file_size(path: Path) -> int:
    """Bytes, 0 where there is none."""
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
        raise StorageError(f"{path} cannot be used: {error}{_way_out(error)}") from error


def _way_out(error: apsw.Error) -> str:
    """What to do about an error that tells of no damage."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return "; another process holds it: end that (`fuser` names it) and try again"
    if isinstance(error, apsw.CantOpenError | apsw.PermissionsError | apsw.ReadOnlyError):
        return "; bring it back or mend the rights of the file and its folder, then start again"
    if isinstance(error, apsw.IOError):
        return "; look at its disk (`dmesg`), then `vehicle-index verify` tells what is damaged"
    return ""


def _no_space(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _NO_SPACE
    except FileNotFoundError:  # dropped meanwhile
        return False


def _full(path: Path) -> StorageFull:
    return StorageFull(f"no space left for {path}; nothing was written; free some space and send it again")
