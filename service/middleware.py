"""Around every request: who may call a keyless service, and what is counted."""

import ipaddress
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import Forbidden, problem_of, problem_response


class LoopbackGuard:
    """Refuses requests whose Host or Origin is not this machine's.

    Without keys the service listens on loopback only; this keeps web pages of other origins, and names that were made
    to resolve to this machine (DNS rebinding), from using it through a browser.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            for name, host in (("Host", headers.get("host", "")), ("Origin", headers.get("origin"))):
                if host is not None and not _is_loopback(_hostname(host, origin=name == "Origin")):
                    error = Forbidden(
                        f"{name} {host[:100]!a} is not this machine; without keys only this machine may call"
                    )
                    await problem_response(problem_of(error))(scope, receive, send)
                    return
        await self.app(scope, receive, send)


class RequestMetrics:
    """Counts requests by method, route template and status, and times them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await _send_or_drop(send, message)

        try:
            await self.app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def _send_or_drop(send: Send, message: Message) -> None:
    """Send, or drop: uvloop raises where bytes that were no HTTP have closed the connection under an answer."""
    try:
        await send(message)
    except RuntimeError as error:
        if "handler is closed" not in str(error):
            raise


def _hostname(value: str, *, origin: bool) -> str:
    try:
        return urlsplit(value if origin else f"//{value}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(hostname: str) -> bool:
    try:
        return hostname == "localhost" or ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False
