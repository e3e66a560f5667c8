"""The records in an SQLite file's leaves, read page by page without SQLite: for files that it cannot read any more.

https://sqlite.org/fileformat2.html. Inner pages are not needed, so that it does not matter which of them are damaged.
Whether a record is one that somebody wrote is for the caller to judge; text comes as its bytes.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.storage.gallery_database import PAGE

_TABLE_LEAF, _INDEX_LEAF = 13, 10  # kinds of page
_FILE_HEADER = 100  # bytes, before the first page's own header
_PAGE_HEADER = 8
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes by serial type
_LARGEST = 64 << 20  # bytes of a record; more is damage


@dataclass(frozen=True)
class Record:
    """A row of a table, or an entry of an index, whose ``row_id`` is None. An INTEGER PRIMARY KEY is None, too."""

    row_id: int | None
    values: tuple[Any, ...]  # bytes, int or None


class _Damaged(Exception):
    """These bytes are no record."""


def records(file: Path) -> Iterator[Record]:
    """Every whole record of every leaf, page by page; what is damaged is passed over."""
    if file.stat().st_size < PAGE:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start in range(0, len(data) - PAGE + 1, PAGE):
            yield from _records_of(data, start)


def _records_of(data: mmap.mmap, start: int) -> Iterator[Record]:
    """The records of the page that starts there."""
    page = data[start : start + PAGE]
    header = _FILE_HEADER if start == 0 else 0
    kind = page[header]
    if kind not in (_TABLE_LEAF, _INDEX_LEAF):
        return
    first = header + _PAGE_HEADER
    for pointer in range(first, first + 2 * int.from_bytes(page[header + 3 : header + 5]), 2):
        try:
            yield _record(data, page, int.from_bytes(page[pointer : pointer + 2]), in_table=kind == _TABLE_LEAF)
        except _Damaged:
            continue


def _record(data: mmap.mmap, page: bytes, at: int, *, in_table: bool) -> Record:
    size, at = _varint(page, at)
    row_id = None
    if in_table:
        row_id, at = _varint(page, at)
    if not 0 < size <= _LARGEST:
        raise _Damaged
    local = _local(size, in_table=in_table)
    payload = page[at : at + local]
    if local < size:
        payload += _overflow(data, int.from_bytes(page[at + local : at + local + 4]), size - local)
    if len(payload) != size:
        raise _Damaged
    return Record(row_id, tuple(_values(payload)))


def _local(size: int, *, in_table: bool) -> int:
    """How much of a record lies on its own page."""
    most = PAGE - 35 if in_table else (PAGE - 12) * 64 // 255 - 23
    if size <= most:
        return size
    least = (PAGE - 12) * 32 // 255 - 23
    rest = least + (size - least) % (PAGE - 4)
    return rest if rest <= most else least


def _overflow(data: mmap.mmap, number: int, size: int) -> bytes:
    """The rest of a record, from a chain of pages of its own."""
    pieces: list[bytes] = []
    while size > 0:
        start = (number - 1) * PAGE
        if not 0 < start <= len(data) - PAGE:
            raise _Damaged
        number = int.from_bytes(data[start : start + 4])
        pieces.append(data[start + 4 : start + 4 + min(size, PAGE - 4)])
        size -= PAGE - 4
    return b"".join(pieces)


def _values(payload: bytes) -> Iterator[bytes | int | None]:
    body, at = _varint(payload, 0)
    start = body
    while at < start:
        kind, at = _varint(payload, at)
        if kind >= 12:
            length = (kind - 12) // 2  # odd kinds are text, even ones blobs
        elif kind in _INTEGERS:
            length = _INTEGERS[kind]
        elif kind in (0, 8, 9):
            length = 0
        else:
            raise _Damaged  # no column of ours holds a real
        value = payload[body : body + length]
        if len(value) != length:
            raise _Damaged
        body += length
        if kind >= 12:
            yield value
        else:
            yield None if kind == 0 else kind - 8 if kind >= 8 else int.from_bytes(value, signed=True)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for count in range(9):
        if at >= len(data):
            raise _Damaged
        byte = data[at]
        at += 1
        if count == 8:
            value = value << 8 | byte
            break
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return (value - (1 << 64) if value >= 1 << 63 else value), at
