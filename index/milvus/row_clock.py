"""Row ids that several writers take without asking each other: each is unique, and later ones are greater."""

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

_BEGAN = 1_767_225_600_000_000  # 2026, microseconds since 1970
_TICK = 64  # microseconds: a writer makes 15,625 ids a second, or runs ahead of the clock as long as it makes more
_WRITERS = 18  # bits: 2 of 10 writers have one number once in 5,800 starts, and would have to use it in one tick
LAST: Final = 2**63 - 1


def _microseconds() -> int:
    return time.time_ns() // 1000


class RowClock:
    """Ids of one writer, whose number is drawn. Safe to use from any thread."""

    def __init__(self, now: Callable[[], int] = _microseconds) -> None:
        self._now, self.writer = now, secrets.randbelow(2**_WRITERS)
        self._guard = threading.Lock()
        self._last = 0

    def take(self, count: int, *, above: int = 0) -> range:
        """Some ids, ascending, all greater than ``above`` and than any that was taken here before."""
        with self._guard:
            first = max((self._now() - _BEGAN) // _TICK, (above >> _WRITERS) + 1, self._last + 1)
            self._last = first + count - 1
        return range(first << _WRITERS | self.writer, (first + count) << _WRITERS, 1 << _WRITERS)

    def ago(self, seconds: float) -> int:
        """An id such as this writer would have taken so long ago."""
        return max((self._now() - round(seconds * 1e6) - _BEGAN) // _TICK, 0) << _WRITERS
