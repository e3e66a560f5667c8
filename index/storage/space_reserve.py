"""Space on the disk that is kept for erasing: on a full one everything else waits, and erasing goes on.

A file of some megabytes with nothing in it. It is let go of when something has to be erased, or galleries opened, and
no space is left for that; until it is whole again nothing else is written, so that nothing else takes what it gave.
"""

import os
import shutil
import threading
from pathlib import Path
from typing import Final

from index.errors import StorageFull
from index.whole_file import PART

BYTES: Final = 24 << 20  # for a log of SQLite's usual length, 16 MB, to come into a file that grows, and for erasing
LOG: Final = 4 << 20  # bytes of the log after which it is emptied while the reserve is lent; an erasure takes 0.3 MB
_ROOM: Final = BYTES + (8 << 20)  # that must be free for it to be made


class SpaceReserve:
    """One file; empty as long as it is lent. Where there is no room for it, as on a very small disk, there is none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._guard = threading.Lock()
        self._lent = file.exists() and not file.stat().st_size
        self.renew()

    @property
    def lent(self) -> bool:
        """Whether only what erases may write now."""
        return self._lent

    def lend(self) -> None:
        """Give its space away, for erasing or opening."""
        with self._guard:
            if self._file.exists():
                os.truncate(self._file, 0)
                self._lent = True

    def renew(self) -> None:
        """Make it, or make it whole again, where there is room for it."""
        with self._guard:
            part = self._file.with_name(self._file.name + PART)
            try:
                if not self._missing() or shutil.disk_usage(self._file.parent).free < _ROOM:
                    return
                with part.open("wb") as opened:
                    os.posix_fallocate(opened.fileno(), 0, BYTES)
                part.replace(self._file)
                self._lent = False
            except OSError:  # full, or not ours to write: there is none then
                part.unlink(missing_ok=True)

    def require_room(self) -> None:
        """Raise StorageFull while it is lent: what is left on the disk is not for other writes."""
        if self._lent:
            self.renew()
        if self._lent:
            raise StorageFull(
                f"no space left for {self._file.parent}: what there is is kept for erasing; nothing was written; free "
                f"{_ROOM >> 20} MB, also by erasing images, and send it again"
            )

    def _missing(self) -> bool:
        return not self._file.exists() or self._file.stat().st_size < BYTES
