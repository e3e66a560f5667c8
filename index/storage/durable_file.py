"""Small files that are there whole, as they were before or as they are now, also after a loss of power."""

import os
from pathlib import Path

PART = ".part"  # of the name of a file that is being written


def write_durably(path: Path, text: str) -> None:
    """Put a file in the place of the one before. Raises OSError."""
    part = path.with_name(path.name + PART)
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    take_place(part, path)


def take_place(part: Path, path: Path) -> None:
    """Give a file that was flushed its name, in the place of the one that has it. Raises OSError."""
    part.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what was written to a file durable. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
