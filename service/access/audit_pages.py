"""The audit log read from its end, a page at a time; what is read for a page is bounded, however few entries fit."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from index.errors import InvalidValue, StorageError
from index.manifest import parse_time
from service.access.audit_log import SUFFIX, audit_files, begun_at

READ_AT_MOST: Final = 4 << 20  # bytes of a log for one page

_BLOCK = 1 << 16  # bytes a read
_CURSOR = re.compile(r"([0-9]{8}T[0-9]{12}Z)-([0-9]{1,15})", re.ASCII)

Entry = dict[str, Any]


@dataclass(frozen=True)
class AuditPage:
    """Entries, latest first; ``cursor`` of what is older, None where nothing is."""

    entries: list[Entry]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """``since`` is inclusive, ``until`` exclusive; ``reaches`` says of which galleries entries may be shown."""

    since: datetime | None = None
    until: datetime | None = None
    key: str | None = None
    action: str | None = None
    gallery: str | None = None
    reaches: Callable[[str | None], bool] = lambda _: True

    def passes(self, entry: Entry) -> bool:
        """Whether an entry is asked for."""
        wanted = (("key", self.key), ("action", self.action), ("gallery", self.gallery))
        if any(value is not None and entry.get(name) != value for name, value in wanted):
            return False
        if self.since is not None or self.until is not None:
            time = parse_time(entry["time"])
            if (self.since is not None and time < self.since) or (self.until is not None and time >= self.until):
                return False
        return self.reaches(entry.get("gallery"))


class AuditReader(Protocol):
    """Reads a page of a log, wherever that is; see ``read_page``."""

    def __call__(self, wanted: AuditFilter, *, limit: int, cursor: str | None) -> AuditPage: ...


def read_page(folder: Path, wanted: AuditFilter, *, limit: int, cursor: str | None) -> AuditPage:
    """A page of at most ``limit`` entries, maybe of none although there are older ones, as its cursor says.

    Raises InvalidValue for a cursor that is none, StorageError.
    """
    try:
        return _page(folder, wanted, limit, cursor)
    except OSError as error:
        raise StorageError(f"the audit log in {folder} cannot be read: {error.strerror}") from error


def _page(folder: Path, wanted: AuditFilter, limit: int, cursor: str | None) -> AuditPage:
    latest, end = _place(cursor)
    files = [each for each in audit_files(folder) if latest is None or each.name <= latest]
    found: list[Entry] = []
    read = 0
    for number, path in reversed(list(enumerate(files))):
        if _out_of_time(path, files[number + 1] if number + 1 < len(files) else None, wanted):
            continue
        for line, start in _lines_backwards(path, end if path.name == latest else None):
            read += len(line)
            entry = read_entry(line)
            if entry is not None and wanted.passes(entry):
                found.append(entry)
            if len(found) == limit or read >= READ_AT_MOST:
                older = start > 0 or number > 0
                return AuditPage(found, f"{path.name.removesuffix(SUFFIX)}-{start}" if older else None)
    return AuditPage(found, None)


def _place(cursor: str | None) -> tuple[str | None, int]:
    if cursor is None:
        return None, 0
    place = _CURSOR.fullmatch(cursor)
    if place is None:
        raise InvalidValue(f"{cursor[:60]!a} is not a cursor that this log gave", pointer="/query/cursor")
    return f"{place[1]}{SUFFIX}", int(place[2])


def _out_of_time(path: Path, following: Path | None, wanted: AuditFilter) -> bool:
    """Whether no entry of a file can lie in the time that is asked for."""
    begun, ended = begun_at(path), None if following is None else begun_at(following)
    too_late = wanted.until is not None and begun is not None and begun >= wanted.until
    return too_late or (wanted.since is not None and ended is not None and ended < wanted.since)


def _lines_backwards(path: Path, end: int | None) -> Iterator[tuple[bytes, int]]:
    """Whole lines before ``end`` (None: of the file) from the last, with where they begin; a cut one is left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # it was too old, meanwhile
        return
    with file:
        size = file.seek(0, 2)
        at = size if end is None else min(end, size)
        held = b""
        while at > 0:
            start = max(0, at - _BLOCK)
            file.seek(start)
            held = file.read(at - start) + held
            at = start
            lines = held.split(b"\n")
            held = lines.pop(0)  # its beginning may lie before
            place = at + len(held) + 1
            ends = []
            for line in lines:
                ends.append((line, place))
                place += len(line) + 1
            yield from ((line, begin) for line, begin in reversed(ends) if line)
        if held:
            yield held, 0


def read_entry(line: bytes | str) -> Entry | None:
    """The entry of a line; None where it is none."""
    try:
        entry = json.loads(line)
        parse_time(entry["time"])
    except (ValueError, TypeError, KeyError):  # cut off by a crash, or none of ours
        return None
    return dict(entry)
