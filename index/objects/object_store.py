"""What every home of objects can do. An object is bytes that belong to a gallery, named by their content."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from index.errors import StorageError

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


class ObjectMissing(StorageError):
    """An object that is not there although something names it."""


class ObjectStore(Protocol):
    """Objects by gallery and name; safe to call from any thread, and from any number of processes.

    What ``put`` and ``send`` return from is durable and found by the next ``get`` of anybody. Raises StorageFull and
    StorageError; nothing waits for ever.
    """

    def put(self, gallery: str, name: str, data: bytes) -> None:
        """Keep bytes, in the place of what has this name; its time is now."""
        ...

    def get(self, gallery: str, name: str) -> bytes:
        """An object's bytes. Raises ObjectMissing."""
        ...

    def delete(self, gallery: str, name: str) -> None:
        """Forget an object, whether or not it is there."""
        ...

    def names(self, gallery: str) -> Iterator[tuple[str, datetime]]:
        """Every object of a gallery, in any order, with the UTC time at which it was put, for whoever sweeps."""
        ...

    def drop(self, gallery: str) -> None:
        """Forget all objects of a gallery, whether or not there are any."""
        ...

    def send(self, gallery: str, name: str, file: Path) -> None:
        """As ``put``, of a file of any size, which is never in memory whole."""
        ...

    def fetch(self, gallery: str, name: str, file: Path) -> None:
        """As ``get``, into a file. Raises ObjectMissing, and OSError where the file cannot be written."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def place_of(gallery: str, name: str) -> tuple[str, str, str]:
    """The folders and the file of an object, below the store's own; StorageError for names that are no file's."""
    for each in (gallery, name):
        if _NAME.fullmatch(each) is None:
            raise StorageError(f"{each[:60]!a} cannot be the name of an object or of its gallery")
    return gallery, name[:2], name
