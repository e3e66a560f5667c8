"""What of a PNG is kept."""

import io
import struct
import zlib

import pytest
from PIL import Image

from index.errors import UndecodablePicture
from index.file_formats.png_file import SIGNATURE, read_png


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def header(bits: int = 8, colour_type: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 5, bits, colour_type, 0, 0, 0))


def names(data: bytes) -> list[bytes]:
    found, position = [], len(SIGNATURE)
    while position < len(data):
        found.append(data[position + 4 : position + 8])
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return found


def test_a_plain_file_is_given_back_byte_by_byte() -> None:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "PNG")
    assert read_png(file.getvalue()).data == file.getvalue()
    assert read_png(file.getvalue() + b"behind").data == file.getvalue()


def test_only_what_makes_the_pixels_is_kept() -> None:
    extra = b"".join(chunk(name, b"x") for name in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"gAMA"))
    file = read_png(
        SIGNATURE + header() + extra + chunk(b"IDAT", b"1") + chunk(b"IDAT", b"2") + chunk(b"fdAT") + chunk(b"IEND")
    )
    assert names(file.data) == [b"IHDR", b"IDAT", b"IDAT", b"IEND"]
    assert file.size == (3, 5)


def test_a_palettes_transparency_is_kept() -> None:
    palette = chunk(b"PLTE", b"\0" * 6) + chunk(b"tRNS", b"\0")
    file = read_png(SIGNATURE + header(8, 3) + palette + chunk(b"IDAT") + chunk(b"IEND"))
    assert names(file.data) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    assert file.colour_key is None


@pytest.mark.parametrize(
    ("bits", "colour_type", "samples", "key"),
    [
        (8, 0, (200,), (200,)),
        (1, 0, (1,), (255,)),
        (2, 0, (1,), (85,)),
        (4, 0, (3,), (51,)),
        (16, 0, (0x1234,), (0x1234,)),
        (8, 2, (1, 2, 3), (1, 2, 3)),
        (16, 2, (0x0102, 0x0304, 0x0506), (1, 3, 5)),
        (8, 0, (256,), None),
    ],
)
def test_the_transparent_colour(
    bits: int, colour_type: int, samples: tuple[int, ...], key: tuple[int, ...] | None
) -> None:
    transparency = chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))
    data = SIGNATURE + header(bits, colour_type) + transparency + chunk(b"IDAT") + chunk(b"IEND")
    assert read_png(data).colour_key == key


@pytest.mark.parametrize("bits", [0, 8, 16, 255])
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\0"])
def test_a_transparent_colour_that_is_cut_short_is_none(body: bytes, bits: int) -> None:
    data = SIGNATURE + header(bits) + chunk(b"tRNS", body) + chunk(b"IDAT") + chunk(b"IEND")
    assert read_png(data).colour_key is None


def test_the_orientation_may_stand_behind_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = (
        SIGNATURE
        + header()
        + chunk(b"IDAT")
        + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        + chunk(b"IEND")
    )
    assert read_png(data).orientation == 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SIGNATURE, "truncated"),
        (SIGNATURE + header(), "truncated"),
        (SIGNATURE + header() + chunk(b"IDAT", b"x" * 100)[:50], "truncated"),
        (SIGNATURE + header() + b"\xff\xff\xff\xffIDAT", "truncated"),
        (SIGNATURE + chunk(b"IDAT") + header() + chunk(b"IEND"), "does not begin"),
        (SIGNATURE + chunk(b"IHDR", b"short") + chunk(b"IEND"), "does not begin"),
        (SIGNATURE + header() + header() + chunk(b"IEND"), "two IHDR"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UndecodablePicture, match=message):
        read_png(data)
