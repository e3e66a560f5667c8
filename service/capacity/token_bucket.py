"""A limit of requests a second that lets a few come at once."""

import time
from collections.abc import Callable


class TokenBucket:
    """Holds ``burst`` requests when full, and is filled at ``rate`` a second. For one thread."""

    def __init__(self, *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst = rate, burst
        self._clock = clock
        self._held, self._at = float(burst), clock()

    def take(self) -> float:
        """Take one; 0 where there was one, else the seconds until there is."""
        now = self._clock()
        self._held = min(self.burst, self._held + (now - self._at) * self.rate)
        self._at = now
        if self._held < 1:
            return (1 - self._held) / self.rate
        self._held -= 1
        return 0.0
