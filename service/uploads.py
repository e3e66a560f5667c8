"""Request bodies: pictures as the raw body or as multipart parts, counted while they arrive.

Parts are taken as bytes whether or not they carry a filename; a form parser that turns parts without one into text
would damage pictures.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from index.errors import InvalidValue
from service.problems import MalformedRequest, RequestTooLarge, UnsupportedBody

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_OTHER_PARTS = 4  # beside pictures: metadata, and room to name what is unknown
_FORM = b"multipart/form-data"
_MAX_DOCUMENT = 2**20  # bytes of a JSON body: a gallery's properties, a merge patch
_METADATA_AN_IMAGE = 2**16  # bytes of the part 'metadata' an image; every picture may say a lot about itself
_LARGE = 2**18  # bytes; more are not parsed on the event loop


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a body may hold, and the settings that say so."""

    max_bytes: int
    max_images: int
    images_setting: str  # name of the setting, or what else sets the limit


@dataclass
class Upload:
    """The parts of a body: pictures in order, and ``metadata`` where it was sent."""

    images: list[bytes] = field(default_factory=list)
    metadata: bytes | None = None


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The whole body; raises RequestTooLarge as soon as it is known to be, MalformedRequest where the client leaves."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_many_bytes(max_bytes)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise _too_many_bytes(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise MalformedRequest("the client left before the body ended") from error  # nobody hears it
    return b"".join(chunks)


async def read_document(request: Request, *, max_bytes: int) -> bytes:
    """A body that is one JSON document; raises what read_body raises."""
    body = await read_body(request, max_bytes=max_bytes)
    if len(body) > _MAX_DOCUMENT:
        raise RequestTooLarge(f"the body is larger than {_MAX_DOCUMENT:,} bytes, the limit of a JSON document")
    return body


async def read_upload(request: Request, limits: Limits, *, metadata: bool = False) -> Upload:
    """Pictures of a raw or multipart body. Raises MalformedRequest, RequestTooLarge, UnsupportedBody, InvalidValue."""
    content_type, options = parse_options_header(request.headers.get("content-type"))
    body = await read_body(request, max_bytes=limits.max_bytes)
    if content_type != _FORM:
        if content_type.startswith(b"multipart/"):
            raise UnsupportedBody(
                f"content type {content_type.decode('latin-1')[:80]!a}: send multipart/form-data or a picture"
            )
        return Upload(images=[body])
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedRequest("the content type multipart/form-data has no boundary")
    if len(body) > _LARGE:
        return await run_in_threadpool(_parts, body, boundary, limits, allow_metadata=metadata)
    return _parts(body, boundary, limits, allow_metadata=metadata)


def _parts(body: bytes, boundary: bytes, limits: Limits, *, allow_metadata: bool) -> Upload:
    collector = _Collector(limits.max_images + _OTHER_PARTS)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(f"the multipart body is damaged: {error}") from error
    if not collector.ended:
        raise MalformedRequest("the multipart body is cut off: its closing boundary is missing")
    upload = Upload()
    known = "image and metadata" if allow_metadata else "image"
    for name, data in collector.parts:
        if name == "image":
            upload.images.append(data)
        elif name == "metadata" and allow_metadata:
            if upload.metadata is not None:
                raise InvalidValue("the part 'metadata' was sent twice", pointer="/metadata")
            upload.metadata = data
        else:
            raise InvalidValue(f"unknown part {name[:60]!a}; the parts are {known}")
    if len(upload.images) > limits.max_images or collector.overflowed:
        raise RequestTooLarge(
            f"more than {limits.max_images} parts 'image' in one request; the limit is {limits.images_setting}"
        )
    most = _METADATA_AN_IMAGE * limits.max_images
    if upload.metadata is not None and len(upload.metadata) > most:
        raise RequestTooLarge(f"the part 'metadata' is larger than {most:,} bytes, 64 KiB for each of the most images")
    if not upload.images:
        raise InvalidValue("no part 'image' was sent", pointer="/image")
    return upload


class _Collector:
    """Gathers (name, bytes) of each part; stops keeping them when there are too many."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[tuple[str, bytes]] = []
        self.ended = self.overflowed = False
        self._max_parts = max_parts
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._data: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._all_end,
        }

    def _begin(self) -> None:
        self._headers, self._data = {}, []

    def _header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end(self) -> None:
        if len(self.parts) >= self._max_parts:
            self.overflowed = True
            return
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise MalformedRequest("a part of the multipart body has no Content-Disposition: form-data with a name")
        self.parts.append((options[b"name"].decode("utf-8", "replace"), b"".join(self._data)))

    def _all_end(self) -> None:
        self.ended = True


def _too_many_bytes(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"the body is larger than {limit:,} bytes, the limit set by max_body_bytes")
