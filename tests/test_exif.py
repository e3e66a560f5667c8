"""The orientation in an EXIF block, whatever else stands there."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from index.file_formats.exif import orientation_block, read_orientation


def block(order: str, kind: int, value: bytes, *, tag: int = 0x0112, count: int = 1) -> bytes:
    """A TIFF header and one directory with two entries, the second of which is wanted."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    other = struct.pack(order + "HHII", 0x0100, 4, 1, 640)
    entry = struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    return mark + struct.pack(order + "IH", 8, 2) + other + entry


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "letter"), [(1, "B"), (3, "H"), (4, "I")])
def test_every_orientation(order: str, orientation: int, kind: int, letter: str) -> None:
    made = block(order, kind, struct.pack(order + letter, orientation))
    assert read_orientation(made) == orientation
    assert read_orientation(b"Exif\0\0" + made) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_pillow_writes(orientation: int) -> None:
    written = Image.Exif()
    written[0x0112] = orientation
    written[0x010E] = "a description that makes the block longer"
    assert read_orientation(written.tobytes()) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_written_is_read_by_us_and_by_pillow(orientation: int) -> None:
    assert read_orientation(orientation_block(orientation)) == orientation
    read = Image.Exif()
    read.load(orientation_block(orientation))
    assert dict(read) == {0x0112: orientation}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"Exif\0\0",
        b"nonsense",
        block("<", 3, b"\0\0"),
        block("<", 3, b"\x09\0"),
        block("<", 3, b"\x06\0", count=2),
        block("<", 2, b"6"),
        block("<", 3, b"\x06\0", tag=0x0113),
        block("<", 3, b"\x06\0")[:-6],
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_no_orientation_is_upright(damaged: bytes) -> None:
    assert read_orientation(damaged) == 1


@given(st.sampled_from([b"II*\0", b"MM\0*"]), st.binary(max_size=200))
def test_noise_is_some_orientation(start: bytes, rest: bytes) -> None:
    assert read_orientation(start + rest) in range(1, 9)
