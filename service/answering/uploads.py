"""Request bodies: pictures as the raw body or as multipart parts, counted and taken apart while they arrive.

Parts are taken as bytes whether or not they carry a filename; a form parser that turns parts without one into text
would damage pictures.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from index.errors import InvalidValue, UndecodablePicture
from service.context import context_of
from service.settings import Settings
from service.watching.request_trace import body_complete
from service.wire.documents import read_json
from service.wire.problems import (
    BadPicture,
    BodyTooSlow,
    MalformedRequest,
    RequestTooLarge,
    UnsupportedBody,
    problem_of,
)

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FORM = b"multipart/form-data"
_PLAIN_ENCODINGS = (b"", b"binary", b"8bit", b"7bit")  # of a part, RFC 7578 section 4.7; the bytes are as they are
_LIMIT = "the limit set by max_body_bytes"
_MAX_DOCUMENT = 2**20  # bytes of a JSON body: a gallery's properties, a merge patch
_WRITTEN_AT_ONCE = 1 << 20  # bytes of an archive
_LONGEST_FILENAME = 255  # characters
_METADATA_AN_IMAGE = 2**16  # bytes of the part 'metadata' an image; every picture may say a lot about itself


def _nothing(_: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a body may hold, and the settings that say so."""

    max_bytes: int
    max_seconds: float
    max_images: int
    images_setting: str  # name of the setting, or what else sets the limit
    hold: Callable[[int], None] = _nothing  # hears of bytes that are kept, and raises where there is no room for them

    @classmethod
    def of(cls, settings: Settings, images: Literal["max_images", "max_queries"]) -> Self:
        """The settings' limits; ``images`` names the one that counts pictures."""
        most: int = getattr(settings, images)
        return cls(
            max_bytes=settings.max_body_bytes, max_seconds=settings.body_seconds, max_images=most,
            images_setting=f"{images} = {most}",
        )  # fmt: skip

    @property
    def max_metadata(self) -> int:
        """Bytes of the part ``metadata``."""
        return _METADATA_AN_IMAGE * self.max_images


@dataclass
class Upload:
    """The parts of a body: pictures in order, and ``metadata`` where it was sent.

    ``complete`` is the reading of ``time.perf_counter`` when the last byte was there.
    """

    images: list[bytes] = field(default_factory=list)
    metadata: bytes | None = None
    complete: float = 0.0


async def read_document(request: Request, *, max_bytes: int, max_seconds: float) -> bytes:
    """A body that is one JSON document; RequestTooLarge, BodyTooSlow, or MalformedRequest where the client leaves.

    QueueFull where the bodies of all requests leave no room for it while it arrives.
    """
    limit, most = _LIMIT, max_bytes
    if max_bytes > _MAX_DOCUMENT:
        limit, most = "the fixed limit of a JSON document", _MAX_DOCUMENT
    with context_of(request).bodies.holding() as hold:
        async with _deadline(max_seconds):
            return b"".join([chunk async for chunk in _chunks(request, most, limit, hold=hold)])


async def require_no_properties(request: Request, settings: Settings, *, what: str) -> None:
    """Read the body of a request that says all in its path: none, or an empty JSON object; InvalidValue otherwise."""
    body = await read_document(request, max_bytes=settings.max_body_bytes, max_seconds=settings.body_seconds)
    if body and read_json(body, what="the body") != {}:
        raise InvalidValue(f"{what} takes no properties; send no body", pointer="")


async def read_body(request: Request, limits: Limits) -> bytes:
    """A body as it is; raises what ``read_document`` raises, and UnsupportedBody where it is compressed."""
    _require_plain_encoding(request)
    async with _deadline(limits.max_seconds):
        body = b"".join([chunk async for chunk in _chunks(request, limits.max_bytes, hold=limits.hold)])
    body_complete(time.perf_counter())
    return body


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A part ``archive`` that was written to the disk: the name that the client gave it, and its bytes."""

    filename: str | None
    size: int


def content_type_of(request: Request) -> str:
    """The body's content type without its options, in lower case."""
    return parse_options_header(request.headers.get("content-type"))[0].decode("latin-1")


