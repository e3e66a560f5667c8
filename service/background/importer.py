"""Import jobs, one after the other, in a thread of its own; what searches leave of the workers is theirs.

Where replicas share the jobs, what they say of them is looked at whenever somebody asks, and the thread looks again
for jobs that nobody works on.
"""

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from index.bulk.failure_file import failure_lines
from index.bulk.import_job import STATES, ImportHome, ImportJob, State
from index.bulk.import_plan import COUNTS, ImportPlan, read_columns, read_failures
from index.bulk.import_source import plan_sources
from index.bulk.ingestion import Ingestion
from index.embedder import Embedder
from index.errors import (
    GALLERY_TROUBLE,
    InvalidValue,
    JobTaken,
    StorageError,
    StorageFull,
    VehicleSearchError,
    trouble_of,
)
from index.gallery import Gallery, GalleryHome
from service.capacity.limited_places import LimitedPlaces
from service.embedding.engine import Engine
from service.embedding.loaded_models import LoadedModels
from service.watching.metrics import Metrics
from service.wire.documents import time_text
from service.wire.problems import ImportNotFound

EMBEDDED_AT_ONCE: Final = {"CPUExecutionProvider": 2}  # images; a search that finds all workers busy waits as long
EMBEDDED_AT_ONCE_ELSEWHERE: Final = 16
RETRIED_EVERY: Final = 30.0  # seconds; where the disk is full, or a gallery damaged
CANCELLED_WITHIN: Final = 10.0  # seconds; what is being embedded and written is done first
LOOKED_EVERY: Final = 1.0  # seconds between two looks for jobs that other replicas took on, or died over
LOOKED_AT_LEAST: Final = 10.0  # seconds; figures are as old at most
LOOKED_AGAIN: Final = 0.1  # seconds between two looks whether another replica has cancelled a job

_LOG = logging.getLogger("service.importer")

T = TypeVar("T")


class _Interrupted(Exception):
    """The job is cancelled, or another replica's, or the service stops."""


class SpareWorkers:
    """The engine's workers as far as searches do not need them; see ``Engine.spare``."""

    def __init__(self, engine: Engine) -> None:
        self.count = engine.workers
        self._engine = engine

    def submit(self, work: Callable[[], T]) -> Future[T]:
        return self._engine.spare(work)


