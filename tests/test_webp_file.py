"""Size and orientation of a WebP, from its chunks."""

import io
from typing import Any

import pytest
from PIL import Image

from index.errors import UndecodablePicture
from index.file_formats.webp_file import is_webp, read_webp


def webp(mode: str = "RGB", size: tuple[int, int] = (300, 7), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 77).save(file, "WEBP", **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (16_383, 1)])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"lossless": True}),
        ("RGBA", {}),
        ("RGBA", {"lossless": True}),
        ("RGB", {"icc_profile": b"x"}),
    ],
)
def test_the_size_of_every_kind(mode: str, size: tuple[int, int], options: dict[str, Any]) -> None:
    data = webp(mode, size, **options)
    assert is_webp(data)
    assert read_webp(data).size == size
    assert read_webp(data + b"behind").data == data


def test_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    assert read_webp(webp(exif=exif)).orientation == 8
    assert read_webp(webp()).orientation == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (webp()[:-1], "truncated"),
        (b"RIFF\x04\0\0\0WEBP", "holds no image"),
        (b"RIFF\x16\0\0\0WEBPXXXX\x0a\0\0\0" + b"x" * 10, "first chunk"),
        (b"RIFF\x0e\0\0\0WEBPVP8X\x02\0\0\0xx", "first chunk"),
        (b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0" + b"\0" * 10, "first chunk"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UndecodablePicture, match=message):
        read_webp(data)


def test_other_riff_files_are_none() -> None:
    assert not is_webp(b"RIFF\x04\0\0\0WAVEfmt ")
