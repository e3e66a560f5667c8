"""Keys that programs send to the service, and what is kept of them: never the token, only its SHA-256.

A token is 256 random bits, so nobody finds it by trying hashes; a slow password hash would add nothing but work for
whoever wants to keep the service busy.
"""

import hashlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol, get_args

from index.errors import InvalidValue

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
PREFIX: Final = "vsk_"  # of every token, for those who look for secrets where none should be
MAX_NAME: Final = 80  # characters
SLOWEST: Final = 0.001  # requests a second
QUICKEST: Final = 1_000_000
MOST_AT_ONCE: Final = 1_000_000  # requests

_ID_BYTES, _SECRET_BYTES = 6, 32
_TOKEN = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """One key. ``digest`` is the token's SHA-256, ``galleries`` None for all, ``rate`` requests a second, None for any.

    ``burst`` is how many requests may come at once before ``rate`` holds them. Times are in UTC.
    """

    key_id: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    galleries: frozenset[str] | None
    rate: float | None
    burst: int
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether it has this scope; admin includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, gallery: str) -> bool:
        """Whether it is for this gallery."""
        return self.galleries is None or gallery in self.galleries

    def ended(self, now: datetime) -> str | None:
        """Why it does not work any more; None where it does."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else None

    def exceeded_by(self, other: "AccessKey") -> str | None:
        """What another key would give beyond this one; None where whoever holds this one may make it."""
        if any(not self.allows(scope) for scope in other.scopes):
            return f"it has the scopes {', '.join(sorted(self.scopes))} only"
        if self.galleries is not None and (other.galleries is None or not other.galleries <= self.galleries):
            return "it is for some galleries only"
        if self.rate is not None and (other.rate is None or other.rate > self.rate or other.burst > self.burst):
            return f"it may send {self.rate:g} requests a second itself, {self.burst} at once"
        if self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at):
            return f"it ends itself, at {self.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return None

    def fits(self, token: str) -> bool:
        """Whether this is its token; takes as long whatever the token is."""
        return hmac.compare_digest(self.digest, digest_of(token))


class KeyHome(Protocol):
    """Where keys are kept: a file of a data folder, or a database that several replicas share.

    Raises StorageFull and StorageError, DataFolderUnusable for what a newer release wrote.
    """

    @property
    def place(self) -> str:
        """What it is, for people."""
        ...

    @property
    def way_back(self) -> str:
        """What whoever wants no keys any more does to the place, with the service stopped."""
        ...

    def stamp(self) -> object | None:
        """What differs after every change; None where no key was ever made."""
        ...

    def all(self) -> list[AccessKey]:
        """Every key, ended or not, oldest first."""
        ...

    def add(self, key: AccessKey) -> None:
        """Keep a new key; durable on return."""
        ...

    def revoke(self, key_id: str, now: datetime) -> AccessKey:
        """End a key; one that was revoked before stays as it is. Raises KeyNotFound. Durable on return."""
        ...


def new_token() -> tuple[str, str]:
    """A token that nobody has seen, and the id in it, which is no secret."""
    key_id = secrets.token_hex(_ID_BYTES)
    return f"{PREFIX}{key_id}_{secrets.token_hex(_SECRET_BYTES)}", key_id


def key_id_of(token: str) -> str | None:
    """The id in a token; None where it has not the form of one."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else found[1]


def could_be_key_id(text: str) -> bool:
    """Whether a key may have this id at all; no database can be asked for some others."""
    return text.isascii() and "\0" not in text


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def check_key_name(name: str) -> str:
    """A name for people, 1–80 printable characters; raises InvalidValue."""
    if 1 <= len(name) <= MAX_NAME and name.isprintable() and name.strip() == name:
        return name
    raise InvalidValue(
        f"the name of a key must be 1–{MAX_NAME} printable characters, not {name[:MAX_NAME]!a}", pointer="/name"
    )


def check_rate(rate: float, *, prefix: str = "") -> float:
    """Requests a second that a key may have; ``prefix`` stands before the name in what InvalidValue says."""
    if SLOWEST <= rate <= QUICKEST:
        return float(rate)
    raise InvalidValue(
        f"{prefix}rate {rate!s:.40}: requests a second are a number from {SLOWEST:g} to {QUICKEST:,}", pointer="/rate"
    )


def check_burst(burst: int | None, rate: float | None, *, prefix: str = "") -> int:
    """Requests that may come at once, those of a second where nobody says; raises InvalidValue."""
    if burst is None:
        return 1 if rate is None else max(1, math.ceil(rate))
    if rate is None:
        raise InvalidValue(
            f"{prefix}burst {burst!s:.40} goes with {prefix}rate: without one any number may come at once",
            pointer="/burst",
        )
    if not 1 <= burst <= MOST_AT_ONCE:
        raise InvalidValue(
            f"{prefix}burst {burst!s:.40}: requests at once are a whole number from 1 to {MOST_AT_ONCE:,}",
            pointer="/burst",
        )
    return burst
