"""The pictures of a folder, listed once: sets of 200,000 pictures are checked without a look at each file."""

import os
from collections.abc import Iterable
from pathlib import Path

from index.errors import InvalidValue

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")


class PictureFolder:
    """Names of the pictures directly in a folder. Raises InvalidValue where it cannot be listed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if entry.name.lower().endswith(PICTURE_ENDINGS)]
        except OSError as error:
            raise InvalidValue(f"{path} cannot be listed: {error.strerror or error}") from error
        self.names = frozenset(names)
        self._by_lower_case = {name.lower(): name for name in names}

    def find(self, name: str) -> str | None:
        """The name as it is on disk, or None; ``a.jpg`` also finds ``A.JPG``, as it does on Windows."""
        return name if name in self.names else self._by_lower_case.get(name.lower())

    def others(self, names: Iterable[str]) -> list[str]:
        """Pictures that are none of ``names``, sorted."""
        return sorted(self.names.difference(names))