class Importer:
    """Carries out the jobs of a home from ``start`` to ``close``, oldest first, those of an earlier run included.

    ``root`` (resolved) is where jobs that name a path find their pictures.
    """

    def __init__(
        self, folder: ImportHome, home: GalleryHome, engine: Engine, models: LoadedModels, metrics: Metrics, *,
        root: Path | None, max_pixels: int, max_uploads: int = 4,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._home, self._engine, self._models, self._metrics = home, engine, models, metrics
        self.root, self._max_pixels = root, max_pixels
        self.uploads = LimitedPlaces(max_uploads, what="archives are arriving", setting="max_uploads")
        self._turn = threading.Condition()
        self._stop, self._cancel, self._lost = threading.Event(), threading.Event(), threading.Event()
        self._before: dict[str, int] = {}  # counts of earlier owners of the job at work, less what its plan begins with
        self._seconds_before = 0.0
        self._told_failures = 0  # of the plan of the job at work
        self._untold: list[str] = []  # ids that it has dealt with
        problems = home.problems()
        self._jobs = {job.job_id: _resting(job, problems) for job in folder.jobs()}
        self._looked_at = time.monotonic()  # when others were asked for the jobs
        self._at_work: str | None = None
        self._tried_again: dict[str, float] = {}  # jobs that wait for their gallery: the time.monotonic() of that
        metrics.watch_imports(self._by_state)
        metrics.watch_held_up_imports(self._held_up)
        self._thread = threading.Thread(target=self._work, name="importer", daemon=True)

    def start(self) -> None:
        """Begin to work; a service that only reads never does."""
        self._thread.start()

    def jobs(self) -> list[ImportJob]:
        """Every job, newest first."""
        self._look()
        with self._turn:
            return sorted(self._jobs.values(), key=lambda job: (job.created_at, job.job_id), reverse=True)

    def get(self, job_id: str, reaches: Callable[[str], bool] = lambda _: True) -> ImportJob:
        """A job as it is now; raises ImportNotFound, also for one whose gallery ``reaches`` is not true of."""
        self._look()
        with self._turn:
            job = self._jobs.get(job_id)
        if job is None or not reaches(job.gallery):
            raise ImportNotFound(f"there is no import {job_id[:60]!a}")
        return job

    def submit(self, receiving: Path, job: ImportJob) -> None:
        """Take a job on; it is durable on return."""
        self.folder.accept(receiving, job)
        with self._turn:
            self._jobs[job.job_id] = job
            self._turn.notify_all()

    def cancel(self, job_id: str) -> ImportJob:
        """End a job that has not ended, keeping what it has stored; the job, which may need a moment to end."""
        with self._turn:
            job = self.get(job_id)
            if job.ended:
                return job
            if job_id == self._at_work:
                self._cancel.set()
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._at_work != job_id, timeout=CANCELLED_WITHIN)
                return self._jobs[job_id]
            if not self.folder.shared:
                self._end(job, "cancelled")
                return self._jobs[job_id]
        return self._cancel_elsewhere(job)

    def _cancel_elsewhere(self, job: ImportJob) -> ImportJob:
        """Have a job cancelled that another replica may be working on."""
        until = time.monotonic() + CANCELLED_WITHIN
        self.folder.cancel(_ended(job, "cancelled"))
        while not (job := self.get(job.job_id)).ended and time.monotonic() < until:
            if self._stop.wait(LOOKED_AGAIN):
                break
        return job

    def remove(self, job_id: str) -> None:
        """Forget a job that has ended."""
        with self._turn:
            self.folder.remove(self.get(job_id))
            self._jobs.pop(job_id, None)

    def failures(self, job: ImportJob) -> Iterator[str]:
        """What failed in a job so far, as the text of a manifest, line by line."""
        if (told := self.folder.failures(job)) is not None:
            first = next(told, None)
            return failure_lines([], [], Path("/")) if first is None else chain([first], told)
        plan = self.folder.plan(job)
        if job.total is None or not plan.exists():
            return failure_lines([], [], plan.parent)
        return failure_lines(read_failures(plan), read_columns(plan), self._base(job))

    def stop(self) -> None:
        """Take nothing on any more, and stop at the next write; what is at work goes on when the service runs again."""
        with self._turn:
            self._stop.set()
            self._turn.notify_all()

    def close(self) -> None:
        """Stop, and wait for it; the engine, which the job at work may wait for, is closed by now."""
        self.stop()
        self._thread.join()

    def _work(self) -> None:
        while (job := self._taken()) is not None:
            try:
                self._carry_out(job)
            finally:
                with self._turn:
                    self._at_work = None
                    self._turn.notify_all()

    def _taken(self) -> ImportJob | None:
        """The next job, waited for, which is at work from now on; None where the service stops."""
        while not self._stop.is_set():
            shared = self._next() if self.folder.shared else None  # it may take a while, and nobody waits for it
            with self._turn:
                job = shared if self.folder.shared else self._next()
                if job is not None:
                    self._jobs[job.job_id] = job
                    self._at_work = job.job_id
                    self._cancel.clear()
                    self._lost.clear()
                    return job
                if not self._stop.is_set():
                    self._turn.wait(timeout=LOOKED_EVERY if self.folder.shared else self._patience())
        return None

    def _patience(self) -> float | None:
        """Seconds after which to look again, although nobody has called."""
        return RETRIED_EVERY if self._tried_again else None

    def _look(self) -> None:
        """See what other replicas have done. Raises StorageError."""
        if not self.folder.shared:
            return
        problems = self._home.problems()
        found = {job.job_id: _resting(job, problems) for job in self.folder.jobs()}
        self._looked_at = time.monotonic()
        with self._turn:
            at_work = self._jobs.get(self._at_work or "")
            if at_work is not None:
                found[at_work.job_id] = at_work  # what others see of it is older
            self._jobs = found

    def _next(self) -> ImportJob | None:
        """Take the oldest job that can be worked on and that nobody works on."""
        try:
            self._look()
            return self.folder.take(self._waiting())
        except StorageError as error:  # of what replicas share; whoever asks for the jobs is told, too
            _LOG.warning("no import can be begun: %s", error)
            return None

    def _waiting(self) -> list[ImportJob]:
        """Jobs that can be worked on, oldest first."""
        damaged = self._home.problems()
        with self._turn:
            jobs = list(self._jobs.values())
        now = time.monotonic()
        self._tried_again = {job_id: at for job_id, at in self._tried_again.items() if at > now}
        waiting = [
            job for job in jobs
            if not job.ended and job.gallery not in damaged and job.job_id not in self._tried_again
        ]  # fmt: skip
        return sorted(waiting, key=lambda job: (job.created_at, job.job_id))

    def _carry_out(self, job: ImportJob) -> None:
        with self.folder.holding(job, cancel=self._cancel.set, lost=self._lost.set):
            self._carry_on(job)

    def _carry_on(self, job: ImportJob) -> None:
        started = job.started_at or time_text(datetime.now(UTC))
        try:
            self.folder.prepare(job)
            self._before, self._seconds_before, self._told_failures, self._untold = {}, 0.0, 0, []
            job = self._changed(job, state="running", started_at=started, problem=None)
            while True:
                try:
                    self._import(job)
                except StorageFull as error:
                    job = self._changed(self.get(job.job_id), problem=f"{error}; tried again when there is space")
                    self._pause()
                else:
                    break
            self._end(self._jobs[job.job_id], "done")
        except _Interrupted:
            if self._lost.is_set():
                _LOG.warning("import %s is left to another replica: its lease could not be renewed", job.job_id)
            elif self._cancel.is_set():
                self._end(self._jobs[job.job_id], "cancelled")
            else:
                self._put_back(self._jobs[job.job_id])
        except JobTaken as error:
            _LOG.warning("import %s is left to another replica: %s", job.job_id, error)
        except Exception as error:
            if self._stop.is_set():  # the engine was closed under it
                self._put_back(self._jobs[job.job_id])
            else:
                self._give_up(self._jobs[job.job_id], error)

    def _put_back(self, job: ImportJob) -> None:
        """Leave a job to the next one who has time; where that cannot be said, its lease ends by itself."""
        try:
            self.folder.put_back(replace(job, state="queued"))
        except StorageError as error:
            _LOG.warning("import %s cannot be put back: %s", job.job_id, error)

    def _give_up(self, job: ImportJob, error: Exception) -> None:
        """Put a job off that its gallery, its disk or the memory fails, so that others go on; end it otherwise."""
        if self._cancel.is_set():
            self._end(job, "cancelled")
        elif isinstance(error, VehicleSearchError | CancelledError) and not isinstance(error, StorageError):
            _LOG.warning("import %s into gallery %s failed: %s", job.job_id, job.gallery, error)
            self._end(job, "failed", self._plain(str(error), job))
        elif isinstance(error, GALLERY_TROUBLE):
            insides = None if isinstance(error, VehicleSearchError) else error
            _LOG.warning("import %s into gallery %s waits: %s", job.job_id, job.gallery, error, exc_info=insides)
            problem = f"{self._plain(trouble_of(error), job)}; tried again every {RETRIED_EVERY:.0f} s"
            with self._turn:
                self._tried_again[job.job_id] = time.monotonic() + RETRIED_EVERY
                self._jobs[job.job_id] = waiting = replace(job, state="queued", problem=problem)
            self._put_back(waiting)
        else:
            _LOG.error("import %s into gallery %s failed", job.job_id, job.gallery, exc_info=error)
            self._end(job, "failed", "the service failed; its log says more")

    def _import(self, job: ImportJob) -> None:
        gallery, ended = self._home.get(job.gallery), False
        while not ended:
            with self._models.turn(gallery) as embedder:
                ended = self._import_by(embedder, gallery, job)

    def _import_by(self, embedder: Embedder, gallery: Gallery, job: ImportJob) -> bool:
        """Import what is left of a job; False where another model is to go on with it.

        The plan is opened anew each time, because it gives each picture once.
        """
        with self._planned(job) as plan:
            self._told(job, plan)
            ingestion = Ingestion(
                gallery=gallery, embedder=embedder, workers=SpareWorkers(self._engine), root=self._root_of(job),
                max_pixels=self._max_pixels,
                embedded_at_once=EMBEDDED_AT_ONCE.get(embedder.provider, EMBEDDED_AT_ONCE_ELSEWHERE),
                heard=lambda pictures: self._metrics.batch(pictures, "spare"),
            )  # fmt: skip
            try:
                with closing(ingestion.run(plan)) as steps:
                    for _ in steps:
                        self._told(job, plan)
                        self._go_on()
                        if self._models.of(gallery) is not embedder:
                            return False
            finally:
                self._tell_last(job, plan)
        return True

    def _tell_last(self, job: ImportJob, plan: ImportPlan) -> None:
        """Tell what was written while the import was being ended."""
        if self.folder.shared and not self._lost.is_set():
            try:
                self._told(job, plan)
            except VehicleSearchError as error:  # who goes on finds it stored
                _LOG.warning("what import %s did last cannot be written down: %s", job.job_id, error)

    @contextmanager
    def _planned(self, job: ImportJob) -> Iterator[ImportPlan]:
        """The job's plan, complete; one that was not when the service ended is made anew.

        So is that of an owner who is dead, without what it has dealt with.
        """
        file, remember = self.folder.plan(job), self.folder.shared
        plan = ImportPlan(file, remember=remember)
        try:
            if not plan.complete:
                plan.close()
                file.unlink()
                plan = ImportPlan(file, remember=remember)
                for _ in plan_sources(plan, [self._source(job)], root=self._root_of(job)):
                    self._go_on()
                if job.total is not None:
                    self._leave_out(job, plan)
            yield plan
        finally:
            plan.close()

    def _leave_out(self, job: ImportJob, plan: ImportPlan) -> None:
        """Begin where an earlier owner ended; what cannot be planned was counted then, and told."""
        plan.leave_out(self.folder.imported(job))
        begun = plan.counts()
        self._before = {status: job.counts.get(status, 0) - begun[status] for status in COUNTS}
        self._seconds_before, self._told_failures = job.seconds, begun["failed"]

    def _told(self, job: ImportJob, plan: ImportPlan) -> None:
        """Let clients see how far a job is, and what is to survive this process beside the plan."""
        before = self._jobs[job.job_id].counts
        counts = {status: number + self._before.get(status, 0) for status, number in plan.counts().items()}
        for status in COUNTS:
            self._metrics.imported.labels(status).inc(max(0, counts[status] - before.get(status, 0)))
        with self._turn:
            now = self._jobs[job.job_id]
            self._jobs[job.job_id] = now = replace(
                now, total=plan.total, counts=counts, seconds=plan.seconds + self._seconds_before, problem=None
            )
        if self.folder.shared:
            failed = plan.counts()["failed"]
            lines = () if failed == self._told_failures else self._failure_lines(job, plan)
            self._untold += plan.struck_out()
            self.folder.tell(now, imported=self._untold, failures=lines)
            self._told_failures, self._untold = failed, []

    def _failure_lines(self, job: ImportJob, plan: ImportPlan) -> Iterator[str]:
        """The lines of what has failed since it was last told, with their heading."""
        return failure_lines(plan.failures(after=self._told_failures), plan.columns(), self._base(job))

    def _go_on(self) -> None:
        if self._interrupted():
            raise _Interrupted

    def _interrupted(self) -> bool:
        return self._stop.is_set() or self._cancel.is_set() or self._lost.is_set()

    def _pause(self) -> None:
        with self._turn:
            until = time.monotonic() + RETRIED_EVERY
            while not self._interrupted() and (left := until - time.monotonic()) > 0:
                self._turn.wait(min(left, LOOKED_EVERY) if self.folder.shared else left)
        self._go_on()

    def _changed(self, job: ImportJob, **values: object) -> ImportJob:
        changed = replace(job, **values)  # type: ignore[arg-type]
        with self._turn:
            self._jobs[job.job_id] = changed
        self.folder.tell(changed)
        return changed

    def _end(self, job: ImportJob, state: State, problem: str | None = None) -> None:
        """Write down that a job has ended, and leave of it what failed."""
        ended = _ended(job, state, problem)
        with self._turn:
            self._jobs[job.job_id] = ended
        try:
            self.folder.end(ended)
            if self.folder.plan(ended).exists():
                with closing(ImportPlan(self.folder.plan(ended))) as plan:
                    plan.abandon()
        except VehicleSearchError as error:  # on the next start it is carried out once more, and finds all stored
            _LOG.warning("import %s ended, which cannot be written down: %s", job.job_id, error)

    def _source(self, job: ImportJob) -> Path:
        return self.folder.archive(job) if job.path is None else source_below(self.root, job.path)

    def _root_of(self, job: ImportJob) -> Path | None:
        return None if job.path is None else self.root

    def _base(self, job: ImportJob) -> Path:
        """The folder or archive to which the paths of what failed are relative: where a manifest.csv would stand."""
        if job.path is None:
            return self.folder.archive(job)
        try:
            source = source_below(self.root, job.path)
        except InvalidValue:  # it is gone, or the root is another now
            return Path("/")
        return source.parent if source.suffix.lower() == ".csv" else source

    def _plain(self, problem: str, job: ImportJob) -> str:
        """A message without our folders."""
        if job.path is None:
            return problem.replace(str(self.folder.archive(job)), "that was sent")
        return problem if self.root is None else problem.replace(f"{self.root}/", "")

    def _last_seen(self) -> list[ImportJob]:
        """Every job; as it was where others cannot be asked."""
        if time.monotonic() - self._looked_at > LOOKED_AT_LEAST:
            self._looked_at = time.monotonic()  # also where that fails: figures are not to wait for it each time
            with contextlib.suppress(StorageError):
                self._look()
        with self._turn:
            return list(self._jobs.values())

    def _by_state(self) -> dict[str, int]:
        found = Counter(job.state for job in self._last_seen())
        return {state: found[state] for state in STATES}

    def _held_up(self) -> int:
        """Jobs that wait for space, or for their gallery to be mended."""
        return sum(not job.ended and job.problem is not None for job in self._last_seen())


