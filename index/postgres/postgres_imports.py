"""Import jobs that replicas share: a row a job, leased by whoever carries it out; archives are in the object store.

The plan of a job is its owner's alone. What survives the owner is which ids it has dealt with, the counts, and the
lines of what failed; all of these are written together. A new owner makes the plan anew, of the same source, and leaves
those ids out.
"""

import contextlib
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from index.bulk.failure_file import ENCODING, ERRORS
from index.bulk.import_job import ImportJob, archive_in, job_of, job_text, told_of
from index.errors import JobTaken, StorageError
from index.objects.object_store import ObjectStore
from index.postgres.gallery_claim import GalleryClaim
from index.postgres.postgres_database import ANSWER_SECONDS, CONNECT_SECONDS, PostgresDatabase
from index.postgres.work_folder import WorkFolder
from index.whole_file import PART

LEASE_SECONDS: Final = 30.0  # after a replica's death until another one goes on with its job
RENEWED_EVERY: Final = 1.0  # seconds; a cancellation that another replica was asked for is heard as soon, too
ARCHIVES: Final = "_imports"  # beside the galleries in the object store: no gallery can have this name
ORPHANED_AFTER: Final = timedelta(days=1)  # an archive that no job names was sent to a replica that died

_LINES_AT_ONCE = 1000
_ROWS_AT_ONCE = 50_000
_LOG = logging.getLogger("index.imports")


