"""How many of something may be in progress at once: requests of any kind, archives that arrive."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.wire.problems import QueueFull


class LimitedPlaces:
    """At most ``most``; for the event loop's thread. ``what`` is in progress, and ``setting`` the limit, in words."""

    def __init__(self, most: int, *, what: str, setting: str) -> None:
        self._most, self._what, self._setting = most, what, setting
        self.taken = 0

    @property
    def used(self) -> float:
        """The share of the places that is taken, 0–1."""
        return self.taken / self._most

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A place until the block ends; raises QueueFull where there is none."""
        if self.taken >= self._most:
            raise QueueFull(f"{self.taken:,} {self._what}, the limit set by {self._setting}; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