def _resting(job: ImportJob, problems: Mapping[str, str]) -> ImportJob:
    """A job as it is now; one into a damaged gallery waits for a start on which that is mended."""
    problem = problems.get(job.gallery)
    return job if job.ended or problem is None else replace(job, problem=problem)


def _ended(job: ImportJob, state: State, problem: str | None = None) -> ImportJob:
    return replace(job, state=state, problem=problem, finished_at=time_text(datetime.now(UTC)))


def source_below(root: Path | None, path: str) -> Path:
    """What a path below the import root names, links resolved; raises InvalidValue where it is nothing or elsewhere."""
    if root is None:
        raise InvalidValue("this service reads no paths: the setting import_root is not set", pointer="/path")
    try:
        found = (root / path).resolve()
        if not found.is_relative_to(root):
            raise InvalidValue("path leads out of the import root", pointer="/path")
        if not found.is_dir() and not found.is_file():
            raise InvalidValue(
                f"path {path[:200]!a}: there is no such folder or file below the import root", pointer="/path"
            )
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long, a NUL, links in a circle
        reason = getattr(error, "strerror", None) or "no file can have such a name"  # the whole would tell where we are
        raise InvalidValue(f"path {path[:200]!a} cannot be read: {reason}", pointer="/path") from error
    return found
