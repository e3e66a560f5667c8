"""A file is written whole, or stays as it was; it is flushed before it gets its name, and its name after."""

import errno
from pathlib import Path

import pytest

from index.whole_file import sync_file, write_whole
from tests.small_disk import small_disk


def test_what_was_there_stays_where_the_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        path = disk / "figures.json"
        write_whole(path, "{}\n")
        with pytest.raises(OSError, match="No space left") as refused:
            write_whole(path, "x" * (64 << 20))
        assert refused.value.errno == errno.ENOSPC
        assert path.read_text() == "{}\n"
        assert [entry.name for entry in disk.iterdir()] == ["figures.json"]


def test_a_device_stays_one_and_a_link_leads_where_it_led(tmp_path: Path) -> None:
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    write_whole(device, "x")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_folders_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.md", "text\n")
    assert (tmp_path / "a" / "b.md").read_text(encoding="utf-8") == "text\n"


def test_a_file_is_flushed_before_it_takes_its_place_and_its_name_after(tmp_path: Path, flushed: list[str]) -> None:
    for text in ("one", "two"):
        write_whole(tmp_path / "note.json", text)
        assert (tmp_path / "note.json").read_text() == text
    assert flushed == ["note.json.part", tmp_path.name] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


def test_a_file_that_is_there_is_flushed(tmp_path: Path, flushed: list[str]) -> None:
    (tmp_path / "file").touch()
    sync_file(tmp_path / "file")
    assert flushed == ["file"]
