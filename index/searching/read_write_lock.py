"""Many readers or one writer; a waiting writer goes before readers that come after it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Not re-entrant: a thread that reads must not read or write again before it is done."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writing = False
        self._waiting_writers = 0

    @property
    def waiting_writers(self) -> int:
        """How many writers wait for their turn."""
        with self._condition:
            return self._waiting_writers

    @contextmanager
    def read(self) -> Iterator[None]:
        """Shared with other readers."""
        with self._condition:
            self._condition.wait_for(lambda: not self._writing and not self._waiting_writers)
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Alone."""
        with self._condition:
            self._waiting_writers += 1
            try:
                self._condition.wait_for(lambda: not self._writing and not self._readers)
            finally:
                self._waiting_writers -= 1  # also when the waiting is interrupted: nobody may wait for it then
                self._condition.notify_all()
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._condition.notify_all()
