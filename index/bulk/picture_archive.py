"""Archives of pictures, ZIP and TAR (plain, gzip, bzip2, xz): one entry after the other, nothing unpacked to the disk.

Whoever made the archive is not trusted: names are only names, links are not followed, and there are limits on how many
entries there are, how large each is, and how much more than the archive they are.
"""

import bz2
import gzip
import lzma
import os
import tarfile
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final

from index.errors import InvalidValue
from index.file_formats.zip_file import SIGNATURES as ZIP_SIGNATURES
from index.file_formats.zip_file import ZipEntry, ZipError, ZipFile

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"
_BLOCK = 512  # bytes of a TAR
_SKIPPED = 1 << 20  # bytes that are read at a time to get past an entry
_LARGEST_HEADER = 1 << 20  # bytes; of what a TAR says of an entry


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What an archive may hold. ``ratio`` is bytes over the archive's own, above ``slack`` bytes."""

    entries: int = 2_000_000
    entry_bytes: int = 256 << 20
    total_bytes: int = 4 << 40
    ratio: int = 200
    slack: int = 64 << 20


LIMITS: Final = ArchiveLimits()


@dataclass(frozen=True, kw_only=True)
class ArchiveEntry:
    """One file in an archive: ``name`` with ``/`` between its parts; ``problem`` says why it cannot be read.

    ``read`` gives its bytes before the next entry is asked for, or raises InvalidValue.
    """

    name: str
    problem: str | None
    read: Callable[[], bytes]


class PictureArchive(ABC):
    """An open archive. Raises InvalidValue naming the archive where it is damaged or breaks a limit."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self.path, self._limits = path, limits

    @abstractmethod
    def __iter__(self) -> Iterator[ArchiveEntry]:
        """Every file but what systems leave in archives for themselves, in the order of the archive."""

    def _refused(self, problem: str) -> InvalidValue:
        return InvalidValue(f"the archive {self.path} cannot be read: {problem}")

    def _require_few(self, entries: int) -> None:
        if entries > self._limits.entries:
            raise self._refused(f"it has more than {self._limits.entries:,} entries; make several of it")

    def _require_sane(self, total: int, packed: int) -> None:
        if total > self._limits.total_bytes:
            raise self._refused(f"it unpacks to more than {self._limits.total_bytes:,} bytes")
        if total > self._limits.slack + self._limits.ratio * packed:
            raise self._refused(
                f"it unpacks to more than {self._limits.ratio} times its size, which no archive of pictures does"
            )

    def _size_problem(self, size: int) -> str | None:
        if size <= self._limits.entry_bytes:
            return None
        return f"it has {size:,} bytes; the limit is {self._limits.entry_bytes:,}"


def is_archive(path: Path) -> bool:
    """Whether a file's bytes begin as an archive that is read; raises OSError."""
    with path.open("rb") as file:
        start = file.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
    return start.startswith((*ZIP_SIGNATURES, _GZIP, _BZIP2, _XZ)) or start[_TAR_MAGIC_AT:] == _TAR_MAGIC


@contextmanager
def open_archive(path: Path, limits: ArchiveLimits = LIMITS) -> Iterator[PictureArchive]:
    """Open an archive by what its bytes are; raises InvalidValue and OSError."""
    with path.open("rb") as file:
        start = file.read(len(_XZ))
        file.seek(0)
        if start.startswith(ZIP_SIGNATURES):
            yield _Zip(path, limits, file)
        else:
            yield _Tar(path, limits, file, start)


def entry_name(text: str) -> tuple[str, str | None]:
    """An entry's name with ``/`` between its parts and composed characters, and what is wrong with it, if anything.

    Back-slashes are Windows' slashes.
    """
    plain = unicodedata.normalize("NFC", text.replace("\\", "/"))
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    name = "/".join(parts)
    if plain.startswith("/") or (len(plain) > 1 and plain[1] == ":" and plain[0].isalpha()):
        return name, "its name is an absolute path"
    if ".." in parts:
        return name, "its name leads out of the archive"
    if not name or "\0" in name:
        return name, "its name is no name of a file"
    return name, None


