"""How many requests of any kind may be in progress at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.wire.problems import QueueFull


class RequestPlaces:
    """At most ``most``, one request each; for the event loop's thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A place for one request until the block ends; raises QueueFull where there is none."""
        if self.taken >= self._most:
            raise QueueFull(f"{self.taken:,} requests are in progress, the limit set by max_requests; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
