"""Which images are being written by this process: nobody else here writes those meanwhile."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class HeldIds:
    """Image ids that somebody holds. Safe to use from any thread; nobody may hold twice."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._all = False

    @contextmanager
    def some(self, image_ids: Collection[str]) -> Iterator[None]:
        """Wait until nobody holds any of these, and hold them."""
        wanted = set(image_ids)
        with self._changed:
            self._changed.wait_for(lambda: not self._all and self._held.isdisjoint(wanted))
            self._held |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._held -= wanted
                self._changed.notify_all()

    @contextmanager
    def every(self) -> Iterator[None]:
        """Wait until nobody holds any, and hold all."""
        with self._changed:
            self._changed.wait_for(lambda: not self._all)
            self._all = True
            self._changed.wait_for(lambda: not self._held)
        try:
            yield
        finally:
            with self._changed:
                self._all = False
                self._changed.notify_all()
