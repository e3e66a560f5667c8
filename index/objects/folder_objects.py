"""Objects as files of one folder, on this machine or on a mount that all replicas share; flushed before they count."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from index.errors import StorageError, StorageFull
from index.objects.object_store import ObjectMissing, place_of
from index.storage.crop_store import NO_SPACE
from index.whole_file import PART, sync_file, sync_folder, take_place

CUT_OFF_AFTER: Final = 86_400.0  # seconds without a write after which a file that was not finished is nobody's


class FolderObjects:
    """See ``ObjectStore``. ``folder`` is made where it is missing; raises StorageError where that is impossible."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, gallery: str, name: str, data: bytes) -> None:
        with self._placing(gallery, name) as part:
            part.write_bytes(data)

    def get(self, gallery: str, name: str) -> bytes:
        with self._translated():
            return self._place(gallery, name).read_bytes()

    def delete(self, gallery: str, name: str) -> None:
        place = self._place(gallery, name)
        with self._translated():
            place.unlink(missing_ok=True)

    def names(self, gallery: str) -> Iterator[tuple[str, datetime]]:
        """As declared; files that a crash cut off long ago go on the way."""
        folder = self.folder / place_of(gallery, "x")[0]
        with self._translated():
            parts = sorted(folder.iterdir()) if folder.is_dir() else []
        for part in parts:
            with self._translated():
                files = [(path, path.stat().st_mtime) for path in part.iterdir() if path.exists()]
            for path, put in files:
                if not path.name.startswith("."):
                    yield path.name, datetime.fromtimestamp(put, UTC)
                elif put < time.time() - CUT_OFF_AFTER:
                    path.unlink(missing_ok=True)

    def drop(self, gallery: str) -> None:
        folder = self.folder / place_of(gallery, "x")[0]
        with self._translated():
            if folder.exists():
                shutil.rmtree(folder)
                sync_folder(self.folder)

    def send(self, gallery: str, name: str, file: Path) -> None:
        with self._placing(gallery, name) as part:
            shutil.copyfile(file, part)

    def fetch(self, gallery: str, name: str, file: Path) -> None:
        place = self._place(gallery, name)
        if not place.is_file():
            raise ObjectMissing(f"{place} is not there")
        shutil.copyfile(place, file)

    def close(self) -> None:
        """Nothing is open."""

    def _place(self, gallery: str, name: str) -> Path:
        return self.folder.joinpath(*place_of(gallery, name))

    @contextmanager
    def _placing(self, gallery: str, name: str) -> Iterator[Path]:
        """A file to write to, which nobody else writes to; it is flushed and has the object's place afterwards."""
        place = self._place(gallery, name)
        part = place.with_name(f".{uuid.uuid4().hex}{PART}")
        with self._translated():
            try:
                for folder in (place.parent.parent, place.parent):
                    if not folder.exists():
                        folder.mkdir(exist_ok=True)
                        sync_folder(folder.parent)
                yield part
                sync_file(part)
                take_place(part, place)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing(f"{os.fspath(error.filename or self.folder)} is not there") from error
        except OSError as error:
            kind = StorageFull if error.errno in NO_SPACE else StorageError
            raise kind(f"objects cannot be kept in {self.folder}: {error.strerror}") from error
