"""What is remembered of galleries' migrations: a row for each, written anew when it ends."""

import json
import threading

from index.gallery import Migration
from index.milvus.milvus_server import MilvusServer
from index.milvus.record_rows import RecordRows
from index.milvus.row_clock import RowClock
from index.storage.migration_records import migration_of, migrations_text

_KEPT = 20  # of those that ended, each
_TEXT = 65_535  # bytes


class KeptMigrations:
    """A collection of all galleries' migrations, which is made when the first begins. Safe to use from any thread."""

    def __init__(self, server: MilvusServer, name: str, clock: RowClock) -> None:
        self._table, self._clock = RecordRows(server, name, texts={"text": _TEXT}), clock
        self._guard = threading.Lock()
        self._there = False

    def known(self, gallery: str) -> list[Migration]:
        """Those of a gallery as they were written last, the latest first."""
        return [migration for _, migration in self._rows(gallery).values()] if self._exists() else []

    def write(self, gallery: str, migration: Migration) -> None:
        """Remember one, in the place of what was known of it, and forget the oldest of many."""
        if not self._exists():
            self._table.create()
        with self._guard:
            before = self._rows(gallery)
            (row_id,) = self._clock.take(1, above=max((row_id for row_id, _ in before.values()), default=0))
            self._table.add(row_id, gallery, text=migrations_text([migration]))
            others = [row_id for name, (row_id, _) in before.items() if name != migration.migration_id]
            own = [row_id for name, (row_id, _) in before.items() if name == migration.migration_id]
            self._table.delete(own + others[_KEPT:])

    def forget(self, gallery: str) -> None:
        """A gallery is gone."""
        if self._exists():
            self._table.forget(gallery)

    def _exists(self) -> bool:
        self._there = self._there or self._table.exists()
        return self._there

    def _rows(self, gallery: str) -> dict[str, tuple[int, Migration]]:
        """The row of each, the latest that began first."""
        found: dict[str, tuple[int, Migration]] = {}
        for row in sorted(self._table.of(gallery), key=lambda row: int(row["row_id"])):
            (fields,) = json.loads(row["text"])
            migration = migration_of(fields)
            found[migration.migration_id] = (int(row["row_id"]), migration)
        return dict(sorted(found.items(), key=lambda each: each[1][1].begun_at, reverse=True))
