"""A server and all processes that it started: what they take, and how they are held still."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil

T = TypeVar("T")


class ProcessTree:
    """The processes below and with ``pid``, as they are at each call."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def processor_seconds(self) -> float:
        """User and system time of those that run; that of ended ones is left out."""
        return sum(self._of_each(lambda process: sum(process.cpu_times()[:2])))

    def resident(self) -> int:
        """Bytes, shared pages counted in each process."""
        return sum(self._of_each(lambda process: process.memory_info().rss))

    def proportional(self) -> int | None:
        """Bytes, shared pages counted once; None where the system does not tell."""
        shares = self._of_each(lambda process: getattr(process.memory_full_info(), "pss", 0))
        return sum(shares) or None

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let them run, and hold them still afterwards, so that they take nothing from others who are measured."""
        self._of_each(psutil.Process.resume)
        try:
            yield
        finally:
            self.hold_still()

    def hold_still(self) -> None:
        """Stop them until they are woken."""
        self._of_each(psutil.Process.suspend)

    def end(self) -> None:
        """Kill them all."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def _of_each(self, ask: Callable[[psutil.Process], T]) -> list[T]:
        answers = []
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                answers.append(ask(process))
        return answers
