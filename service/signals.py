"""SIGTERM, SIGINT and SIGHUP, from the first line of ``vehicle-search serve`` to its last.

SIGHUP never ends the process: the model file is loaded anew, as soon as there is a service to do it. The first SIGTERM
or SIGINT stops the service in order, or what is being loaded; the second cuts the order short. A process that does not
come to its end in time is ended where it stands, with 0: everything that was acknowledged is on the disk by then, as it
has to be for ``kill -9``.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

SECONDS_EARLY: Final = 5.0  # that a stop before the service is ready may take; the model is being opened, say
SECONDS_IN_ORDER: Final = 60.0  # that it may take after the grace time: indexes are written, say
SECONDS_AT_ONCE: Final = 3.0  # that it may take when it was told twice

_LOG = logging.getLogger("service")


class StoppedEarly(BaseException):
    """The process was told to stop before the service was ready."""


class Signals:
    """What signals do from here to the end of the process. ``grace``: seconds that running requests get."""

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self.stops = 0  # how often it was told to stop
        self._hangups = 0
        self._on_stop: Callable[[int], None] | None = None
        self._on_hangup: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGHUP, lambda *_: self._hang_up())

    def hand_over(self, *, stop: Callable[[int], None], hang_up: Callable[[], None]) -> None:
        """From now on the service stops (``stop`` hears how often it was told) and loads its model anew itself.

        Raises StoppedEarly where it was told to stop already.
        """
        if self.stops:  # what it raised then was swallowed
            raise StoppedEarly
        self._on_stop, self._on_hangup = stop, hang_up
        if self._hangups:
            hang_up()

    def _stop(self) -> None:
        self.stops += 1
        early = self._on_stop is None
        if self.stops == 1:
            _end_after(SECONDS_EARLY if early else self._grace + SECONDS_IN_ORDER)
        else:
            _end_after(0 if early else SECONDS_AT_ONCE)
        if self._on_stop is not None:
            self._on_stop(self.stops)
        elif self.stops == 1:
            raise StoppedEarly

    def _hang_up(self) -> None:
        self._hangups += 1
        if self._on_hangup is not None:
            self._on_hangup()


def _end_after(seconds: float) -> None:
    """End the process after some time, whatever it is at, unless it has ended."""

    def end() -> None:
        if seconds >= SECONDS_AT_ONCE:
            _LOG.error("the service did not come to its end within %.0f s, and is ended", seconds)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
