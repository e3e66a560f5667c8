"""How much of request bodies is in memory, all requests together, and a limit of it.

Places in the queue bound how many requests there are, ``max_body_bytes`` how large each is; their product is more than
most machines have.
"""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import QueueFull

_LET_GO = "let_go_of_body"  # in the scope of a request


class HeldBodies:
    """Counts bodies as routes read them, until the answer; where they are too much, a read raises QueueFull.

    What is on its way is refused rather than what is complete, so whoever goes on sending gets through in the end.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app, self._limit = app, limit
        self._held = 0  # bytes; on the event loop's thread alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own = 0

        async def counted() -> Message:
            nonlocal own
            message = await receive()
            size = len(message.get("body", b""))
            if self._held + size > self._limit:
                raise QueueFull(
                    f"{self._held:,} bytes of bodies are held, {self._limit:,} is the limit set by max_held_bytes; try "
                    "again later"
                )
            own += size
            self._held += size
            return message

        def let_go() -> None:
            nonlocal own
            self._held -= own
            own = 0

        scope[_LET_GO] = let_go
        try:
            await self.app(scope, counted, send)
        finally:
            let_go()


def let_go_of_body(scope: Scope) -> None:
    """Say that what was read of a body is no longer in memory."""
    release: Callable[[], None] = scope[_LET_GO]
    release()
