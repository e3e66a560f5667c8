"""The audit log that replicas share: each writes its own entries, and anybody reads those of all."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from index.errors import InvalidValue, StorageError
from service.access.audit_log import PLACES, AuditHome
from service.access.audit_pages import READ_AT_MOST, AuditFilter, AuditPage, Entry, read_entry
from service.watching.metrics import Metrics

_CURSOR: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_LOG = logging.getLogger("service.audit")


class AuditTable(Protocol):
    """Lines that several replicas write, numbered as they come; see ``index.postgres.postgres_audit``."""

    @property
    def place(self) -> str: ...

    def append(self, lines: Sequence[str]) -> None: ...

    def backwards(
        self, *, before: int | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[tuple[int, str]]: ...

    def remove_before(self, time: datetime) -> int: ...


class SharedAudit(AuditHome):
    """Entries in a table, from construction on. ``days`` they are kept; 0: until somebody removes them.

    Each is durable as soon as it counts as written. ``erasing_clock`` is what entries are too old by.
    """

    def __init__(
        self, table: AuditTable, metrics: Metrics, *, days: int, places: int = PLACES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        erasing_clock: Callable[[], datetime] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(table.place, metrics, places=places, clock=clock)
        self._table, self._days, self._erasing_clock = table, days, erasing_clock or clock
        self._thread.start()

    def _append(self, lines: Sequence[bytes], *, flush: bool) -> None:
        del flush  # all are
        self._table.append([line.decode().rstrip("\n") for line in lines])

    def _tidy(self) -> None:
        if not self._days:
            return
        try:
            self._table.remove_before(self._erasing_clock() - timedelta(days=self._days))
        except StorageError as error:
            _LOG.warning("old entries of the audit log cannot be removed: %s", error)


def read_shared_page(table: AuditTable, wanted: AuditFilter, *, limit: int, cursor: str | None) -> AuditPage:
    """As ``read_page``, of the entries of all replicas. Raises InvalidValue for a cursor that is none, StorageError."""
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise InvalidValue(f"{cursor[:60]!a} is not a cursor that this log gave", pointer="/query/cursor")
    found: list[Entry] = []
    read = 0
    before = None if cursor is None else int(cursor)
    lines = table.backwards(before=before, since=wanted.since, until=wanted.until)
    for number, line in lines:
        read += len(line)
        entry = read_entry(line)
        if entry is not None and wanted.passes(entry):
            found.append(entry)
        if len(found) == limit or read >= READ_AT_MOST:
            return AuditPage(found, None if next(lines, None) is None else str(number))
    return AuditPage(found, None)
