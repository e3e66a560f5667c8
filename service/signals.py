"""SIGTERM, SIGINT and SIGHUP, from the first line of ``vehicle-search serve`` to its last.

SIGHUP never ends the process: the model file is loaded anew, as soon as there is a service to do it. The first SIGTERM
or SIGINT stops the service in order; the second gives running requests no more time. Before there is a service, the
process ends where it stands, with 0, and so does one that does not come to its end in time: everything that was
acknowledged is on the disk by then, as it has to be for ``kill -9``.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

SECONDS_IN_ORDER: Final = 60.0  # that a stop may take after the grace time: indexes are written, say
SECONDS_AT_ONCE: Final = 3.0  # that it may take when it was told twice

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)

_LOG = logging.getLogger("service")


class Signals:
    """What signals do from here to the end of the process. ``grace``: seconds that running requests get.

    A handler in Python waits for what the main thread is at, and a model is opened for seconds; so until ``hand_over``
    a thread hears of signals by the descriptor that the interpreter writes their numbers to.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._stops = self._hangups = 0
        self._on_stop: Callable[[int], None] | None = None
        self._on_hangup: Callable[[], None] | None = None
        heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        threading.Thread(target=_end_when_told, args=(heard,), name="signals", daemon=True).start()
        for number in _STOPS:
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGHUP, lambda *_: self._hang_up())

    def hand_over(self, *, stop: Callable[[int], None], hang_up: Callable[[], None]) -> None:
        """From now on there is a service: ``stop`` is told how often it was told, ``hang_up`` loads the model anew."""
        self._on_stop, self._on_hangup = stop, hang_up
        signal.set_wakeup_fd(-1)  # the event loop has one of its own
        os.close(self._told)
        if self._stops:
            stop(self._stops)
        if self._hangups:
            hang_up()

    def _stop(self) -> None:
        self._stops += 1
        if self._on_stop is not None:
            _end_after(self._grace + SECONDS_IN_ORDER if self._stops == 1 else SECONDS_AT_ONCE)
            self._on_stop(self._stops)

    def _hang_up(self) -> None:
        self._hangups += 1
        if self._on_hangup is not None:
            self._on_hangup()


def _end_when_told(heard: int) -> None:
    """End the process at a signal to stop; return when there will be none."""
    with open(heard, "rb", buffering=0) as numbers:
        while told := numbers.read(1):
            if told[0] in _STOPS:
                _end("told to stop before it was ready")


def _end_after(seconds: float) -> None:
    """End the process after some time, whatever it is at, unless it has ended."""
    timer = threading.Timer(seconds, _end, [f"it did not come to its end within {seconds:.0f} s"])
    timer.daemon = True
    timer.start()


def _end(why: str) -> None:
    _LOG.warning("the process is ended: %s", why)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
