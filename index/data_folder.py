"""All galleries of one machine: a folder that one process owns at a time.

``lock`` says who owns it, ``layout`` what wrote it, ``reserve`` keeps space for erasing, ``galleries/`` has a folder a
gallery. A gallery is made and dropped under a name that begins with a dot; what a crash leaves of that is removed on
the next opening.
"""

import shutil
import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from index.errors import (
    GALLERY_TROUBLE,
    DataFolderUnusable,
    GalleryNotFound,
    GalleryUnavailable,
    IndexDeviceUnavailable,
    ReadOnly,
    StorageError,
    StorageFull,
    trouble_of,
)
from index.gallery import GallerySpec
from index.gallery_rules import make_default, no_gallery, require_number, require_same, unavailable, utc_now
from index.local_gallery import LocalGallery
from index.metadata import check_gallery_name
from index.searching.index_device import IndexDevice
from index.storage.crop_store import NO_SPACE
from index.storage.folder_lock import FolderLock, SharedLock
from index.storage.gallery_files import BACKUP_NOTE, RESTORING, all_set_aside
from index.storage.space_reserve import SpaceReserve
from index.whole_file import sync_folder, write_whole

LAYOUT: Final = 1
DEFAULT: Final = "default"
RESERVE: Final = "reserve"


class DataFolder:
    """See ``index.gallery.GalleryHome``. The gallery ``default`` is created with ``default_spec`` where it is missing.

    Without ``default_spec`` nothing is created: for looking into a folder that exists. ``read_only``: nothing is
    written either, not even a lock file, so that the folder may lie where nothing can be; others may read it meanwhile,
    and whoever would write to it is kept away as far as locks reach. ``device`` searches galleries of a kind that it
    takes. A gallery that is damaged is among ``problems`` and keeps no other from being used. Raises DataFolderLocked,
    naming who holds the folder, DataFolderUnusable (also where a newer release wrote a gallery), StorageFull and
    StorageError, NotEnoughMemory and IndexDeviceUnavailable for an index; ReadOnly for what would have to be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        default_spec: GallerySpec | None = None,
        clock: Callable[[], datetime] = utc_now,
        erasing_clock: Callable[[], datetime] | None = None,
        read_only: bool = False,
        device: IndexDevice | None = None,
        max_galleries: int | None = None,
    ) -> None:
        self.path, self._most = path, max_galleries
        self._clock, self._read_only, self._device = clock, read_only, device
        self._erasing_clock = erasing_clock
        self._folder = path / "galleries"
        self._guard = threading.Lock()
        self._galleries: dict[str, LocalGallery] = {}
        self._problems: dict[str, str] = {}
        self._reserve: SpaceReserve | None = None
        self._lock = self._shared() if read_only else self._own(create=default_spec is not None)
        try:
            self._open()
            if default_spec is not None and not read_only:
                make_default(self, DEFAULT, default_spec)
        except BaseException:
            self.close()
            raise

    @property
    def reserve(self) -> SpaceReserve | None:
        """Space for erasing, which whoever writes beside the galleries leaves alone, too; None where it is not ours."""
        return self._reserve

    def names(self) -> list[str]:
        return sorted(self._galleries.copy())

    def problems(self) -> dict[str, str]:
        return self._problems.copy()

    def require_all(self) -> None:
        """Raise GalleryUnavailable where a gallery could not be opened."""
        if self._problems:
            raise GalleryUnavailable("; ".join(str(unavailable(name, self._problems[name])) for name in self._problems))

    def get(self, name: str) -> LocalGallery:
        gallery = self._galleries.get(name)
        if name in self._problems:
            raise unavailable(name, self._problems[name])
        if gallery is None:
            raise no_gallery(name)
        return gallery

    def create(self, name: str, spec: GallerySpec) -> tuple[LocalGallery, bool]:
        check_gallery_name(name)
        self._require_writable()
        with self._guard:
            if name in self._galleries or name in self._problems:
                existing = self.get(name)
                require_same(existing.spec, spec, name)
                return existing, False
            require_number(len(self._galleries) + len(self._problems), self._most)
            if self._reserve is not None:
                self._reserve.require_room()
            making = self._folder / f".making-{uuid.uuid4().hex}"
            try:
                making.mkdir()
                LocalGallery.create(making, name, spec)
                sync_folder(making)
                making.rename(self._folder / name)
                sync_folder(self._folder)
                self._galleries[name] = self._opened(name)
            except OSError as error:
                raise _storage_error(f"gallery {name} cannot be created in {self.path}", error) from error
            finally:
                shutil.rmtree(making, ignore_errors=True)
            return self._galleries[name], True

    def drop(self, name: str) -> None:
        self._require_writable()
        with self._guard:
            gallery = self.get(name)
            dropping = self._folder / f".dropping-{uuid.uuid4().hex}"
            gallery.close(keep_snapshot=False)
            try:
                (self._folder / name).rename(dropping)
                sync_folder(self._folder)
            except OSError as error:
                self._galleries[name] = self._gallery(self._folder / name)
                raise _storage_error(f"gallery {name} cannot be dropped from {self.path}", error) from error
            del self._galleries[name]
            shutil.rmtree(dropping, ignore_errors=True)

    def forget_dropped(self) -> None:
        """Remove what repairs set aside of galleries that are no more. Raises StorageError."""
        aside = all_set_aside(self.path)
        try:
            for path in aside.iterdir() if aside.is_dir() else ():
                if path.name not in self._galleries and path.name not in self._problems:
                    shutil.rmtree(path)
        except OSError as error:
            raise _storage_error(f"{aside} cannot be emptied", error) from error

    def close(self) -> None:
        with self._guard:
            for gallery in self._galleries.values():
                gallery.close()
            self._galleries = {}
            self._lock.close()

    def _own(self, *, create: bool) -> FolderLock:
        try:
            if create:
                self.path.mkdir(parents=True, exist_ok=True)
            elif not self.path.is_dir():
                raise DataFolderUnusable(f"there is no data folder {self.path}; `vehicle-index add` makes one")
            return FolderLock(self.path)
        except OSError as error:
            raise unusable(self.path, error) from error

    def _shared(self) -> SharedLock:
        try:
            require_layout(self.path)
            return SharedLock(self.path)
        except OSError as error:
            raise unusable(self.path, error) from error

    def _require_writable(self) -> None:
        if self._read_only:
            raise ReadOnly(
                f"the data folder {self.path} is open for reading only (read_only): galleries are neither made nor "
                "dropped here; ask the service that owns it"
            )

    def _open(self) -> None:
        try:
            if not self._read_only:
                self._check_layout()
                self._folder.mkdir(exist_ok=True)
                self._reserve = SpaceReserve(self.path / RESERVE)
            folders = sorted(self._folder.iterdir())
        except OSError as error:
            raise unusable(self.path, error) from error
        for folder in folders:
            if folder.name.startswith("."):
                if not self._read_only:
                    shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir():
                self._open_gallery(folder)

    def _open_gallery(self, folder: Path) -> None:
        """Open one; what is wrong with it alone is kept for who asks for it."""
        try:
            self._galleries[folder.name] = self._gallery_with_room(folder)
        except (DataFolderUnusable, StorageFull, IndexDeviceUnavailable, ReadOnly):
            raise  # the wrong release, a full disk, what was asked for: that is no damage
        except GALLERY_TROUBLE as error:
            self._problems[folder.name] = trouble_of(error)

    def _gallery_with_room(self, folder: Path) -> LocalGallery:
        """A gallery; on a full disk it is opened in the space that is kept for erasing, so that something can be."""
        try:
            return self._gallery(folder)
        except StorageFull:
            if self._reserve is None:
                raise
            self._reserve.lend()
        try:
            return self._gallery(folder)
        except StorageFull as error:
            raise StorageFull(
                f"no space left to open {folder}; nothing was changed; free a megabyte on its disk and start again"
            ) from error

    def _gallery(self, folder: Path) -> LocalGallery:
        try:
            return LocalGallery(
                folder, clock=self._clock, erasing_clock=self._erasing_clock, read_only=self._read_only,
                reserve=self._reserve, device=self._device,
            )  # fmt: skip
        except OSError as error:
            what = f"{error.filename or folder} cannot be used; mend its rights or what lies there, then start again"
            raise _storage_error(what, error) from error

    def _opened(self, name: str) -> LocalGallery:
        """A gallery that was just made; where it cannot be opened, its folder goes, so that it can be made again."""
        folder = self._folder / name
        try:
            return self._gallery(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _check_layout(self) -> None:
        if (self.path / BACKUP_NOTE).exists():
            raise DataFolderUnusable(
                f"{self.path} is a backup: `vehicle-index restore {self.path} --data-dir NEW` makes a data folder of it"
            )
        if (self.path / RESTORING).exists():
            raise DataFolderUnusable(
                f"a backup was being restored to {self.path} and is not whole: repeat `vehicle-index restore`"
            )
        if (self.path / "layout").exists():
            require_layout(self.path)
        else:
            write_layout(self.path)


def write_layout(path: Path) -> None:
    """Say that a folder holds galleries as this release writes them; raises OSError."""
    write_whole(path / "layout", f"{LAYOUT}\n")  # an empty one would be refused


def require_layout(path: Path) -> None:
    """Raise DataFolderUnusable where a folder is no data folder or one of another release; OSError."""
    if not path.is_dir():
        raise DataFolderUnusable(f"there is no data folder {path}; `vehicle-index add` makes one")
    file = path / "layout"
    if not file.is_file():
        raise DataFolderUnusable(f"{path} is no data folder: it has no file layout; name another --data-dir")
    written = file.read_text(encoding="ascii", errors="replace").strip()
    if written != str(LAYOUT):
        raise DataFolderUnusable(
            f"the data folder {path} has layout {written[:20]!a}, this release reads {LAYOUT}: use the "
            "release that wrote it, or another --data-dir"
        )


def gallery_folders(path: Path, *, name: str | None = None) -> list[Path]:
    """Folders of all galleries, or of one, whoever has the data folder open.

    Raises DataFolderUnusable, GalleryNotFound and OSError.
    """
    require_layout(path)
    if not (path / "galleries").is_dir():
        raise DataFolderUnusable(f"{path} has no folder galleries: what was in it is lost; restore a backup")
    folders = [each for each in sorted((path / "galleries").iterdir()) if each.is_dir() and each.name[0] != "."]
    if name is None:
        return folders
    for folder in folders:
        if folder.name == name:
            return [folder]
    known = ", ".join(folder.name for folder in folders) or "none"
    raise GalleryNotFound(f"there is no gallery {name!a} in {path} (there: {known})")


def unusable(path: Path, error: OSError) -> DataFolderUnusable:
    """What to raise where a data folder cannot be read or written."""
    return DataFolderUnusable(
        f"the data folder {path} cannot be used: {error.strerror}; mend its rights or choose another --data-dir"
    )


def _storage_error(what: str, error: OSError) -> StorageError:
    kind = StorageFull if error.errno in NO_SPACE else StorageError
    return kind(f"{what}: {error.strerror}")
