"""The same promises of feedback in a folder and of that which replicas share."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index.errors import StorageError, TooMuchFeedback
from index.feedback.answer_home import Answers, FeedbackHome
from index.feedback.feedback_folder import FeedbackFolder
from index.gallery import Answer
from index.objects.folder_objects import FolderObjects
from index.postgres.postgres_database import PostgresDatabase

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


def keep(answers: Answers, n: int, *, query: int = 0) -> Answer:
    """One on a query that is no image."""
    answer, data = of_query(n, query=query)
    return answers.put(answer, data, **PLENTY)[0]


def listed(answers: Answers) -> list[Answer]:
    return [answer for _, answer in answers.latest()]


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Iterator[PostgresDatabase]:
    """One for the tests of this file, whose galleries have names of their own."""
    with closing(PostgresDatabase(request.getfixturevalue("postgres").new_database())) as opened:
        yield opened


@pytest.fixture(params=["folder", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> FeedbackHome:
    if request.param == "folder":
        return FeedbackFolder(tmp_path)
    from index.postgres.postgres_feedback import PostgresFeedback

    return PostgresFeedback(request.getfixturevalue("database"), FolderObjects(tmp_path))


@pytest.fixture
def yard(request: pytest.FixtureRequest) -> str:
    """A gallery that no other test has."""
    return f"yard-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"


def bytes_in(folder: Path) -> bytes:
    """Of all files."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_answers_come_back_as_they_were_the_latest_first(home: FeedbackHome, yard: str) -> None:
    answers = home.answers(yard)
    assert (answers.latest(), answers.picture("x.jpg"), answers.delete(["x"]), answers.keep([])) == ([], None, 0, 0)
    query, data = of_query(3)
    given = [of_images(1), replace(of_images(2, same=False), distance=None), query]
    for each in given[:2]:
        assert answers.put(each, None, **PLENTY) == (each, True)
    assert answers.put(query, data, **PLENTY) == (query, True)
    again = home.answers(yard)
    assert (listed(again), again.picture(query.query_crop)) == (given[::-1], data)
    (first, last), (second, _) = answers.latest(limit=2)
    assert (last, [each for _, each in answers.latest(below=second)]) == (query, [given[0]])
    assert first > second
    assert [each for _, each in answers.latest(query_id="0" * 32)] == [query]
    assert [each for _, each in answers.latest(query_image_id="q", limit=1)] == [given[1]]
    assert home.answers(yard + "2").latest() == []


def test_the_same_pair_is_one_answer_whichever_was_the_query(home: FeedbackHome, yard: str) -> None:
    answers = home.answers(yard)
    first = of_images(1)
    turned = Answer(
        answer_id="f" * 16, same=False, image_id="q", image_crop="q.jpg", query_image_id="i1", query_crop="1.jpg",
        given_at=NOON,
    )  # fmt: skip
    answers.put(first, None, **PLENTY)
    answers.put(of_images(2), None, **PLENTY)
    kept = replace(turned, answer_id=first.answer_id)
    assert answers.put(turned, None, **PLENTY) == (kept, False)
    assert listed(answers) == [of_images(2), kept]


def test_a_picture_goes_with_the_last_answer_that_has_it(home: FeedbackHome, yard: str, tmp_path: Path) -> None:
    answers = home.answers(yard)
    for n in range(3):
        keep(answers, n)
    keep(home.answers(yard + "2"), 0)
    other, data = of_query(9, query=1)
    answers.put(other, data, **PLENTY)
    assert answers.delete([f"{n:016x}" for n in (0, 1)]) == 2
    assert answers.picture(picture(0)[0]) == picture(0)[1]
    assert answers.delete([f"{2:016x}", "none"]) == 1
    assert answers.picture(picture(0)[0]) is None
    assert home.answers(yard + "2").picture(picture(0)[0]) == picture(0)[1]
    assert answers.keep([other.answer_id]) == 0
    assert answers.picture(other.query_crop) == data
    image = replace(of_images(9), image_crop=other.query_crop, query_crop=other.image_crop)  # the query is an image now
    assert answers.put(image, None, **PLENTY) == (replace(image, answer_id=other.answer_id), False)
    assert answers.picture(other.query_crop) is None
    assert b"secret 1" not in bytes_in(tmp_path)
    assert answers.keep([]) == 1
    assert home.answers(yard + "2").keep([]) == 1
    assert b"secret" not in bytes_in(tmp_path)


def test_a_picture_is_not_kept_for_an_answer_on_an_image_that_is_the_same(home: FeedbackHome, yard: str) -> None:
    answers = home.answers(yard)
    kept = keep(answers, 1)
    answers.put(replace(of_images(2), query_crop=kept.query_crop), None, **PLENTY)
    answers.delete([kept.answer_id])
    assert answers.picture(kept.query_crop) is None


def test_limits_are_named_and_leave_what_was_there(home: FeedbackHome, yard: str, tmp_path: Path) -> None:
    answers = home.answers(yard)
    first, data = of_query(0)
    answers.put(first, data, most=1, most_bytes=len(data))
    with pytest.raises(TooMuchFeedback, match=r"1 answers are kept.*max_feedback"):
        answers.put(of_images(1), None, most=1, most_bytes=1)
    more, other = of_query(1, query=1)
    with pytest.raises(TooMuchFeedback, match=rf"more than {len(data) + 1:,} bytes.*max_feedback_bytes"):
        answers.put(more, other, most=2, most_bytes=len(data) + 1)
    assert listed(answers) == [first]
    assert answers.picture(more.query_crop) is None
    assert b"secret 1" not in bytes_in(tmp_path)
    with pytest.raises(TooMuchFeedback):
        answers.put(of_query(2)[0], data, most=2, most_bytes=1)  # on the query that is there
    assert answers.picture(first.query_crop) == data
    answers.put(replace(first, same=False), data, most=1, most_bytes=len(data))  # what replaces takes no more
    assert [each.same for each in listed(answers)] == [False]
    assert answers.picture(first.query_crop) == data


def test_what_was_given_anew_meanwhile_is_not_forgotten(home: FeedbackHome, yard: str) -> None:
    answers = home.answers(yard)
    read = [answers.put(of_images(n), None, **PLENTY)[0] for n in range(3)]
    answers.put(replace(read[1], given_at=NOON + timedelta(microseconds=1)), None, **PLENTY)
    assert answers.forget(read[:2]) == 1
    assert [each.image_id for each in listed(answers)] == ["i2", "i1"]


def test_of_a_gallery_that_is_dropped_nothing_is_left(home: FeedbackHome, yard: str, tmp_path: Path) -> None:
    answers = home.answers(yard)
    keep(answers, 1)
    home.drop(yard)
    assert home.answers(yard).latest() == []
    assert b"secret" not in bytes_in(tmp_path)
    home.drop(yard)
    home.drop(yard + "2")  # of which nothing was ever said


def test_a_folder_is_on_the_disk_before_what_lies_in_it(tmp_path: Path, flushed: list[str]) -> None:
    answers = FeedbackFolder(tmp_path / "feedback").answers("yard")
    assert flushed == [tmp_path.name, "feedback"]
    keep(answers, 1)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"feedback cannot be kept in .*file"):
        FeedbackFolder(tmp_path / "file").answers("yard")
