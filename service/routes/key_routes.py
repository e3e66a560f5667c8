"""Keys, for those who administer all galleries, and who the caller is, for everybody."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from index.access_key import SCOPES, AccessKey, Scope, check_burst, check_key_name, check_rate, digest_of, new_token
from index.errors import InvalidValue
from index.manifest import parse_time
from index.metadata import check_gallery_name
from service.access.caller import Caller, caller_of, require_still
from service.access.keyring import Keyring
from service.answering.uploads import read_document
from service.context import context_of, require_writable
from service.gate.audit_trail import note
from service.openapi import descriptions as say
from service.openapi import examples
from service.wire.documents import answer, key_document, properties_of, read_json, time_text
from service.wire.parameters import read_parameters
from service.wire.problems import ScopeMissing, Unauthenticated

_PROPERTIES: Final = ("name", "scopes", "galleries", "rate", "burst", "expires_at")
_NOWHERE: Final = {"Cache-Control": "no-store"}  # a token is kept by whoever asked for it, and by nothing between
_COMMAND: Final = "`vehicle-search keys create NAME --scope admin` on the service's machine makes one"
_MOST_ID = 64  # characters

KeyId = Annotated[str, Path(description="Id of the key.", examples=[examples.KEY])]

router = APIRouter(tags=["keys"])


@router.get("/v1/caller", summary="Who am I?", responses=say.responses(say.CALLER_ANSWER, 422))
async def caller(request: Request) -> Response:
    """What the key that comes with this request may do: its scopes with those that admin includes, and its galleries.

    Where no key is asked for ``key_id`` is null, and everything may be done. Where the service only reads
    (``read_only``) nothing can be changed by anybody.
    """
    read_parameters(request, ())
    key = caller_of(request).key
    return answer(
        {
            "key_id": None if key is None else key.key_id,
            "name": None if key is None else key.name,
            "scopes": [scope for scope in SCOPES if key is None or key.allows(scope)],
            "galleries": None if key is None or key.galleries is None else sorted(key.galleries),
            "expires_at": None if key is None or key.expires_at is None else time_text(key.expires_at),
            "read_only": context_of(request).settings.read_only,
        }
    )


@router.get("/v1/keys", summary="List keys", responses=say.responses(say.KEYS_ANSWER, 422))
async def list_keys(request: Request) -> Response:
    """Every key that was made, oldest first, those that have ended, too. Their tokens are nowhere."""
    read_parameters(request, ())
    now = datetime.now(UTC)
    return answer({"keys": [key_document(key, now) for key in context_of(request).keyring.all()]})


@router.post(
    "/v1/keys",
    summary="Make a key",
    status_code=201,
    responses={**say.created(say.MADE_KEY_ANSWER, located=False), **say.problems(400, 413, 422, 507)},
    openapi_extra=say.request(say.NEW_KEY, ()),
    dependencies=[Depends(require_writable)],
)
async def create_key(request: Request) -> Response:
    """The token is in this answer and nowhere else: only its hash is kept.

    With the first key every request needs one, from the next on; ``warning`` says so. No key can be made that may do
    more than the one that makes it: it sends as many requests a second at most, and ends no later.
    """
    context, maker = context_of(request), caller_of(request)
    read_parameters(request, ())
    body = await read_document(
        request, max_bytes=context.settings.max_body_bytes, max_seconds=context.settings.body_seconds
    )
    now = datetime.now(UTC)
    token, key_id = new_token()
    key = _read_key(read_json(body, what="the body"), key_id=key_id, digest=digest_of(token), now=now)
    _require_may_make(maker, key)

    def keep() -> list[AccessKey]:
        _require_still(maker, context.keyring)
        context.keyring.add(key)
        return context.keyring.all()

    keys = await run_in_threadpool(keep)
    note(request, key_id=key_id, name=key.name, scopes=sorted(key.scopes), galleries=_sorted(key.galleries))
    warning = _warning(keys, now, first=maker.key is None)
    return answer({**key_document(key, now), "token": token, "warning": warning}, status=201, headers=_NOWHERE)


@router.delete(
    "/v1/keys/{key_id}",
    summary="Revoke a key",
    responses=say.responses(say.REVOKED_KEY_ANSWER, 404, 422, 507),
    dependencies=[Depends(require_writable)],
)
async def revoke_key(request: Request, key_id: KeyId) -> Response:
    """It ends for good, with this answer. It stays in the list; one that was revoked before stays as it is."""
    read_parameters(request, ())
    keyring, now = context_of(request).keyring, datetime.now(UTC)
    revoked = await run_in_threadpool(keyring.revoke, key_id[:_MOST_ID], now)
    note(request, name=revoked.name)
    return answer({**key_document(revoked, now), "warning": _warning(keyring.all(), now)})


def _read_key(sent: object, *, key_id: str, digest: bytes, now: datetime) -> AccessKey:
    document = properties_of(sent, _PROPERTIES, what="a key")
    name, rate, burst = document.get("name"), document.get("rate"), document.get("burst")
    if not isinstance(name, str):
        raise InvalidValue("name must be a text that says who will use the key", pointer="/name")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float)):
        raise InvalidValue("rate must be a number of requests a second, or null for any", pointer="/rate")
    if burst is not None and type(burst) is not int:
        raise InvalidValue("burst must be a whole number of requests, or null", pointer="/burst")
    checked = None if rate is None else check_rate(rate)
    return AccessKey(
        key_id=key_id, name=check_key_name(name), digest=digest, scopes=_scopes(document.get("scopes")),
        galleries=_galleries(document.get("galleries")), rate=checked, burst=check_burst(burst, checked),
        created_at=now, expires_at=_time(document.get("expires_at"), now),
    )  # fmt: skip


def _scopes(sent: object) -> frozenset[Scope]:
    if not isinstance(sent, list) or not sent:
        raise InvalidValue(f"scopes must be a list of one or more of {', '.join(SCOPES)}", pointer="/scopes")
    for at, scope in enumerate(sent):
        if scope not in SCOPES:
            raise InvalidValue(f"a scope is one of {', '.join(SCOPES)}", pointer=f"/scopes/{at}")
    return frozenset(sent)


def _galleries(sent: object) -> frozenset[str] | None:
    if sent is None:
        return None
    if not isinstance(sent, list) or not 1 <= len(sent) <= say.MOST_KEY_GALLERIES:
        raise InvalidValue(
            f"galleries must be a list of 1–{say.MOST_KEY_GALLERIES:,} names, or null for all of them",
            pointer="/galleries",
        )
    return frozenset(check_gallery_name(name, pointer=f"/galleries/{at}") for at, name in enumerate(sent))


def _time(sent: object, now: datetime) -> datetime | None:
    if sent is None:
        return None
    try:
        when = parse_time(sent if isinstance(sent, str) else "")
    except ValueError as error:
        raise InvalidValue(
            "expires_at must be a time with an offset, as 2027-01-01T00:00:00Z, or null for never",
            pointer="/expires_at",
        ) from error
    if when <= now:
        raise InvalidValue(f"expires_at {time_text(when)} is over", pointer="/expires_at")
    return when


def _require_may_make(maker: Caller, key: AccessKey) -> None:
    """Raise ScopeMissing where the new key may do more than its maker; whoever needs none may do everything."""
    if maker.key is not None and (why := maker.key.exceeded_by(key)) is not None:
        raise ScopeMissing(
            f"key {maker.key.key_id} ({maker.key.name}) cannot make a key that may do more than itself: {why}"
        )


def _require_still(maker: Caller, keyring: Keyring) -> None:
    """As ``require_still``, and nobody goes on without a key after the first one was made."""
    require_still(maker, keyring)
    if maker.key is None and not keyring.keyless:
        raise Unauthenticated("a key was made meanwhile, and every request needs one now")


def _warning(keys: Sequence[AccessKey], now: datetime, *, first: bool = False) -> str | None:
    """What whoever changed the keys should know; None where nothing is lost."""
    told = ["this is the first key: every request needs one from now on"] if first else []
    working = [key for key in keys if key.ended(now) is None]
    if not working:
        told.append(f"no key works now, and every request needs one: {_COMMAND}")
    elif not any(key.allows("admin") and key.galleries is None for key in working):
        told.append(f"no key that works has the scope admin for all galleries: {_COMMAND}")
    return "; ".join(told) or None


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
