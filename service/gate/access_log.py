"""A line for every request, for whoever wants one; not there, it costs nothing."""

import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.caller import Caller
from service.gate.audit_trail import KEYLESS
from service.gate.middleware import route_of
from service.wire.problems import shown_path

LOGGER: Final = "service.access"
STRANGER: Final = "none"  # in place of a key: none came, or one that does not work

_LOG = logging.getLogger(LOGGER)
_LONGEST_METHOD = 20


class AccessLog:
    """Logs every request when its answer has ended: what was asked, by whom, what became of it and how long it took.

    ``bytes`` are those of the answer's body. The query string is left out; it may say whom somebody looks for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        _LOG.setLevel(logging.INFO)  # whoever asks for these lines gets them, whatever else is logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, size = time.perf_counter(), 0, 0

        async def watch(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            sent = 0 if scope["method"] == "HEAD" else size  # the server leaves it out
            _tell(scope, status or 500, sent, time.perf_counter() - began)


def _tell(scope: Scope, status: int, size: int, seconds: float) -> None:
    method, path, route = scope["method"][:_LONGEST_METHOD], shown_path(scope), route_of(scope)
    key = _key_of(scope)
    _LOG.info(
        "%s %s %s, %d bytes in %.4f s, route %s, key %s", method, path, status, size, seconds, route, key,
        extra={
            "fields": {
                "method": method, "path": path, "route": route, "status": status, "bytes": size,
                "seconds": round(seconds, 6), "key": key,
            }
        },
    )  # fmt: skip


def _key_of(scope: Scope) -> str:
    caller: Caller | None = scope.get("caller")
    if caller is None or caller.stranger:
        return STRANGER
    return KEYLESS if caller.key is None else caller.key.key_id
