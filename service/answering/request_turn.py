"""A request's way through the service: refused at once when it is full, ended when it is late or nobody waits for it.

The body is read before the request takes its place in the queue, so that slow senders keep no place from others; what
bodies take in memory has a bound of its own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from starlette.requests import Request

from index.errors import InvalidValue
from service.answering.uploads import Limits, Upload, read_body, read_upload
from service.context import Context, context_of
from service.wire.parameters import LONGEST_TIMEOUT_MS, TIMEOUT_HEADER
from service.wire.problems import ClientLeft, DeadlinePassed


class RequestTurn:
    """One request from its body to its answer; made by ``turn_of``."""

    def __init__(
        self, request: Request, context: Context, timeout: asyncio.Timeout, at_the_end: AsyncExitStack
    ) -> None:
        self._request, self._context, self._timeout, self._at_the_end = request, context, timeout, at_the_end
        self._watch: asyncio.Task[None] | None = None
        self._place = AsyncExitStack()
        self._hold = at_the_end.enter_context(context.bodies.holding())
        self.client_left = False

    async def upload(self, limits: Limits, *, metadata: bool = False) -> Upload:
        """Read pictures, as ``read_upload`` does, then take a place in the queue."""
        upload = await read_upload(self._request, replace(limits, hold=self._hold), metadata=metadata)
        await self.begin()
        return upload

    async def body(self, limits: Limits) -> bytes:
        """Read the body as it is, as ``read_body`` does, then take a place in the queue."""
        body = await read_body(self._request, replace(limits, hold=self._hold))
        await self.begin()
        return body

    def hold(self, count: int) -> None:
        """Count bytes that are read for the request, until it ends; QueueFull where there is no room for them."""
        self._hold(count)

    async def begin(self) -> None:
        """Take a place in the queue; from now on it is noticed when the client leaves. Raises QueueFull, NotReady."""
        await self._at_the_end.enter_async_context(self._place)
        await self._place.enter_async_context(self._context.engine.place())
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a request is one
        self._watch = asyncio.create_task(self._until_left(task))
        self._at_the_end.callback(self._watch.cancel)

    def keep_place(self) -> AsyncExitStack:
        """The place in the queue, to be let go by whoever sends the answer when the turn has ended."""
        return self._place.pop_all()

    async def settle(self) -> None:
        """What follows is carried out to its end and answered, whatever the time: it writes to the disk."""
        await asyncio.sleep(0)  # an end that is decided comes here
        if self._watch is not None:
            self._watch.cancel()
        self._timeout.reschedule(None)

    async def _until_left(self, task: "asyncio.Task[object]") -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        task.cancel()


@asynccontextmanager
async def turn_of(request: Request) -> AsyncIterator[RequestTurn]:
    """The turn of a request that needs the model or the index.

    Raises QueueFull and NotReady before the body is read, InvalidValue for a header that is no time, DeadlinePassed
    where the time of the header X-Request-Timeout-Ms or of the setting request_seconds is over before ``settle``, and
    ClientLeft where nobody waits any more; work that is not begun then is not done.
    """
    context = context_of(request)
    seconds, says = _seconds_of(request, context.settings.request_seconds)
    context.engine.require_room()
    turn: RequestTurn | None = None
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout, AsyncExitStack() as at_the_end:
            turn = RequestTurn(request, context, timeout, at_the_end)
            yield turn
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlinePassed(f"the request was not answered within {seconds:g} s, set by {says}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if turn is None or not turn.client_left or task is None or task.uncancel():
            raise
        raise ClientLeft("the client left before its answer was ready") from error


def _seconds_of(request: Request, most: float) -> tuple[float, str]:
    """The seconds that a request has, and who says so."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return most, "request_seconds"
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= LONGEST_TIMEOUT_MS):
        raise InvalidValue(
            f"the header {TIMEOUT_HEADER} is {text[:40]!a}; it takes whole milliseconds, 1 to {LONGEST_TIMEOUT_MS:,}",
            pointer=f"/header/{TIMEOUT_HEADER}",
        )
    asked = int(text) / 1000
    return (asked, f"the header {TIMEOUT_HEADER}") if asked < most else (most, "request_seconds")
