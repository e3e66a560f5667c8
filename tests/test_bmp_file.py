"""Size of a BMP, from its header."""

import io
import struct

import pytest
from PIL import Image

from index.errors import UndecodablePicture
from index.file_formats.bmp_file import is_bmp, read_bmp


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_what_pillow_writes(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (31, 7)).save(file, "BMP")
    assert is_bmp(file.getvalue())
    assert read_bmp(file.getvalue()).size == (31, 7)


def test_rows_from_top_to_bottom_and_the_oldest_header() -> None:
    start = b"BM" + bytes(12)
    assert read_bmp(start + struct.pack("<Iii", 40, 31, -7)).size == (31, 7)
    assert read_bmp(start + struct.pack("<IHH", 12, 31, 7)).size == (31, 7)


def test_text_is_none_and_half_a_header_is_truncated() -> None:
    assert not is_bmp(b"BMW builds cars in Bavaria")
    assert not is_bmp(b"BM")
    with pytest.raises(UndecodablePicture, match="truncated"):
        read_bmp(b"BM" + bytes(12) + struct.pack("<Ii", 40, 31))
