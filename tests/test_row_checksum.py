"""Checksums of rows, in Python and in SQL."""

import apsw
import pytest

from index.storage.row_checksum import row_checksum, teach

ROWS: list[tuple[object, ...]] = [
    ("ab", "c"), ("a", "bc"), ("abc",), ("abc", None), (None, "abc"), ("abc", ""), (b"abc", 0), ("1",), (1,), (-1,),
    (2**63 - 1,), ("ü\x01",), (), (None,),
]  # fmt: skip


def test_rows_that_differ_differ() -> None:
    assert len({row_checksum(*row) for row in ROWS}) == len(ROWS)


def test_every_bit_counts() -> None:
    data = bytes(range(64))
    flipped = {
        row_checksum(7, data[:n] + bytes([data[n] ^ 1 << bit]) + data[n + 1 :]) for n in range(64) for bit in range(8)
    }
    assert len(flipped - {row_checksum(7, data)}) == 64 * 8


def test_sql_says_the_same_and_text_counts_as_its_bytes() -> None:
    connection = apsw.Connection("")
    teach(connection)
    for row in ROWS:
        marks = ", ".join("?" * len(row))
        assert connection.execute(f"SELECT row_checksum({marks})", row).get == row_checksum(*row)
    assert row_checksum("ü") == row_checksum("ü".encode())


def test_what_no_row_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        row_checksum(1.5)