async def read_archive(request: Request, settings: Settings, file: Path) -> Archive:
    """A multipart body whose one part ``archive`` is written to ``file`` as it comes.

    Raises what ``read_upload`` raises, and OSError. A body that goes on arriving has time; one that stalls is told so
    after body_seconds.
    """
    _require_plain_encoding(request)
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if content_type != _FORM:
        raise UnsupportedBody(
            f"content type {content_type.decode('latin-1')[:80]!a}: send multipart/form-data with a part 'archive', or "
            "application/json with a path"
        )
    part = _ArchivePart()
    parser = _FormParser(_boundary(options), part)
    size = 0
    with await run_in_threadpool(file.open, "wb") as opened:
        chunks = _chunks(request, settings.max_import_bytes, "the limit set by max_import_bytes")
        while True:
            async with _deadline(settings.body_seconds):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            parser.write(chunk)
            size += len(chunk)
            if part.held >= _WRITTEN_AT_ONCE:
                await run_in_threadpool(opened.write, part.take())
        part.require_end()
        await run_in_threadpool(opened.write, part.take())
    return Archive(filename=part.filename, size=size)


async def read_upload(request: Request, limits: Limits, *, metadata: bool = False) -> Upload:
    """Pictures of a raw or multipart body, with ``metadata`` also that part.

    Raises MalformedRequest, RequestTooLarge, UnsupportedBody, InvalidValue, BadPicture (there are no bytes), as soon as
    the bytes that came say so, and BodyTooSlow where they do not come.
    """
    async with _deadline(limits.max_seconds):
        upload = await _read(request, limits, metadata=metadata)
    body_complete(upload.complete)
    return upload


async def _read(request: Request, limits: Limits, *, metadata: bool) -> Upload:
    content_type, options = parse_options_header(request.headers.get("content-type"))
    _require_plain_encoding(request)
    if content_type != _FORM:
        if content_type.startswith(b"multipart/"):
            raise UnsupportedBody(
                f"content type {content_type.decode('latin-1')[:80]!a}: send multipart/form-data or a picture"
            )
        body = b"".join([chunk async for chunk in _chunks(request, limits.max_bytes, hold=limits.hold)])
        if not body:
            empty = UndecodablePicture("the body is empty: send a picture, or multipart/form-data with parts 'image'")
            raise BadPicture(problem_of(empty, pointer="/image"))
        return Upload(images=[body], complete=time.perf_counter())
    parts = _Parts(limits, metadata=metadata)
    parser = _FormParser(_boundary(options), parts)
    async for chunk in _chunks(request, limits.max_bytes, hold=limits.hold):
        parser.write(chunk)
    return parts.upload()


def _require_plain_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedBody(f"content encoding {encoding[:40]!a}: send the body as it is")


