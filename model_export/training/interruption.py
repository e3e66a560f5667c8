"""Ctrl-C between two steps, never inside one: a checkpoint holds a whole number of them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Interruption:
    """While entered, SIGINT inside :meth:`held_back` is raised when that ends; a second one is raised at once."""

    def __init__(self) -> None:
        self._held = self._asked = False

    def __enter__(self) -> Self:
        # a handler that is not Python's own is somebody's decision, as that of a shell's background job to ignore it
        mine = threading.current_thread() is threading.main_thread()
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """What is inside is finished first."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked:
            raise KeyboardInterrupt

    def _note(self, _: int, __: FrameType | None) -> None:
        if not self._held or self._asked:
            raise KeyboardInterrupt
        self._asked = True
