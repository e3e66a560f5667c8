"""Threads that take work by its urgency, and others in their place where they are lost.

A thread cannot be ended from outside. One that does not come back from its work is given up: whoever waits for it is
told so, what it brings later is dropped, and a new one takes its place after a while that doubles with every loss.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, Literal, TypeVar

from service.problems import NotReady

CLOSED_WITHIN = 30.0  # seconds that work which runs has when the pool is closed
FIRST_REST, LONGEST_REST = 1.0, 60.0  # seconds before a lost worker is replaced

_PASSED_OVER = 4  # times that less urgent work lets more urgent work go first; then it is its turn
_LOOKED_AFTER = 1.0  # seconds between two looks at the workers, at most

_LOG = logging.getLogger("service.worker_pool")

T = TypeVar("T")
Loss = Literal["hung", "dead"]


class Urgency(IntEnum):
    """Whose work it is; the smallest goes first, and every other one gets its turn all the same."""

    SINGLE = 0  # somebody waits for one answer
    BATCH = 1  # a part of a request with many pictures
    SPARE = 2  # nobody waits: imports and migrations


@dataclass(eq=False)
class _Job:
    work: Callable[[], Any]
    urgency: Urgency
    future: "Future[Any]" = field(default_factory=Future)

    def carry_out(self) -> BaseException | None:
        """Do the work; returns what must end the worker, too."""
        try:
            result = self.work()
        except Exception as failure:
            self._settle(partial(self.future.set_exception, failure))
        except BaseException as error:
            self.fail(f"the worker ended with {type(error).__name__}: {error}")
            return error
        else:
            self._settle(partial(self.future.set_result, result))
        return None

    def fail(self, reason: str) -> None:
        self._settle(partial(self.future.set_exception, NotReady(reason)))

    def _settle(self, settle: Callable[[], None]) -> None:
        """Unless it was settled meanwhile, by the watcher or by the worker that came back after all."""
        with contextlib.suppress(InvalidStateError):
            settle()


@dataclass(eq=False)
class _Worker:
    thread: threading.Thread | None = None
    job: _Job | None = None
    began: float = 0.0  # the time.monotonic() of its job
    given_up: bool = False


class WorkerPool:
    """``count`` threads. ``at_once`` bounds how many are at work of an urgency; without an entry all may be.

    A piece of work that takes longer than ``stuck_seconds`` is a worker that hangs. ``on_loss`` hears of each loss.
    """

    def __init__(
        self, count: int, *, at_once: Mapping[Urgency, int], stuck_seconds: float, on_loss: Callable[[Loss], None]
    ) -> None:
        self._at_once = {urgency: at_once.get(urgency, count) for urgency in Urgency}
        self._stuck_seconds, self._on_loss = stuck_seconds, on_loss
        self._turn = threading.Condition()
        self._waiting: dict[Urgency, deque[_Job]] = {urgency: deque() for urgency in Urgency}
        self._busy = dict.fromkeys(Urgency, 0)
        self._passed_over = dict.fromkeys(Urgency, 0)
        self._losses = 0  # since a worker that was started after the last one brought a result
        self._due: list[float] = []  # the time.monotonic() at which lost workers are replaced
        self._closed = False
        self._workers: list[_Worker] = []
        with self._turn:
            for _ in range(count):
                self._start()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="worker-watcher", daemon=True)
        self._watcher.start()

    @property
    def missing(self) -> int:
        """Workers that are lost and not replaced yet."""
        with self._turn:
            return len(self._due)

    def depths(self) -> dict[Urgency, tuple[int, int]]:
        """Of each urgency how many pieces of work wait, and how many are at work."""
        with self._turn:
            return {urgency: (len(self._waiting[urgency]), self._busy[urgency]) for urgency in Urgency}

    def submit(self, work: Callable[[], T], urgency: Urgency) -> "Future[T]":
        """Have ``work`` done; a future that is cancelled before its turn is not. NotReady once the pool is closed."""
        job = _Job(work, urgency)
        job.future.add_done_callback(lambda future: self._forget(job) if future.cancelled() else None)
        with self._turn:
            if self._closed:
                raise NotReady("the service is stopping")
            self._waiting[urgency].append(job)
            self._turn.notify()
        return job.future

    def close(self) -> None:
        """Take no more work, drop what waits, and wait for what runs; not for ever."""
        with self._turn:
            self._closed = True
            dropped = [job for jobs in self._waiting.values() for job in jobs]
            for jobs in self._waiting.values():
                jobs.clear()
            threads = [worker.thread for worker in self._workers if not worker.given_up]
            self._turn.notify_all()
        self._stop.set()
        for job in dropped:
            job.future.cancel()
        until = time.monotonic() + CLOSED_WITHIN
        for thread in (*threads, self._watcher):
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        if left := sum(thread is not None and thread.is_alive() for thread in threads):
            _LOG.warning("%d workers have not come back within %.0f s and are left behind", left, CLOSED_WITHIN)

    def _forget(self, job: _Job) -> None:
        """Let go of what a cancelled piece of work holds, though no worker is free to pass it over."""
        with self._turn:
            if job in self._waiting[job.urgency]:
                self._waiting[job.urgency].remove(job)

    def _start(self) -> None:
        worker = _Worker()
        worker.thread = threading.Thread(target=self._serve, args=(worker,), name="worker", daemon=True)
        worker.thread.start()
        self._workers.append(worker)

    def _serve(self, worker: _Worker) -> None:
        while (job := self._next(worker)) is not None:
            fatal = job.carry_out()
            if not self._finished(worker, fatal):
                return

    def _next(self, worker: _Worker) -> _Job | None:
        with self._turn:
            while True:
                job = None if self._closed else self._pick()
                if job is None:
                    if self._closed:
                        return None
                    self._turn.wait()
                elif job.future.set_running_or_notify_cancel():
                    worker.job, worker.began = job, time.monotonic()
                    self._busy[job.urgency] += 1
                    return job

    def _pick(self) -> _Job | None:
        """The most urgent work, or less urgent work that was passed over often enough."""
        ready = [each for each in Urgency if self._waiting[each] and self._busy[each] < self._at_once[each]]
        if not ready:
            return None
        chosen = next((each for each in reversed(ready) if self._passed_over[each] >= _PASSED_OVER), ready[0])
        for each in ready:
            self._passed_over[each] = 0 if each is chosen else self._passed_over[each] + 1
        return self._waiting[chosen].popleft()

    def _finished(self, worker: _Worker, fatal: BaseException | None) -> bool:
        """Note that a worker is free; False where it must end."""
        with self._turn:
            if worker.given_up:
                return False  # another has its place
            if fatal is None:
                self._free(worker)
                self._losses = 0
                return True
            rest = self._give_up(worker)
        _LOG.error("a worker died", exc_info=fatal)
        self._tell("dead", rest)
        return False

    def _free(self, worker: _Worker) -> None:
        """With the lock held."""
        if worker.job is not None:
            self._busy[worker.job.urgency] -= 1
            worker.job = None

    def _give_up(self, worker: _Worker) -> float:
        """With the lock held; the seconds until another takes its place."""
        self._free(worker)
        worker.given_up = True
        self._workers.remove(worker)
        rest: float = min(LONGEST_REST, FIRST_REST * 2 ** min(self._losses, 10))
        self._losses += 1
        self._due.append(time.monotonic() + rest)
        return rest

    def _tell(self, how: Loss, rest: float) -> None:
        _LOG.error("a worker is lost (%s); another takes its place in %.0f s", how, rest)
        self._on_loss(how)

    def _watch(self) -> None:
        period = min(_LOOKED_AFTER, self._stuck_seconds / 4)
        while not self._stop.wait(period):
            self._give_up_hung()
            self._replace()

    def _give_up_hung(self) -> None:
        now = time.monotonic()
        with self._turn:
            hung = [
                (job, self._give_up(worker))
                for worker in list(self._workers)
                if (job := worker.job) is not None and now - worker.began > self._stuck_seconds
            ]
        for job, rest in hung:
            self._tell("hung", rest)
            job.fail(f"the worker has not come back for {self._stuck_seconds:g} s (stuck_seconds); try again later")

    def _replace(self) -> None:
        with self._turn:
            now = time.monotonic()
            for due in [each for each in self._due if each <= now]:
                if self._closed:
                    return
                try:
                    self._start()
                except RuntimeError as error:  # the machine starts no thread now
                    _LOG.error("no thread for a worker: %s", error)
                    return
                self._due.remove(due)
            self._turn.notify_all()
