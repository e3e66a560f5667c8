"""What lies in a gallery's folder and beside it."""

from pathlib import Path
from typing import Final

DATABASE: Final = "gallery.sqlite"
CROPS: Final = "crops"
SNAPSHOT: Final = "index.snapshot"  # of the index; it holds vectors, too
SCRATCH: Final = ".repair"  # where a repair works
BACKUP_NOTE: Final = "backup.json"  # beside ``galleries``, in a backup and nowhere else


def derived_files(folder: Path) -> list[Path]:
    """What was made from the database and is made from it again: all but the database and the crops."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((DATABASE, CROPS, SCRATCH)))


def set_aside(folder: Path) -> Path:
    """Where a repair moves what cannot stay; not below the gallery's folder."""
    return folder.parent.parent / "set-aside" / folder.name
