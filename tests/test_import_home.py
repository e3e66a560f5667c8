"""The same promises of jobs in a data folder and of jobs in a database."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from index.bulk.import_job import ImportFolder, ImportHome, ImportJob, archive_in
from index.objects.folder_objects import FolderObjects

JOB = ImportJob(
    job_id="one", gallery="default", path=None, name="x\0ü\ud800.zip", state="queued", created_at="2026-05-04T10:11:12Z"
)

Opened = Callable[[], ImportHome]


@pytest.fixture(params=["folder", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the jobs, any number of times."""
    if request.param == "folder":
        return lambda: ImportFolder(tmp_path)
    from index.postgres.postgres_imports import PostgresImports

    database = request.getfixturevalue("shared_database")
    return lambda: PostgresImports(database, FolderObjects(tmp_path / "objects"), tmp_path)


def accepted(home: ImportHome, job: ImportJob = JOB) -> ImportJob:
    receiving = home.receive()
    if job.path is None:
        archive_in(receiving).write_bytes(b"PK")
    home.accept(receiving, job)
    return job


def test_a_job_is_read_as_it_was_written(opened: Opened) -> None:
    home = opened()
    accepted(home)
    taken = home.take([JOB])
    assert taken == JOB
    home.prepare(taken)
    assert home.archive(taken).read_bytes() == b"PK"
    ended = replace(JOB, state="failed", total=5, counts={"created": 2}, seconds=1.5, problem="ü\ud800")
    home.end(ended)
    assert opened().jobs() == home.jobs() == [ended]
    assert (ended.done, ended.ended) == (2, True)


def test_jobs_are_listed_oldest_first_and_taken_so(opened: Opened) -> None:
    home = opened()
    for name, time in ("a", "12"), ("b", "10"), ("c", "11"):
        accepted(home, replace(JOB, job_id=name, created_at=f"2026-05-04T10:11:{time}Z"))
    jobs = home.jobs()
    assert [job.job_id for job in jobs] == ["b", "c", "a"]
    assert home.take([]) is None
    assert home.take(jobs[1:]) == jobs[1]


def test_a_job_that_is_put_back_is_there_for_the_next_one(opened: Opened) -> None:
    home = opened()
    accepted(home)
    taken = home.take(home.jobs())
    assert taken is not None
    home.put_back(taken)
    assert opened().take(home.jobs()) == taken


def test_the_archive_of_a_job_that_has_ended_goes(opened: Opened, tmp_path: Path) -> None:
    home = opened()
    job = accepted(home)
    home.cancel(replace(job, state="cancelled"))
    assert [each.state for each in opened().jobs()] == ["cancelled"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"PK"]
    home.remove(opened().jobs()[0])
    assert opened().jobs() == []
