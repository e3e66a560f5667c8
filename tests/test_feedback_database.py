"""Answers on the disk: durable, bounded, erased with their pictures, and told where they are damaged."""

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from index.errors import DataFolderUnusable, StorageError, StorageFull
from index.storage.feedback_database import BROKEN, DAMAGED, LOST, FeedbackDatabase
from index.storage.gallery_files import FEEDBACK
from tests.small_disk import fill, small_disk
from tests.test_feedback_home import PLENTY, keep, of_images, of_query, picture


def change(folder: Path, statement: str) -> None:
    connection = apsw.Connection(str(folder / FEEDBACK))
    connection.execute(statement).fetchall()
    connection.close()


def test_there_is_no_file_before_the_first_answer(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    assert (list(database.all()), database.picture("x.jpg"), database.delete(["x"]), database.keep([])) == (
        [],
        None,
        0,
        0,
    )
    assert (database.problems(), database.answer_ids(), database.disk_bytes(), database.exists) == ({}, [], 0, False)
    database.rewrite()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_kill_leaves_what_was_acknowledged_and_half_of_nothing(tmp_path: Path, cut: str) -> None:
    database = FeedbackDatabase(tmp_path)
    database.put(of_images(1), None, **PLENTY)
    script = (
        "import os, sys; from pathlib import Path; import tests.test_feedback_home as t\n"
        "import index.storage.feedback_database as f\n"
        "database = f.FeedbackDatabase(Path(sys.argv[1]))\n"
        "if sys.argv[2] == 'before':\n"
        "    with database._writing() as c:\n"
        "        c.execute('DELETE FROM answers WHERE TRUE'); c.cache_flush(); os._exit(0)\n"
        "t.keep(database, 2); print('kept', flush=True); os.kill(os.getpid(), 9)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path), cut], capture_output=True, text=True, timeout=60)
    ids = [each.answer_id for each in database.all()]
    if cut == "before":
        assert (run.returncode, ids) == (0, [f"{1:016x}"])
    else:
        assert (run.stdout, ids) == ("kept\n", [f"{2:016x}", f"{1:016x}"])
        assert database.picture(picture(0)[0]) == picture(0)[1]
    assert database.problems() == {}


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    with FeedbackDatabase(tmp_path)._writing() as connection:
        assert connection.execute("PRAGMA synchronous").get == 3  # EXTRA
        assert connection.execute("PRAGMA journal_mode").get == "delete"


def test_who_only_reads_touches_nothing(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    answer, data = of_query(0)
    database.put(answer, data, **PLENTY)
    before = (tmp_path / FEEDBACK).read_bytes()
    reader = FeedbackDatabase(tmp_path, read_only=True)
    assert (list(reader.all()), reader.picture(answer.query_crop)) == ([answer], data)
    (tmp_path / f"{FEEDBACK}-journal").write_bytes(b"of a write that was cut off")
    with pytest.raises(DataFolderUnusable, match="was cut off"):
        list(reader.all())
    assert (tmp_path / FEEDBACK).read_bytes() == before


def test_what_is_erased_is_overwritten(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    for n in range(2):
        keep(database, n, query=n)
    assert database.delete([f"{0:016x}"]) == 1
    assert b"secret 0" not in database.path.read_bytes()
    assert database.keep([]) == 1
    database.rewrite()
    assert b"secret" not in database.path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [FEEDBACK]  # and no journal


def test_damage_is_told_and_can_be_dropped(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    for n in range(3):
        database.put(of_images(n), None, **PLENTY)
    for n in (3, 4):
        keep(database, n, query=n)
    change(tmp_path, "UPDATE answers SET same = 0 WHERE image_id = 'i1'")
    change(tmp_path, f"UPDATE pictures SET data = x'00' WHERE name = '{picture(3)[0]}'")
    assert database.problems() == {DAMAGED: [f"{1:016x}"], LOST: [picture(3)[0]]}
    assert [each.image_id for each in database.all()] == ["i4", "i3", "i2", "i0"]
    assert (database.picture(picture(3)[0]), len(database.answer_ids())) == (None, 5)
    database.drop_bad()
    assert database.problems() == {}
    assert [each.image_id for each in database.all()] == ["i4", "i2", "i0"]


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / FEEDBACK).write_bytes(b"no database at all" * 500)
    database = FeedbackDatabase(tmp_path)
    assert list(database.problems()) == [BROKEN]
    with pytest.raises(StorageError, match=r"feedback\.sqlite cannot be used.*vehicle-index repair"):
        list(database.all())


def test_a_file_of_a_newer_release_is_named(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    database.put(of_images(1), None, **PLENTY)
    change(tmp_path, "PRAGMA user_version = 2")
    for use in (lambda: list(database.all()), lambda: database.put(of_images(2), None, **PLENTY), database.problems):
        with pytest.raises(DataFolderUnusable, match="layout 2, this release reads up to 1"):
            use()


def test_a_copy_is_whole_and_flushed(tmp_path: Path, flushed: list[str]) -> None:
    database = FeedbackDatabase(tmp_path)
    answer, data = of_query(0)
    database.put(answer, data, **PLENTY)
    (tmp_path / "copy").mkdir()
    database.copy_to(tmp_path / "copy" / FEEDBACK)
    copied = FeedbackDatabase(tmp_path / "copy")
    assert (list(copied.all()), copied.picture(answer.query_crop), copied.problems()) == ([answer], data, {})
    assert flushed[-1] == FEEDBACK


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=1) as disk:
        database = FeedbackDatabase(disk)
        database.put(of_images(1), None, **PLENTY)
        fill(disk)
        answer, data = of_query(2)
        with pytest.raises(StorageFull):
            database.put(answer, data * 200, **PLENTY | {"most_bytes": 1 << 30})
        assert [each.image_id for each in database.all()] == ["i1"]
        with pytest.raises(StorageFull):
            database.copy_to(disk / "copy.sqlite")
