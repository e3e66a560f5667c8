"""The keys of all replicas, in the database; see ``index.access_key.KeyHome``."""

from datetime import UTC, datetime
from typing import Any

from index.access_key import AccessKey, could_be_key_id
from index.errors import KeyNotFound
from index.postgres.postgres_database import PostgresDatabase

_COLUMNS = "key_id, name, digest, scopes, galleries, rate, burst, created_at, expires_at, revoked_at"
_SELECT = f"SELECT {_COLUMNS} FROM vehicle_search.keys"  # noqa: S608
_INSERT = f"INSERT INTO vehicle_search.keys ({_COLUMNS}) VALUES ({', '.join(['%s'] * 10)})"  # noqa: S608
_REVOKE = (
    "UPDATE vehicle_search.keys SET revoked_at = coalesce(revoked_at, %s) WHERE key_id = %s"  # noqa: S608
    f" RETURNING {_COLUMNS}"
)
_CHANGED = "UPDATE vehicle_search.about SET key_changes = key_changes + 1"


class PostgresKeys:
    """Every key that was made, the revoked ones too. Raises StorageFull, StorageError."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self.place = database.place
        self.way_back = f"empty the table vehicle_search.keys of {database.place}"

    def stamp(self) -> int | None:
        """What differs after every change; None where no key was ever made."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT key_changes FROM vehicle_search.about").fetchone()
        return None if row is None or row[0] == 0 else int(row[0])

    def all(self) -> list[AccessKey]:
        """Every key, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(f"{_SELECT} ORDER BY created_at, key_id").fetchall()
        return [_key(row) for row in rows]

    def add(self, key: AccessKey) -> None:
        """Keep a new key."""
        values = (
            key.key_id, key.name, key.digest, sorted(key.scopes),
            None if key.galleries is None else sorted(key.galleries), key.rate, key.burst, key.created_at,
            key.expires_at, key.revoked_at,
        )  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute(_INSERT, values)
            connection.execute(_CHANGED)

    def revoke(self, key_id: str, now: datetime) -> AccessKey:
        """End a key; one that was revoked before stays as it is. Raises KeyNotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(_REVOKE, (now, key_id)).fetchone() if could_be_key_id(key_id) else None
            if row is not None:
                connection.execute(_CHANGED)
        if row is None:
            raise KeyNotFound(f"there is no key {key_id!a}; `vehicle-search keys list` names all")
        return _key(row)


def _key(row: tuple[Any, ...]) -> AccessKey:
    key_id, name, digest, scopes, galleries, rate, burst, created_at, expires_at, revoked_at = row
    return AccessKey(
        key_id=key_id, name=name, digest=bytes(digest), scopes=frozenset(scopes),
        galleries=None if galleries is None else frozenset(galleries), rate=rate, burst=burst,
        created_at=created_at.astimezone(UTC), expires_at=None if expires_at is None else expires_at.astimezone(UTC),
        revoked_at=None if revoked_at is None else revoked_at.astimezone(UTC),
    )  # fmt: skip
