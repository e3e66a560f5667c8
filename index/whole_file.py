"""Files that are there whole, as they were before or as they are now, also after a loss of power."""

import os
from pathlib import Path

PART = ".part"  # of the name of a file that is being written


def write_whole(path: Path, text: str) -> None:
    """Write beside ``path``, flush to the disk, rename: what was there stays where that fails. Raises OSError.

    A device or a pipe is written to as it is; of a link the file that it leads to is replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Give the bytes of a file their place as ``write_whole`` does, in a folder that is there. Raises OSError."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        take_place(part, path)
    finally:
        part.unlink(missing_ok=True)


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
