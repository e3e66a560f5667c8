"""PNG: the chunks that decide the pixels of the still picture, without the rest."""

import struct

from index.errors import UndecodablePicture
from index.file_formats.exif import UPRIGHT, read_orientation
from index.file_formats.picture_file import PictureFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE = 0, 2, 3  # IHDR's colour types that a tRNS chunk may stand beside


def read_png(data: bytes) -> PictureFile:
    """Read the container; raises UndecodablePicture. Checksums are left to the decoder.

    Kept: IHDR, PLTE, IDAT, IEND, and tRNS beside a palette. The transparent colour of a grey or RGB picture becomes
    ``colour_key``, scaled to the samples that Pillow decodes to (8 bits; 16 for 16-bit grey).
    """
    kept = [SIGNATURE]
    size, bits, colour_type = None, 0, 0
    colour_key, orientation = None, UPRIGHT
    position = len(SIGNATURE)
    while True:
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        end = position + 12 + length
        if len(name) < 4 or end > len(data):
            raise UndecodablePicture("the PNG is truncated: it ends before its IEND chunk")
        body = data[position + 8 : end - 4]
        if size is None:
            if name != b"IHDR" or length != 13:
                raise UndecodablePicture("the PNG is damaged: it does not begin with an IHDR chunk")
            width, height, bits, colour_type = struct.unpack_from(">IIBB", body)
            size = (width, height)
        elif name == b"IHDR":
            raise UndecodablePicture("the PNG is damaged: it has two IHDR chunks")
        if name == b"eXIf":
            orientation = read_orientation(body)
        elif name == b"tRNS" and colour_type in (_GREY, _RGB):
            colour_key = _colour_key(body, bits, colour_type)
        elif name in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or (name == b"tRNS" and colour_type == _PALETTE):
            kept.append(data[position:end])
        if name == b"IEND":
            return PictureFile(
                kind="png", data=b"".join(kept), size=size, orientation=orientation, colour_key=colour_key
            )
        position = end


def _colour_key(body: bytes, bits: int, colour_type: int) -> tuple[int, ...] | None:
    count = 1 if colour_type == _GREY else 3
    if len(body) < 2 * count or not 1 <= bits <= 16:
        return None
    samples = struct.unpack_from(f">{count}H", body)
    if bits == 16:
        # Pillow decodes 16-bit RGB to the high bytes; a key can then only be compared by them.
        return samples if colour_type == _GREY else tuple(sample >> 8 for sample in samples)
    full = (1 << bits) - 1
    if any(sample > full for sample in samples):
        return None
    return tuple(sample * 255 // full for sample in samples)
