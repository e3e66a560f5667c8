"""What of a GIF is kept: its screen and its first frame."""

import io
import struct

import pytest
from PIL import Image

from index.errors import UndecodablePicture
from index.file_formats.gif_file import read_gif

SCREEN = b"GIF89a" + struct.pack("<HHBBB", 4, 3, 0, 0, 0)
COMMENT = b"!\xfe\x06secret\x00"
CONTROL = b"!\xf9\x04\x0d\x64\x00\x07\x00"  # disposal, a delay, colour 7 is transparent


def frame(left: int = 0, top: int = 0, width: int = 4, height: int = 3) -> bytes:
    return b"," + struct.pack("<4HB", left, top, width, height, 0) + b"\x02" + b"\x03abc\x00"


def test_the_first_frame_alone_is_kept() -> None:
    file = read_gif(SCREEN + COMMENT + CONTROL + COMMENT + frame() + COMMENT + frame() + b";" + b"behind")
    assert file.data == SCREEN + b"!\xf9\x04\x01\x00\x00\x07\x00" + frame() + b";"
    assert file.size == (4, 3)
    assert read_gif(file.data).data == file.data


def test_a_frame_beyond_the_screen_enlarges_it() -> None:
    file = read_gif(SCREEN + frame(left=2, top=5, width=10, height=1) + b";")
    assert file.size == (12, 6)
    assert struct.unpack_from("<HH", file.data, 6) == (12, 6)


def test_colour_tables_are_kept() -> None:
    written = io.BytesIO()
    Image.linear_gradient("L").convert("P").save(written, "GIF", comment=b"secret")
    file = read_gif(written.getvalue())
    assert b"secret" not in file.data
    with Image.open(io.BytesIO(file.data)) as kept, Image.open(io.BytesIO(written.getvalue())) as whole:
        assert kept.convert("RGB").tobytes() == whole.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a", "truncated"),
        (SCREEN, "truncated"),
        (SCREEN + COMMENT[:-1], "truncated"),
        (SCREEN + frame()[:-1], "truncated"),
        (SCREEN + frame()[:5], "truncated"),
        (SCREEN + b"!", "holds no image"),
        (SCREEN + b";", "holds no image"),
        (SCREEN + b"\x00" + frame(), "holds no image"),
        (SCREEN + frame(left=65_535) + b";", "outside every screen"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UndecodablePicture, match=message):
        read_gif(data)
