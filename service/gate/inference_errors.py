"""Below ``/v2`` a refusal is the inference protocol's ``{"error": …}``, whoever refuses: a route or a guard."""

import json
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.wire.documents import encode
from service.wire.problems import MEDIA_TYPE

_ROOT: Final = "/v2"


class InferenceErrors:
    """Turns problem documents of ``/v2`` into what clients of the protocol read; status and headers stay."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] == _ROOT or scope["path"].startswith(f"{_ROOT}/")):
            send = _Translation(send)
        await self.app(scope, receive, send)


class _Translation:
    """Keeps the start of a refusal until its document is there; everything else passes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._document = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and (b"content-type", MEDIA_TYPE.encode()) in message["headers"]:
            self._start = message
            return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._document += message.get("body", b"")
        if message.get("more_body", False):
            return
        start, self._start = self._start, None
        body = encode({"error": json.loads(self._document)["detail"]})
        kept = [(name, value) for name, value in start["headers"] if name not in (b"content-type", b"content-length")]
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._send({**start, "headers": [*kept, *own]})
        await self._send({"type": "http.response.body", "body": body})
