"""What is known of the request that is being answered, wherever it is worked on: its ids, the stages it went through.

A context variable carries it: into coroutines and Starlette's threads by itself, to the workers by ``carried``.
"""

import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Final, Self, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_STATE: Final = 512  # characters of tracestate; W3C asks for this much and lets longer ones go

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
_TRACE_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_STATE = re.compile(r"[\x20-\x7e\t]*", re.ASCII)
_CURRENT: ContextVar["RequestTrace | None"] = ContextVar("request_trace", default=None)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TraceParent:
    """The caller's place in a trace as W3C's ``traceparent`` tells it; ``state`` goes along as it is."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16
    flags: int
    state: str = ""

    @classmethod
    def read(cls, parents: list[str], states: list[str]) -> Self | None:
        """From the headers as they were sent; None where there is none that W3C's recommendation lets count."""
        found = _TRACE_PARENT.fullmatch(parents[0].strip(" \t")) if len(parents) == 1 else None
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
            return None
        state = ",".join(states)
        known = len(state) <= LONGEST_STATE and _STATE.fullmatch(state)
        return cls(trace_id=trace_id, span_id=span_id, flags=int(flags, 16), state=state.strip(" \t") if known else "")


@dataclass(frozen=True)
class Stage:
    """A stage that ended at ``time.time_ns()`` = ``ended``, and how many pictures took ``seconds`` in it together."""

    name: str
    ended: int
    seconds: float
    pictures: int


@dataclass(kw_only=True)
class RequestTrace:
    """One request. ``complete``: the reading of ``time.perf_counter`` when its body was there, or when it came."""

    request_id: str
    parent: TraceParent | None = None
    trace_id: str | None = None  # the parent's; of the exported trace where one begins here
    complete: float = field(default_factory=time.perf_counter)
    stages: list[Stage] = field(default_factory=list)

    def server_timing(self) -> str:
        """The header ``Server-Timing``: milliseconds of every stage, added up over pictures, and of the whole."""
        sums: dict[str, float] = {}
        for stage in self.stages.copy():
            sums[stage.name] = sums.get(stage.name, 0.0) + stage.seconds
        sums["total"] = time.perf_counter() - self.complete
        return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in sums.items())


def current() -> RequestTrace | None:
    """The request that the caller works for."""
    return _CURRENT.get()


def carried(work: Callable[[], T]) -> Callable[[], T]:
    """The same work, which knows in another thread, too, for which request it is done."""
    if _CURRENT.get() is None:
        return work
    context = copy_context()
    return lambda: context.run(work)


def record(name: str, seconds: float, pictures: int, *, ago: float = 0.0) -> None:
    """Note that a stage of the current request has ended, so many seconds ago."""
    if (trace := _CURRENT.get()) is not None:
        trace.stages.append(Stage(name, time.time_ns() - int(ago * 1e9), seconds, pictures))


def body_complete(at: float) -> None:
    """Note when the body of the current request was there, as ``time.perf_counter`` reads."""
    if (trace := _CURRENT.get()) is not None:
        trace.complete = at


class RequestTraces:
    """Every request has an id, the client's (``X-Request-ID``) or one of ours; the answer tells it.

    An answer for which pictures were worked on, or galleries searched, tells what that took (``Server-Timing``).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        own = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        parent = TraceParent.read(headers.getlist("traceparent"), headers.getlist("tracestate"))
        trace = RequestTrace(request_id=own, parent=parent, trace_id=None if parent is None else parent.trace_id)
        scope["request_id"] = own
        _CURRENT.set(trace)  # for good: the task is the request's own, and a bug is logged further out

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = own
                if trace.stages:
                    answer["Server-Timing"] = trace.server_timing()
            await send(message)

        await self.app(scope, receive, told)
