"""Clocks that are set forward and back, and what is erased by them."""

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from index.data_folder import DataFolder
from index.machine.steady_clock import SETTLED, SteadyClock
from service.access.audit_log import AuditLog, audit_files
from service.watching.metrics import Metrics
from tests.pictures import jpeg
from tests.server_process import started
from tests.test_compaction import SPEC, secret
from tests.test_sweeper import until

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAKER = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")  # Debian's package libfaketime


class Machine:
    """A wall clock that can be set, and ticks that nobody sets."""

    def __init__(self) -> None:
        self.set_by, self.passed = timedelta(), timedelta()

    def wall(self) -> datetime:
        return BEGAN + self.passed + self.set_by

    def ticks(self) -> float:
        return 1000 + self.passed.total_seconds()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> SteadyClock:
    return SteadyClock(machine.wall, machine.ticks)


def test_time_passes(machine: Machine, clock: SteadyClock) -> None:
    for _ in range(5):
        machine.passed += 10 * HOUR
        assert clock() == machine.wall()


def test_a_clock_that_is_slewed_is_followed(machine: Machine, clock: SteadyClock) -> None:
    for step in (50, -50, 50, 50):
        machine.passed += HOUR
        machine.set_by += timedelta(seconds=step)
        assert clock() == machine.wall()


def test_a_jump_forward_counts_when_it_has_stood_for_an_hour(
    machine: Machine, clock: SteadyClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    machine.set_by = timedelta(days=100)
    assert clock() == BEGAN
    machine.passed = timedelta(seconds=SETTLED - 1)
    assert clock() == BEGAN + machine.passed  # time goes on meanwhile
    machine.passed = timedelta(seconds=SETTLED)
    assert clock() == machine.wall()
    assert [message.split(":")[0] for message in caplog.messages] == [
        "the clock was set forward by 8,640,000 s", "the clock has stood for an hour since it was set",
    ]  # fmt: skip


def test_a_second_jump_begins_the_hour_anew(machine: Machine, clock: SteadyClock) -> None:
    machine.set_by = timedelta(days=1)
    clock()
    machine.passed = timedelta(minutes=50)
    machine.set_by = timedelta(days=2)
    assert clock() == BEGAN + machine.passed
    machine.passed = timedelta(minutes=100)
    assert clock() == BEGAN + machine.passed
    machine.passed = timedelta(minutes=111)
    assert clock() == machine.wall()


def test_a_clock_that_is_set_right_again_leaves_no_trace(machine: Machine, clock: SteadyClock) -> None:
    machine.set_by = timedelta(days=100)
    clock()
    machine.set_by = timedelta()
    machine.passed = HOUR / 2
    assert clock() == machine.wall()
    machine.passed = 3 * HOUR
    assert clock() == machine.wall()


def test_a_jump_back_counts_at_once(machine: Machine, clock: SteadyClock) -> None:
    machine.set_by = timedelta(days=-3)
    assert clock() == machine.wall() < BEGAN


@pytest.fixture
def home(tmp_path: Path, machine: Machine, clock: SteadyClock) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data", default_spec=SPEC, clock=machine.wall, erasing_clock=clock)
    with closing(folder):
        folder.create("short", replace(SPEC, retention_days=1))[0].add([secret(n) for n in range(5)])
        yield folder


def test_a_jump_hides_and_erases_nothing_until_it_stands(home: DataFolder, machine: Machine) -> None:
    gallery = home.get("short")
    machine.set_by = timedelta(days=30)
    assert gallery.count() == 0
    assert gallery.sweep() == 0
    gallery.add([secret(9)])  # a write erases what is over, too
    machine.set_by = timedelta()
    assert gallery.count() == 6
    machine.set_by = timedelta(days=30)
    assert gallery.sweep() == 0
    machine.passed = HOUR
    assert gallery.sweep() == 5
    assert gallery.count() == 1


def test_a_clock_that_was_set_back_keeps_no_image_for_ever(home: DataFolder, machine: Machine) -> None:
    gallery = home.get("short")
    machine.set_by = timedelta(hours=-5)
    assert gallery.sweep() == 0
    machine.passed = timedelta(hours=30)
    assert gallery.sweep() == 5


def test_audit_files_outlive_a_jump(tmp_path: Path, machine: Machine, clock: SteadyClock) -> None:
    log = AuditLog(tmp_path, Metrics(), days=7, clock=machine.wall, erasing_clock=clock)
    for days in (2, 4):
        log.put({"action": "search"}, flush=True).result(10)
        machine.passed = timedelta(days=days)
    log.put({"action": "search"}, flush=True).result(10)
    before = audit_files(tmp_path)
    assert len(before) == 3
    machine.set_by = timedelta(days=300)
    log._tidy()
    assert set(before) <= set(audit_files(tmp_path))
    machine.passed += HOUR
    log._tidy()
    assert not set(before[:-1]) & set(audit_files(tmp_path))
    log.close()


@pytest.mark.skipif(not FAKER.exists(), reason="libfaketime is not installed")
@pytest.mark.parametrize("hours", [30, -30])
def test_a_service_whose_clock_is_set_goes_on(
    hours: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stalls, expires or is erased: requests, deadlines, the sweep, the stop."""
    offset, log = tmp_path / "offset", tmp_path / "log"

    def set_clock(by: str) -> None:
        """At once: half of what is written would be another time."""
        part = offset.with_name("part")
        part.write_text(by)
        part.replace(offset)

    set_clock("+0")
    for name, value in (
        ("LD_PRELOAD", str(FAKER)), ("FAKETIME_TIMESTAMP_FILE", str(offset)), ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    options = ("--sweep-seconds", "0.05", "--audit", "--audit-days", "1", "--body-seconds", "3", "--grace-seconds", "5")
    with started(tmp_path / "data", tiny_model, *options, log=log) as (address, process):
        for name in [*os.environ]:
            if name.startswith("FAKETIME") or name == "LD_PRELOAD":
                monkeypatch.delenv(name)
        gallery = f"{address}/v1/galleries/day"
        httpx.put(gallery, json={"retention_days": 1}).raise_for_status()
        httpx.put(f"{gallery}/images/a", content=jpeg(1)).raise_for_status()
        set_clock(f"{hours * 3600:+d}")
        until(lambda: "the clock was set" in log.read_text())
        assert httpx.get(gallery).json()["images"] == (0 if hours > 0 else 1)
        assert httpx.get(f"{address}/readyz").status_code == 200
        httpx.put(f"{gallery}/images/b", content=jpeg(2)).raise_for_status()
        found = httpx.post(f"{gallery}/search", content=jpeg(2)).raise_for_status().json()["matches"]
        assert found[0]["image_id"] == "b"

        def stalled() -> Iterator[bytes]:
            yield b"half"
            until(lambda: 'status="408"' in httpx.get(f"{address}/metrics").text)

        assert httpx.post(f"{gallery}/search", content=stalled(), timeout=60).status_code == 408
        set_clock("+0")
        until(lambda: log.read_text().count("the clock was set") >= 2)
        there = 2 if hours > 0 else 1  # one that came by a clock that was slow by more than a day is over
        assert httpx.get(gallery).json()["images"] == there
        assert len(list((tmp_path / "data/galleries/day/crops").rglob("*.jpg"))) == 2
        process.terminate()
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()
