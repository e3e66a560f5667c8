"""Bytes → upright RGB picture → crop: the one way in for pictures, shared by trainer, indexer and server.

The bytes decide what a picture is. Its container is read first (``index.file_formats.picture_file``), its size is
checked there, and only then are its pixels decoded. ``model_crop`` is the only resize of what a model sees.
"""

import hashlib
import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from index.contract import Filter, Resize
from index.errors import (
    BoxOutsidePicture,
    PictureError,
    PictureTooLarge,
    PictureTooLong,
    UndecodablePicture,
    UnsupportedPicture,
)
from index.file_formats import bmp_file, gif_file, jpeg_file, png_file
from index.file_formats.bmp_file import is_bmp, read_bmp
from index.file_formats.exif import UPRIGHT
from index.file_formats.gif_file import read_gif
from index.file_formats.jpeg_file import read_jpeg
from index.file_formats.picture_file import PictureFile, PictureKind
from index.file_formats.png_file import read_png
from index.file_formats.webp_file import is_webp, read_webp

Box = tuple[int, int, int, int]  # x, y, width, height in pixels of the upright picture
MediaType = Literal["image/jpeg", "image/png"]

MAX_SIDE: Final = 65_535  # pixels; what JPEG and GIF can hold, and what a resize's tables still fit in memory for
MID_GREY: Final = 128

_PNG_COMPRESS_LEVEL = 1  # a third of the default level's time for a few per cent more bytes
_SMALL_QUALITY = 85  # of a JPEG to look at
_REDUCING_GAP = 2.0  # times the wanted size that a JPEG is decoded at, at least: Pillow's advice for looks and time

