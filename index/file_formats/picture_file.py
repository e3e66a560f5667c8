"""A picture file stripped to what decides the pixels of its first frame.

Each format's module reads the container itself and copies only that: no text, profiles, thumbnails, previews or
further frames. The decoder therefore never meets them, however hostile, and a crop that is stored in this form
carries no metadata and decodes to the pixels of the query it came from.
"""

from dataclasses import dataclass
from typing import Literal

from index.file_formats.exif import UPRIGHT

PictureKind = Literal["jpeg", "png", "webp", "bmp", "gif"]


@dataclass(frozen=True, kw_only=True)
class PictureFile:
    """One picture as its file describes it, before anything is decoded."""

    kind: PictureKind
    data: bytes
    size: tuple[int, int]  # (width, height) in pixels as stored, before the orientation is applied
    orientation: int = UPRIGHT  # EXIF's 1–8
    components: int | None = None  # of a JPEG: 1 grey, 3 colour, 4 CMYK
    colour_key: tuple[int, ...] | None = None  # the decoded sample values that mean transparent (PNG's grey and RGB)
