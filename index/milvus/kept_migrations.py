"""What is remembered of galleries' migrations: a row for each, written anew when it ends."""

import json
import threading

from index.gallery import Migration
from index.milvus.milvus_server import MilvusServer
from index.milvus.row_clock import RowClock
from index.milvus.row_condition import one_of
from index.storage.migration_records import migration_of, migrations_text

_KEPT = 20  # of those that ended, each
_TEXT = 65_535  # bytes


class KeptMigrations:
    """A collection of all galleries' migrations, which is made when the first begins. Safe to use from any thread."""

    def __init__(self, server: MilvusServer, name: str, clock: RowClock) -> None:
        self._server, self._name, self._clock = server, name, clock
        self._guard = threading.Lock()
        self._there = False

    def known(self, gallery: str) -> list[Migration]:
        """Those of a gallery as they were written last, the latest first."""
        return [migration for _, migration in self._rows(gallery).values()] if self._exists() else []

    def write(self, gallery: str, migration: Migration) -> None:
        """Remember one, in the place of what was known of it, and forget the oldest of many."""
        self._create()
        with self._guard:
            before = self._rows(gallery)
            (row_id,) = self._clock.take(1, above=max((row_id for row_id, _ in before.values()), default=0))
            text = migrations_text([migration])
            row = {"row_id": row_id, "gallery": gallery, "text": text, "nothing": [0.0, 0.0]}
            self._server.insert(self._name, [row])
            others = [row_id for name, (row_id, _) in before.items() if name != migration.migration_id]
            own = [row_id for name, (row_id, _) in before.items() if name == migration.migration_id]
            self._server.delete(self._name, own + others[_KEPT:])

    def forget(self, gallery: str) -> None:
        """A gallery is gone."""
        if self._exists():
            rows = self._server.query(self._name, one_of("gallery", [gallery]), ["row_id"])
            self._server.delete(self._name, [row["row_id"] for row in rows])

    def _exists(self) -> bool:
        self._there = self._there or self._server.is_loaded(self._name)
        return self._there

    def _create(self) -> None:
        """Make the collection where it is missing."""
        from pymilvus import DataType, MilvusClient

        if self._exists():
            return
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row_id", DataType.INT64, is_primary=True)
        schema.add_field("gallery", DataType.VARCHAR, max_length=255)
        schema.add_field("text", DataType.VARCHAR, max_length=_TEXT)
        schema.add_field("nothing", DataType.FLOAT_VECTOR, dim=2)  # a collection must have a vector
        self._server.create(self._name, schema, "nothing", {"index_type": "FLAT"})

    def _rows(self, gallery: str) -> dict[str, tuple[int, Migration]]:
        """The row of each, the latest that began first."""
        found: dict[str, tuple[int, Migration]] = {}
        rows = self._server.query(self._name, one_of("gallery", [gallery]), ["row_id", "text"])
        for row in sorted(rows, key=lambda row: int(row["row_id"])):
            (fields,) = json.loads(row["text"])
            migration = migration_of(fields)
            found[migration.migration_id] = (int(row["row_id"]), migration)
        return dict(sorted(found.items(), key=lambda each: each[1][1].begun_at, reverse=True))
