"""Archives that are made as they are sent, as the standard library and the house's own reader read them."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from index.bulk.picture_archive import open_archive
from index.file_formats.zip_stream import Member, zip_stream


def members() -> Iterator[Member]:
    yield "pictures/a.jpg", bytes(range(256)) * 300
    yield "überall.csv", (f"{number},x\n".encode() for number in range(50_000))
    yield "empty", b""


def test_it_is_read_whole(tmp_path: Path) -> None:
    data = b"".join(zip_stream(members()))
    expected = {name: content if isinstance(content, bytes) else b"".join(content) for name, content in members()}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == expected
        assert archive.getinfo("pictures/a.jpg").compress_type == zipfile.ZIP_STORED
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    (tmp_path / "a.zip").write_bytes(data)
    with open_archive(tmp_path / "a.zip") as own:
        assert {entry.name: entry.read() for entry in own} == expected


def test_the_same_members_are_the_same_archive_and_none_is_one_too() -> None:
    assert b"".join(zip_stream(members())) == b"".join(zip_stream(members()))
    assert zipfile.ZipFile(io.BytesIO(b"".join(zip_stream([])))).namelist() == []


def test_a_member_is_asked_for_when_those_before_are_taken() -> None:
    asked: list[int] = []

    def some() -> Iterator[Member]:
        for number in range(5):
            asked.append(number)
            yield str(number), bytes(1000)

    stream = zip_stream(some())
    assert len(next(stream)) > 1000
    assert asked == [0]
    next(stream)
    assert asked == [0, 1]
