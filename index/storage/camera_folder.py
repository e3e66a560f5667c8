"""The cameras of a data folder, on the disk: ``cameras/`` has ``cameras.json`` and the picture of the plan.

The note names the plan's picture by its content and carries a checksum of itself. It is replaced as a whole, after the
picture that it names is on the disk; a picture that no note names any more is removed.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from index.camera import Camera, Cameras, Plan
from index.crops import content_name
from index.errors import PlanNotFound, ReadOnly, StorageError, StorageFull
from index.storage.camera_note import NO_PLAN, note_text, read_note
from index.storage.crop_store import NO_SPACE
from index.whole_file import sync_folder, write_bytes, write_whole

FOLDER: Final = "cameras"

_NOTE: Final = "cameras.json"
_WAY_OUT: Final = (
    "put a copy of the folder back (a backup has one), or remove it with the service stopped and set the cameras anew"
)


class CameraFolder:
    """Cameras of one data folder; one process writes, any may read. Nothing is made before something is written.

    Raises StorageFull and StorageError, also where the note or the plan is not what was written; ReadOnly where
    ``read_only``. Safe to call from any thread.
    """

    def __init__(
        self, data: Path, *, read_only: bool = False, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder, self._read_only, self._clock = data / FOLDER, read_only, clock
        self._guard = threading.Lock()

    def read(self) -> Cameras:
        """All that is known; nothing where nobody has said anything yet."""
        with self._translated():
            try:
                data = (self.folder / _NOTE).read_bytes()
            except FileNotFoundError:
                return Cameras()
        return self._parsed(data)

    def place(self, cameras: tuple[Camera, ...]) -> Cameras:
        """Put these in the place of all that are there; the plan stays."""
        with self._guard:
            return self._write(replace(self.read(), cameras=cameras))

    def draw(self, picture: bytes, *, pixels: tuple[int, int], width: float) -> tuple[Cameras, bool]:
        """Keep a stored crop's bytes as the plan, ``width`` metres wide; and whether there was none before."""
        with self._guard:
            known = self.read()
            plan = Plan(name=content_name(picture), pixels=pixels, width=width)
            written = self._write(replace(known, plan=plan), picture)
            return written, known.plan is None

    def erase_plan(self) -> None:
        """Remove the plan; raises PlanNotFound."""
        with self._guard:
            known = self.read()
            if known.plan is None:
                raise PlanNotFound(NO_PLAN)
            self._write(replace(known, plan=None))

    def picture(self) -> tuple[Plan, bytes]:
        """The plan and its picture; raises PlanNotFound."""
        known, picture = self.whole()
        if known.plan is None or picture is None:
            raise PlanNotFound(NO_PLAN)
        return known.plan, picture

    def whole(self) -> tuple[Cameras, bytes | None]:
        """All that is known with the picture that belongs to it, also while another process replaces it."""
        before = None
        while True:
            known = self.read()
            if known.plan is None:
                return known, None
            if known == before:
                raise StorageError(f"{self.folder / known.plan.name}, the plan, is missing; {_WAY_OUT}")
            with self._translated(), contextlib.suppress(FileNotFoundError):
                picture = (self.folder / known.plan.name).read_bytes()
                if hashlib.sha256(picture).hexdigest() != known.plan.name.partition(".")[0]:
                    raise StorageError(f"{self.folder} has another plan than was written; {_WAY_OUT}")
                return known, picture
            before = known

    def take(self, known: Cameras, picture: bytes | None) -> None:
        """Become what another folder's ``whole`` gave; nothing is kept where that knows nothing."""
        with self._guard:
            if known == Cameras():
                self._forget()
            else:
                self._write(known, picture, at=known.updated_at)

    def _write(self, known: Cameras, picture: bytes | None = None, *, at: datetime | None = None) -> Cameras:
        if self._read_only:
            raise ReadOnly(f"{self.folder} is open for reading only (read_only): cameras cannot be changed here")
        known = replace(known, updated_at=at or self._clock())
        with self._translated():
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
            if known.plan is not None and picture is not None:
                write_bytes(self.folder / known.plan.name, picture)
            try:
                write_whole(self.folder / _NOTE, note_text(known))
            finally:
                self._tidy()
        return known

    def _tidy(self) -> None:
        """Remove what the note does not name."""
        kept = {_NOTE, *([] if (plan := self.read().plan) is None else [plan.name])}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def _forget(self) -> None:
        with self._translated(), contextlib.suppress(FileNotFoundError):
            (self.folder / _NOTE).unlink()
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()

    def _parsed(self, data: bytes) -> Cameras:
        try:
            return read_note(data)
        except ValueError as error:
            raise StorageError(f"{self.folder / _NOTE} is not what was written ({error}); {_WAY_OUT}") from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            kind = StorageFull if error.errno in NO_SPACE else StorageError
            raise kind(f"cameras cannot be kept in {self.folder}: {error.strerror}") from error