def _boundary(options: Mapping[bytes, bytes]) -> bytes:
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedRequest("the content type multipart/form-data has no boundary")
    return boundary


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """A sender who stalls frees its place in the queue."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise BodyTooSlow(f"the body did not arrive within {seconds:g} s, the limit set by body_seconds") from error


async def _chunks(
    request: Request, max_bytes: int, limit: str = _LIMIT, *, hold: Callable[[int], None] = _nothing
) -> AsyncIterator[bytes]:
    """The body as it comes; RequestTooLarge as soon as it is known to be, MalformedRequest where the client leaves."""
    too_large = RequestTooLarge(f"the body is larger than {max_bytes:,} bytes, {limit}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            hold(len(chunk))
            yield chunk
    except ClientDisconnect as error:
        raise MalformedRequest("the client left before the body ended") from error  # nobody hears it


class _PartReader(ABC):
    """Takes parts as the parser comes upon them, and refuses what may not be there when its headers end."""

    def __init__(self) -> None:
        self._ended = False
        self._header_name, self._header_value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._options: dict[bytes, bytes] = {}

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._more,
            "on_part_end": self._end,
            "on_end": self._all_end,
        }

    def require_end(self) -> None:
        """Raise MalformedRequest where the body ended before it said so."""
        if not self._ended:
            raise MalformedRequest("the multipart body is cut off: its closing boundary is missing")

    @abstractmethod
    def _require_welcome(self) -> None:
        """Raise where the part whose headers ended may not be there."""

    @abstractmethod
    def _more(self, data: bytes, start: int, end: int) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...

    def _begin(self) -> None:
        self._headers = {}

    def _header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise MalformedRequest("a part of the multipart body has no Content-Disposition: form-data with a name")
        self._name, self._options = options[b"name"], options
        self._require_welcome()
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _PLAIN_ENCODINGS:
            raise MalformedRequest(
                f"a part of the multipart body is encoded as {encoding.decode('latin-1')[:40]!a}: send its bytes as "
                "they are"
            )

    def _all_end(self) -> None:
        self._ended = True


class _FormParser:
    """Takes a multipart body apart, in whatever pieces it comes: the same body gives the same parts or the same error.

    Raises MalformedRequest, on construction for a boundary that is too long.
    """

    def __init__(self, boundary: bytes, parts: _PartReader) -> None:
        self._begun = False
        with self._translated():
            self._parser = MultipartParser(boundary, parts.callbacks())

    def write(self, piece: bytes) -> None:
        """The next piece."""
        if not self._begun:
            piece = piece.lstrip(b"\r\n")  # the parser would pass over all that follows these in their piece
        if piece:
            self._begun = True
            with self._translated():
                self._parser.write(piece)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FormParserError as error:  # a place in it is counted in the last piece, so nobody can use it
            reason = re.sub(r" (?:at (?:index )?\d+|\(\d+\))$", "", str(error))
            raise MalformedRequest(f"the multipart body is damaged: {reason}") from error


class _ArchivePart(_PartReader):
    """The one part ``archive``, a piece at a time."""

    filename: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self._data: list[bytes] = []
        self.held = 0  # bytes that nobody has taken yet
        self._there = False

    def take(self) -> bytes:
        """What has come since the last time."""
        data, self._data, self.held = b"".join(self._data), [], 0
        return data

    def require_end(self) -> None:
        super().require_end()
        if not self._there:
            raise InvalidValue("no part 'archive' was sent", pointer="/archive")

    def _require_welcome(self) -> None:
        if self._name != b"archive":
            raise InvalidValue(f"unknown part {self._name.decode('utf-8', 'replace')[:60]!a}; the part is archive")
        if self._there:
            raise InvalidValue("the part 'archive' was sent twice", pointer="/archive")
        self._there = True
        if b"filename" in self._options:
            self.filename = self._options[b"filename"].decode("utf-8", "replace")[:_LONGEST_FILENAME]

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])
        self.held += end - start

    def _end(self) -> None:
        """Nothing follows it."""


class _Parts(_PartReader):
    """Gathers pictures and metadata."""

    def __init__(self, limits: Limits, *, metadata: bool) -> None:
        super().__init__()
        self._limits, self._takes_metadata = limits, metadata
        self._upload = Upload()
        self._data: list[bytes] = []
        self._size = 0

    def upload(self) -> Upload:
        """Everything that was sent, after its last byte."""
        self.require_end()
        if not self._upload.images:
            raise InvalidValue("no part 'image' was sent", pointer="/image")
        self._upload.complete = time.perf_counter()
        return self._upload

    def _begin(self) -> None:
        super()._begin()
        self._data, self._size = [], 0

    def _require_welcome(self) -> None:
        if self._name == b"image":
            if len(self._upload.images) == self._limits.max_images:
                raise RequestTooLarge(
                    f"more than {self._limits.max_images} parts 'image' in one request; the limit is "
                    f"{self._limits.images_setting}"
                )
        elif self._name == b"metadata" and self._takes_metadata:
            if self._upload.metadata is not None:
                raise InvalidValue("the part 'metadata' was sent twice", pointer="/metadata")
        else:
            known = "image and metadata" if self._takes_metadata else "image"
            raise InvalidValue(f"unknown part {self._name.decode('utf-8', 'replace')[:60]!a}; the parts are {known}")

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._name == b"metadata" and self._size > self._limits.max_metadata:
            raise RequestTooLarge(
                f"the part 'metadata' is larger than {self._limits.max_metadata:,} bytes, 64 KiB for each of the "
                f"images that one request may have ({self._limits.images_setting})"
            )
        self._data.append(data[start:end])

    def _end(self) -> None:
        data = b"".join(self._data)
        self._data = []
        if self._name == b"image":
            self._upload.images.append(data)
        else:
            self._upload.metadata = data
