"""Threads that take work by its urgency, and others in their place where they are lost.

A thread cannot be ended from outside. One that does not come back from its work is given up: whoever waits for it is
told so, what it brings later is dropped, and a new one takes its place after a while that doubles with every loss.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, Literal, TypeVar

from service.wire.problems import NotReady

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


@dataclass(frozen=True, eq=False)
class Company:
    """Work that one worker does better together: it is submitted with the same company, and means nothing else.

    ``most`` says how many pieces a worker may take at a time. ``together`` does them: what comes of each in order, as
    soon as it is there, a result or the exception that whoever waits for it gets.
    """

    most: Callable[[], int]
    together: Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(eq=False)
class _Job:
    work: Any  # a callable without arguments, or what its company knows to do
    urgency: Urgency
    company: Company | None = None
    future: "Future[Any]" = field(default_factory=Future)

    def settle(self, outcome: Any) -> None:
        if isinstance(outcome, BaseException):
            self._settle(partial(self.future.set_exception, outcome))
        else:
            self._settle(partial(self.future.set_result, outcome))

    def _settle(self, settle: Callable[[], None]) -> None:
        """Unless it was settled meanwhile, by the watcher or by the worker that came back after all."""
        with contextlib.suppress(InvalidStateError):
            settle()


def _fail(jobs: Sequence[_Job], error: BaseException) -> None:
    for job in jobs:
        job.settle(error)


@dataclass(eq=False)
class _Worker:
    thread: threading.Thread | None = None
    jobs: Sequence[_Job] = ()
    began: float = 0.0  # the time.monotonic() of its jobs
    given_up: bool = False

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def carry_out(self) -> BaseException | None:
        """Do its jobs; returns what must end the worker, too."""
        jobs, company = self.jobs, self.jobs[0].company  # jobs go to nobody when the worker is given up meanwhile
        rest = list(jobs)
        fatal: BaseException | None = None
        try:
            outcomes = [jobs[0].work()] if company is None else company.together([job.work for job in jobs])
            for outcome in outcomes:
                rest.pop(0).settle(outcome)
            if rest:
                raise RuntimeError(f"{len(jobs) - len(rest)} results came of {len(jobs)} pieces of work")
        except Exception as error:
            _fail(rest, error)
        except BaseException as error:
            _fail(rest, NotReady(f"the worker ended with {type(error).__name__}: {error}"))
            fatal = error
        finally:
            # an error holds the frames that it came through, this one too, and they would hold the error
            del jobs, rest
        return fatal


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
        self._losses = 0  # since a worker brought a result
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
        return self._submit(_Job(work, urgency))

    def join(self, company: Company, work: object, urgency: Urgency) -> "Future[Any]":
        """As ``submit``, for work that a worker may do together with others of its company that wait.

        A worker takes no more of them than half its share of what waits, but two where its share is two: none is idle
        beside one that has two, and who comes first is not answered last.
        """
        return self._submit(_Job(work, urgency, company))

    def _submit(self, job: _Job) -> "Future[Any]":
        job.future.add_done_callback(self._forget)  # not by the job, which would hold itself
        with self._turn:
            if self._closed:
                raise NotReady("the service is stopping")
            self._waiting[job.urgency].append(job)
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

    def _forget(self, future: "Future[Any]") -> None:
        """Let go of what a cancelled piece of work holds, though no worker is free to pass it over."""
        if not future.cancelled():
            return
        with self._turn:
            for waiting in self._waiting.values():
                for job in [each for each in waiting if each.future is future]:
                    waiting.remove(job)

    def _start(self) -> None:
        worker = _Worker()
        worker.thread = threading.Thread(target=self._serve, args=(worker,), name="worker", daemon=True)
        worker.thread.start()
        self._workers.append(worker)

    def _serve(self, worker: _Worker) -> None:
        while self._next(worker):
            fatal = worker.carry_out()
            if not self._finished(worker, fatal):
                return

    def _next(self, worker: _Worker) -> bool:
        """Give a worker its next jobs, when there are some; False where it must end."""
        with self._turn:
            while True:
                job = None if self._closed else self._pick()
                if job is None:
                    if self._closed:
                        return False
                    self._turn.wait()
                elif job.future.set_running_or_notify_cancel():
                    worker.jobs, worker.began = [job, *self._companions(job)], time.monotonic()
                    self._busy[job.urgency] += 1
                    return True

    def _companions(self, job: _Job) -> list[_Job]:
        """What a worker takes beside a job; with the lock held."""
        if job.company is None:
            return []
        waiting = self._waiting[job.urgency]
        like = [other for other in waiting if other.company is job.company]
        share = -(-(1 + len(like)) // max(1, len(self._workers)))
        lot = max(min(2, share), -(-share // 2))
        wanted = like[: min(lot, job.company.most()) - 1]
        for other in wanted:
            waiting.remove(other)  # what is cancelled just now, too: nobody may ask its future again
        return [other for other in wanted if other.future.set_running_or_notify_cancel()]

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
        if worker.jobs:
            self._busy[worker.jobs[0].urgency] -= 1
            worker.jobs = ()

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
                (worker.jobs, self._give_up(worker))
                for worker in list(self._workers)
                if (worker.jobs and now - worker.began > self._stuck_seconds) or not worker.alive
            ]
        lost = NotReady(f"the worker has not come back for {self._stuck_seconds:g} s (stuck_seconds); try again later")
        for jobs, rest in hung:
            self._tell("hung", rest)
            _fail(jobs, lost)

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
