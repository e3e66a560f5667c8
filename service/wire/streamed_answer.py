"""Answers that may be large: made in pieces, and sent in pieces where one does not hold all.

An answer is an iterator of small parts. Up to ``PIECE`` bytes it is one body with a length, like any other. Beyond that
its next piece is made when the client has taken the one before, by whoever makes it (a worker), who is free meanwhile;
so a client that reads slowly makes the service hold a piece or two, and one that reads too slowly is cut off.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from index.errors import VehicleSearchError
from service.wire.documents import encoded_answer

PIECE: Final = 1 << 20  # bytes
SLOWEST: Final = 1 << 16  # bytes a second that a client must take in the long run

_LOG = logging.getLogger("service")


class Parts:
    """The parts of an answer, taken a piece at a time. Whoever takes must be one at a time, in any thread."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self.ended = False

    def piece(self) -> bytes:
        """What follows, of ``PIECE`` bytes or a part more, less only at the end; raises what making it raises."""
        taken, size = [], 0
        for part in self._parts:
            taken.append(part)
            size += len(part)
            if size >= PIECE:
                return b"".join(taken)
        self.ended = True
        return b"".join(taken)


async def answer_of(
    parts: Parts, more: Callable[[], Awaitable[bytes]], *, seconds: float,
    keep_place: Callable[[], AsyncExitStack] = AsyncExitStack,
) -> Response:  # fmt: skip
    """A JSON answer of ``parts``, whose pieces ``more`` makes: whole where they are one piece, else streamed.

    ``keep_place`` gives the place in the queue that is let go when all is sent.
    """
    first = await more()
    if parts.ended:
        return encoded_answer(first)
    return StreamedAnswer(first, parts, more, seconds=seconds, place=keep_place())


class StreamedAnswer(Response):
    """An answer whose first piece is there; ``more`` makes the next, until ``parts`` have ended.

    ``seconds`` is how long the client may let the service wait, all in all, beyond what it takes at ``SLOWEST``;
    ``place``, in the queue, is let go at the end. When a piece cannot be made, or is not taken in time, the connection
    is cut, because nothing else tells a client that what it has is not all.
    """

    def __init__(
        self, first: bytes, parts: Parts, more: Callable[[], Awaitable[bytes]], *, seconds: float,
        place: AsyncExitStack | None = None, media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers(headers)
        self._first, self._parts, self._more = first, parts, more
        self._seconds, self._left = seconds, seconds
        self._place = place or AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._place:
            try:
                await self._send_all(Request(scope, receive), send)
            except VehicleSearchError as error:
                await self._cut(scope, receive, str(error))
            except TimeoutError:
                await self._cut(scope, receive, f"the client took it too slowly, body_seconds is {self._seconds:g}")

    async def _send_all(self, request: Request, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        piece = self._first
        while not self._parts.ended:
            await self._send(piece, send)
            if await request.is_disconnected():
                return
            piece = await self._more()
        await self._send(piece, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, piece: bytes, send: Send) -> None:
        """Send a piece and wait until nearly all is taken."""
        began = time.monotonic()
        async with asyncio.timeout(self._left):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": True})  # waits for the one before
        self._left = min(self._seconds, self._left - (time.monotonic() - began) + len(piece) / SLOWEST)

    async def _cut(self, scope: Scope, receive: Receive, why: str) -> None:
        _LOG.warning("an answer of %s was cut off: %s", getattr(scope.get("route"), "path", "none"), why)
        scope["abort"]()
        while (await receive())["type"] != "http.disconnect":
            pass
