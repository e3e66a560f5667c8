"""Around every request: who may call, which paths and methods exist, and what is counted."""

import asyncio
import ipaddress
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.errors import VehicleSearchError
from service.access.caller import ANYBODY, Callers
from service.capacity.limited_places import LimitedPlaces
from service.gate.route_access import FIGURES, is_open
from service.watching.metrics import NO_ROUTE, Metrics
from service.wire.problems import (
    Forbidden,
    NotReady,
    QueueFull,
    plain_problem,
    problem_of,
    problem_response,
    refusal,
    shown_path,
)


class CallerGuard:
    """Asks for a key where there are keys, on every path that is not open (``open_paths``).

    Where there are none it refuses what a web page of another origin, or a name made to resolve to this machine, sends
    through a browser: on loopback the service answers only to names of this machine (DNS rebinding) and to pages that
    came from it. One that was told to listen elsewhere cannot know its names: a page must come from the very host that
    it calls. What a page only shows, as a picture, comes without an Origin; then its Referer stands for it, where the
    browser says that it is of another site. ``origins`` may call all the same. A page has no key unless somebody gave
    it one, so with keys neither is looked at.
    """

    def __init__(
        self, app: ASGIApp, *, callers: Callers, open_paths: frozenset[str], loopback: bool, origins: frozenset[str]
    ) -> None:
        self.app, self._callers, self._open, self._loopback = app, callers, open_paths, loopback
        self._origins, self._by_any_name = origins, open_paths & {FIGURES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            try:
                if self._callers.keyless:
                    scope["caller"] = ANYBODY
                    if scope["path"] not in self._by_any_name:
                        self._require_welcome(headers.getlist("host"), _pages(headers))
                elif is_open(scope["path"], self._open):
                    scope["caller"], scope["open"] = self._callers.recognised(headers.getlist("authorization")), True
                else:
                    scope["caller"] = self._callers.caller(headers.getlist("authorization"))
            except VehicleSearchError as error:
                await refusal(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _require_welcome(self, hosts: list[str], origins: list[str]) -> None:
        host = " and ".join(hosts)
        called = _hostname(f"//{host}") if len(hosts) == 1 else ""
        if self._loopback and not _is_loopback(called):
            raise Forbidden(f"Host {host[:100]!a} is not this machine; without keys only this machine may call")
        for origin in origins:
            if origin in self._origins:
                continue
            caller = _hostname(origin)
            if self._loopback and not _is_loopback(caller):
                raise Forbidden(f"Origin {origin[:100]!a} is not this machine; without keys only this machine may call")
            if not caller or (not self._loopback and caller != called):
                raise Forbidden(
                    f"Origin {origin[:100]!a} is not the host that was called, {called[:100]!a}; a proxy in front must "
                    "pass the header Host on"
                )


class RequestLimit:
    """Refuses what comes while ``places`` has none; probes (``exempt``) are answered always.

    Most requests wait for their body, for a thread or for their client: without an end to it they would take memory
    and open files without an end.
    """

    def __init__(self, app: ASGIApp, *, places: LimitedPlaces, exempt: frozenset[str]) -> None:
        self.app, self._places, self._exempt = app, places, exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"], self._exempt):
            await self.app(scope, receive, send)
            return
        with ExitStack() as held:
            try:
                held.enter_context(self._places.holding())
            except QueueFull as error:
                await refusal(error)(scope, receive, send)
                return
            await self.app(scope, receive, send)


class PlainPaths:
    """Refuses paths that decoding would turn into another route's: an id holds neither a slash nor a line end.

    Also lets HEAD be answered as GET is, without the body, which the server leaves out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if b"%2f" in scope.get("raw_path", b"").lower() or scope["path"].endswith("\n"):
            document = plain_problem(
                404, f"no route has the path {shown_path(scope)}; it holds a coded slash or line end"
            )
            await problem_response(document)(scope, receive, send)
        elif scope["method"] == "HEAD":
            inner = {**scope, "method": "GET"}
            await self.app(inner, receive, send)
            scope["route"] = inner.get("route")
        else:
            await self.app(scope, receive, send)


class RequestMetrics:
    """Counts requests by method, route template and status, and times them; further out than whoever refuses."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await _send_or_drop(send, message)

        try:
            await self.app(scope, receive, watch)
        except asyncio.CancelledError:  # the grace time is over
            if not status:
                error: VehicleSearchError = NotReady("the service stopped before the answer was ready")
                await problem_response(problem_of(error))(scope, receive, watch)
        finally:
            self.metrics.answered(scope["method"], route_of(scope), status or 500, time.perf_counter() - began)


def route_of(scope: Scope) -> str:
    """The template of the route that answered, once it did; NO_ROUTE where none did."""
    route: str = getattr(scope.get("route"), "path", NO_ROUTE)
    return route


async def _send_or_drop(send: Send, message: Message) -> None:
    """Send, or drop: uvloop raises where bytes that were no HTTP have closed the connection under an answer."""
    try:
        await send(message)
    except RuntimeError as error:
        if "handler is closed" not in str(error):
            raise


def _pages(headers: Headers) -> list[str]:
    """Origins of the pages that a request comes from, empty where one hides it; none where a link is followed."""
    shown = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-dest") != "document"
    if "origin" in headers or not shown:
        return headers.getlist("origin")
    try:
        page = urlsplit(headers.get("referer", ""))
        return [f"{page.scheme}://{page.netloc}"]
    except ValueError:
        return [""]


def _hostname(url: str) -> str:
    """The host of a URL in lower case; empty where there is none, or a port that is no number."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.port is None or parts.port else ""
    except ValueError:
        return ""


def _is_loopback(hostname: str) -> bool:
    try:
        return hostname == "localhost" or ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False
