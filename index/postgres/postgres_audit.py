"""The lines of the audit log of all replicas, in the database."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from index.postgres.postgres_database import PostgresDatabase

SKEW: Final = timedelta(hours=1)  # that clocks of replicas and of the database may differ by, and entries may wait

_LINES_AT_ONCE = 500
_REMOVED_AT_ONCE = 10_000


class PostgresAudit:
    """Lines in the order in which they were written. Raises StorageFull and StorageError."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self.place = database.place

    def append(self, lines: Sequence[str]) -> None:
        """Keep lines, all or none; durable on return."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO vehicle_search.audit (entry) SELECT line FROM unnest(%s::text[]) WITH ORDINALITY"
                " AS lines (line, number) ORDER BY number",
                (list(lines),),
            )

    def backwards(
        self, *, before: int | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[tuple[int, str]]:
        """Lines with their numbers, the last first, from below a number; some more around ``since`` and ``until``."""
        while True:
            with self._database.transaction() as connection:
                rows = connection.execute(
                    "SELECT entry_id, entry FROM vehicle_search.audit"
                    " WHERE entry_id < coalesce(%s, 9223372036854775807)"
                    " AND written_at >= coalesce(%s, '-infinity'::timestamptz)"
                    " AND written_at <= coalesce(%s, 'infinity'::timestamptz) ORDER BY entry_id DESC LIMIT %s",
                    (
                        before, None if since is None else since - SKEW, None if until is None else until + SKEW,
                        _LINES_AT_ONCE,
                    ),
                ).fetchall()  # fmt: skip
            if not rows:
                return
            yield from rows
            before = rows[-1][0]

    def remove_before(self, time: datetime) -> int:
        """Remove lines that were written before a time; how many."""
        removed = 0
        while True:
            with self._database.transaction() as connection:
                now = connection.execute(
                    "DELETE FROM vehicle_search.audit WHERE entry_id IN (SELECT entry_id FROM vehicle_search.audit"
                    " WHERE written_at < %s ORDER BY entry_id LIMIT %s)",
                    (time, _REMOVED_AT_ONCE),
                ).rowcount
            removed += now
            if now < _REMOVED_AT_ONCE:
                return removed
