"""ZIP archives, held against those that the standard library writes."""

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.file_formats.zip_file import ZipError, ZipFile


@contextmanager
def opened(path: Path) -> Iterator[ZipFile]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield ZipFile(handle)
    finally:
        os.close(handle)


def written(path: Path, files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FILES = {"a.txt": b"a" * 1000, "b/ü.bin": bytes(range(256)) * 9, "empty": b"", "b/": b""}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_are_those_that_were_written(tmp_path: Path, method: int) -> None:
    with opened(written(tmp_path / "x.zip", FILES, method=method)) as archive:
        assert archive.entries == len(FILES)
        assert {entry.name: archive.read(entry) for entry in archive} == FILES
        assert [entry.name for entry in archive if entry.folder] == ["b/"]


def test_many_entries_are_read_in_pieces(tmp_path: Path) -> None:
    files = {f"{'n' * 200}{n:05}": str(n).encode() for n in range(3000)}
    with opened(written(tmp_path / "x.zip", files)) as archive:
        assert [entry.name for entry in archive] == list(files)
        assert all(archive.read(entry) == files[entry.name] for entry in archive)


def test_more_entries_than_two_bytes_count(tmp_path: Path) -> None:
    """The list is ZIP64's then."""
    files = {str(n): b"" for n in range(66_000)}
    with opened(written(tmp_path / "x.zip", files, method=zipfile.ZIP_STORED)) as archive:
        assert archive.entries == 66_000
        assert sum(1 for _ in archive) == 66_000


def test_sizes_of_zip64_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, archive.open("a", "w", force_zip64=True) as entry:
        entry.write(b"hello")
    with opened(tmp_path / "x.zip") as found:
        assert [found.read(entry) for entry in found] == [b"hello"]


def test_something_in_front_does_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", FILES)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    with opened(path) as archive:
        assert {entry.name: archive.read(entry) for entry in archive} == FILES


@pytest.mark.parametrize(("raw", "name"), [("ü".encode(), "ü"), (b"\x81", "ü"), ("车".encode(), "车")])
def test_names_that_do_not_say_what_they_are_coded_in(tmp_path: Path, raw: bytes, name: str) -> None:
    path = written(tmp_path / "x.zip", {"N" * len(raw): b""})
    path.write_bytes(path.read_bytes().replace(b"N" * len(raw), raw))
    with opened(path) as archive:
        assert [entry.name for entry in archive] == [name]


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("packed", b"x" * 100, zipfile.ZIP_BZIP2)
    with opened(tmp_path / "x.zip") as found:
        link_problem, method_problem = (entry.problem for entry in found)
        assert link_problem is not None
        assert "a link" in link_problem
        assert method_problem is not None
        assert "method 12" in method_problem
        for entry in found:
            with pytest.raises(ZipError):
                found.read(entry)


def test_an_encrypted_entry_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with opened(path) as archive:
        assert [entry.problem for entry in archive] == ["it is encrypted"]


def test_an_entry_takes_no_more_memory_than_it_says(tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", {"a": bytes(10_000_000)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    with opened(path) as archive:
        (entry,) = archive
        with pytest.raises(ZipError, match="not those that were packed"):
            archive.read(entry)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x05\x06", b"x" * 100])
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ZipError, match="no list of entries"), opened(tmp_path / "x.zip"):
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damage_is_told_or_does_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    path = written(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        with opened(path) as archive:
            for entry in archive:
                if entry.size < 10**6 and entry.packed < 10**6:
                    try:
                        archive.read(entry)
                    except ZipError:
                        continue
    except ZipError:
        pass
