"""How many changes galleries had: each service counts its own, and the sum moves with every write of any."""

import secrets
import threading
from typing import Final

from index.milvus.milvus_server import MilvusServer
from index.milvus.record_rows import RecordRows
from index.milvus.row_clock import RowClock

_MARK: Final = 0  # as the writer: not a count, but the row id up to which nothing was left behind


class ChangeCounts:
    """A collection with a row for each gallery and service. Safe to use from any thread."""

    def __init__(self, server: MilvusServer, name: str, clock: RowClock) -> None:
        self._rows, self._clock = RecordRows(server, name, numbers=("writer", "number")), clock
        self._writer = secrets.randbelow(2**62) + 1
        self._guard = threading.Lock()
        self._told: dict[tuple[str, int], tuple[int, int]] = {}  # of a gallery and a writer: row id and number

    def note(self, gallery: str, changes: int) -> None:
        """Count changes of a gallery that were made here."""
        if changes:
            with self._guard:
                _, before = self._told.get((gallery, self._writer), (None, 0))
                self._tell(gallery, self._writer, before + changes)

    def last(self, gallery: str) -> int:
        """How many there were, by anybody."""
        return sum(number for writer, number in self._numbers(gallery).items() if writer != _MARK)

    def mark(self, gallery: str) -> int:
        """The row id up to which somebody made sure that nothing was left behind."""
        return self._numbers(gallery).get(_MARK, 0)

    def set_mark(self, gallery: str, row_id: int) -> None:
        """Say up to which row id nothing is left behind."""
        with self._guard:
            self._tell(gallery, _MARK, row_id)

    def forget(self, gallery: str) -> None:
        """A gallery is gone."""
        self._rows.forget(gallery)

    def create(self) -> None:
        """Make the collection where it is missing."""
        self._rows.create()

    def _tell(self, gallery: str, writer: int, number: int) -> None:
        (row_id,) = self._clock.take(1)
        self._rows.add(row_id, gallery, writer=writer, number=number)
        before, self._told[gallery, writer] = self._told.get((gallery, writer)), (row_id, number)
        if before is not None:
            self._rows.delete([before[0]])

    def _numbers(self, gallery: str) -> dict[int, int]:
        numbers: dict[int, int] = {}
        for row in self._rows.of(gallery):
            numbers[row["writer"]] = max(row["number"], numbers.get(row["writer"], 0))
        return numbers
