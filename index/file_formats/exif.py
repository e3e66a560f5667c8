"""The one thing that this project wants of EXIF: which way up a picture is.

A reader of its own, because a general one follows every pointer of a block that a stranger wrote.
"""

import struct

UPRIGHT = 1

_ORIENTATION = 0x0112
_READ_AS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: what writers have been seen to use


def orientation_block(orientation: int) -> bytes:
    """An EXIF block that states an orientation (1–8), and nothing else."""
    entry = struct.pack("<HHIHH", _ORIENTATION, 3, 1, orientation, 0)  # a SHORT, padded
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


def read_orientation(block: bytes) -> int:
    r"""The orientation (1–8) that an EXIF block states; 1 where it is missing or the block is damaged.

    ``block`` begins with the TIFF header, ``II*\0`` or ``MM\0*``; a leading ``Exif\0\0`` is skipped.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for entry in range(entries):
            tag, kind, count = struct.unpack_from(order + "HHI", block, directory + 2 + 12 * entry)
            if tag == _ORIENTATION and kind in _READ_AS and count == 1:
                (value,) = struct.unpack_from(order + _READ_AS[kind], block, directory + 10 + 12 * entry)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT
