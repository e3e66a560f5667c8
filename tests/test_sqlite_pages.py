"""Records read without SQLite, held against what SQLite says."""

import random
from pathlib import Path
from typing import Any

import apsw
import pytest

from index.storage.gallery_database import PAGE
from index.storage.sqlite_pages import records

INTEGERS = [0, 1, 2, -1, 127, -128, 2**15, -(2**23), 2**23, 2**31, 2**40, 2**47, -(2**63), 2**63 - 1]


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    """A table and an index-like one, with values of every kind and length."""
    connection = apsw.Connection(str(tmp_path / "some.sqlite"))
    connection.execute(
        f"PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0"
    ).fetchall()
    connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, t TEXT, b BLOB) STRICT")
    connection.execute("CREATE TABLE k (key TEXT PRIMARY KEY, value TEXT) STRICT, WITHOUT ROWID")
    rng = random.Random(0)
    lengths = [0, 1, 60, 2048, *range(PAGE - 60, PAGE), 2 * PAGE, 70_000]
    with connection:
        for number, length in enumerate(lengths * 2, start=1):
            row = (number * 300, INTEGERS[number % len(INTEGERS)], "ü" * (number % 7), rng.randbytes(length))
            connection.execute("INSERT INTO a VALUES (?, ?, ?, ?)", row)
        for number, length in enumerate([0, 5, 4000, 4100, 20_000]):
            connection.execute("INSERT INTO k VALUES (?, ?)", (f"key {number}", "v" * length))
    return connection


def expected(connection: apsw.Connection) -> set[tuple[Any, ...]]:
    return {
        *connection.execute("SELECT id, NULL, n, CAST(t AS BLOB), b FROM a"),
        *connection.execute("SELECT NULL, CAST(key AS BLOB), CAST(value AS BLOB) FROM k"),
    }


def read(file: Path) -> set[tuple[Any, ...]]:
    return {(record.row_id, *record.values) for record in records(file)}


def test_every_record_is_what_sqlite_says(connection: apsw.Connection, tmp_path: Path) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert read(tmp_path / "some.sqlite") >= expected(connection)


def test_noise_is_no_error_and_hides_nothing_beside_it(connection: apsw.Connection, tmp_path: Path) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    everything = expected(connection)
    connection.close()
    file = tmp_path / "some.sqlite"
    whole = file.read_bytes()
    rng = random.Random(1)
    for page in range(len(whole) // PAGE):
        noise = bytes([rng.choice((13, 10)), 0, 0, 0, 200]) + rng.randbytes(PAGE - 5)
        file.write_bytes(whole[: page * PAGE] + noise + whole[(page + 1) * PAGE :])
        assert len(everything - read(file)) <= 60, page  # short records share a page
    file.write_bytes(whole[:-1000])
    assert len(everything - read(file)) <= 60
    file.write_bytes(b"")
    assert read(file) == set()