# The decoders are called directly: Image.open() judges sizes by a process-wide limit that also warns.
_DECODERS: dict[PictureKind, Callable[[io.BytesIO], ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING: dict[Filter, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_NAMES_OF_OTHERS = (
    ((b"%PDF",), "a PDF"),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "a TIFF"),
    ((b"PK\x03\x04",), "a ZIP archive"),
    ((b"\x00\x00\x01\x00",), "an icon"),
    ((b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    ((b"\x00\x00\x00\x0cJXL ", b"\xff\x0a"), "a JPEG XL picture"),
)


@dataclass(frozen=True, kw_only=True)
class StoredCrop:
    """A crop in the form that a gallery keeps: ``data`` holds no metadata and decodes to exactly ``image``."""

    data: bytes
    media_type: MediaType
    image: Image.Image  # upright, RGB


def read_picture(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode a JPEG (also MPO), PNG, WebP, BMP or GIF to its upright RGB picture; the first frame of several.

    Transparency is laid on mid-grey. Raises UndecodablePicture, UnsupportedPicture or, before anything is decoded,
    PictureTooLarge.
    """
    return _decode(_read_file(data, max_pixels))


def stored_size(data: bytes, *, max_pixels: int) -> tuple[int, int]:
    """Width and height in pixels as stored, by the container alone: no pixel is decoded.

    Raises what ``read_picture`` raises, for what the container tells: an empty, truncated or foreign file.
    """
    return _read_file(data, max_pixels).size


def cut(image: Image.Image, box: Box) -> Image.Image:
    """The part of an upright picture that ``box`` names; raises BoxOutsidePicture."""
    x, y, width, height = box
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > image.width or y + height > image.height:
        raise BoxOutsidePicture(
            f"the box {list(box)} (x, y, width, height) does not lie inside the picture, "
            f"which is {image.width} × {image.height} pixels when upright"
        )
    return image.crop((x, y, x + width, y + height))


def model_crop(image: Image.Image, resize: Resize) -> NDArray[np.uint8]:
    """The model's crop of an upright RGB picture, uint8 (H, W, 3): resized, padded where asked, centre-cropped."""
    height, width = resize.size
    scaled_width, scaled_height = width, height
    if resize.aspect == "pad":
        scale = min(width / image.width, height / image.height)
        scaled_width = min(width, max(1, round(image.width * scale)))
        scaled_height = min(height, max(1, round(image.height * scale)))
    scaled = np.array(image.resize((scaled_width, scaled_height), _RESAMPLING[resize.filter]))
    if scaled.shape[:2] == (height, width) == resize.crop:
        return scaled  # neither padded nor cut, as the default's are
    padded = np.full((height, width, 3), MID_GREY, dtype=np.uint8)  # (size H, size W, 3)
    top, left = (height - scaled_height) // 2, (width - scaled_width) // 2
    padded[top : top + scaled_height, left : left + scaled_width] = scaled
    crop_height, crop_width = resize.crop
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return np.ascontiguousarray(padded[top : top + crop_height, left : left + crop_width])  # (H, W, 3)


def stored_crop(data: bytes, *, box: Box | None, max_pixels: int) -> StoredCrop:
    """The lossless form in which the crop of a picture is stored, upright, cut to ``box`` and without metadata.

    An upright grey or colour JPEG that is wanted whole keeps its coded data; everything else becomes a PNG. Raises
    what ``read_picture`` and ``cut`` raise.
    """
    return Frame(data, max_pixels=max_pixels).stored_crop(box)


def stored_picture(data: bytes, *, max_pixels: int) -> StoredCrop:
    """The lossless form in which a whole picture is kept, without metadata but for which way up a JPEG is.

    A grey or colour JPEG keeps its coded data, also where it is not upright: as a PNG, a phone's photograph would take
    eight times the bytes and a second more. Everything else is kept as ``stored_crop`` keeps it. Raises what
    that raises.
    """
    file = _read_file(data, max_pixels)
    if file.kind == "jpeg" and file.components in (1, 3) and file.orientation != UPRIGHT:
        coded = jpeg_file.oriented(file.data, file.orientation)
        return StoredCrop(data=coded, media_type="image/jpeg", image=_decode(file))
    return stored_crop(data, box=None, max_pixels=max_pixels)


class Frame:
    """A picture of which crops are cut; it is decoded once, when the first of them needs its pixels.

    Raises what ``read_picture`` raises: on construction what the container tells, the rest from then on.
    """

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        self._file = _read_file(data, max_pixels)
        self._image: Image.Image | None = None

    def coded_crop(self, box: Box | None) -> bytes | None:
        """The bytes that ``stored_crop`` gives for this box where they are known without decoding, else None."""
        file = self._file
        whole = box is None or box == (0, 0, *file.size)
        return file.data if whole and _keeps_coded(file) else None

    def stored_crop(self, box: Box | None) -> StoredCrop:
        """As the function of this name; also raises BoxOutsidePicture."""
        if self._image is None:
            self._image = _decode(self._file)
        image = self._image if box is None else cut(self._image, box)
        coded = self.coded_crop(box)
        if coded is not None:
            return StoredCrop(data=coded, media_type="image/jpeg", image=image)
        written = io.BytesIO()
        image.save(written, "PNG", compress_level=_PNG_COMPRESS_LEVEL)
        return StoredCrop(data=written.getvalue(), media_type="image/png", image=image)


def small_jpeg(data: bytes, *, max_side: int, max_pixels: int) -> bytes:
    """A picture to look at: a JPEG, upright, without metadata, no side longer than ``max_side`` pixels.

    A JPEG that is all that keeps its coded data; a larger one is decoded at a fraction of its size. Raises what
    ``read_picture`` raises.
    """
    file = _read_file(data, max_pixels)
    if max(file.size) <= max_side and _keeps_coded(file):
        return file.data
    image = _decode(file, max_side=max_side)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=_SMALL_QUALITY)
    return written.getvalue()


def content_name(data: bytes) -> str:
    """The name of a stored crop: SHA-256 of its bytes in hex, and ``.jpg`` or ``.png``; ValueError for other bytes."""
    if data.startswith(jpeg_file.SIGNATURE):
        extension = ".jpg"
    elif data.startswith(png_file.SIGNATURE):
        extension = ".png"
    else:
        raise ValueError("a stored crop is a JPEG or a PNG")
    return hashlib.sha256(data).hexdigest() + extension


def _keeps_coded(file: PictureFile) -> bool:
    """Whether the file's bytes are a picture as we give it: an upright grey or colour JPEG."""
    return file.kind == "jpeg" and file.components in (1, 3) and file.orientation == UPRIGHT


def _read_file(data: bytes, max_pixels: int) -> PictureFile:
    try:
        file = _container_reader(data)(data)
    except (struct.error, IndexError) as error:  # the readers look before they leap; this is for what they overlook
        raise UndecodablePicture(f"the picture is damaged or truncated: {error}") from error
    width, height = file.size
    if width < 1 or height < 1:
        raise UndecodablePicture(f"the picture is damaged: its header says {width} × {height} pixels")
    if width * height > max_pixels:
        raise PictureTooLarge(
            f"the picture is {width} × {height} = {width * height:,} pixels; the limit is {max_pixels:,} pixels"
        )
    if max(width, height) > MAX_SIDE:
        raise PictureTooLong(f"the picture is {width} × {height} pixels; no side may exceed {MAX_SIDE:,}")
    return file


def _container_reader(data: bytes) -> Callable[[bytes], PictureFile]:
    if not data:
        raise UndecodablePicture("the picture is empty: no bytes were given")
    if data.startswith(jpeg_file.SIGNATURE):
        return read_jpeg
    if data.startswith(png_file.SIGNATURE):
        return read_png
    if data.startswith(gif_file.SIGNATURES):
        return read_gif
    if is_webp(data):
        return read_webp
    if is_bmp(data):
        return read_bmp
    if _begins_a_signature(data):
        raise UndecodablePicture(f"the picture is truncated: it ends after {len(data)} bytes")
    raise UnsupportedPicture(
        f"the bytes are {_name_of_other(data)}, not a picture of a type that is read: JPEG (also MPO), PNG, WebP, "
        "BMP or GIF"
    )


def _begins_a_signature(data: bytes) -> bool:
    if data.startswith(b"RIFF"):
        return len(data) < 12
    if data.startswith(bmp_file.SIGNATURE):
        return len(data) < 18
    signatures = (jpeg_file.SIGNATURE, png_file.SIGNATURE, *gif_file.SIGNATURES, b"RIFF", bmp_file.SIGNATURE)
    return any(signature.startswith(data) for signature in signatures)


def _name_of_other(data: bytes) -> str:
    for signatures, name in _NAMES_OF_OTHERS:
        if data.startswith(signatures):
            return name
    if data[4:8] == b"ftyp":
        return "an HEIF, AVIF or video file"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"<?xml", b"<svg")) and b"<svg" in data[:4096]:
        return "an SVG drawing"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]):
        return "text"
    return "of an unknown kind"


