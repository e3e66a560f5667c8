"""Keys of a data folder, made as the command makes them, for tests."""

from datetime import UTC, datetime
from pathlib import Path

from index.access_key import AccessKey, Scope, digest_of, new_token
from index.storage.key_database import KeyDatabase


def a_key(
    *scopes: Scope, galleries: tuple[str, ...] | None = None, rate: float | None = None, burst: int = 1,
    expires_at: datetime | None = None, revoked_at: datetime | None = None, name: str = "test",
) -> tuple[AccessKey, str]:  # fmt: skip
    """A key and its token."""
    token, key_id = new_token()
    key = AccessKey(
        key_id=key_id, name=name, digest=digest_of(token), scopes=frozenset(scopes),
        galleries=None if galleries is None else frozenset(galleries), rate=rate, burst=burst,
        created_at=datetime.now(UTC), expires_at=expires_at, revoked_at=revoked_at,
    )  # fmt: skip
    return key, token


def kept_key(folder: Path, *scopes: Scope, **more: object) -> str:
    """The token of a key that is kept in a data folder."""
    key, token = a_key(*scopes, **more)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    KeyDatabase(folder).add(key)
    return token


def bearer(token: str) -> dict[str, str]:
    """The header that a token is sent in."""
    return {"Authorization": f"Bearer {token}"}
