"""Files that are flushed before they get their name, and their names after."""

from pathlib import Path

from index.storage.durable_file import sync_file, write_durably


def test_a_file_is_flushed_before_it_takes_its_place_and_its_name_after(tmp_path: Path, flushed: list[str]) -> None:
    for text in ("one", "two"):
        write_durably(tmp_path / "note.json", text)
        assert (tmp_path / "note.json").read_text() == text
    assert flushed == ["note.json.part", tmp_path.name] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


def test_a_file_that_is_there_is_flushed(tmp_path: Path, flushed: list[str]) -> None:
    (tmp_path / "file").touch()
    sync_file(tmp_path / "file")
    assert flushed == ["file"]
