"""The audit log in a database: what was answered is there, for whoever reads it, whichever replica wrote it."""

import json
import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from index.errors import InvalidValue
from index.postgres.postgres_audit import PostgresAudit
from index.postgres.postgres_database import PostgresDatabase
from service.access import audit_log
from service.access.audit_pages import AuditFilter, Entry, read_page
from service.access.shared_audit import SharedAudit, read_shared_page
from service.watching.metrics import Metrics
from service.wire.problems import NotReady
from tests.postgres_server import PostgresServer
from tests.test_audit_pages import START, all_pages, entry
from tests.test_sweeper import until


@pytest.fixture
def table(shared_database: PostgresDatabase) -> PostgresAudit:
    return PostgresAudit(shared_database)


def written(table: PostgresAudit, *entries: Entry) -> None:
    with closing(SharedAudit(table, Metrics(), days=0)) as log:
        for each in entries:
            log.put(each, flush=True).result(30)


@pytest.mark.parametrize("most", [1, 4 << 20])
def test_pages_say_what_those_of_a_file_say(
    table: PostgresAudit, tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.access.shared_audit.READ_AT_MOST", most)
    monkeypatch.setattr("index.postgres.postgres_audit._LINES_AT_ONCE", 40)
    entries = [entry(day, number) for day in range(3) for number in range(50)]
    lines = [json.dumps(each) for each in entries]
    table.append([*lines, "no entry"])
    (tmp_path / f"{START:%Y%m%dT%H%M%S%fZ}.jsonl").write_text("\n".join(lines) + "\n")
    for wanted in (
        AuditFilter(),
        AuditFilter(key="keyless", action="erase"),
        AuditFilter(gallery="yard"),
        AuditFilter(reaches=lambda gallery: gallery == "default"),
    ):
        of_file = read_page(tmp_path, wanted, limit=1000, cursor=None)
        expected = [each["number"] for each in of_file.entries]
        assert all_pages(partial(read_shared_page, table), wanted, 7) == expected, wanted
    assert all_pages(partial(read_shared_page, table), AuditFilter(since=START), 1000) == list(range(149, -1, -1))


def test_times_are_those_of_the_entries(table: PostgresAudit) -> None:
    now = datetime.now(UTC)
    written(table, *(entry(0, n) | {"time": (now - timedelta(seconds=9 - n)).isoformat()} for n in range(10)))
    page = read_shared_page(
        table, AuditFilter(since=now - timedelta(seconds=6), until=now - timedelta(seconds=2)), limit=100, cursor=None
    )
    assert [each["number"] for each in page.entries] == [6, 5, 4, 3]


@pytest.mark.parametrize("cursor", ["x", "-1", "1 ", "9" * 40, "20261101T000000000000Z-0"])
def test_what_is_no_cursor_is_refused(table: PostgresAudit, cursor: str) -> None:
    with pytest.raises(InvalidValue, match="is not a cursor"):
        read_shared_page(table, AuditFilter(), limit=1, cursor=cursor)


def test_each_replica_reads_what_the_others_wrote_in_its_order(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with closing(PostgresDatabase(url)) as here, closing(PostgresDatabase(url)) as there:
        logs = [SharedAudit(PostgresAudit(each), Metrics(), days=0) for each in (here, there)]
        for n in range(20):
            logs[n % 2].put(entry(0, n) | {"text": "ü\n"}, flush=False).result(30)
        for log in logs:
            log.close()
        assert all_pages(partial(read_shared_page, PostgresAudit(there)), AuditFilter(), 6) == list(range(19, -1, -1))


def test_entries_go_when_they_are_too_old(table: PostgresAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.postgres.postgres_audit._REMOVED_AT_ONCE", 2)
    written(table, *(entry(0, n) for n in range(5)))
    soon = datetime.now(UTC) + timedelta(days=2)
    for days, left in ((0, 5), (3, 5), (1, 0)):
        SharedAudit(table, Metrics(), days=days, erasing_clock=lambda: soon).close()
        assert len(all_pages(partial(read_shared_page, table), AuditFilter(), 100)) == left


def test_a_database_that_goes_away_loses_nothing_silently(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("index.postgres.postgres_database.CONNECT_SECONDS", 1)
    monkeypatch.setattr(audit_log, "PROBED_EVERY", 0.05)
    with closing(PostgresDatabase(postgres.new_database())) as database:
        log = SharedAudit(PostgresAudit(database), Metrics(), days=0)
        log.put(entry(0, 0), flush=True).result(30)
        postgres.stop("immediate")
        try:
            with pytest.raises(NotReady, match="PostgreSQL at"):
                log.put(entry(0, 1), flush=True).result(60)
            with pytest.raises(NotReady, match="audit_required"):
                log.require_writable()
        finally:
            postgres.start()
        until(lambda: log.problem is None)
        log.put(entry(0, 2), flush=True).result(30)
        log.close()
        page = read_shared_page(PostgresAudit(database), AuditFilter(), limit=9, cursor=None)
    assert [each.get("number", each.get("count")) for each in page.entries] == [2, 1, 0]
    assert page.entries[1]["action"] == "entries-missing"
    assert any('"number":1' in record.message for record in caplog.records if record.levelno == logging.WARNING)


def test_what_was_answered_is_there_after_a_crash_of_the_database(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with closing(PostgresDatabase(url)) as database:
        log = SharedAudit(PostgresAudit(database), Metrics(), days=0)
        log.put(entry(0, 7), flush=False).result(30)
        postgres.stop("immediate")
        postgres.start()
        log.close()
    with closing(PostgresDatabase(url)) as database:
        assert all_pages(partial(read_shared_page, PostgresAudit(database)), AuditFilter(), 5) == [7]
