"""What the bodies of all requests take together while they arrive and are worked on."""

from service.problems import QueueFull


class BodyMemory:
    """At most ``limit`` bytes; for the event loop's thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, count: int) -> None:
        """Count bytes that arrived; QueueFull where there is no room for them."""
        if self.taken + count > self._limit:
            raise QueueFull(
                f"the bodies of all requests take {self.taken:,} bytes, the limit set by max_buffered_bytes is "
                f"{self._limit:,}; try again later"
            )
        self.taken += count

    def give_back(self, count: int) -> None:
        """The request of so many bytes is done."""
        self.taken -= count