class PostgresImports:
    """All jobs of the replicas; see ``ImportHome``. ``data``: where this one works; ``read_only``: it never does.

    ``claim`` says whether it may: whether they are jobs of its galleries.
    """

    shared = True

    def __init__(
        self, database: PostgresDatabase, objects: ObjectStore, data: Path, *, read_only: bool = False,
        claim: GalleryClaim | None = None, lease: float = LEASE_SECONDS, renewed_every: float = RENEWED_EVERY,
    ) -> None:  # fmt: skip
        self._database, self._objects, self._claim = database, objects, claim
        self._lease, self._renewed_every = lease, renewed_every
        self._owner = uuid.uuid4().hex
        self._held_until = 0.0  # time.monotonic() until which the job at work is ours for certain
        self._folder = data / "imports-at-work" / self._owner
        self._work: WorkFolder | None = None
        if not read_only:
            with self.translated():
                self._work = WorkFolder(data, self._owner)
            self._sweep()

    def close(self) -> None:
        """Leave nothing in the data folder."""
        if self._work is not None:
            self._work.close()

    def jobs(self) -> list[ImportJob]:
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT job FROM vehicle_search.imports ORDER BY created_at, job_id").fetchall()
        return [_read(text) for (text,) in rows]

    def receive(self) -> Path:
        receiving = self._folder / f".receiving-{uuid.uuid4().hex}"
        with self.translated():
            receiving.mkdir()
        return receiving

    def accept(self, receiving: Path, job: ImportJob) -> None:
        archive = archive_in(receiving)
        if archive.exists():
            self._objects.send(ARCHIVES, job.job_id, archive)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO vehicle_search.imports (job_id, created_at, ended, job) VALUES (%s, %s, %s, %s)",
                (job.job_id, job.created_at, job.ended, job_text(job)),
            )
        self.refuse(receiving)

    def refuse(self, receiving: Path) -> None:
        shutil.rmtree(receiving, ignore_errors=True)

    def remove(self, job: ImportJob) -> None:
        self._empty("import_failures", job.job_id)
        self._empty("imported", job.job_id)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM vehicle_search.imports WHERE job_id = %s AND ended", (job.job_id,))
        self._forget(job)

    def take(self, candidates: Sequence[ImportJob]) -> ImportJob | None:
        if not candidates:
            return None
        if self._claim is not None:
            self._claim.require()
        began = time.monotonic()
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT job_id, job FROM vehicle_search.imports WHERE job_id = ANY(%s) AND NOT ended"
                " AND (lease_until IS NULL OR lease_until <= now()) ORDER BY created_at, job_id LIMIT 1"
                " FOR UPDATE SKIP LOCKED",
                ([job.job_id for job in candidates],),
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE vehicle_search.imports SET owner = %s, lease_until = now() + %s WHERE job_id = %s",
                (self._owner, timedelta(seconds=self._lease), row[0]),
            )
        self._held_until = began + self._lease
        return _read(row[1])

    @contextmanager
    def holding(self, job: ImportJob, *, cancel: Callable[[], None], lost: Callable[[], None]) -> Iterator[None]:
        done = threading.Event()

        def renew() -> None:
            while not done.is_set():
                if not self._renewed(job, cancel):
                    if not done.is_set():
                        lost()
                    return
                done.wait(self._renewed_every)

        thread = threading.Thread(target=renew, name="import-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def prepare(self, job: ImportJob) -> None:
        """Make the job's folder, fetch its archive where it is not there yet, and remove what other jobs have left."""
        folder = self._folder / job.job_id
        with self.translated():
            for other in self._folder.iterdir():
                if other.is_dir() and other != folder and not other.name.startswith("."):
                    shutil.rmtree(other, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            self.plan(job).unlink(missing_ok=True)  # another replica may have gone on since it was made
            archive = archive_in(folder)
            if job.path is None and not archive.exists():
                part = archive.with_name(archive.name + PART)
                self._objects.fetch(ARCHIVES, job.job_id, part)
                part.rename(archive)
        if job.total is None:  # whoever died over planning may have told of some failures
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM vehicle_search.import_failures WHERE job_id = %s", (job.job_id,))

    def plan(self, job: ImportJob) -> Path:
        return self._folder / job.job_id / "plan"

    def archive(self, job: ImportJob) -> Path:
        return archive_in(self._folder / job.job_id)

    def imported(self, job: ImportJob) -> Iterable[str]:
        asked = (
            "SELECT image_id FROM vehicle_search.imported WHERE job_id = %s AND image_id > %s"
            " ORDER BY image_id LIMIT %s"
        )
        return (image_id for (image_id,) in self._in_order(asked, job, "", _ROWS_AT_ONCE))

    def tell(self, job: ImportJob, *, imported: Sequence[str] = (), failures: Iterable[str] = ()) -> None:
        """As declared. Very many lines, as planning may find, come before the rest, so that nobody waits for them."""
        encoded = (line.encode(ENCODING, ERRORS) for line in failures)
        lines = list(islice(encoded, _LINES_AT_ONCE))
        heading = lines[:1]
        while len(lines) >= _LINES_AT_ONCE:
            with self._database.transaction() as connection:
                self._require_ours(
                    connection.execute(
                        "SELECT 1 FROM vehicle_search.imports WHERE job_id = %s AND owner = %s",
                        (job.job_id, self._owner),
                    )
                )
                _add_failures(connection, job.job_id, lines)
            more = list(islice(encoded, _LINES_AT_ONCE))
            lines = heading + more if more else []
        with self._database.transaction() as connection:
            self._require_ours(
                connection.execute(
                    "UPDATE vehicle_search.imports SET job = %s WHERE job_id = %s AND owner = %s",
                    (job_text(job), job.job_id, self._owner),
                )
            )
            if imported:
                connection.execute(
                    "INSERT INTO vehicle_search.imported SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
                    (job.job_id, list(imported)),
                )
            _add_failures(connection, job.job_id, lines)

    def failures(self, job: ImportJob) -> Iterator[str] | None:
        """As declared, some lines at a time."""
        return self._failures(job)

    def end(self, job: ImportJob) -> None:
        with self._database.transaction() as connection:
            self._require_ours(
                connection.execute(
                    "UPDATE vehicle_search.imports SET job = %s, ended = true, owner = NULL, lease_until = NULL"
                    " WHERE job_id = %s AND owner = %s",
                    (job_text(job), job.job_id, self._owner),
                )
            )
        self._forget(job)

    def put_back(self, job: ImportJob) -> None:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT job FROM vehicle_search.imports WHERE job_id = %s AND owner = %s FOR UPDATE",
                (job.job_id, self._owner),
            ).fetchone()
            if row is not None:  # counts stay as they were told: those belong to the ids that are left out
                told = replace(_read(row[0]), state=job.state, problem=job.problem)
                connection.execute(
                    "UPDATE vehicle_search.imports SET job = %s, owner = NULL, lease_until = NULL WHERE job_id = %s",
                    (job_text(told), job.job_id),
                )

    def cancel(self, job: ImportJob) -> None:
        with self._database.transaction() as connection:
            free = connection.execute(
                "UPDATE vehicle_search.imports SET job = %s, ended = true, owner = NULL, lease_until = NULL"
                " WHERE job_id = %s AND NOT ended AND (lease_until IS NULL OR lease_until <= now())",
                (job_text(job), job.job_id),
            ).rowcount
            if not free:
                connection.execute(
                    "UPDATE vehicle_search.imports SET cancel_wanted = true WHERE job_id = %s AND NOT ended",
                    (job.job_id,),
                )
        if free:
            self._forget(job)

    @contextmanager
    def translated(self) -> Iterator[None]:
        with told_of(self._folder):
            yield

    def _renewed(self, job: ImportJob, cancel: Callable[[], None]) -> bool:
        """Whether a job is still ours; where the database does not answer, as long as nobody else can have it."""
        began = time.monotonic()
        try:
            with self._database.transaction() as connection:
                row = connection.execute(
                    "UPDATE vehicle_search.imports SET lease_until = now() + %s WHERE job_id = %s AND owner = %s"
                    " RETURNING cancel_wanted",
                    (timedelta(seconds=self._lease), job.job_id, self._owner),
                ).fetchone()
        except StorageError as error:
            _LOG.warning("the lease of import %s cannot be renewed: %s", job.job_id, error)
            longest_try = CONNECT_SECONDS + ANSWER_SECONDS
            return time.monotonic() + longest_try < self._held_until
        if row is None:
            return False
        self._held_until = began + self._lease
        if row[0]:
            cancel()
        return True

    def _require_ours(self, changed: psycopg.Cursor[Any]) -> None:
        if changed.rowcount == 0:
            raise JobTaken("another replica carries the import on, or it was removed")

    def _failures(self, job: ImportJob) -> Iterator[str]:
        asked = (
            "SELECT number, line FROM vehicle_search.import_failures WHERE job_id = %s AND number > %s"
            " ORDER BY number LIMIT %s"
        )
        for _, line in self._in_order(asked, job, -1, _LINES_AT_ONCE):
            yield bytes(line).decode(ENCODING, ERRORS)

    def _in_order(
        self, asked: LiteralString, job: ImportJob, last: str | int, at_once: int
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a job by their first column, which comes after ``last``; some in each transaction."""
        while True:
            with self._database.transaction() as connection:
                rows = connection.execute(asked, (job.job_id, last, at_once)).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][0]

    def _empty(self, table: str, job_id: str) -> None:
        """Remove what a table has of a job that has ended, some rows at a time: none may take too long."""
        rows = _ROWS_AT_ONCE
        while rows == _ROWS_AT_ONCE:
            with self._database.transaction() as connection:
                rows = connection.execute(
                    f"DELETE FROM vehicle_search.{table} WHERE ctid = ANY(ARRAY(SELECT each.ctid FROM"  # noqa: S608
                    f" vehicle_search.{table} each JOIN vehicle_search.imports USING (job_id)"
                    " WHERE job_id = %s AND ended LIMIT %s))",
                    (job_id, _ROWS_AT_ONCE),
                ).rowcount

    def _forget(self, job: ImportJob) -> None:
        """Remove what nobody needs of a job that has ended; what cannot be now is swept by a replica that starts."""
        shutil.rmtree(self._folder / job.job_id, ignore_errors=True)
        with contextlib.suppress(StorageError):
            self._empty("imported", job.job_id)
            if job.path is None:
                self._objects.delete(ARCHIVES, job.job_id)

    def _sweep(self) -> None:
        """Remove what was told of jobs that have ended, and archives that no job needs."""
        with self._database.transaction() as connection:
            ended = connection.execute(
                "SELECT job_id FROM vehicle_search.imports job WHERE ended"
                " AND EXISTS (SELECT 1 FROM vehicle_search.imported WHERE job_id = job.job_id)"
            ).fetchall()
        for (job_id,) in ended:
            self._empty("imported", job_id)
        old = datetime.now(UTC) - ORPHANED_AFTER
        found = {name for name, put in self._objects.names(ARCHIVES) if put < old}
        if not found:
            return
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT job_id FROM vehicle_search.imports WHERE NOT ended").fetchall()
        for name in found - {job_id for (job_id,) in rows}:
            self._objects.delete(ARCHIVES, name)


def _add_failures(connection: psycopg.Connection[Any], job_id: str, lines: Sequence[bytes]) -> None:
    """Add lines behind those that are there; the heading, which comes first each time, is kept once."""
    if not lines:
        return
    row = connection.execute(
        "SELECT coalesce(max(number), -1) FROM vehicle_search.import_failures WHERE job_id = %s", (job_id,)
    ).fetchone()
    last = -1 if row is None else int(row[0])
    new = lines if last < 0 else lines[1:]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO vehicle_search.import_failures VALUES (%s, %s, %s)",
            [(job_id, last + 1 + at, line) for at, line in enumerate(new)],
        )


def _read(text: str) -> ImportJob:
    try:
        return job_of(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"an import in the database cannot be read: {error}") from error
