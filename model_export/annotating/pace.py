"""How fast a person labels, from the moments of the last decisions."""

from collections import deque
from itertools import pairwise
from typing import Final

_DECISIONS: Final = 30  # that are looked back on
_PAUSE: Final = 20.0  # seconds; a longer wait is a break, and counts as this much
_LEAST: Final = 3  # intervals before anything is said


class Pace:
    """Pictures a minute over the last decisions; breaks hardly count."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=_DECISIONS)

    def add(self, moment: float) -> None:
        """A decision was made; ``moment`` in seconds on a clock that never goes back."""
        self._moments.append(moment)

    @property
    def per_minute(self) -> float | None:
        """Pictures a minute, None before the fourth decision."""
        moments = list(self._moments)
        waits = [min(later - earlier, _PAUSE) for earlier, later in pairwise(moments)]
        if len(waits) < _LEAST or sum(waits) <= 0:
            return None
        return 60 * len(waits) / sum(waits)

    def seconds_for(self, pictures: int) -> float | None:
        """Time that so many pictures will take, in seconds."""
        rate = self.per_minute
        return None if rate is None else 60 * pictures / rate
