"""What is written of requests: whole lines, on the disk when it is said, and kept as long as it is said."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from index.errors import StorageError
from service.access import audit_log as module
from service.access.audit_log import AuditLog, audit_files
from service.watching.metrics import Metrics
from service.wire.problems import NotReady
from tests.small_disk import fill, small_disk


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in audit_files(folder) for line in path.read_text().splitlines()]


def await_short(log: AuditLog, short: bool) -> None:
    """Return when it has seen that the disk is nearly full, or that it is not."""
    while log._short is not short:
        time.sleep(0)


def test_entries_are_lines_in_order_in_a_file_of_the_owner_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", Metrics(), days=1)
    waiting = [log.put({"number": number, "text": "ü\n"}, flush=False) for number in range(1000)]
    log.close()
    assert all(each.result(0) is None for each in waiting)
    assert [each["number"] for each in lines(tmp_path / "audit")] == list(range(1000))
    (file,) = audit_files(tmp_path / "audit")
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700


def test_what_is_flushed_is_on_the_disk_before_it_is_done(tmp_path: Path, flushed: list[str]) -> None:
    log = AuditLog(tmp_path, Metrics(), days=1)
    (file,) = audit_files(tmp_path)
    flushed.clear()
    log.put({}, flush=False).result(10)
    assert flushed == []
    log.put({}, flush=True).result(10)
    assert flushed == [file.name]
    log.close()


def test_a_file_is_begun_when_one_is_large_or_old(tmp_path: Path) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, Metrics(), days=0, largest=100, clock=clock)
    for number in range(3):
        log.put({"number": number, "text": "x" * 60}, flush=False).result(10)
    assert len(audit_files(tmp_path)) == 2
    clock.now += timedelta(days=1)
    log.put({"number": 3}, flush=False).result(10)
    log.close()
    assert len(audit_files(tmp_path)) == 3
    assert [each["number"] for each in lines(tmp_path)] == [0, 1, 2, 3]


def test_a_restart_begins_a_file_and_removes_what_is_too_old(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "notes.txt").write_text("not ours")
    for day in range(5):
        log = AuditLog(tmp_path, Metrics(), days=3, clock=clock)
        log.put({"day": day}, flush=False).result(10)
        log.close()
        clock.now += timedelta(days=1)
    log = AuditLog(tmp_path, Metrics(), days=3, clock=clock)
    log.close()
    assert [each["day"] for each in lines(tmp_path)] == [2, 3, 4]
    assert (tmp_path / "notes.txt").exists()
    for _ in range(2):  # the one without an entry goes with the next start
        AuditLog(tmp_path, Metrics(), days=0, clock=clock).close()
    assert len(audit_files(tmp_path)) == 4


def test_a_file_that_is_written_to_is_never_removed(tmp_path: Path) -> None:
    clock = Clock()
    AuditLog(tmp_path, Metrics(), days=1, clock=clock).close()
    clock.now -= timedelta(days=400)  # the clock was wrong
    log = AuditLog(tmp_path, Metrics(), days=1, clock=clock)
    log.put({"kept": True}, flush=True).result(10)
    log.close()
    assert lines(tmp_path) == [{"kept": True}]


def test_an_idle_log_lets_go_of_old_entries_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIDIED_EVERY", 0.01)
    clock = Clock()
    log = AuditLog(tmp_path, Metrics(), days=1, clock=clock)
    log.put({}, flush=False).result(10)
    (first,) = audit_files(tmp_path)
    clock.now += timedelta(days=1, hours=1)
    while len(audit_files(tmp_path)) < 2:  # the first one is closed
        time.sleep(0)
    clock.now += timedelta(days=1, hours=1)
    while first.exists():
        time.sleep(0)
    log.close()


def test_a_full_disk_costs_entries_only_while_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PROBED_EVERY", 0.01)
    metrics = Metrics()
    with small_disk(tmp_path) as disk:
        log = AuditLog(disk / "audit", metrics, days=1)
        log.put({"number": 0}, flush=True).result(10)
        filler = fill(disk)
        for number in (1, 2):
            with pytest.raises(NotReady, match="No space left"):
                log.put({"number": number, "text": "x" * 9000}, flush=True).result(10)
        with pytest.raises(NotReady, match=r"audit_required is set: .*No space left"):
            log.require_writable()
        filler.unlink()
        while log.problem is not None:  # it tries by itself
            time.sleep(0)
        log.put({"number": 3}, flush=True).result(10)
        log.close()
        written = lines(disk / "audit")
    assert [each.get("number") for each in written] == [0, None, 3]
    assert (written[1]["action"], written[1]["count"]) == ("entries-missing", 2)
    assert '"number":1' in caplog.text
    assert '"number":2' in caplog.text
    assert 'audit_entries_total{outcome="lost"} 2.0' in metrics.text().decode()


def test_there_is_room_for_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBED_EVERY", 0.01)
    with small_disk(tmp_path) as disk:
        log = AuditLog(disk / "audit", Metrics(), days=1)
        log.require_writable()
        filler = fill(disk, leave=module.RESERVE // 2)
        await_short(log, True)
        with pytest.raises(NotReady, match="less than 1,048,576 bytes are free"):
            log.require_writable()
        log.put({"text": "x" * 100_000}, flush=True).result(10)
        filler.unlink()
        await_short(log, False)
        log.require_writable()
        log.close()


def test_more_than_may_wait_is_lost_and_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # a file that takes nothing for now
    log = AuditLog(tmp_path / "audit", Metrics(), days=1, places=3)
    handle, log._handle = log._handle, os.open(tmp_path / "pipe", os.O_RDWR)
    log._path = tmp_path / "pipe"
    taken = [log.put({"text": "x" * 70_000}, flush=False)]
    while not log._waiting.empty():  # the thread has it, and is held up
        time.sleep(0)
    taken += [log.put({}, flush=False) for _ in range(3)]
    lost = log.put({}, flush=False)
    with pytest.raises(NotReady, match="3 entries wait"):
        lost.result(0)
    assert not any(each.done() for each in taken)
    assert log._handle is not None
    os.read(log._handle, 70_000)
    os.set_blocking(log._handle, False)
    pipe, log._handle = log._handle, handle
    taken[0].result(10)
    log.close()
    os.close(pipe)


def test_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from service.access.audit_log import AuditLog; from service.watching.metrics import Metrics\n"
        "log = AuditLog(Path(sys.argv[1]), Metrics(), days=1)\n"
        "log.put({'number': 1}, flush=True).result()\n"
        "os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60, check=False)
    assert run.returncode == -9
    assert lines(tmp_path) == [{"number": 1}]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"audit log cannot be written to {tmp_path}/file"):
        AuditLog(tmp_path / "file", Metrics(), days=1)


def test_an_entry_that_was_cut_off_and_cannot_be_taken_back_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files that may only be appended to (``chattr +a``)."""
    log = AuditLog(tmp_path, Metrics(), days=1)
    log.put({"number": 0}, flush=False).result(10)
    write = os.write

    def half(handle: int, data: bytes) -> int:
        write(handle, data[: len(data) // 2])
        raise OSError(errno.EIO, "Input/output error")

    def refused(handle: int, size: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        broken.setattr(os, "ftruncate", refused)
        with pytest.raises(NotReady, match="Input/output error"):
            log.put({"number": 1}, flush=False).result(10)
    log.put({"number": 2}, flush=False).result(10)
    log.close()
    assert len(audit_files(tmp_path)) == 2
    texts = [path.read_text() for path in audit_files(tmp_path)]
    assert [json.loads(line).get("number") for line in texts[1].splitlines()] == [None, 2]


def test_who_stops_waiting_does_not_stop_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, Metrics(), days=1)
    assert not log.put({"number": 0}, flush=True).cancel()
    log.put({"number": 1}, flush=True).result(10)
    log.close()
    assert [each["number"] for each in lines(tmp_path)] == [0, 1]


def test_a_file_that_somebody_removes_takes_no_further_entries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "audit"
    log = AuditLog(folder, Metrics(), days=1)
    log.put({"number": 0}, flush=False).result(10)
    (file,) = audit_files(folder)
    file.unlink()
    log.put({"number": 1}, flush=False).result(10)
    assert [each["number"] for each in lines(folder)] == [1]
    assert f"{file} was removed" in caplog.text
    (file,) = audit_files(folder)
    file.rename(folder / "aside")
    shutil.copy(folder / "aside", file)
    log.put({"number": 2}, flush=False).result(10)
    assert [each["number"] for each in lines(folder)] == [1, 2]
    shutil.rmtree(folder)
    with pytest.raises(NotReady, match="No such file"):
        log.put({"number": 3}, flush=True).result(10)
    with pytest.raises(NotReady, match="audit_required"):
        log.require_writable()
    folder.mkdir()
    log.put({"number": 4}, flush=True).result(10)
    log.require_writable()
    log.close()
    assert [each.get("number", each.get("count")) for each in lines(folder)] == [1, 4]
