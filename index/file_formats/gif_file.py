"""GIF: the screen and its first frame, without comments, applications' blocks and further frames."""

import struct

from index.errors import UndecodablePicture
from index.file_formats.picture_file import PictureFile

SIGNATURES = (b"GIF87a", b"GIF89a")

_HAS_TABLE = 0x80
_EXTENSION, _IMAGE = 0x21, 0x2C
_GRAPHIC_CONTROL = 0xF9


def read_gif(data: bytes) -> PictureFile:
    """Read the container of the first frame; raises UndecodablePicture.

    A frame that reaches beyond the screen enlarges it. Of the frame's control block only the transparent colour is
    kept.
    """
    if len(data) < 13:
        raise _truncated()
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _table_size(flags)
    screen_rest, table = data[10:13], data[13:position]
    control = b""
    while True:
        if position >= len(data):
            raise _truncated()
        block = data[position]
        if block == _IMAGE:
            break
        if block != _EXTENSION or position + 2 > len(data):
            raise UndecodablePicture("the GIF is damaged: it holds no image")
        end = _after_blocks(data, position + 2)
        if data[position + 1] == _GRAPHIC_CONTROL and data[position + 2] >= 4:
            transparent, colour = data[position + 3] & 1, data[position + 6]
            control = bytes([_EXTENSION, _GRAPHIC_CONTROL, 4, transparent, 0, 0, colour, 0])
        position = end
    if position + 10 > len(data):
        raise _truncated()
    left, top, frame_width, frame_height, frame_flags = struct.unpack_from("<4HB", data, position + 1)
    size = (max(width, left + frame_width), max(height, top + frame_height))
    if max(size) > 0xFFFF:
        raise UndecodablePicture("the GIF is damaged: its frame lies outside every screen")
    end = _after_blocks(data, position + 10 + _table_size(frame_flags) + 1)  # one byte of code size stands before
    screen = data[:6] + struct.pack("<2H", *size) + screen_rest
    return PictureFile(kind="gif", data=b"".join([screen, table, control, data[position:end], b";"]), size=size)


def _table_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & _HAS_TABLE else 0


def _after_blocks(data: bytes, position: int) -> int:
    """The position behind a chain of sub-blocks, each led by its length and the chain ended by a zero."""
    try:
        while data[position]:
            position += data[position] + 1
    except IndexError:
        raise _truncated() from None
    return position + 1


def _truncated() -> UndecodablePicture:
    return UndecodablePicture("the GIF is truncated: it ends within its first frame")
