"""Answers on the disk: durable, bounded, erased with their pictures, and told where they are damaged."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from index.errors import DataFolderUnusable, StorageError, StorageFull, TooMuchFeedback
from index.gallery import Answer
from index.storage.feedback_database import BROKEN, DAMAGED, LOST, FeedbackDatabase
from index.storage.gallery_files import FEEDBACK
from tests.small_disk import fill, small_disk

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
PLENTY = {"most": 1000, "most_bytes": 1 << 20}


def picture(n: int, size: int = 2000) -> tuple[str, bytes]:
    """A crop's content name and bytes."""
    data = b"\xff\xd8\xff" + f"secret {n} ".encode() * (size // 10)
    return hashlib.sha256(data).hexdigest() + ".jpg", data


def of_images(n: int, *, same: bool = True) -> Answer:
    """On two images of the gallery."""
    return Answer(
        answer_id=f"{n:016x}", same=same, image_id=f"i{n}", image_crop=f"{n}.jpg", query_image_id="q",
        query_crop="q.jpg", distance=0.25 * n, given_at=NOON,
    )  # fmt: skip


def of_query(n: int, *, query: int = 0) -> tuple[Answer, bytes]:
    """On an image and a query that is none."""
    name, data = picture(query)
    found = replace(of_images(n), query_image_id=None, query_id="0" * 32, box=(1, 2, 3, 4), query_crop=name)
    return found, data


def keep(database: FeedbackDatabase, n: int, *, query: int = 0) -> Answer:
    """One on a query that is no image."""
    answer, data = of_query(n, query=query)
    return database.put(answer, data, **PLENTY)[0]


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


def test_answers_come_back_as_they_were_the_latest_first(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    query, data = of_query(3)
    given = [of_images(1), replace(of_images(2, same=False), distance=None), query]
    for each in given[:2]:
        assert database.put(each, None, **PLENTY) == (each, True)
    assert database.put(query, data, **PLENTY) == (query, True)
    assert list(FeedbackDatabase(tmp_path).all()) == given[::-1]
    assert database.picture(query.query_crop) == data
    (first, last), (second, _) = database.latest(limit=2)
    assert (last, database.latest(below=second)) == (query, [(second - 1, given[0])])
    assert first > second
    assert database.problems() == {}
    assert [path.name for path in tmp_path.iterdir()] == [FEEDBACK]  # and no journal


def test_the_same_pair_is_one_answer_whichever_was_the_query(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    first = of_images(1)
    turned = Answer(
        answer_id="f" * 16, same=False, image_id="q", image_crop="q.jpg", query_image_id="i1", query_crop="1.jpg",
        given_at=NOON,
    )  # fmt: skip
    database.put(first, None, **PLENTY)
    assert database.put(turned, None, **PLENTY) == (replace(turned, answer_id=first.answer_id), False)
    assert list(database.all()) == [replace(turned, answer_id=first.answer_id)]


def test_a_picture_goes_with_the_last_answer_that_has_it(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    for n in range(3):
        keep(database, n)
    other, data = of_query(9, query=1)
    database.put(other, data, **PLENTY)
    assert database.delete([f"{n:016x}" for n in (0, 1)]) == 2
    assert database.picture(picture(0)[0]) is not None
    assert database.delete([f"{2:016x}", "none"]) == 1
    assert database.picture(picture(0)[0]) is None
    assert b"secret 0" not in (tmp_path / FEEDBACK).read_bytes()
    assert database.keep([other.answer_id]) == 0
    assert database.keep([]) == 1
    database.rewrite()
    assert b"secret" not in (tmp_path / FEEDBACK).read_bytes()


def test_limits_are_named_and_leave_what_was_there(tmp_path: Path) -> None:
    database = FeedbackDatabase(tmp_path)
    first, data = of_query(0)
    database.put(first, data, most=1, most_bytes=len(data))
    with pytest.raises(TooMuchFeedback, match=r"1 answers are kept.*max_feedback"):
        database.put(of_images(1), None, most=1, most_bytes=1)
    more, other = of_query(1, query=1)
    with pytest.raises(TooMuchFeedback, match=rf"more than {len(data) + 1:,} bytes.*max_feedback_bytes"):
        database.put(more, other, most=2, most_bytes=len(data) + 1)
    assert list(database.all()) == [first]
    assert database.picture(more.query_crop) is None
    database.put(replace(first, same=False), data, most=1, most_bytes=len(data))  # what replaces takes no more
    assert [each.same for each in database.all()] == [False]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_kill_leaves_what_was_acknowledged_and_half_of_nothing(tmp_path: Path, cut: str) -> None:
    database = FeedbackDatabase(tmp_path)
    database.put(of_images(1), None, **PLENTY)
    script = (
        "import os, sys; from pathlib import Path; import tests.test_feedback_database as t\n"
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
