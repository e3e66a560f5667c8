"""An array of pixels as a PNG file, with nothing but the standard library: a client need not have Pillow."""

import struct
import zlib
from typing import Any, Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE: Final = {1: 0, 3: 2, 4: 6}  # channels → grey, RGB, RGBA (PNG specification, 11.2.1)
_LEVEL: Final = 1  # of zlib: noise hardly gets smaller, and speed is what counts


def png_of(pixels: Any) -> bytes:
    """The PNG of an array, uint8 (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA; ValueError for another."""
    shape = tuple(pixels.shape)
    channels = 1 if len(shape) == 2 else shape[-1]
    if str(pixels.dtype) != "uint8" or len(shape) not in (2, 3) or channels not in _COLOUR_TYPE or 0 in shape:
        raise ValueError(
            f"an array of pixels is uint8 (H, W, 3) in RGB, (H, W) or (H, W, 4), not {pixels.dtype} {shape}"
        )
    height, width = shape[:2]
    data, row = pixels.tobytes(), width * channels  # tobytes() is in C order whatever the array's own is
    rows = b"".join(b"\0" + data[start : start + row] for start in range(0, len(data), row))  # filter type 0
    header = struct.pack(">2I5B", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, _LEVEL)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
