"""Pictures for tests of the service, made from a seed; each seed shows something else."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def photograph(seed: int = 0, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Smooth colours with some detail."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = (96, 72)) -> bytes:
    """The photograph of a seed as JPEG."""
    return encoded(photograph(seed, size), "JPEG", quality=92)


def png(seed: int = 0, size: tuple[int, int] = (96, 72)) -> bytes:
    """The photograph of a seed as PNG."""
    return encoded(photograph(seed, size), "PNG")


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
