"""What a gallery was created with: rows of the table ``about``, and one more with a checksum over them.

A bit of them decides what is erased (``retention_days``) and which vectors are searched (``space``). The record of
migrations lies in the same table and outside of the checksum: nothing is erased on its word, and a gallery need not be
given up where it cannot be read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import apsw

from index.errors import StorageError
from index.storage.row_checksum import row_checksum

CHECKSUM: Final = "checksum"  # its key
MIGRATIONS: Final = "migrations"

_APART: Final = {CHECKSUM.encode(), MIGRATIONS.encode()}
_WRITE: Final = "INSERT OR REPLACE INTO about VALUES (?, ?)"


def write_about(connection: apsw.Connection, about: Mapping[str, str]) -> None:
    """Write some rows, and the checksum anew; inside of a transaction of the caller's."""
    connection.executemany(_WRITE, about.items())
    connection.execute(_WRITE, (CHECKSUM, checksum_of(_rows(connection)).decode()))


def ensure_checksum(connection: apsw.Connection) -> None:
    """Give one to the file of an earlier build, which had none; on a full disk the next opening does."""
    if CHECKSUM.encode() not in _rows(connection):
        try:
            with connection:
                write_about(connection, {})
        except apsw.FullError:
            return


def about_agrees(connection: apsw.Connection) -> bool:
    """Whether the rows are those that were written; where there is no checksum nobody can say that they are not."""
    return agrees(_rows(connection))


def require_about(connection: apsw.Connection, file: Path) -> None:
    """Raise StorageError where the rows are not those that were written."""
    if not about_agrees(connection):
        raise StorageError(
            f"{file} cannot be used: what the gallery was created with is not what was written (table about); "
            "`vehicle-index verify` tells what is damaged, `vehicle-index repair` turns back one flipped bit, "
            "`vehicle-index restore` brings back a backup"
        )


def agrees(rows: Mapping[bytes, bytes]) -> bool:
    """The same of rows that were read in another way."""
    told = rows.get(CHECKSUM.encode())
    return told is None or told == checksum_of(rows)


def turned_back(rows: Mapping[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The rows as they were before one bit of a value flipped, None where that is not what happened.

    CRC-32 tells all messages of this length apart that differ in up to three bits: no two can be meant.
    """
    for key, value in rows.items():
        if key == MIGRATIONS.encode():
            continue
        for place in range(8 * len(value)):
            other = bytearray(value)
            other[place // 8] ^= 1 << place % 8
            before = {**rows, key: bytes(other)}
            if agrees(before):
                return before
    return None


def checksum_of(rows: Mapping[bytes, bytes]) -> bytes:
    """CRC-32 of all rows but those apart, as it is written."""
    covered = sorted((key, value) for key, value in rows.items() if key not in _APART)
    return str(row_checksum(*(part for row in covered for part in row))).encode()


def _rows(connection: apsw.Connection) -> dict[bytes, bytes]:
    """As bytes, so that rows can be judged whose text is none any more."""
    return dict(connection.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM about"))
