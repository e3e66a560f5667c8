"""Web pages of other origins that may call, as far as a setting names them (CORS)."""

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
ASKED: Final = "Authorization, Content-Type, If-None-Match, X-Request-ID, X-Request-Timeout-Ms, traceparent, tracestate"
TOLD: Final = "ETag, Location, Retry-After, Server-Timing, WWW-Authenticate, X-Request-ID"
REMEMBERED: Final = "600"  # seconds that a browser need not ask again

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?", re.ASCII)


def read_origins(text: str | None) -> frozenset[str]:
    """Origins with commas between them, as a browser writes them; raises ValueError naming one that is none."""
    origins = [each.strip() for each in (text or "").split(",") if each.strip()]
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin[:100]!a} is not an origin, such as https://cars.example or http://10.0.0.5:3000")
    return frozenset(origins)


class CrossOrigin:
    """Lets browsers show answers to pages of these origins, and answers what browsers ask before a request.

    Further out than whatever refuses, so that a page can read why it was refused. No cookies are used, so none are
    allowed. Requests of other pages go on as they are: the browser keeps the answer from them.
    """

    def __init__(self, app: ASGIApp, *, origins: frozenset[str]) -> None:
        self.app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent = headers.getlist("origin")
        origin = sent[0] if len(sent) == 1 and sent[0] in self._origins else None
        if origin is not None and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=_before(origin))(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if origin is not None:
                    answer["Access-Control-Allow-Origin"] = origin
                    answer["Access-Control-Expose-Headers"] = TOLD
                    answer["Timing-Allow-Origin"] = origin  # else its script sees no Server-Timing among its timings
            await send(message)

        await self.app(scope, receive, told)


def _before(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": ASKED, "Access-Control-Max-Age": REMEMBERED, "Vary": "Origin",
    }  # fmt: skip
