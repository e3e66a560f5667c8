"""Stored crops as files named by their content.

A crop is written to ``incoming/`` and flushed before the commit that names it, and moved to its place after. Whatever
a crash leaves in ``incoming/`` is either named by a row, and moved, or nobody's, and removed; nothing else needs to be
searched on opening.
"""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from index.errors import StorageError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


class CropStore:
    """Files below one folder. Callers write one at a time; reading is safe at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._incoming = folder, folder / "incoming"

    def create(self) -> None:
        """Make the folders."""
        self._incoming.mkdir(parents=True, exist_ok=True)

    def write(self, crops: dict[str, bytes]) -> None:
        """Make crops durable under their content names; raises StorageFull with nothing of them left."""
        written: list[Path] = []
        try:
            for name, data in crops.items():
                if self._place(name).exists():
                    continue
                path = self._incoming / name
                written.append(path)
                with path.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            if written:
                _sync_folder(self._incoming)
        except OSError as error:
            for path in written:
                path.unlink(missing_ok=True)
            if error.errno in _FULL:
                raise StorageFull(
                    f"no space left for crops in {self._folder}; free some, then send it again"
                ) from error
            raise StorageError(f"crops cannot be written to {self._folder}: {error.strerror}") from error

    def settle(self, names: Iterable[str]) -> None:
        """Move crops that a commit now names to their place."""
        for name in names:
            path = self._incoming / name
            if path.exists():
                place = self._place(name)
                try:
                    place.parent.mkdir(exist_ok=True)
                    path.replace(place)
                except OSError:
                    continue  # it is read from where it is, and moved on the next opening

    def discard(self, names: Iterable[str]) -> None:
        """Remove crops that no row names."""
        for name in names:
            self._place(name).unlink(missing_ok=True)
            (self._incoming / name).unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """A crop's bytes, None where the file is gone."""
        for path in (self._place(name), self._incoming / name, self._place(name)):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                continue
        return None

    def recover(self, is_named: Callable[[str], bool]) -> None:
        """Settle or remove what a crash left behind."""
        for path in list(self._incoming.iterdir()):
            if is_named(path.name):
                self.settle([path.name])
            else:
                path.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.stat().st_size for entry in self._folder.rglob("*") if entry.is_file())

    def _place(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
