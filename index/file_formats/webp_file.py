"""WebP: the size and the orientation that its chunks state."""

import struct

from index.errors import UndecodablePicture
from index.file_formats.exif import UPRIGHT, read_orientation
from index.file_formats.picture_file import PictureFile


def is_webp(data: bytes) -> bool:
    """Whether the bytes begin as a WebP file does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read_webp(data: bytes) -> PictureFile:
    """Read the container; raises UndecodablePicture. The size of an extended file is that of its canvas."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise UndecodablePicture("the WebP is truncated: it is shorter than its header says")
    size, orientation = None, UPRIGHT
    position = 12
    while position + 8 <= end:
        name = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if size is None:
            size = _size(name, data[position + 8 : position + 18])
        elif name == b"EXIF":
            orientation = read_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + (length & 1)
    if size is None:
        raise UndecodablePicture("the WebP is damaged: it holds no image")
    return PictureFile(kind="webp", data=data[:end], size=size, orientation=orientation)


def _size(name: bytes, start: bytes) -> tuple[int, int]:
    """(width, height) that the file's first chunk states in its first ten bytes."""
    if len(start) == 10 and name == b"VP8X":
        return int.from_bytes(start[4:7], "little") + 1, int.from_bytes(start[7:10], "little") + 1
    if len(start) == 10 and name == b"VP8 " and start[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", start, 6)
        return width & 0x3FFF, height & 0x3FFF
    if len(start) >= 5 and name == b"VP8L" and start[0] == 0x2F:
        (bits,) = struct.unpack_from("<I", start, 1)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    raise UndecodablePicture("the WebP is damaged: its first chunk is not a picture's")
