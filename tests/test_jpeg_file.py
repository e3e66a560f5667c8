"""What of a JPEG is kept: its pixels and nothing else."""

import io
from typing import Any

import pytest
from PIL import Image

from index.errors import UndecodablePicture
from index.file_formats.jpeg_file import MAX_SCANS, read_jpeg

ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def jpeg(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "JPEG", **options)
    return file.getvalue()


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def test_a_plain_file_is_given_back_byte_by_byte() -> None:
    for data in (jpeg(), jpeg(progressive=True), jpeg(restart_marker_blocks=2), jpeg(subsampling=0)):
        file = read_jpeg(data)
        assert file.data == data
        assert (file.size, file.components, file.orientation) == ((256, 256), 3, 1)


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEF, 0xFE])
def test_descriptive_segments_go(marker: int) -> None:
    assert read_jpeg(with_segment(jpeg(), marker, b"secret" * 1000)).data == jpeg()


def test_descriptive_segments_between_scans_go() -> None:
    data = jpeg(progressive=True)
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    assert b"secret" not in read_jpeg(data[:second_scan] + b"\xff\xfe\x00\x08secret" + data[second_scan:]).data


def test_fill_bytes_rubbish_between_segments_and_bytes_behind_the_end_go() -> None:
    data = jpeg()
    assert read_jpeg(data[:2] + b"rubbish\xff\xff\xff" + data[3:] + b"secret" + data).data == data


def test_the_jfif_header_is_written_anew_without_its_thumbnail() -> None:
    data = jpeg()
    thumbnail = b"JFIF\0\x01\x02\x01\x00\x48\x00\x48\x01\x01secret"
    assert read_jpeg(data[:2] + with_segment(data, 0xE0, thumbnail)[2:]).data == data


def test_adobes_header_stays_only_where_it_tells_the_colours() -> None:
    without_jfif = jpeg(keep_rgb=True)
    assert ADOBE[:4] in without_jfif
    assert read_jpeg(without_jfif).data.count(b"Adobe") == 1
    assert b"Adobe" not in read_jpeg(with_segment(jpeg(), 0xEE, ADOBE[4:-1] + b"\x01")).data


def test_reading_the_result_gives_it_again() -> None:
    for data in (jpeg(comment=b"x" * 300), jpeg(keep_rgb=True), with_segment(jpeg(), 0xE1, b"Exif\0\0II*\0")):
        once = read_jpeg(data).data
        assert read_jpeg(once).data == once


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "no image"),
        (b"\xff\xd8\xff\xd8" + jpeg(), "no image"),
        (b"\xff\xd8\xff\xe1\x00\x01" + jpeg(), "impossible length"),
        (b"\xff\xd8\xff\xe1\xff\xff" + jpeg()[:1000], "within a segment"),
        (jpeg()[:-2], "its end is missing"),
        (jpeg()[:-2] + jpeg(), "a second image"),
        (b"\xff\xd8" + jpeg()[jpeg().index(b"\xff\xda") :], "frame header is missing"),
        (with_segment(jpeg(), 0xC0, b"\x08\x00\x10\x00\x10\x01\x01\x11\x00"), "two frame headers"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UndecodablePicture, match=message):
        read_jpeg(data)


def test_scans_have_a_limit() -> None:
    data = jpeg(progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    read_jpeg(data[:-2] + scan * (MAX_SCANS - data.count(b"\xff\xda")) + data[-2:])
    with pytest.raises(UndecodablePicture, match=f"more than {MAX_SCANS} scans"):
        read_jpeg(data[:-2] + scan * MAX_SCANS + data[-2:])
