"""What the bodies of all requests take together while they arrive and are worked on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.wire.problems import QueueFull


class BodyMemory:
    """At most ``limit`` bytes; for the event loop's thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """For one body: what counts its bytes as they arrive, until the block ends.

        It raises QueueFull where there is no room for them.
        """
        held = 0

        def hold(count: int) -> None:
            nonlocal held
            self._take(count)
            held += count

        try:
            yield hold
        finally:
            self.taken -= held

    def _take(self, count: int) -> None:
        if self.taken + count > self._limit:
            raise QueueFull(
                f"the bodies of all requests take {self.taken:,} bytes, the limit set by max_buffered_bytes is "
                f"{self._limit:,}; try again later"
            )
        self.taken += count
