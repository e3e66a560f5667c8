"""The index of a gallery as a file, for a quick start; every byte is checked before it is believed.

A magic word, then blocks: length and CRC-32 (over the block's number and its bytes), bytes. The first block is what the
file says about itself, the last is empty. A file that is cut, grown, reordered or altered fails at the block where it
is. It is written under another name, synced and renamed, so that a crash leaves the old one or none.

It is derived, and belongs to one gallery: it names the space, the kind, the last *change* of the database that it
holds, and a row whose ingestion time must be the database's own, so that one from another past is told.
"""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from index.gallery import BuiltKind, Vectors
from index.storage.gallery_files import SNAPSHOT
from index.whole_file import sync_folder

_MAGIC = b"VSINDEX1"
_FRAME = struct.Struct("<II")  # length, CRC-32
_BLOCK = 1 << 20  # bytes


class SnapshotUnusable(Exception):  # as the house's other errors; it never leaves the index
    """The file is damaged, of something else, or newer than the database; the message says which."""


@dataclass(frozen=True, kw_only=True)
class SnapshotAbout:
    """What a snapshot holds: ``rows`` rows with ids up to ``up_to``, as they were when ``change`` was the last one.

    ``built``: whether it is a built index of ``kind``; else row ids and fp32 vectors. ``error`` as in ``BuiltIndex``.
    ``witness``: a row and its ingestion time, microseconds since 1970.
    """

    space: str
    dim: int
    kind: BuiltKind
    vectors: Vectors
    built: bool
    change: int
    up_to: int
    rows: int
    error: float
    witness: tuple[int, int] | None


class SnapshotWriter:
    """Bytes into blocks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(_MAGIC)

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._waiting += data
        while len(self._waiting) >= _BLOCK:
            self.block(bytes(self._waiting[:_BLOCK]))
            del self._waiting[:_BLOCK]

    def finish(self) -> None:
        """Write what waits and the end."""
        if self._waiting:
            self.block(bytes(self._waiting))
            self._waiting.clear()
        self.block(b"")

    def block(self, data: bytes) -> None:
        """Add a block of its own."""
        self._file.write(_FRAME.pack(len(data), _checksum(self._number, data)))
        self._file.write(data)
        self._number += 1


class SnapshotReader:
    """The way back; raises SnapshotUnusable before it gives out a byte that was not written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._block = memoryview(b"")
        self._number = 0
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SnapshotUnusable("it does not begin as a snapshot does")

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        pieces = []
        while count:
            if not self._block:
                self._block = memoryview(self.block())
                if not self._block:
                    raise SnapshotUnusable("it ends too early")
            pieces.append(self._block[:count])
            self._block = self._block[count:]
            count -= len(pieces[-1])
        return pieces[0].tobytes() if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Nothing is left but the end."""
        if self._block or self.block() or self._file.read(1):
            raise SnapshotUnusable("it goes on behind its end")

    def pass_over(self) -> None:
        """Check what is left without giving it out."""
        while self.block():
            pass
        if self._file.read(1):
            raise SnapshotUnusable("it goes on behind its end")

    def block(self) -> bytes:
        """The next block, whole."""
        head = self._file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise SnapshotUnusable("it is cut")
        length, checksum = _FRAME.unpack(head)
        data = self._file.read(length) if length <= _BLOCK else b""
        if _checksum(self._number, data) != checksum or len(data) != length:
            raise SnapshotUnusable(f"block {self._number} is damaged")
        self._number += 1
        return data


def write_snapshot(folder: Path, about: SnapshotAbout, save: Callable[[Callable[[bytes], None]], None]) -> None:
    """Put a snapshot in the place of the one before; ``save`` hands over its bytes. Raises OSError."""
    part = folder / f"{SNAPSHOT}.part"
    try:
        with part.open("wb") as file:
            writer = SnapshotWriter(file)
            writer.block(json.dumps(asdict(about)).encode())
            save(writer.write)
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / SNAPSHOT)
        sync_folder(folder)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_snapshot(folder: Path) -> Iterator[tuple[SnapshotAbout, SnapshotReader] | None]:
    """What the snapshot says about itself, and its bytes; None where there is none.

    Raises SnapshotUnusable and OSError.
    """
    try:
        file = (folder / SNAPSHOT).open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        reader = SnapshotReader(file)
        yield _about(reader.block()), reader


def snapshot_problem(folder: Path) -> str | None:
    """Why the snapshot's bytes are not what was written; None where they are, or there is none."""
    try:
        with open_snapshot(folder) as opened:
            if opened is not None:
                opened[1].pass_over()
    except (SnapshotUnusable, OSError) as error:
        return str(error)
    return None


def snapshot_bytes(folder: Path) -> int:
    """Its size, 0 where there is none."""
    try:
        return (folder / SNAPSHOT).stat().st_size
    except FileNotFoundError:
        return 0


def discard_part(folder: Path) -> None:
    """Remove what a crash left of a snapshot that was being written; a disk that cannot be written to keeps it."""
    with suppress(OSError):
        (folder / f"{SNAPSHOT}.part").unlink(missing_ok=True)


def remove_snapshot(folder: Path) -> None:
    """Remove it, and what a crash left of one. Raises OSError."""
    for name in (SNAPSHOT, f"{SNAPSHOT}.part"):
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)


def _about(data: bytes) -> SnapshotAbout:
    try:
        fields = json.loads(data)
        witness = fields.pop("witness")
        return SnapshotAbout(**fields, witness=None if witness is None else (witness[0], witness[1]))
    except (ValueError, TypeError, KeyError) as error:
        raise SnapshotUnusable("another release wrote it") from error


def _checksum(number: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(number.to_bytes(8, "little")))
