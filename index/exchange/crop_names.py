"""A set of names of crops that may be larger than memory."""

from collections.abc import Iterable

import apsw


class CropNames:
    """In a file of its own that SQLite removes; one thread at a time may use it."""

    def __init__(self) -> None:
        self._disk = apsw.Connection("")
        self._disk.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, names: Iterable[str]) -> None:
        """Add names, any of which may be there already."""
        with self._disk:
            self._disk.executemany("INSERT OR IGNORE INTO names VALUES (?)", [(name,) for name in names])

    def __contains__(self, name: str) -> bool:
        return self._disk.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone() is not None

    def __len__(self) -> int:
        number: int = self._disk.execute("SELECT count(*) FROM names").get
        return number
