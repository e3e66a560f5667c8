"""One process owns a data folder: a lock file that says who. Those that only read share it with each other."""

import fcntl
import os
import sys
from pathlib import Path

from index.errors import DataFolderLocked, DataFolderUnusable

_SHOWN = 200  # characters of the holder's command
_WIDTH = 4 * _SHOWN + 40  # bytes, whatever the command


class FolderLock:
    """Held from construction to ``close``, or to the end of the process however it ends.

    Raises DataFolderLocked, naming the holder, DataFolderUnusable where something else lies in the file's place, and
    OSError where the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        _require_file(folder / "lock")
        self._handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if (holder := _holder_unless_taken(self._handle, fcntl.LOCK_EX)) is not None:
            raise DataFolderLocked(
                f"the data folder {folder} is in use by {holder or 'a process that only reads it'}; stop that, or send "
                "the pictures to it over HTTP: POST /v1/galleries/{gallery}/images, archives to "
                "/v1/galleries/{gallery}/imports"
            )
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:_SHOWN]
        self._tell(f"process {os.getpid()} ({command})")

    def close(self) -> None:
        """Let others in; the file forgets who we were: a command may name images."""
        self._tell("")
        os.close(self._handle)

    def _tell(self, text: str) -> None:
        """Write who we are over what stands there; in place, because the disk may be full."""
        os.pwrite(self._handle, text.encode(errors="replace").ljust(_WIDTH) + b"\n", 0)
        os.ftruncate(self._handle, _WIDTH + 1)


class SharedLock:
    """That nobody owns the folder, held as FolderLock is; where there is no lock file there is none to be held.

    Nothing is written, so it works where nothing can be, and whoever is kept away by it is not told by whom. Raises
    DataFolderLocked, DataFolderUnusable, and OSError where the lock file cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        _require_file(folder / "lock")
        self._handle: int | None = None
        try:
            self._handle = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            holder = _holder_unless_taken(self._handle, fcntl.LOCK_SH)
        except OSError:  # a file system without locks
            return
        if holder is not None:
            raise DataFolderLocked(
                f"the data folder {folder} is in use by {holder or 'another process'}, which may write to it; stop "
                "that, or serve a backup of it: `vehicle-index backup`, `vehicle-index restore`"
            )

    def close(self) -> None:
        """Let others in."""
        if self._handle is not None:
            os.close(self._handle)


def _require_file(lock: Path) -> None:
    if lock.exists() and not lock.is_file():
        raise DataFolderUnusable(f"{lock} is no file: remove what lies there, the lock file is made anew")


def _holder_unless_taken(handle: int, kind: int) -> str | None:
    """Take a lock, None where it is ours now; else close the file, and what its holder wrote there, maybe nothing."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 4 * _SHOWN, 0).decode(errors="replace").strip()
        os.close(handle)
        return holder
    return None
