"""How many connections may be open: galleries, keys and logs need some of the files that a process may open, too."""

import contextlib
import logging
import resource
import time
from collections.abc import Callable
from typing import Final

FILES_KEPT: Final = 256  # of those that the process may open, for everything but connections; half of fewer than twice
ENOUGH_FILES: Final = 2**16  # containers may open 2³⁰, and connections take memory
_TOLD_EVERY: Final = 60.0  # seconds

_LOG = logging.getLogger("service.connections")


def raise_file_limit() -> int:
    """Let the process open as many files as it may let itself, up to ``ENOUGH_FILES``; returns how many it may open."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if most == resource.RLIM_INFINITY else min(most, ENOUGH_FILES)
    if resource.RLIM_INFINITY != now < wanted:
        with contextlib.suppress(ValueError, OSError):  # of a system that has a limit of its own below
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return ENOUGH_FILES if limit == resource.RLIM_INFINITY else limit


class OpenConnections:
    """Closers of connections, by whatever tells one from another; for the event loop's thread.

    Where more than ``most`` are open the one goes that has waited longest for a request, or for the rest of its head.
    So whoever opens many and says nothing keeps nobody out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[object] = set()
        self._waiting: dict[object, Callable[[], None]] = {}  # in the order in which they began to
        self._told = -_TOLD_EVERY

    @classmethod
    def within(cls, files: int) -> "OpenConnections":
        """As many as a process that may open so many files should have."""
        return cls(files - min(FILES_KEPT, files // 2))

    def waits(self, connection: object, close: Callable[[], None]) -> None:
        """A connection is new, or has its answer."""
        self._open.add(connection)
        self._waiting[connection] = close
        if len(self._open) > self._most:
            self._close_one()

    def works(self, connection: object) -> None:
        """A request has come."""
        self._waiting.pop(connection, None)

    def ends(self, connection: object) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def _close_one(self) -> None:
        longest = next(iter(self._waiting))
        close = self._waiting[longest]
        self.ends(longest)
        if time.monotonic() - self._told >= _TOLD_EVERY:
            self._told = time.monotonic()
            _LOG.warning(
                "%d connections are open, as many as the limit of open files (ulimit -n) allows: the ones that have "
                "waited longest for a request are closed",
                self._most,
            )
        close()
