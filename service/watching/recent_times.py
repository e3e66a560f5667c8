"""What stages of requests took lately, for people who look: Prometheus has the whole history, in buckets."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from threading import Lock
from typing import Final

RECENT_SECONDS: Final = 300.0
MOST_TIMES: Final = 2_000  # of a stage that are remembered


@dataclass(frozen=True)
class Quantiles:
    """Of ``count`` times in seconds; None where there are none. By nearest rank: each is a time that was seen."""

    count: int
    p50: float | None
    p99: float | None


class RecentTimes:
    """The latest times of each stage, from any thread. ``clock`` gives seconds and never goes back."""

    def __init__(
        self, names: Iterable[str], *, seconds: float = RECENT_SECONDS, most: int = MOST_TIMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.seconds, self._most, self._clock = seconds, most, clock
        self._seen: dict[str, deque[tuple[float, float]]] = {name: deque(maxlen=most) for name in names}
        self._guard = Lock()  # a deque that is added to cannot be gone through

    def add(self, name: str, seconds: float, times: int = 1) -> None:
        """So many took so long each."""
        one = self._clock(), seconds
        with self._guard:
            self._seen[name].extend(repeat(one, min(times, self._most)))

    def told(self) -> dict[str, Quantiles]:
        """By stage, of those that ended within ``seconds``."""
        since = self._clock() - self.seconds
        with self._guard:
            seen = {name: list(each) for name, each in self._seen.items()}
        return {name: _quantiles(sorted(took for at, took in each if at >= since)) for name, each in seen.items()}


def _quantiles(times: list[float]) -> Quantiles:
    if not times:
        return Quantiles(0, None, None)
    half, nearly_all = (times[math.ceil(share * len(times)) - 1] for share in (0.5, 0.99))
    return Quantiles(len(times), half, nearly_all)
