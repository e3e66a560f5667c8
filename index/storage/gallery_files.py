"""What lies in a gallery's folder and beside it."""

from pathlib import Path
from typing import Final

DATABASE: Final = "gallery.sqlite"
CROPS: Final = "crops"
FEEDBACK: Final = "feedback.sqlite"  # there from the first answer on
SNAPSHOT: Final = "index.snapshot"  # of the index; it holds vectors, too
SCRATCH: Final = ".repair"  # where a repair works
BACKUP_NOTE: Final = "backup.json"  # beside ``galleries``, in a backup and nowhere else
RESTORING: Final = ".restoring"  # in its place, while a backup is restored

_KEPT = {
    CROPS, SCRATCH,
    *(file + ending for file in (DATABASE, FEEDBACK) for ending in ("", "-wal", "-shm", "-journal")),
}  # fmt: skip


def derived_files(folder: Path) -> list[Path]:
    """What was made from the database and is made from it again: all but databases and crops."""
    return sorted(path for path in folder.iterdir() if path.name not in _KEPT)


def set_aside(folder: Path) -> Path:
    """Where a repair moves what cannot stay; not below the gallery's folder."""
    return all_set_aside(folder.parent.parent) / folder.name


def all_set_aside(data: Path) -> Path:
    """The folders of a data folder in which that lies, by gallery."""
    return data / "set-aside"
