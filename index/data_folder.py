"""All galleries of one folder, owned by one process at a time."""

import contextlib
import fcntl
import os
import shutil
import sys
import threading
import uuid
from pathlib import Path

from index.errors import (
    DataFolderLocked,
    DataFolderUnusable,
    GalleryConflict,
    GalleryNotFound,
    StorageFull,
)
from index.gallery import GallerySpec
from index.local_gallery import LocalGallery
from index.metadata import check_gallery_name

LAYOUT = "1"
DEFAULT = "default"


class DataFolder:
    """See :class:`index.gallery.GalleryHome`. ``default`` is created with ``default_spec`` where it is missing.

    Raises DataFolderLocked, naming who holds it, and DataFolderUnusable.
    """

    def __init__(self, path: Path, *, default_spec: GallerySpec) -> None:
        self.path = path
        self._galleries_folder = path / "galleries"
        self._guard = threading.Lock()
        self._galleries: dict[str, LocalGallery] = {}
        self._lock = _own(path)
        try:
            self._check_layout()
            for folder in sorted(self._galleries_folder.iterdir()):
                if folder.name.startswith("."):
                    shutil.rmtree(folder, ignore_errors=True)  # being made or dropped when a crash came
                elif folder.is_dir():
                    self._galleries[folder.name] = LocalGallery(folder)
            if DEFAULT not in self._galleries:
                self.create(DEFAULT, default_spec)
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        return sorted(self._galleries)

    def get(self, name: str) -> LocalGallery:
        gallery = self._galleries.get(name)
        if gallery is None:
            raise GalleryNotFound(f"there is no gallery {name}; PUT /v1/galleries/{name} creates it")
        return gallery

    def create(self, name: str, spec: GallerySpec) -> tuple[LocalGallery, bool]:
        check_gallery_name(name)
        with self._guard:
            existing = self._galleries.get(name)
            if existing is not None:
                if existing.spec != spec:
                    raise GalleryConflict(
                        f"gallery {name} exists with other properties: {_difference(existing.spec, spec)}"
                    )
                return existing, False
            making = self._galleries_folder / f".making-{uuid.uuid4().hex}"
            try:
                making.mkdir()
                LocalGallery.create(making, name, spec)
                making.replace(self._galleries_folder / name)
            except OSError as error:
                shutil.rmtree(making, ignore_errors=True)
                raise StorageFull(f"gallery {name} cannot be created in {self.path}: {error.strerror}") from error
            _sync(self._galleries_folder)
            self._galleries[name] = LocalGallery(self._galleries_folder / name)
            return self._galleries[name], True

    def drop(self, name: str) -> None:
        with self._guard:
            gallery = self.get(name)
            dropping = self._galleries_folder / f".dropping-{uuid.uuid4().hex}"
            del self._galleries[name]
            (self._galleries_folder / name).replace(dropping)
            _sync(self._galleries_folder)
            with contextlib.suppress(Exception):
                gallery.close()
            shutil.rmtree(dropping, ignore_errors=True)

    def close(self) -> None:
        for gallery in self._galleries.values():
            gallery.close()
        self._galleries = {}
        os.close(self._lock)

    def _check_layout(self) -> None:
        version = self.path / "layout"
        try:
            if version.exists():
                written = version.read_text().strip()
                if written != LAYOUT:
                    raise DataFolderUnusable(
                        f"data folder {self.path} has layout {written[:20]!a}; this release reads {LAYOUT}"
                    )
            else:
                version.write_text(LAYOUT + "\n")
            self._galleries_folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error) from error


def _own(path: Path) -> int:
    """Lock the folder for this process; the handle of the lock file."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise DataFolderLocked(
            f"data folder {path} is in use by {holder}; stop it, or send pictures to its POST /v1/galleries/…/images"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} ({Path(sys.argv[0]).name})\n".encode(), 0)
    return handle


def _unusable(path: Path, error: OSError) -> DataFolderUnusable:
    return DataFolderUnusable(
        f"data folder {path} cannot be written: {error.strerror}; choose another or mend its rights"
    )


def _difference(own: GallerySpec, wanted: GallerySpec) -> str:
    names = [name for name in vars(own) if getattr(own, name) != getattr(wanted, name)]
    return ", ".join(f"{name} is {getattr(own, name)!r}, not {getattr(wanted, name)!r}" for name in names)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(handle)
    os.close(handle)
