"""The audit log read backwards, against what was written."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from index.errors import InvalidValue
from service.access import audit_pages as module
from service.access.audit_pages import AuditFilter, AuditReader, read_page

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of a day each, 50 entries in each, one a minute; the last line of each is cut off."""
    for day in range(3):
        begun = START + timedelta(days=day)
        text = "".join(json.dumps(entry(day, number)) + "\n" for number in range(50))
        (tmp_path / f"{begun:%Y%m%dT%H%M%S%fZ}.jsonl").write_text(text + '{"time": "2026-11-0')
    return tmp_path


def entry(day: int, number: int) -> dict[str, Any]:
    time = START + timedelta(days=day, minutes=number)
    return {
        "time": time.isoformat(), "number": 50 * day + number, "key": ["a", "b", "keyless"][number % 3],
        "action": ["search", "erase"][number % 2], "gallery": ["default", "yard", None][day],
        "text": "x" * (number * 97 % 1000),
    }  # fmt: skip


def all_pages(read: AuditReader, wanted: AuditFilter, limit: int) -> list[int]:
    """The numbers of what passes, page by page."""
    numbers: list[int] = []
    cursor: str | None = None
    while True:
        page = read(wanted, limit=limit, cursor=cursor)
        assert len(page.entries) <= limit
        numbers += [each["number"] for each in page.entries]
        cursor = page.cursor
        if cursor is None:
            return numbers


@pytest.mark.parametrize("limit", [1, 7, 50, 100, 1000])
@pytest.mark.parametrize("block", [64, 1000, 1 << 16])
def test_pages_join_to_the_whole_latest_first(
    folder: Path, limit: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    assert all_pages(partial(read_page, folder), AuditFilter(), limit) == list(range(149, -1, -1))


@pytest.mark.parametrize(
    "wanted",
    [
        AuditFilter(key="a"), AuditFilter(key="keyless", action="erase"), AuditFilter(gallery="yard"),
        AuditFilter(since=START + timedelta(days=1, minutes=7)), AuditFilter(until=START + timedelta(days=1, minutes=7)),
        AuditFilter(since=START + timedelta(minutes=49), until=START + timedelta(days=2, minutes=1)),
        AuditFilter(since=START + timedelta(days=9)), AuditFilter(until=START), AuditFilter(action="none"),
        AuditFilter(reaches=lambda gallery: gallery == "default"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("most", [1, 2000, 4 << 20])
def test_filters_give_what_a_loop_would(
    folder: Path, wanted: AuditFilter, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_AT_MOST", most)
    expected = [each["number"] for day in range(3) for number in range(50) if wanted.passes(each := entry(day, number))]
    assert all_pages(partial(read_page, folder), wanted, 10) == expected[::-1]


def test_what_is_written_meanwhile_moves_no_page(folder: Path) -> None:
    first = read_page(folder, AuditFilter(), limit=10, cursor=None)
    last = max(folder.iterdir())
    last.write_text(last.read_text() + '\n{"time": "2026-11-03T10:00:00Z", "number": 150}\n')
    second = read_page(folder, AuditFilter(), limit=10, cursor=first.cursor)
    assert [each["number"] for each in second.entries] == list(range(139, 129, -1))


def test_a_file_that_was_removed_meanwhile_ends_the_pages(folder: Path) -> None:
    page = read_page(folder, AuditFilter(until=START + timedelta(days=1)), limit=10, cursor=None)
    min(folder.iterdir()).unlink()
    assert read_page(folder, AuditFilter(), limit=10, cursor=page.cursor) == module.AuditPage([], None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "../../etc/passwd-0", "20261101T000000000000Z", "20261101T000000000000Z--1"]
)
def test_what_is_no_cursor_is_refused(folder: Path, cursor: str) -> None:
    with pytest.raises(InvalidValue, match="is not a cursor"):
        read_page(folder, AuditFilter(), limit=1, cursor=cursor)


def test_where_there_is_no_log_there_are_no_entries(tmp_path: Path) -> None:
    assert read_page(tmp_path / "none", AuditFilter(), limit=1, cursor=None).entries == []
