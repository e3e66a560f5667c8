"""Where crops of galleries on Milvus are: the protocol, and its first home, a folder that all services mount."""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from index.errors import StorageError, StorageFull
from index.storage.crop_store import NO_SPACE
from index.whole_file import PART, sync_folder

_FLUSHED_AT_ONCE = 8


class CropHome(Protocol):
    """Crops by gallery and content name. ``gallery`` is unique: one that is dropped and made anew has another.

    Safe to call from any thread and any number of processes at once. Raises StorageError and StorageFull.
    """

    def put(self, gallery: str, crops: Mapping[str, bytes]) -> None:
        """Make crops durable; those that are there as they are stay."""
        ...

    def get(self, gallery: str, name: str) -> bytes | None:
        """A crop's bytes, None where there is none."""
        ...

    def has(self, gallery: str, name: str) -> bool:
        """Whether a crop is there."""
        ...

    def delete(self, gallery: str, names: Iterable[str]) -> None:
        """Remove crops; those that are not there are no error."""
        ...

    def names(self, gallery: str) -> Iterator[str]:
        """Every crop's name."""
        ...

    def drop(self, gallery: str) -> None:
        """Remove all crops of a gallery."""
        ...


class CropFolder:
    """A folder, which several services may mount, with one below it for each gallery. See :class:`CropHome`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, gallery: str, crops: Mapping[str, bytes]) -> None:
        new = [(self._place(gallery, name), data) for name, data in crops.items()]
        new = [(place, data) for place, data in new if not _is_there(place, data)]
        try:
            for folder in {place.parent for place, _ in new}:
                self._make(folder)
            with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as pool:
                list(pool.map(_write, new))
            for folder in {place.parent for place, _ in new}:
                sync_folder(folder)
        except OSError as error:
            kind = StorageFull if error.errno in NO_SPACE else StorageError
            raise kind(
                f"crops cannot be written to {self._folder}: {error.strerror}; nothing else was written"
            ) from error

    def get(self, gallery: str, name: str) -> bytes | None:
        place = self._place(gallery, name)
        try:
            return place.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"the crop {place} cannot be read: {error.strerror}") from error

    def has(self, gallery: str, name: str) -> bool:
        return self._place(gallery, name).exists()

    def delete(self, gallery: str, names: Iterable[str]) -> None:
        for name in names:
            place = self._place(gallery, name)
            try:
                place.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"the crop {place} cannot be removed: {error.strerror}") from error

    def names(self, gallery: str) -> Iterator[str]:
        for path in sorted((self._folder / gallery).glob("??/*")):
            if path.suffix != PART:
                yield path.name

    def drop(self, gallery: str) -> None:
        shutil.rmtree(self._folder / gallery, ignore_errors=True)

    def _place(self, gallery: str, name: str) -> Path:
        return self._folder / gallery / name[:2] / name

    def _make(self, folder: Path) -> None:
        """Make a folder, and see to it that its name lasts."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for each in (folder.parent, folder.parent.parent):
                sync_folder(each)


def _is_there(place: Path, data: bytes) -> bool:
    try:
        return place.stat().st_size == len(data) and place.read_bytes() == data
    except OSError:
        return False


def _write(new: tuple[Path, bytes]) -> None:
    place, data = new
    part = place.with_name(f"{uuid.uuid4().hex}{PART}")  # of this writer: another may write the same crop
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
