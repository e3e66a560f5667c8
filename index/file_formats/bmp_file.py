"""BMP: the size that its header states."""

import struct

from index.errors import UndecodablePicture
from index.file_formats.picture_file import PictureFile

SIGNATURE = b"BM"

_CORE_HEADER = 12
_HEADERS = (_CORE_HEADER, 40, 52, 56, 64, 108, 124)


def is_bmp(data: bytes) -> bool:
    """Whether the bytes begin as a BMP file does; text that happens to begin with "BM" does not count."""
    return data[:2] == SIGNATURE and len(data) >= 18 and _header_size(data) in _HEADERS


def read_bmp(data: bytes) -> PictureFile:
    """Read the header; raises UndecodablePicture. A negative height means rows from top to bottom."""
    try:
        if _header_size(data) == _CORE_HEADER:
            width, height = struct.unpack_from("<HH", data, 18)
        else:
            width, height = struct.unpack_from("<ii", data, 18)
    except struct.error:
        raise UndecodablePicture("the BMP is truncated: it ends within its header") from None
    return PictureFile(kind="bmp", data=data, size=(width, abs(height)))


def _header_size(data: bytes) -> int:
    return int.from_bytes(data[14:18], "little")
