"""Who sends a request: the holder of a key, or anybody where the service has none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request

from index.access_key import AccessKey, key_id_of
from service.access.keyring import Keyring
from service.capacity.token_bucket import TokenBucket
from service.watching.metrics import Metrics
from service.wire.problems import NotReady, RateExceeded, Unauthenticated

_SCHEME: Final = "bearer "
_HOW: Final = "send the header Authorization: Bearer TOKEN; `vehicle-search keys create` makes a token"


@dataclass(frozen=True)
class Caller:
    """``key`` is None where none is asked for, and of a stranger at what is open to all."""

    key: AccessKey | None
    stranger: bool = False

    @property
    def admin(self) -> bool:
        """Whether it may do everything, as anybody may where no keys are asked for."""
        return not self.stranger and (self.key is None or self.key.allows("admin"))

    def reaches(self, gallery: str | None) -> bool:
        """Whether what belongs to this gallery (None: to none) may be shown to it."""
        if self.key is None:
            return not self.stranger
        return self.key.galleries is None or gallery in self.key.galleries


ANYBODY: Final = Caller(None)
STRANGER: Final = Caller(None, stranger=True)


def caller_of(request: Request) -> Caller:
    """Who sent the request."""
    caller: Caller = request.scope.get("caller", ANYBODY)
    return caller


class Callers:
    """Knows callers by their keys, and counts what they send. For the event loop's thread."""

    def __init__(
        self, keyring: Keyring, metrics: Metrics, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._keyring, self._metrics, self._clock = keyring, metrics, clock
        self._buckets: dict[str, TokenBucket] = {}

    @property
    def keyless(self) -> bool:
        """Whether no key is asked for."""
        return self._keyring.keyless

    def caller(self, authorizations: Iterable[str]) -> Caller:
        """Whoever sends these headers ``Authorization``; raises Unauthenticated, RateExceeded, and NotReady."""
        try:
            key = self._key(list(authorizations))
        except Unauthenticated:
            self._metrics.unauthenticated.inc()
            raise
        self._count(key)
        return Caller(key)

    def recognised(self, authorizations: Iterable[str]) -> Caller:
        """As :meth:`caller` at what is open to all: whoever sends no key that works is a stranger there."""
        sent = list(authorizations)
        try:
            return Caller(self._key(sent)) if sent else STRANGER
        except (Unauthenticated, NotReady):
            return STRANGER

    def _key(self, authorizations: list[str]) -> AccessKey:
        self._keyring.require_fresh()
        if not authorizations:
            raise Unauthenticated(f"this service asks for a key: {_HOW}")
        token = authorizations[0][len(_SCHEME) :].strip(" ")
        if len(authorizations) > 1 or authorizations[0][: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated(f"one header Authorization with the scheme Bearer is expected: {_HOW}")
        key_id = key_id_of(token)
        key = None if key_id is None else self._keyring.key(key_id)
        if key is None or not key.fits(token):
            raise Unauthenticated(f"the token is none of this service's: {_HOW}", invalid=True)
        _require_not_ended(key, self._clock())
        return key

    def _count(self, key: AccessKey) -> None:
        if key.rate is not None:
            bucket = self._buckets.get(key.key_id)
            if bucket is None or (bucket.rate, bucket.burst) != (key.rate, key.burst):
                bucket = self._buckets[key.key_id] = TokenBucket(rate=key.rate, burst=key.burst)
            if seconds := bucket.take():
                self._metrics.key_requests.labels(key.key_id, "limited").inc()
                raise RateExceeded(
                    f"key {key.key_id} ({key.name}) may send {key.rate:g} requests a second, {key.burst} at once; "
                    "Retry-After says when to go on",
                    seconds=seconds,
                )
        self._metrics.key_requests.labels(key.key_id, "admitted").inc()


def require_still(caller: Caller, keyring: Keyring) -> None:
    """After a body that took long: raise Unauthenticated where the caller's key has ended meanwhile, and NotReady."""
    key = None if caller.key is None else keyring.key(caller.key.key_id)
    if key is not None:
        _require_not_ended(key, datetime.now(UTC))


def _require_not_ended(key: AccessKey, now: datetime) -> None:
    if (why := key.ended(now)) is not None:
        raise Unauthenticated(f"key {key.key_id} ({key.name}) is {why}; ask for another one", invalid=True)
