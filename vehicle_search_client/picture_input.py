"""Pictures as callers have them, and images to add: a picture and what is known of it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from vehicle_search_client.client_errors import UnusableInput
from vehicle_search_client.png_encoder import png_of

Attribute = str | int | float
Box = tuple[int, int, int, int]  # x, y, width, height in pixels of the upright picture


@runtime_checkable
class ReadableFile(Protocol):
    """An open binary file."""

    def read(self, size: int = -1, /) -> bytes: ...


@runtime_checkable
class PillowImage(Protocol):
    """What is used of ``PIL.Image.Image``."""

    @property
    def mode(self) -> str: ...
    def convert(self, mode: str, /) -> Any: ...
    def save(self, fp: Any, format: str | None = ..., **options: Any) -> None: ...  # noqa: A002
    def getexif(self) -> Any: ...


@runtime_checkable
class PixelArray(Protocol):
    """What is used of a NumPy array: uint8 (H, W, 3) in RGB, (H, W) grey or (H, W, 4) RGBA."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def tobytes(self) -> bytes: ...


Picture = str | PathLike[str] | bytes | ReadableFile | PillowImage | PixelArray


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """An image to add. ``image_id`` is yours; without one the client gives it a UUID, so that sending may be repeated.

    ``captured_at`` has an offset. ``box`` cuts the vehicle out of the upright picture.
    """

    picture: Picture
    image_id: str | None = None
    vehicle_id: str | None = None
    camera_id: str | None = None
    captured_at: datetime | str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    box: Box | None = None

    def metadata(self) -> dict[str, Any]:
        """Its object in the part ``metadata``; raises UnusableInput for a time without offset."""
        document: dict[str, Any] = {
            "image_id": self.image_id, "vehicle_id": self.vehicle_id, "camera_id": self.camera_id,
            "captured_at": None if self.captured_at is None else time_text(self.captured_at, name="captured_at"),
            "attributes": dict(self.attributes) or None, "box": None if self.box is None else list(self.box),
        }  # fmt: skip
        return {name: value for name, value in document.items() if value is not None}


def picture_bytes(picture: Picture) -> bytes:
    """The bytes of a picture as a request carries them; raises UnusableInput naming what cannot be read.

    A Pillow image is sent as PNG, turned upright where its EXIF says how; an array as PNG.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | PathLike):
        try:
            return Path(fspath(picture)).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise UnusableInput(f"cannot read the picture {fspath(picture)!r}: {_reason(error)}") from error
    if isinstance(picture, PixelArray):
        try:
            return png_of(picture)
        except ValueError as error:
            raise UnusableInput(str(error)) from error
    if isinstance(picture, PillowImage):
        return _pillow_png(picture)
    if isinstance(picture, ReadableFile):
        data: object = picture.read()
        if not isinstance(data, bytes):
            raise UnusableInput(f"a file of pictures is opened in binary mode ('rb'); {picture!r} gave text")
        return data
    raise UnusableInput(
        f"a picture is a path, bytes, an open file, a Pillow image or a NumPy array, not {type(picture).__name__}"
    )


def source_of(picture: Picture) -> str | None:
    """The path of a picture that is a file."""
    if isinstance(picture, str | PathLike):
        return fspath(picture)
    name = getattr(picture, "name", None)
    return name if isinstance(name, str) else None


def time_text(time: datetime | str, *, name: str) -> str:
    """A time as the service reads it; raises UnusableInput for one without offset."""
    if isinstance(time, str):
        return time
    if time.utcoffset() is None:
        raise UnusableInput(f"{name} = {time.isoformat()} has no time zone; use datetime(…, tzinfo=UTC)")
    return time.isoformat()


def _pillow_png(image: PillowImage) -> bytes:
    from PIL import Image, ImageOps  # who has a Pillow image has Pillow

    upright = ImageOps.exif_transpose(cast("Image.Image", image))
    buffer = io.BytesIO()
    kept = upright.mode in ("L", "RGB", "RGBA")
    (upright if kept else upright.convert("RGBA" if "transparency" in upright.info else "RGB")).save(
        buffer, "PNG", compress_level=1
    )
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