def _decode(file: PictureFile, *, max_side: int | None = None) -> Image.Image:
    """Upright RGB pixels; of a JPEG no more than are wanted for ``max_side`` of them on its longer side.

    The decoders raise almost anything for bytes that are wrong, so all of it is translated.
    """
    try:
        with _DECODERS[file.kind](io.BytesIO(file.data)) as opened:
            if opened.size != file.size:
                raise UndecodablePicture(f"the picture is damaged: it is {opened.size} pixels, not {file.size}")
            if max_side is not None:
                wanted = _REDUCING_GAP * max_side / max(file.size)
                opened.draft(None, (math.ceil(wanted * file.size[0]), math.ceil(wanted * file.size[1])))
            opened.load()
            image = _flatten(opened, file)
        if file.orientation != UPRIGHT:
            image = image.transpose(_UPRIGHT_BY[file.orientation])
        image.info.clear()  # Pillow would write profiles and the like into what is saved from here
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(f"the picture is too large for its decoder: {error}") from error
    except Exception as error:
        raise UndecodablePicture(f"the picture is damaged or truncated: {error or type(error).__name__}") from error
    return image


def _flatten(image: Image.Image, file: PictureFile) -> Image.Image:
    """RGB pixels of whatever mode the decoder gave, transparency laid on mid-grey."""
    if image.mode.startswith("I"):  # 16-bit grey
        samples = np.asarray(image)
        grey = (samples >> 8).astype(np.uint8)
        if file.colour_key is not None:
            grey[samples == file.colour_key[0]] = MID_GREY
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        if file.kind == "bmp" and coloured.getchannel("A").getextrema() == (0, 0):
            return coloured.convert("RGB")  # writers of 32-bit BMPs leave the fourth byte unset
        return Image.alpha_composite(Image.new("RGBA", image.size, (MID_GREY,) * 3 + (255,)), coloured).convert("RGB")
    coloured = image.convert("RGB")
    if file.colour_key is None:
        return coloured
    pixels = np.array(coloured)  # (height, width, 3)
    pixels[(pixels == np.array(file.colour_key)).all(axis=2)] = MID_GREY
    return Image.fromarray(pixels)
