"""What a gallery's database remembers of its migrations: one entry of ``about``, JSON, latest first."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

import apsw

from index.gallery import Migration
from index.storage.about_rows import MIGRATIONS

_KEPT: Final = 20  # of those that ended


def read_migrations(connection: apsw.Connection) -> list[Migration]:
    """Every migration that is known, latest first."""
    found = connection.execute("SELECT value FROM about WHERE key = ?", (MIGRATIONS,)).fetchone()
    return [] if found is None else [migration_of(fields) for fields in json.loads(found[0])]


def write_migration(connection: apsw.Connection, migration: Migration) -> None:
    """Put a migration in the place of the one with its id, or before all others."""
    known = read_migrations(connection)
    if any(each.migration_id == migration.migration_id for each in known):
        known = [migration if each.migration_id == migration.migration_id else each for each in known]
    else:
        known = [migration, *known][:_KEPT]
    connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (MIGRATIONS, migrations_text(known)))


def forget_erased(connection: apsw.Connection) -> None:
    """Leave no name of an image that is no longer there."""
    for migration in read_migrations(connection):
        names = json.dumps([image_id for image_id, _ in migration.failed])
        left = {
            image_id for (image_id,) in connection.execute(
                "SELECT image_id FROM images WHERE image_id IN (SELECT value FROM json_each(?))", (names,)
            )
        }  # fmt: skip
        kept = tuple(each for each in migration.failed if each[0] in left)
        if kept != migration.failed:
            write_migration(connection, replace(migration, failed=kept))


def open_migration(connection: apsw.Connection) -> Migration | None:
    """The one migration that has not ended."""
    return next((each for each in read_migrations(connection) if each.open), None)


def migrations_text(migrations: Sequence[Migration]) -> str:
    """As JSON, a list."""
    return json.dumps([asdict(each) for each in migrations], default=datetime.isoformat)


def migration_of(fields: dict[str, Any]) -> Migration:
    """The way back, of one of them."""
    ended = fields["ended_at"]
    return replace(
        Migration(**fields),
        begun_at=datetime.fromisoformat(fields["begun_at"]),
        ended_at=None if ended is None else datetime.fromisoformat(ended),
        failed=tuple((image_id, why) for image_id, why in fields["failed"]),
    )
