"""Imports that a service was asked for, kept on the disk until somebody removes them.

``imports/`` beside ``galleries/`` has a folder a job: ``job.json`` (what was asked, what became of it), ``plan`` (see
``index.bulk.import_plan``; afterwards only what failed), and ``archive`` where one was sent, until the job has ended. A
job is received under a name that begins with a dot; what a crash leaves of that is removed on the next opening.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final, Literal, Protocol, get_args

from index.errors import StorageError, StorageFull
from index.storage.crop_store import NO_SPACE
from index.whole_file import sync_file, sync_folder, write_whole

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: Final[tuple[State, ...]] = get_args(State)
ENDED: Final[tuple[State, ...]] = ("done", "failed", "cancelled")

_NOTE, _PLAN, _ARCHIVE = "job.json", "plan", "archive"


@dataclass(frozen=True, kw_only=True)
class ImportJob:
    """One job. Times are RFC 3339 in UTC. ``total`` is None until everything was looked at.

    ``path`` is what was asked for below the import root, None where an archive was sent, whose ``name`` is the
    client's. ``counts`` are those of the plan, ``seconds`` the time that importing took.
    """

    job_id: str
    gallery: str
    path: str | None
    name: str | None
    state: State
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    total: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in ENDED

    @property
    def done(self) -> int:
        """Images that were dealt with, one way or the other."""
        return sum(self.counts.values())


class ImportHome(Protocol):
    """Where jobs are kept: the data folder of one service, or what several replicas share.

    Whoever takes a job carries it out, and nobody else does until it is put back, has ended, or its owner is dead.
    Methods raise StorageFull and StorageError; those of whoever has a job at work raise JobTaken where it is another's.
    """

    @property
    def shared(self) -> bool:
        """Whether others write here, so that what is known of a job may be old."""
        ...

    def jobs(self) -> list[ImportJob]:
        """Every job, oldest first."""
        ...

    def receive(self) -> Path:
        """A new folder for a job that is on its way, with room for its archive: see ``archive_in``."""
        ...

    def accept(self, receiving: Path, job: ImportJob) -> None:
        """Make a job durable; from then on it is carried out, whatever happens."""
        ...

    def refuse(self, receiving: Path) -> None:
        """Forget a job that was on its way."""
        ...

    def remove(self, job: ImportJob) -> None:
        """Forget a job that has ended, and what failed in it."""
        ...

    def take(self, candidates: Sequence[ImportJob]) -> ImportJob | None:
        """The first of them that nobody works on, as it is now; it is the caller's from now on."""
        ...

    def holding(
        self, job: ImportJob, *, cancel: Callable[[], None], lost: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Keep a job that was taken; says, from a thread of its own, when it is to be cancelled or is another's."""
        ...

    def prepare(self, job: ImportJob) -> None:
        """Bring what a job that was taken needs to where ``archive`` says."""
        ...

    def plan(self, job: ImportJob) -> Path:
        """The file of a job's plan, whether or not it was begun."""
        ...

    def archive(self, job: ImportJob) -> Path:
        """The archive that was sent with a job."""
        ...

    def imported(self, job: ImportJob) -> Iterable[str]:
        """The ids that earlier owners of a job, whose plans are gone, have dealt with."""
        ...

    def tell(self, job: ImportJob, *, imported: Sequence[str] = (), failures: Iterable[str] = ()) -> None:
        """Let others see how far a job at work is, and by which ids and failures (lines, a heading first) it got on."""
        ...

    def failures(self, job: ImportJob) -> Iterator[str] | None:
        """The lines that were told; None where the plan has them."""
        ...

    def end(self, job: ImportJob) -> None:
        """Make what became of a job durable, and remove its archive."""
        ...

    def put_back(self, job: ImportJob) -> None:
        """Let go of a job that has not ended."""
        ...

    def cancel(self, job: ImportJob) -> None:
        """Have a job cancelled by whoever works on it, or end it as ``job`` says where nobody does."""
        ...

    def translated(self) -> AbstractContextManager[None]:
        """Errors of whoever writes to a folder of ours, as ours."""
        ...


class ImportFolder:
    """All jobs of one data folder; ``read_only``: nothing in it is touched. See ``ImportHome``."""

    shared = False

    def __init__(self, data: Path, *, read_only: bool = False) -> None:
        self._folder, self._read_only = data / "imports", read_only
        if read_only:
            return
        with self.translated():
            self._folder.mkdir(exist_ok=True)
            for folder in self._folder.iterdir():
                if folder.name.startswith("."):
                    shutil.rmtree(folder, ignore_errors=True)

    def jobs(self) -> list[ImportJob]:
        """Every job, oldest first."""
        if self._read_only and not self._folder.exists():
            return []
        with self.translated():
            found = [_read(each / _NOTE) for each in self._folder.iterdir() if not each.name.startswith(".")]
        for job in found:
            if job.ended and not self._read_only:
                self.tidy(job)
        return sorted(found, key=lambda job: (job.created_at, job.job_id))

    def receive(self) -> Path:
        receiving = self._folder / f".receiving-{uuid.uuid4().hex}"
        with self.translated():
            receiving.mkdir()
        return receiving

    def accept(self, receiving: Path, job: ImportJob) -> None:
        with self.translated():
            archive = archive_in(receiving)
            if archive.exists():
                sync_file(archive)
            _write(receiving / _NOTE, job)
            receiving.rename(self._folder / job.job_id)
            sync_folder(self._folder)

    def refuse(self, receiving: Path) -> None:
        shutil.rmtree(receiving, ignore_errors=True)

    def save(self, job: ImportJob) -> None:
        """Make what became of a job durable."""
        with self.translated():
            _write(self._folder / job.job_id / _NOTE, job)

    def tidy(self, job: ImportJob) -> None:
        """Remove the archive of a job that has ended."""
        with self.translated():
            archive_in(self._folder / job.job_id).unlink(missing_ok=True)

    def end(self, job: ImportJob) -> None:
        self.save(job)
        self.tidy(job)

    def remove(self, job: ImportJob) -> None:
        removing = self._folder / f".removing-{uuid.uuid4().hex}"
        with self.translated():
            (self._folder / job.job_id).rename(removing)
            sync_folder(self._folder)
        shutil.rmtree(removing, ignore_errors=True)

    def take(self, candidates: Sequence[ImportJob]) -> ImportJob | None:
        return candidates[0] if candidates else None

    def holding(
        self, job: ImportJob, *, cancel: Callable[[], None], lost: Callable[[], None]
    ) -> AbstractContextManager[None]:
        del job, cancel, lost  # nobody else could
        return nullcontext()

    def prepare(self, job: ImportJob) -> None:
        """All is there."""

    def imported(self, job: ImportJob) -> Iterable[str]:
        del job  # its plan outlives its process
        return ()

    def tell(self, job: ImportJob, *, imported: Sequence[str] = (), failures: Iterable[str] = ()) -> None:
        """The plan itself is what survives."""

    def failures(self, job: ImportJob) -> Iterator[str] | None:
        del job
        return None

    def put_back(self, job: ImportJob) -> None:
        """It is carried on when the service runs again, or tries again."""

    def cancel(self, job: ImportJob) -> None:
        self.end(job)

    def plan(self, job: ImportJob) -> Path:
        return self._folder / job.job_id / _PLAN

    def archive(self, job: ImportJob) -> Path:
        return archive_in(self._folder / job.job_id)

    @contextmanager
    def translated(self) -> Iterator[None]:
        with told_of(self._folder):
            yield


@contextmanager
def told_of(folder: Path) -> Iterator[None]:
    """Errors of whoever writes to a folder of imports, as ours."""
    try:
        yield
    except OSError as error:
        kind = StorageFull if error.errno in NO_SPACE else StorageError
        raise kind(f"imports cannot be kept in {folder}: {error.strerror}") from error


def archive_in(folder: Path) -> Path:
    """Where a job's folder has the archive that was sent."""
    return folder / _ARCHIVE


def _write(note: Path, job: ImportJob) -> None:
    write_whole(note, job_text(job))


def job_text(job: ImportJob) -> str:
    """A job as it is kept, ASCII alone."""
    return json.dumps(asdict(job), indent=2)


def job_of(text: str | bytes) -> ImportJob:
    """The job that was kept; of a newer release what is known here. Raises ValueError, TypeError, AttributeError."""
    document = json.loads(text)
    known = {each.name for each in fields(ImportJob)}
    job = ImportJob(**{name: value for name, value in document.items() if name in known})
    if job.state not in STATES:
        raise ValueError(f"state {job.state!a}")
    return job


def _read(note: Path) -> ImportJob:
    try:
        return job_of(note.read_bytes())
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"{note} cannot be read: {error}; remove its folder, and send what it was again") from error