class _Zip(PictureArchive):
    def __init__(self, path: Path, limits: ArchiveLimits, file: IO[bytes]) -> None:
        super().__init__(path, limits)
        try:
            self._file = ZipFile(file.fileno())
        except ZipError as error:
            raise self._refused(str(error)) from error

    def __iter__(self) -> Iterator[ArchiveEntry]:
        self._require_few(self._file.entries)
        total = 0
        try:
            for entry in self._file:
                name, problem = entry_name(entry.name)
                if entry.folder or _is_systems_own(name):
                    continue
                too_large = self._size_problem(max(entry.size, entry.packed))
                if too_large is None:
                    total += entry.size
                    self._require_sane(total, self._file.size)
                yield ArchiveEntry(
                    name=name, problem=problem or entry.problem or too_large, read=partial(self._read, entry),
                )  # fmt: skip
        except ZipError as error:
            raise self._refused(str(error)) from error

    def _read(self, entry: ZipEntry) -> bytes:
        try:
            return self._file.read(entry)
        except ZipError as error:
            raise InvalidValue(str(error)) from error


class _Tar(PictureArchive):
    def __init__(self, path: Path, limits: ArchiveLimits, file: IO[bytes], start: bytes) -> None:
        super().__init__(path, limits)
        self._stream = _Stream(file, start, limits.entry_bytes, self._require_sane)

    def __iter__(self) -> Iterator[ArchiveEntry]:
        number = 0
        with self._translated():
            with tarfile.open(fileobj=self._stream, mode="r:", errorlevel=2) as tar:  # type: ignore[call-overload]
                while (info := tar.next()) is not None:
                    tar.members.clear()  # else all of them are kept
                    number += 1
                    self._require_few(number)
                    name, problem = entry_name(info.name)
                    if info.isdir() or _is_systems_own(name):
                        continue
                    problem = problem or _kind_problem(info) or self._size_problem(info.size)
                    yield ArchiveEntry(name=name, problem=problem, read=partial(self._read, tar, info))
            if any(self._stream.last):
                raise self._refused(f"it is damaged after {number:,} entries")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise self._refused(f"it is cut off, damaged, or no archive: {error}") from error

    def _read(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
        with self._translated():
            file = tar.extractfile(info)
            data = b"" if file is None else file.read()
        if len(data) != info.size:
            raise self._refused("it is cut off")
        return data


class _Stream:
    """The bytes of a TAR, whatever they are packed by, in one direction; ``last`` is what was read last."""

    def __init__(self, file: IO[bytes], start: bytes, largest: int, require_sane: Callable[[int, int], None]) -> None:
        self._packed, self._largest, self._require_sane = file, largest, require_sane
        self.last = b""
        self._bytes = os.fstat(file.fileno()).st_size
        self._file: IO[bytes] = file
        if start.startswith(_GZIP):
            self._file = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        elif start.startswith(_BZIP2):
            self._file = bz2.BZ2File(file)
        elif start.startswith(_XZ):
            self._file = lzma.LZMAFile(file)  # noqa: SIM115  # whoever opened the file closes it
        self._plain = self._file is file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._largest + _LARGEST_HEADER:
            raise ValueError(f"an entry of {size:,} bytes")
        self.last = self._file.read(size)
        if not self._plain:
            self._require_sane(self._file.tell(), self._packed.tell())
        return self.last

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if self._plain:
            return self._file.seek(place, whence)
        if whence != os.SEEK_SET or place < self._file.tell():
            raise ValueError("an entry that lies before another")
        while (left := place - self._file.tell()) > 0 and self.read(min(left, _SKIPPED)):
            pass
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()


def _kind_problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "it is a link; links in archives are not followed"
    if not info.isreg():
        return "it is no file"
    return None


def _is_systems_own(name: str) -> bool:
    """What macOS packs beside every file: its name ends as the picture's does."""
    path = PurePosixPath(name)
    return path.name.startswith("._") or "__MACOSX" in path.parts
