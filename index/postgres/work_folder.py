"""A folder in which one replica works on imports; those of replicas that are dead are removed by the next one."""

import shutil
import time
from pathlib import Path
from typing import Final

from index.errors import DataFolderLocked, DataFolderUnusable
from index.storage.folder_lock import FolderLock

YOUNG: Final = 60.0  # seconds in which a folder may be without its lock: its replica is about to take it


class WorkFolder:
    """``data/imports-at-work/NAME``, from construction to ``close``. Raises OSError."""

    def __init__(self, data: Path, name: str) -> None:
        parent = data / "imports-at-work"
        self.path = parent / name
        self.path.mkdir(parents=True)
        self._lock = FolderLock(self.path)
        for other in parent.iterdir():
            if other != self.path and other.stat().st_mtime < time.time() - YOUNG:
                _remove_unless_held(other)

    def close(self) -> None:
        """Remove it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_unless_held(folder: Path) -> None:
    try:
        lock = FolderLock(folder)
    except (DataFolderLocked, DataFolderUnusable, OSError):  # of a replica that lives, or somebody removes it right now
        return
    lock.close()
    shutil.rmtree(folder, ignore_errors=True)
