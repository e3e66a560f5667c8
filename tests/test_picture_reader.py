"""Which bytes are read for a planned picture, and which never are."""

import os
from pathlib import Path

import pytest

from index.bulk import picture_reader
from index.bulk.import_plan import ImportPlan, Place
from index.bulk.import_source import plan_sources
from index.bulk.picture_reader import read_file, read_planned
from index.errors import InvalidValue
from index.gallery import Metadata
from tests.archives import KINDS, pack


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert read_file(Place(path=str(tmp_path / "a"))) == b"x" * 100_000


def test_what_is_no_file_of_a_picture_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it the usual way waits for a writer
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "large").write_bytes(b"x" * 101)
    monkeypatch.setattr(picture_reader, "MAX_BYTES", 100)
    for name, problem in {
        "pipe": "no file", ".": "a folder", "none": "No such file", "large": "101 bytes", "circle": "symbolic links",
        "nul\0": "null",
    }.items():  # fmt: skip
        with pytest.raises(InvalidValue, match=problem):
            read_file(Place(path=str(tmp_path / name)))


def test_nothing_outside_of_the_root_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "in/a").write_bytes(b"a")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    (root / "inner").symlink_to(root / "in/a")
    for name in ("in/a", "inner"):
        assert read_file(Place(path=str(root / name)), root.resolve()) == b"a"
    for name in ("link", "folder/secret", "../secret", "in/../../secret", "../none", "folder/none/x"):
        with pytest.raises(InvalidValue, match="outside of the import root"):
            read_file(Place(path=str(root / name)), root.resolve())


def test_an_archive_is_unpacked_as_far_as_its_last_planned_picture(tmp_path: Path) -> None:
    """What lies behind may be damaged, or long."""
    whole = pack(tmp_path / "x.tar", {f"{n}.jpg": b"x" * 1000 for n in range(30)}).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[: len(whole) // 2])
    plan = ImportPlan()
    for name in ("2.jpg", "0.jpg"):
        plan.add_image(Place(archive=str(tmp_path / "x.tar"), path=name), name, Metadata())
    plan.end_planning()
    assert [readable.picture.place.path for readable in read_planned(plan)] == ["0.jpg", "2.jpg"]
    plan.close()


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_an_archive_are_read_late_in_any_order(tmp_path: Path, kind: str) -> None:
    """Workers read when they come to it; the archive may be past the entry by then."""
    files = {f"{n}.jpg": str(n).encode() * 1000 for n in range(30)}
    plan = ImportPlan()
    list(plan_sources(plan, [pack(tmp_path / f"x{kind}", files)]))
    pictures = read_planned(plan)
    found = [next(pictures) for _ in files]
    for readable in reversed(found):
        assert readable.read() == files[readable.picture.place.path]
    assert list(pictures) == []
    plan.close()


def test_an_entry_that_went_away_is_told(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"a.jpg": b"1", "b.jpg": b"2"})
    plan = ImportPlan()
    list(plan_sources(plan, [path]))
    pack(path, {"b.jpg": b"2"})
    second, first = read_planned(plan)
    assert second.read() == b"2"
    with pytest.raises(InvalidValue, match="no such entry"):
        first.read()
    plan.close()
