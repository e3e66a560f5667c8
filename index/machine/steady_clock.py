"""A time to erase by: the wall clock, as long as it goes as fast as time does.

A wall clock that is set wrong by years would erase everything whose time is over by it, and setting it right brings
nothing back. So a jump forward counts only when it has stood for an hour; until then time is told by the clock before
it and by the machine's own, which nobody sets. A jump back counts at once: it erases less.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

JUMP: Final = 60.0  # seconds by which the two clocks may part between two looks
SETTLED: Final = 3600.0  # seconds that a jump forward must stand

_LOG = logging.getLogger("index.steady_clock")


class SteadyClock:
    """Tells the time from its construction on, when the wall clock is believed. For any thread.

    ``wall`` is UTC; ``ticks``: seconds, from anywhere, that no setting of the clock moves.
    """

    def __init__(
        self, wall: Callable[[], datetime] = lambda: datetime.now(UTC), ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._ticks = wall, ticks
        self._guard = threading.Lock()
        self._believed = self._seen = self._apart()  # what the wall clock is ahead of the ticks, in seconds
        self._stands_since = ticks()

    def __call__(self) -> datetime:
        """The time to erase by, UTC: at most a minute later than the wall clock's."""
        with self._guard:
            apart, ticks = self._apart(), self._ticks()
            if abs(apart - self._seen) > JUMP:
                _LOG.warning("the clock was set %s", _told(apart - self._seen))
                self._stands_since = ticks
            self._seen = apart
            if apart <= self._believed + JUMP:
                self._believed = apart
            elif ticks - self._stands_since >= SETTLED:
                _LOG.warning("the clock has stood for an hour since it was set: what is over by it is erased again")
                self._believed = apart
            return datetime.fromtimestamp(ticks + self._believed, UTC)

    def _apart(self) -> float:
        return self._wall().timestamp() - self._ticks()


def _told(seconds: float) -> str:
    if seconds < 0:
        return f"back by {-seconds:,.0f} s"
    return f"forward by {seconds:,.0f} s: nothing that is over by it is erased until it has stood for an hour"
