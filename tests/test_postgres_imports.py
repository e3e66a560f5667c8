"""Jobs that replicas lease: one works on each, and what a dead one had is another's."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from index.errors import JobTaken
from index.objects.folder_objects import FolderObjects
from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_imports import ARCHIVES, ORPHANED_AFTER, PostgresImports
from tests.postgres_server import PostgresServer
from tests.test_import_home import JOB, accepted
from tests.test_sweeper import until

BRIEF = 0.3  # seconds of a lease


@pytest.fixture
def replicas(shared_database: PostgresDatabase, tmp_path: Path) -> Iterator[list[PostgresImports]]:
    """Three, with leases that end soon where nobody renews them."""
    objects = FolderObjects(tmp_path / "objects")
    with ExitStack() as opened:
        yield [
            opened.enter_context(
                closing(
                    PostgresImports(shared_database, objects, tmp_path / str(n), lease=BRIEF, renewed_every=BRIEF / 6)
                )
            )
            for n in range(3)
        ]


def never() -> None:
    raise AssertionError


def test_each_job_is_taken_once_however_many_ask(replicas: list[PostgresImports]) -> None:
    for n in range(12):
        accepted(replicas[0], replace(JOB, job_id=str(n), path="x"))
    jobs, gate = replicas[0].jobs(), threading.Barrier(3)
    for each in replicas:
        each._lease = 60

    def take(home: PostgresImports) -> list[str]:
        gate.wait()
        taken = []
        while (job := home.take(jobs)) is not None:
            taken.append(job.job_id)
        return taken

    with ThreadPoolExecutor(3) as pool:
        taken = [job_id for each in pool.map(take, replicas) for job_id in each]
    assert sorted(taken) == sorted(job.job_id for job in jobs)


def test_a_job_that_is_held_stays_and_one_of_a_dead_replica_goes_on_elsewhere(replicas: list[PostgresImports]) -> None:
    first, second, _ = replicas
    accepted(first)
    taken = first.take([JOB])
    assert taken is not None
    with first.holding(taken, cancel=never, lost=never):
        first.prepare(taken)
        began = threading.Event()
        began.wait(2 * BRIEF)  # longer than a lease lasts by itself
        assert second.take([JOB]) is None
        running = replace(taken, state="running", total=4, counts={"created": 2, "failed": 1})
        first.tell(running, imported=["a", "b", "c"], failures=["head\n", "one\udcff\n"])
    until(lambda: second.take([JOB]) == running)  # the first is dead: it renews no more
    second.prepare(running)
    assert second.archive(running).read_bytes() == b"PK"
    assert sorted(second.imported(running)) == ["a", "b", "c"]
    second.tell(running, failures=["head\n", "two\n"])
    lines = replicas[2].failures(running)
    assert lines is not None
    assert list(lines) == ["head\n", "one\udcff\n", "two\n"]
    for late in (first.tell, first.end):
        with pytest.raises(JobTaken):
            late(running)
    first.put_back(running)
    assert replicas[2].jobs() == [running]
    second.end(replace(running, state="done"))
    assert list(second.imported(running)) == []


def test_any_number_of_failures_and_ids_is_told(
    replicas: list[PostgresImports], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.postgres.postgres_imports._LINES_AT_ONCE", 3)
    monkeypatch.setattr("index.postgres.postgres_imports._ROWS_AT_ONCE", 4)
    home, other, _ = replicas
    home._lease = 60
    for name, lines in ("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 5), ("f", 8):
        job = accepted(home, replace(JOB, job_id=name))
        assert home.take([job]) is not None
        told = ["head\n", *(f"{n}\n" for n in range(lines))] if lines else []
        ids = [f"{n:02}" for n in range(2 * lines)]
        home.tell(job, imported=ids, failures=told)
        found = other.failures(job)
        assert found is not None
        assert (list(found), list(other.imported(job))) == (told, ids)
        home.prepare(job)  # its total was never told, so whoever planned it died over that
        assert list(home.failures(job) or ()) == []
        home.tell(replace(job, total=9), failures=iter(told))
        home.end(replace(job, state="done"))
        assert (list(other.imported(job)), list(other.failures(job) or ())) == ([], told)
        other.remove(job)
        assert list(other.failures(job) or ()) == []


def test_whoever_lost_a_job_is_told(replicas: list[PostgresImports]) -> None:
    first, second, _ = replicas
    accepted(first)
    taken = first.take([JOB])
    assert taken is not None
    until(lambda: second.take([JOB]) is not None)
    lost = threading.Event()
    with first.holding(taken, cancel=never, lost=lost.set):
        assert lost.wait(30)


def test_a_replica_that_cannot_renew_gives_up_before_another_one_can_begin(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.postgres.postgres_database.CONNECT_SECONDS", 1)
    objects = FolderObjects(tmp_path / "objects")
    with closing(PostgresDatabase(postgres.new_database())) as database:
        home = PostgresImports(database, objects, tmp_path, lease=3.0, renewed_every=0.1)
        accepted(home)
        taken = home.take([JOB])
        assert taken is not None
        lost = threading.Event()
        with home.holding(taken, cancel=never, lost=lost.set):
            postgres.stop("immediate")
            try:
                assert lost.wait(30)
            finally:
                postgres.start()


def test_whoever_works_on_a_job_hears_that_it_is_to_be_cancelled(replicas: list[PostgresImports]) -> None:
    first, second, third = replicas
    accepted(first)
    taken = first.take([JOB])
    assert taken is not None
    cancelled = threading.Event()
    with first.holding(taken, cancel=cancelled.set, lost=never):
        second.cancel(replace(taken, state="cancelled"))
        assert cancelled.wait(30)
        assert not third.jobs()[0].ended
    until(lambda: third.take([JOB]) is not None)  # the owner died over it: the next one hears it, too
    cancelled.clear()
    with third.holding(taken, cancel=cancelled.set, lost=never):
        assert cancelled.wait(30)


def test_a_replica_that_starts_removes_what_dead_ones_have_left(
    shared_database: PostgresDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, work = FolderObjects(tmp_path / "objects"), tmp_path / "imports-at-work"
    dead = PostgresImports(shared_database, objects, tmp_path)
    accepted(dead)
    assert dead._work is not None
    dead._work._lock.close()
    living = PostgresImports(shared_database, objects, tmp_path)
    objects.put(ARCHIVES, "orphan", b"PK")
    monkeypatch.setattr("index.postgres.work_folder.YOUNG", -1.0)
    monkeypatch.setattr("index.postgres.postgres_imports.ORPHANED_AFTER", timedelta(0) - ORPHANED_AFTER)
    last = PostgresImports(shared_database, objects, tmp_path)
    assert sorted(path.name for path in work.iterdir()) == sorted([living._owner, last._owner])
    assert [name for name, _ in objects.names(ARCHIVES)] == ["one"]
    for each in (living, last):
        each.close()
    assert list(work.iterdir()) == []
