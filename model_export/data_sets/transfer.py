"""One file over HTTP, taken up where it broke off and checked against what is published about it.

An unfinished file is ``NAME.part``, and beside it ``NAME.part.tag`` keeps the server's ETag or date, so that two
versions of a file are never glued together. ``NAME`` itself is only ever a whole, checked file.
"""

import errno
import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from index.errors import InvalidValue, StorageError, StorageFull

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60.0  # seconds without a byte
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers that another try may better

Report = Callable[[int, int | None], object]  # (bytes so far, bytes in all where the server says)


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file at an address. ``size`` in bytes, ``sha256`` and ``md5`` in hex are what its publisher says, if anything.

    ``name`` is where it goes below the chosen folder and may lead through folders of its own.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def checked(self) -> bool:
        """Whether a checksum is published."""
        return bool(self.sha256 or self.md5)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is there: its sum, and whether it was there before."""

    path: Path
    size: int
    sha256: str
    before: bool


class _BrokenOff(Exception):
    """The transfer ended early; another try may go on."""


def fetch(
    file: RemoteFile, folder: Path, *, report: Report | None = None, tries: int = 5, pause: float = 2.0
) -> Fetched:
    """Download ``file`` into ``folder``; gives up after ``tries`` in a row that brought nothing, ``pause`` s apart.

    Raises InvalidValue for an address that cannot be had, a transfer that breaks off (run again to go on) and a
    checksum that does not match; StorageFull when the disk is.
    """
    target = folder / file.name
    part = target.with_name(f"{target.name}.part")
    if target.is_file():
        digest = _check(file, target, "remove it to download it again")
        return Fetched(path=target, size=target.stat().st_size, sha256=digest, before=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{target.parent} cannot be made: {error.strerror}") from error
    failed = 0
    while True:
        before = _length(part)
        try:
            _go_on(file, part, report or (lambda _done, _total: None))
            break
        except (_BrokenOff, http.client.HTTPException, OSError) as error:
            failed = failed + 1 if _length(part) <= before else 0
            if failed >= tries:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                raise InvalidValue(
                    f"{file.url}: broke off after {_length(part):,} bytes ({reason}); run the command again to go on"
                ) from error
            time.sleep(pause)
    try:
        digest = _check(file, part, "what came was thrown away; run the command again")
    except InvalidValue:
        _forget(part)
        raise
    part.replace(target)
    _tag(part).unlink(missing_ok=True)
    return Fetched(path=target, size=target.stat().st_size, sha256=digest, before=False)


def read_json(url: str) -> Any:
    """A JSON document at an address; raises InvalidValue where there is none."""
    try:
        with _open(_request(url)) as answer:
            return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InvalidValue(f"{url}: no JSON document there: {error}") from error


def _go_on(file: RemoteFile, part: Path, report: Report) -> None:
    """One request, from the end of what is there; raises _BrokenOff when bytes are missing at its end."""
    there, tag = _length(part), _tag(part).read_text() if _tag(part).is_file() else ""
    request = _request(file.url)
    if there and tag:
        request.add_header("Range", f"bytes={there}-")
        request.add_header("If-Range", tag)
    try:
        answer = _open(request)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                if error.headers.get("Content-Range") == f"bytes */{there}":
                    return  # everything is there already
                _forget(part)
                raise _BrokenOff("the file at the address is shorter than what was there of it") from error
            if error.code in _AGAIN:
                raise _BrokenOff(f"HTTP {error.code} {error.reason}") from error
            raise InvalidValue(f"{file.url}: HTTP {error.code} {error.reason}") from error
    with answer:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {there}-"):
            _forget(part)
            raise _BrokenOff("the server sent another range than was asked for")
        start = there if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else file.size
        _require_room(part, (total or 0) - start)
        _remember(part, answer.headers)
        with _opened(part, "ab" if goes_on else "wb") as out:
            done = _copy(answer, out, start, lambda so_far: report(so_far, total))
    if total is not None and done < total:
        raise _BrokenOff(f"{done:,} of {total:,} bytes came")


def _copy(answer: Any, out: BinaryIO, start: int, report: Callable[[int], object]) -> int:
    done = start
    report(done)
    while chunk := answer.read(_CHUNK):
        try:
            out.write(chunk)
        except OSError as error:
            raise _storage(Path(out.name), error) from error
        done += len(chunk)
        report(done)
    return done


def _check(file: RemoteFile, path: Path, way_out: str) -> str:
    """SHA-256 of a whole file; raises InvalidValue where size or checksum is not the published one."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise InvalidValue(f"{path}: {size:,} bytes, published are {file.size:,}; {way_out}")
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if file.sha256 and digest != file.sha256:
        raise InvalidValue(f"{path}: SHA-256 {digest}, published is {file.sha256}; {way_out}")
    if file.md5:
        with path.open("rb") as opened:
            md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != file.md5:
            raise InvalidValue(f"{path}: MD5 {md5}, published is {file.md5}; {way_out}")
    return digest


def _require_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise StorageFull(f"{part.parent}: {needed:,} bytes are needed and {free:,} are free; give another --out")


def _remember(part: Path, headers: http.client.HTTPMessage) -> None:
    tag = headers.get("ETag", "")
    if not tag or tag.startswith("W/"):  # a weak one does not vouch for each byte
        tag = headers.get("Last-Modified", "")
    try:
        _tag(part).write_text(tag)
    except OSError as error:
        raise _storage(_tag(part), error) from error


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return cast(BinaryIO, path.open(mode))
    except OSError as error:
        raise _storage(path, error) from error


def _storage(path: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"{path}: the disk is full; make room and run the command again to go on")
    return StorageError(f"{path} cannot be written: {error.strerror}")


def _open(request: urllib.request.Request) -> Any:
    if request.type not in ("http", "https"):
        raise InvalidValue(f"{request.full_url} is not an http:// or https:// address")
    return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 — the scheme was looked at


def _request(url: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"User-Agent": "vehicle-model", "Accept-Encoding": "identity"})  # noqa: S310 — as above


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)
