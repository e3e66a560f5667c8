"""Who asked what, one JSON object a line, written by one thread; here in files that are only appended to.

A file is named by the time of its first entry. A new one is begun every day, where one has become large, and after a
crash that cut a line off. Files go as a whole when their last entry is older than the log is kept.
"""

import contextlib
import json
import logging
import os
import queue
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from index.errors import StorageError
from index.whole_file import sync_folder
from service.watching.metrics import Metrics
from service.wire.documents import time_text
from service.wire.problems import NotReady

SUFFIX: Final = ".jsonl"
PLACES: Final = 10_000  # entries that may wait to be written
LARGEST_FILE: Final = 64 << 20  # bytes; a new one is begun then
OLDEST_FILE: Final = timedelta(days=1)
RESERVE: Final = 1 << 20  # bytes free; with less there is room for entries of what is under way, and no more is begun
PROBED_EVERY: Final = 1.0  # seconds between two looks at the disk
TIDIED_EVERY: Final = 3600.0  # seconds between two looks for files that are too old

_STAMP = "%Y%m%dT%H%M%S%fZ"
_LOG = logging.getLogger("service.audit")


@dataclass(frozen=True)
class _Waiting:
    line: bytes
    flush: bool
    written: "Future[None]"


class AuditHome(ABC):
    """Takes entries until ``close``, which one thread writes, wherever a subclass keeps them; it starts ``_thread``.

    Where an entry cannot be written it goes to the service's log and is counted, and the next one that can be is
    preceded by how many are missing.
    """

    def __init__(
        self, place: str, metrics: Metrics, *, places: int = PLACES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._place, self._metrics, self._clock = place, metrics, clock
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(places)
        self._lost = 0
        self._guard = threading.Lock()
        self.problem: str | None = None  # why the last entry could not be written
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)

    @abstractmethod
    def _append(self, lines: Sequence[bytes], *, flush: bool) -> None:
        """Keep lines, all or none, with ``flush`` whatever happens. Raises OSError or StorageError."""

    @abstractmethod
    def _tidy(self) -> None:
        """Remove what is too old; what goes wrong is logged."""

    def _look(self) -> None:  # noqa: B027  # most need not
        """Look whether there is room for more."""

    def _shortage(self) -> str | None:
        """Why hardly anything more can be written."""
        return None

    def put(self, entry: Mapping[str, Any], *, flush: bool) -> "Future[None]":
        """Have an entry written; the future is done when it is, with ``flush`` when it is on the disk.

        It raises NotReady where the entry could not be written.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        waiting = _Waiting(line, flush, Future())
        waiting.written.set_running_or_notify_cancel()  # who stops waiting for it does not stop the log
        try:
            self._waiting.put_nowait(waiting)
        except queue.Full:
            self._give_up([waiting], f"{self._waiting.maxsize:,} entries wait to be written")
        return waiting.written

    def require_writable(self) -> None:
        """Raise NotReady where the last entry could not be written, or there is hardly room for more."""
        problem = self.problem or self._shortage()
        if problem is not None:
            raise NotReady(f"the audit log cannot be written, and audit_required is set: {problem}")

    def close(self) -> None:
        """Write what waits, and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        tidied = -TIDIED_EVERY
        while True:
            if time.monotonic() - tidied >= TIDIED_EVERY:
                tidied = time.monotonic()
                self._tidy()
            batch = self._batch()
            if (entries := [each for each in batch if each is not None]) or self._lost:
                self._write(entries)
            self._look()
            if None in batch:
                return

    def _batch(self) -> list[_Waiting | None]:
        """What waits; nothing where nothing came for a while."""
        batch: list[_Waiting | None] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._waiting.get(timeout=PROBED_EVERY))
            while batch[-1] is not None:
                batch.append(self._waiting.get_nowait())
        return batch

    def _write(self, entries: list[_Waiting]) -> None:
        with self._guard:
            lost = self._lost
        note = [] if not lost else [json.dumps(_missing(self._clock(), lost), separators=(",", ":")).encode() + b"\n"]
        try:
            self._append([*note, *(each.line for each in entries)], flush=any(each.flush for each in entries))
        except OSError as error:
            self._give_up(entries, f"{self._place}: {error.strerror}")
            return
        except StorageError as error:
            self._give_up(entries, str(error))
            return
        with self._guard:
            self._lost -= lost
        if self.problem is not None:
            _LOG.warning("the audit log can be written again; %d entries are missing in it", lost)
            self.problem = None
        self._metrics.audited.labels("written").inc(len(entries))
        for each in entries:
            each.written.set_result(None)

    def _give_up(self, entries: list[_Waiting], why: str) -> None:
        """Tell whoever waits, and leave what was asked in the service's log."""
        if self.problem is None:
            _LOG.error("the audit log cannot be written, entries go here instead: %s", why)
        self.problem = why
        with self._guard:
            self._lost += len(entries)
        self._metrics.audited.labels("lost").inc(len(entries))
        for each in entries:
            _LOG.warning("not in the audit log: %s", each.line.decode().rstrip())
            each.written.set_exception(NotReady(f"what was asked could not be written to the audit log: {why}"))


