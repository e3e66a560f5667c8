"""Stored crops as files named by their content.

A crop is written to ``incoming/`` and flushed before the commit that names it, and moved to its place after. What a
crash leaves in ``incoming/`` is either named by a row, and moved on the next opening, or nobody's, and removed; nothing
else has to be searched then, however many crops there are.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from index.errors import ImageNotFound, StorageError, StorageFull
from index.whole_file import PART, sync_folder

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)

_FLUSHED_AT_ONCE = 8  # the disk takes several flushes together: 256 crops in 0.13 s, one after the other 0.48 s


class CropStore:
    """Files below one folder. Whoever writes or discards does so alone; reading is safe at any time.

    ``incoming``, of the same disk: where crops are written first, by default a folder in it. Writers that each have one
    of their own may write to one folder together.
    """

    def __init__(self, folder: Path, *, incoming: Path | None = None) -> None:
        self._folder, self._incoming = folder, incoming or folder / "incoming"

    @property
    def complete(self) -> bool:
        """Whether the folders are there."""
        return self._incoming.is_dir()

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (self._folder, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder)

    def write(self, crops: Mapping[str, bytes]) -> list[str]:
        """Make crops durable under their content names; the names that were not there, or were damaged.

        Raises StorageFull or StorageError, with nothing of these crops left.
        """
        new = [name for name, data in crops.items() if not self._has(name, data)]
        try:
            if len(new) > 1:
                with ThreadPoolExecutor(min(len(new), _FLUSHED_AT_ONCE)) as pool:
                    list(pool.map(lambda name: self._write(name, crops[name]), new))
            elif new:
                self._write(new[0], crops[new[0]])
            if new:
                sync_folder(self._incoming)
        except OSError as error:
            self._abandon(new)
            if error.errno in NO_SPACE:
                raise StorageFull(
                    f"no space left for crops in {self._folder}; nothing was written; free some space and send it again"
                ) from error
            raise StorageError(
                f"crops cannot be written to {self._incoming}: {error.strerror}; bring the folder back, or mend its "
                "rights; `vehicle-index verify` tells what is lost"
            ) from error
        return new

    def settle(self, names: Iterable[str]) -> None:
        """Move crops that a commit now names to their place."""
        for name in names:
            place = self._place(name)
            try:
                try:
                    (self._incoming / name).rename(place)
                except FileNotFoundError:  # the first of its folder
                    place.parent.mkdir(exist_ok=True)
                    (self._incoming / name).rename(place)
            except OSError:
                continue  # it is read from where it is, and moved on the next opening

    def discard(self, names: Iterable[str]) -> list[str]:
        """Remove crops that no row names; those that are gone now. The others are left to the next opening."""
        gone = []
        for name in names:
            try:
                for path in (self._place(name), self._incoming / name, self._incoming / (name + PART)):
                    path.unlink(missing_ok=True)
            except OSError:
                continue
            gone.append(name)
        return gone

    def find(self, name: str) -> Path | None:
        """Where a crop's file is."""
        return next((path for path in (self._place(name), self._incoming / name) if os.path.lexists(path)), None)

    def size(self, name: str) -> int | None:
        """Bytes of a crop's file, None where there is none."""
        path = self.find(name)
        try:
            return None if path is None else path.stat().st_size
        except OSError:
            return None

    def read(self, name: str) -> bytes | None:
        """A crop's bytes, None where there is no such file. Raises StorageError."""
        for path in (self._place(name), self._incoming / name, self._place(name)):  # it may move while we look
            try:
                return path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(
                    f"the crop {path} cannot be read: {error.strerror}; mend its rights or its disk; `vehicle-index "
                    "verify` tells what else is lost"
                ) from error
        return None

    def files(self) -> Iterator[Path]:
        """Every file that is in its place, whoever named it. Raises StorageError for a folder that cannot be read."""
        if not self._folder.is_dir():
            return
        for folder in _inside(self._folder):
            if folder.is_dir() and folder != self._incoming:
                yield from _inside(folder)
            elif folder != self._incoming:
                yield folder

    def recover(self, is_named: Callable[[str], bool]) -> None:
        """Settle or remove what a crash left behind."""
        for path in list(self._incoming.iterdir()):
            if is_named(path.name):
                self.settle([path.name])
            else:
                path.unlink(missing_ok=True)

    def _has(self, name: str, data: bytes) -> bool:
        """Whether a crop is there as it was written: damage must not outlive the picture's being sent again."""
        try:
            return self.size(name) == len(data) and self.read(name) == data
        except StorageError:
            return False

    def _abandon(self, names: Iterable[str]) -> None:
        """Remove what was written of crops; a damaged one that was to be replaced stays as it is."""
        for name in names:
            for path in (self._incoming / name, self._incoming / (name + PART)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        part = self._incoming / (name + PART)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._incoming / name)  # a name without .part is a whole file

    def _place(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be read: {error.strerror}") from error


def current_crop(
    gallery: str, image_id: str, name_now: Callable[[], str | None], read: Callable[[str], bytes | None], *,
    missing: str = "is missing", way_out: str = "",
) -> tuple[str, bytes]:  # fmt: skip
    """Name and bytes of the crop that an image has, whoever replaces or erases the image meanwhile.

    ``name_now`` gives the name by what is stored now, None where no crop is kept. Raises ImageNotFound where there is
    none, and StorageError where it is ``missing`` or damaged, with the ``way_out`` that this home has besides.
    """
    missed: str | None = None
    while True:
        name = name_now()
        if name is None:
            raise ImageNotFound(f"gallery {gallery} keeps no crop of {image_id}")
        data = read(name)
        if data is not None and is_as_written(name, data):
            return name, data
        if name == missed:
            problem = missing if data is None else "is not the picture that was written"
            raise StorageError(
                f"the crop {name} of {image_id} in gallery {gallery} {problem}: bring it back, or send the picture "
                f"again{way_out}"
            )
        missed = name  # the image was replaced or erased just now: look again


def is_as_written(name: str, data: bytes) -> bool:
    """Whether a crop's bytes are those that its name says: their SHA-256 in hex, before the extension."""
    return hashlib.sha256(data).hexdigest() == name.partition(".")[0]
