"""JPEG, also the phones' MPO: the segments that decide the pixels, without the rest."""

import re
import struct

from index.errors import UndecodablePicture
from index.file_formats.exif import UPRIGHT, orientation_block, read_orientation
from index.file_formats.picture_file import PictureFile

SIGNATURE = b"\xff\xd8\xff"
MAX_SCANS = 64  # encoders write about ten; every further scan passes over the whole picture again

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM, RSTn: no length follows
_DESCRIPTIVE = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn, COM
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn; DHT, JPG and DAC lie between them
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)  # in coded data: not a stuffed byte, not a restart


def read_jpeg(data: bytes) -> PictureFile:
    """Read the container of the first picture in ``data``; raises UndecodablePicture.

    Of the descriptive segments only what tells a decoder the colour model is written again: a minimal JFIF header
    where there was one, else Adobe's. Bytes after the end of the image are left out. Reading the result gives it
    again.
    """
    tables: list[bytes] = []
    size, components, orientation = None, None, None
    jfif, adobe_transform = False, None
    position = 2
    while True:
        position, marker = _next_header_marker(data, position)
        if marker in _BARE:
            continue
        if marker in (_SOI, _EOI):
            raise UndecodablePicture("the JPEG is damaged: it holds no image")
        position, body = _segment(data, position)
        if marker == _APP0:
            jfif |= body.startswith(b"JFIF\0") and len(body) >= 14
        elif marker == _APP1 and orientation is None and body.startswith(b"Exif\0\0"):
            orientation = read_orientation(body)
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe_transform = body[11]
        elif marker in _FRAME and len(body) >= 6:
            if size is not None:
                raise UndecodablePicture("the JPEG is damaged: it holds two frame headers")
            height, width, components = struct.unpack_from(">HHB", body, 1)
            size = (width, height)
        if marker not in _DESCRIPTIVE:
            tables.append(_written(marker, body))
        if marker == _SOS:
            break
    if size is None:
        raise UndecodablePicture("the JPEG is damaged: its frame header is missing")
    header = [b"\xff\xd8"]
    if jfif:
        header.append(_JFIF)
    if adobe_transform is not None and (components == 4 or not jfif):
        header.append(b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([adobe_transform]))
    return PictureFile(
        kind="jpeg",
        data=b"".join([*header, *tables, *_scans(data, position)]),
        size=size,
        orientation=orientation or UPRIGHT,
        components=components,
    )


def oriented(data: bytes, orientation: int) -> bytes:
    """The data of a ``PictureFile``, saying again which way up it is; that is its only metadata."""
    return data[:2] + _written(_APP1, orientation_block(orientation)) + data[2:]


def _scans(data: bytes, position: int) -> list[bytes]:
    """The coded data from behind the first scan header to the end of the image, tables and further scans included."""
    parts: list[bytes] = []
    scans = 1
    while True:
        found = _NEXT_MARKER.search(data, position)
        if found is None:
            raise UndecodablePicture("the JPEG is truncated: its end is missing")
        parts.append(data[position : found.start()])
        marker = found[0][-1]
        position = found.end()
        if marker == _EOI:
            return [*parts, b"\xff\xd9"]
        if marker in _BARE:
            continue
        if marker == _SOI or marker in _FRAME:
            raise UndecodablePicture("the JPEG is damaged: a second image begins inside the first")
        position, body = _segment(data, position)
        if marker not in _DESCRIPTIVE:
            parts.append(_written(marker, body))
        elif (following := _NEXT_MARKER.search(data, position)) is not None:
            position = following.start()  # a decoder skips what lies between a segment and the next marker
        scans += marker == _SOS
        if scans > MAX_SCANS:
            raise UndecodablePicture(f"the JPEG has more than {MAX_SCANS} scans")


def _next_header_marker(data: bytes, position: int) -> tuple[int, int]:
    """The position behind the next marker, and its code; other bytes are passed over, as libjpeg does."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise UndecodablePicture("the JPEG is truncated: it ends before its image data")
        while position < len(data) and data[position] == 0xFF:
            position += 1
        if position == len(data):
            raise UndecodablePicture("the JPEG is truncated: it ends before its image data")
        if data[position] != 0:
            return position + 1, data[position]


def _segment(data: bytes, position: int) -> tuple[int, bytes]:
    """The position behind the segment whose length stands at ``position``, and its body."""
    length = int.from_bytes(data[position : position + 2], "big")
    if length < 2:
        raise UndecodablePicture("the JPEG is damaged: a segment has an impossible length")
    if position + length > len(data):
        raise UndecodablePicture("the JPEG is truncated: it ends within a segment")
    return position + length, data[position + 2 : position + length]


def _written(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