class AuditLog(AuditHome):
    """Entries in files of a folder, from construction on. ``days`` they are kept; 0: until somebody removes them.

    ``erasing_clock`` is what files are too old by, where that is another than ``clock``. Raises StorageError where its
    folder cannot be used at first.
    """

    def __init__(
        self, folder: Path, metrics: Metrics, *, days: int, places: int = PLACES, largest: int = LARGEST_FILE,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        erasing_clock: Callable[[], datetime] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(str(folder), metrics, places=places, clock=clock)
        self._erasing_clock = erasing_clock or clock
        self.folder, self._days, self._largest = folder, days, largest
        self._handle: int | None = None
        self._began = clock()
        self._size = 0
        self._short = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._begin()
        except OSError as error:
            raise StorageError(f"the audit log cannot be written to {folder}: {error.strerror}") from error
        self._thread.start()

    def close(self) -> None:
        super().close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _append(self, lines: Sequence[bytes], *, flush: bool) -> None:
        data = b"".join(lines)
        old = self._size >= self._largest or self._clock() - self._began >= OLDEST_FILE
        if self._handle is None or old or not self._in_place(self._handle):
            self._begin()
        assert self._handle is not None  # noqa: S101  # _begin has opened it
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._handle, left) :]
            if flush:
                os.fsync(self._handle)
        except OSError:
            try:
                os.ftruncate(self._handle, self._size)
            except OSError:  # of a file that may only be appended to: the next entry begins another one
                os.close(self._handle)
                self._handle = None
            raise
        self._size += len(data)

    def _in_place(self, handle: int) -> bool:
        """Whether what is written can be read by its name; a file that was removed takes entries all the same."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(handle)):
                return True
        _LOG.warning("%s was removed, and with it what was written to it", self._path)
        return False

    def _begin(self) -> None:
        """Begin a file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        self._began = self._clock()
        self._path = self.folder / f"{self._began.strftime(_STAMP)}{SUFFIX}"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._handle).st_size
        sync_folder(self.folder)

    def _look(self) -> None:
        with contextlib.suppress(OSError):  # a folder that is gone is told by the next entry
            self._short = shutil.disk_usage(self.folder).free < RESERVE

    def _shortage(self) -> str | None:
        return f"less than {RESERVE:,} bytes are free in {self.folder}" if self._short else None

    def _tidy(self) -> None:
        """Remove files that are empty, or whose last entry is too old; not the one that is written to."""
        try:
            if self._size and self._clock() - self._began >= OLDEST_FILE:
                self._begin()
            now = self._erasing_clock()
            for path, until in _with_end(audit_files(self.folder)):
                expired = self._days and until is not None and until < now - timedelta(days=self._days)
                if path != self._path and (expired or path.stat().st_size == 0):
                    path.unlink()
        except OSError as error:
            _LOG.warning("old files of the audit log cannot be removed: %s", error)


def audit_files(folder: Path) -> list[Path]:
    """Every file of a log, oldest first; none where there is no folder. Raises OSError."""
    return sorted(each for each in folder.iterdir() if begun_at(each) is not None) if folder.is_dir() else []


def begun_at(path: Path) -> datetime | None:
    """When a file was begun; None where it is none of a log's."""
    try:
        when = datetime.strptime(path.name, f"{_STAMP}{SUFFIX}").replace(tzinfo=UTC)
    except ValueError:
        return None
    return when


def _with_end(files: list[Path]) -> Iterable[tuple[Path, datetime | None]]:
    """Files with the time before which their last entry was written; None of the one that is written to."""
    return zip(files, [*(begun_at(each) for each in files[1:]), None], strict=True)


def _missing(now: datetime, count: int) -> dict[str, Any]:
    return {"time": time_text(now), "action": "entries-missing", "count": count}
