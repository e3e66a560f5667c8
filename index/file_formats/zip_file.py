"""A ZIP archive: its entries one by one, and their bytes.

The standard library reads the whole list of entries into memory, some 600 bytes each; here it is read in pieces, and
entries are read at their place in the file by any number of threads. Stored and deflated entries are read, also those
of ZIP64.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LOCAL: Final = b"PK\x03\x04"
SIGNATURES: Final = (LOCAL, b"PK\x05\x06")  # the latter: an archive without entries

_END, _END64, _LOCATOR64, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 1, 1 << 11
_UNIX, _LINK, _KIND = 3, 0o120000, 0o170000
_LONGEST_END = 22 + 65_535  # bytes, with its comment
_PIECE = 1 << 16
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # stands for: see the ZIP64 field


class ZipError(ValueError):
    """The archive, or an entry of it, is damaged or of a kind that is not read; the message says how."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One entry as the list of entries has it. ``problem`` says why its bytes cannot be read, where that is so."""

    name: str
    size: int  # bytes, unpacked
    packed: int  # bytes in the archive
    method: int
    crc: int
    offset: int  # of its local header
    folder: bool
    problem: str | None


class ZipFile:
    """An archive that somebody opened as ``handle`` and will close. Raises ZipError."""

    entries: int  # that the archive says it has
    size: int  # bytes of the archive

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.size = os.fstat(handle).st_size
        tail_at = max(0, self.size - _LONGEST_END)
        tail = os.pread(handle, _LONGEST_END, tail_at)
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < 22:
            raise ZipError("it has no list of entries at its end: it is cut off, or no ZIP archive")
        disk, _, here, self.entries, self._list_bytes, listed_at = struct.unpack("<HHHHII", tail[at + 4 : at + 20])
        end = tail_at + at
        if _FULL16 in (disk, here, self.entries) or _FULL32 in (self._list_bytes, listed_at):
            found = self._end64(end)
            if found is not None:
                disk, self.entries, self._list_bytes, listed_at, end = found
        if disk:
            raise ZipError("it is one part of several; put them together first")
        self._before = end - self._list_bytes - listed_at  # bytes in front of the archive, of a program that unpacks it
        self._list_at = listed_at + self._before
        if self._before < 0 or self._list_at < 0:
            raise ZipError("its list of entries does not lie inside it: it is cut off or damaged")

    def __iter__(self) -> Iterator[ZipEntry]:
        at, end, piece, start = self._list_at, self._list_at + self._list_bytes, b"", self._list_at
        for _ in range(self.entries):
            if at - start + 46 + 3 * _FULL16 > len(piece) and start + len(piece) < end:
                piece, start = os.pread(self._handle, min(end - at, _PIECE + 46 + 3 * _FULL16), at), at
            header = piece[at - start : at - start + 46]
            if len(header) < 46 or not header.startswith(_ENTRY):
                raise ZipError("its list of entries is damaged")
            entry, length = self._entry(header, piece, at - start + 46)
            yield entry
            at += 46 + length

    def read(self, entry: ZipEntry) -> bytes:
        """The bytes of an entry; no more memory than it says it takes."""
        if entry.problem is not None:
            raise ZipError(entry.problem)
        header = os.pread(self._handle, 30, entry.offset)
        if len(header) < 30 or not header.startswith(LOCAL):
            raise ZipError("the entry does not lie where the archive says")
        name, extra = struct.unpack("<HH", header[26:30])
        packed = os.pread(self._handle, entry.packed, entry.offset + 30 + name + extra)
        data = packed
        if entry.method == _DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = unpacker.decompress(packed, entry.size + 1)
            except zlib.error as error:
                raise ZipError(f"the entry is damaged: {error}") from error
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise ZipError("the entry is damaged: its bytes are not those that were packed")
        return data

    def _end64(self, end: int) -> tuple[int, int, int, int, int] | None:
        """Disk, entries, bytes and place of the list, and where it ends, as ZIP64 writes them."""
        locator = os.pread(self._handle, 20, end - 20) if end >= 20 else b""
        if len(locator) < 20 or not locator.startswith(_LOCATOR64):
            return None
        (said,) = struct.unpack("<Q", locator[8:16])
        for at in (said, end - 20 - 56):  # the latter where something stands in front of the archive
            record = os.pread(self._handle, 56, at) if 0 <= at < self.size else b""
            if len(record) == 56 and record.startswith(_END64):
                disk, _, _, entries, size, listed_at = struct.unpack("<IIQQQQ", record[16:56])
                return disk, entries, size, listed_at, at
        raise ZipError("its ZIP64 list of entries is missing: it is cut off or damaged")

    def _entry(self, header: bytes, piece: bytes, at: int) -> tuple[ZipEntry, int]:
        """An entry and the bytes that follow its fixed part, which lie at ``at``."""
        made_by, _, flags, method, _, crc, packed, size, name, extra, comment, disk, _, outer, offset = struct.unpack(
            "<HHHHIIIIHHHHHII", header[4:46]
        )
        raw, fields = piece[at : at + name], piece[at + name : at + name + extra]
        if len(fields) < extra:
            raise ZipError("its list of entries is damaged")
        if _FULL32 in (packed, size, offset):
            size, packed, offset = _sizes64(fields, size, packed, offset)
        link = made_by >> 8 == _UNIX and outer >> 16 & _KIND == _LINK
        text = _name(raw, utf8=bool(flags & _UTF8))
        problem = None
        if link:
            problem = "it is a link; links in archives are not followed"
        elif flags & _ENCRYPTED:
            problem = "it is encrypted"
        elif method not in (_STORED, _DEFLATED):
            problem = f"it is packed by method {method}; stored and deflated entries are read"
        elif disk not in (0, _FULL16):
            problem = "it lies in another part of the archive"
        entry = ZipEntry(
            name=text, size=size, packed=packed, method=method, crc=crc, offset=offset + self._before,
            folder=text.endswith(("/", "\\")), problem=problem,
        )  # fmt: skip
        return entry, name + extra + comment


def _sizes64(fields: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and place from the ZIP64 field, each where the fixed part has no room for it."""
    at = 0
    while at + 4 <= len(fields):
        kind, length = struct.unpack("<HH", fields[at : at + 4])
        if kind == 1:
            values = iter(struct.unpack(f"<{length // 8}Q", fields[at + 4 : at + 4 + length // 8 * 8]))
            try:
                return tuple(next(values) if each == _FULL32 else each for each in (size, packed, offset))  # type: ignore[return-value]
            except (StopIteration, RuntimeError) as error:
                raise ZipError("an entry's ZIP64 field is too short") from error
        at += 4 + length
    return size, packed, offset


def _name(raw: bytes, *, utf8: bool) -> str:
    """A name as it was meant: most programs write UTF-8 whether or not they say so, the others CP437."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape") if utf8 else raw.decode("cp437")
