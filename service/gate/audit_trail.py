"""What of a request goes into the audit log, put together around the route that answers it."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.audit_log import AuditHome
from service.context import context_of
from service.wire.documents import time_text
from service.wire.problems import NotReady, refusal

KEYLESS: Final = "keyless"  # instead of a key's id
MOST_IDS: Final = 256  # of images in one entry

_GALLERY = "/v1/galleries/{gallery}"
AUDITED: Final[Mapping[str, str]] = {
    f"POST {_GALLERY}/search": "search",
    f"POST {_GALLERY}/search/batch": "search",
    f"GET {_GALLERY}/images/{{image_id}}/similar": "search",
    f"GET {_GALLERY}/search": "search",
    "POST /v1/queries": "keep-query",
    "DELETE /v1/queries/{query_id}": "erase-query",
    "POST /v1/embeddings": "embed",
    "POST /v2/models/{model}/infer": "embed",
    f"POST {_GALLERY}/trail": "trail",
    f"POST {_GALLERY}/images": "add",
    f"PUT {_GALLERY}/images/{{image_id}}": "add",
    f"PATCH {_GALLERY}/images/{{image_id}}": "change",
    f"DELETE {_GALLERY}/images/{{image_id}}": "erase",
    f"DELETE {_GALLERY}/images": "erase",
    f"PATCH {_GALLERY}/images": "change",
    f"POST {_GALLERY}/imports": "import",
    "DELETE /v1/imports/{import_id}": "cancel-import",
    "POST /v1/feedback": "give-feedback",
    "DELETE /v1/feedback": "erase-feedback",
    "DELETE /v1/feedback/{feedback_id}": "erase-feedback",
    "GET /v1/feedback/export": "export-feedback",
    f"PUT {_GALLERY}": "create-gallery",
    f"DELETE {_GALLERY}": "drop-gallery",
    f"POST {_GALLERY}/migrations": "migrate",
    f"DELETE {_GALLERY}/migrations/{{migration_id}}": "cancel-migration",
    "POST /v1/model/reload": "reload-model",
    "PUT /v1/cameras": "set-cameras",
    "PUT /v1/cameras/plan": "set-plan",
    "DELETE /v1/cameras/plan": "remove-plan",
    "GET /v1/audit": "read-audit",
    "POST /v1/keys": "create-key",
    "DELETE /v1/keys/{key_id}": "revoke-key",
}
ACTIONS: Final = (*sorted(set(AUDITED.values())), "entries-missing")
_ONLY_LOOK: Final = (
    "search",
    "embed",
    "export-feedback",
    "trail",
    "read-audit",
)  # what they did is not undone by a loss of power
_INLINE = 1 << 18  # bytes that are hashed at once; more would hold up other requests
_MOST_FILTERS, _LONGEST_VALUE = 64, 256


def note(request: Request, **details: object) -> None:
    """Say more about a request in its entry."""
    if (noted := request.scope.get("audit")) is not None:
        noted.update(details)


async def note_pictures(request: Request, pictures: Sequence[bytes]) -> None:
    """Say which pictures were sent, by their SHA-256."""
    if "audit" not in request.scope:
        return
    if sum(map(len, pictures)) <= _INLINE:
        note(request, pictures=_digests(pictures))
    else:
        note(request, pictures=await run_in_threadpool(_digests, pictures))


class AuditTrail:
    """Has an entry written for every request that is in ``AUDITED``, before its answer.

    What changes something waits until the entry is on the disk; with ``required`` the rest waits until it is written,
    and what cannot be written is answered with 503. Without, the answer goes out all the same.
    """

    def __init__(self, app: ASGIApp, *, log: AuditHome, required: bool) -> None:
        self.app, self._log, self._required = app, log, required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["audit"] = {}
        entered = refused = False

        async def watch(message: Message) -> None:
            nonlocal entered, refused
            if message["type"] == "http.response.start":
                entered = True
                try:
                    await self._enter(scope, message["status"])
                except NotReady as error:
                    refused = True
                    await refusal(error)(scope, receive, send)
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive, watch)
        except BaseException as error:
            if not entered:
                await self._enter(scope, 503 if isinstance(error, asyncio.CancelledError) else 500, wait=False)
            raise

    async def _enter(self, scope: Scope, status: int, *, wait: bool = True) -> None:
        action = _action(scope)
        if action is None or scope["audit"] is None:
            return
        changes = action not in _ONLY_LOOK
        written = asyncio.wrap_future(self._log.put(_entry(scope, action, status), flush=changes))
        if not wait or not (changes or self._required):
            written.add_done_callback(_hear)
            return
        try:
            await asyncio.shield(written)
        except NotReady:
            if self._required:
                raise


async def require_audit(request: Request) -> None:
    """What every route depends on: where entries are required they can be written. Raises NotReady before any work."""
    context = context_of(request)
    if context.audit is None or not context.settings.audit_required or _action(request.scope) is None:
        return
    try:
        context.audit.require_writable()
    except NotReady:
        request.scope["audit"] = None  # nothing was done
        raise


def _action(scope: Scope) -> str | None:
    route = getattr(scope.get("route"), "path", "")
    return AUDITED.get(f"{scope['method']} {route}")


def _entry(scope: Scope, action: str, status: int) -> dict[str, Any]:
    caller = scope.get("caller")
    query = parse_qsl(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)[:_MOST_FILTERS]
    filters: dict[str, list[str]] = {}
    for name, value in query:
        filters.setdefault(name[:_LONGEST_VALUE], []).append(value[:_LONGEST_VALUE])
    named = {name: value[:_LONGEST_VALUE] for name, value in scope.get("path_params", {}).items()}
    return {
        "time": time_text(datetime.now(UTC)), "action": action,
        "key": KEYLESS if caller is None or caller.key is None else caller.key.key_id,
        "address": scope["client"][0] if scope.get("client") else None,
        "gallery": None, **named, "filters": filters, **scope["audit"], "status": status,
        "request_id": scope.get("request_id"),
    }  # fmt: skip


def _digests(pictures: Sequence[bytes]) -> list[str]:
    return [hashlib.sha256(each).hexdigest() for each in pictures]


def _hear(written: "asyncio.Future[None]") -> None:
    """Take the exception that nobody waits for; the log has told of it."""
    if not written.cancelled():
        written.exception()
