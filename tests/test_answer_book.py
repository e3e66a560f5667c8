"""Feedback beside its gallery: which of it counts when images go, and that it is erased with them."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from index.crops import content_name
from index.data_folder import DataFolder
from index.errors import (
    FeedbackNotFound,
    GalleryNotFound,
    ImageNotFound,
    InvalidValue,
    NothingKept,
    ReadOnly,
    StorageFull,
)
from index.gallery import Answer, Filters, NewAnswer
from index.local_gallery import LocalGallery
from index.storage.gallery_files import FEEDBACK
from tests.small_disk import fill, small_disk
from tests.test_gallery import Clock
from tests.test_local_gallery import SPEC, folder, image

__all__ = ["folder"]

QUERY = b"\xff\xd8\xff secret query"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gallery(folder: Path, clock: Clock) -> Iterator[LocalGallery]:
    opened = LocalGallery(folder, clock=clock)
    opened.add([image(n) for n in range(6)])
    yield opened
    opened.close()


def give(gallery: LocalGallery, n: int, *, same: bool = True, query: str | bytes = "i0") -> Answer:
    """Of the image n and another one, or a query's crop."""
    if isinstance(query, bytes):
        new = NewAnswer(image_id=f"i{n}", same=same, query_id="f" * 32, query_crop=query, box=(0, 0, 9, 9))
    else:
        new = NewAnswer(image_id=f"i{n}", same=same, query_image_id=query, distance=0.5)
    return gallery.feedback.give(new, most=100, most_bytes=1 << 20)[0]


def listed(gallery: LocalGallery) -> list[str]:
    return [each.image_id for each in gallery.feedback.page(limit=100).answers]


def test_what_is_given_is_listed_and_survives(folder: Path, gallery: LocalGallery, clock: Clock) -> None:
    first, second = give(gallery, 1), give(gallery, 2, same=False, query=QUERY)
    assert (first.image_crop, first.query_crop) == (content_name(image(1).crop), content_name(image(0).crop))
    assert (second.query_crop, second.box, second.given_at) == (content_name(QUERY), (0, 0, 9, 9), clock.now)
    gallery.close()
    with closing(LocalGallery(folder)) as again:
        page = again.feedback.page(limit=100)
        assert (list(page.answers), page.cursor) == ([second, first], None)
        assert again.feedback.picture(second.query_crop) == QUERY


def test_pages_go_through_all_whatever_is_stale_in_between(gallery: LocalGallery) -> None:
    for n in range(1, 6):
        give(gallery, n, query=QUERY)
    gallery.delete("i3")
    gallery.delete("i1")
    seen: list[str] = []
    cursor = None
    while True:
        page = gallery.feedback.page(limit=2, cursor=cursor)
        seen += [each.image_id for each in page.answers]
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page.answers) == 2
    assert seen == ["i5", "i4", "i2"]
    images = gallery.page(Filters(), limit=1).cursor
    for wrong in ("AAAA", images):
        with pytest.raises(InvalidValue, match="cursor"):
            gallery.feedback.page(limit=1, cursor=wrong)


def test_an_erased_image_takes_its_answers_along(folder: Path, gallery: LocalGallery) -> None:
    for n in (1, 2):
        give(gallery, n)
    give(gallery, 3, query=QUERY)
    gallery.delete("i3")
    assert listed(gallery) == ["i2", "i1"]
    assert b"secret query" in (folder / FEEDBACK).read_bytes()
    gallery.sweep()
    assert b"secret query" not in (folder / FEEDBACK).read_bytes()
    gallery.delete("i0")  # the query of the others
    assert listed(gallery) == []
    assert gallery.feedback.sweep() == 2
    assert gallery.feedback.sweep() == 0


def test_an_image_with_another_picture_is_another_image(gallery: LocalGallery) -> None:
    give(gallery, 1)
    give(gallery, 2)
    gallery.add([image(1)])  # the same again
    assert listed(gallery) == ["i2", "i1"]
    gallery.add([image(1, turn=1)])
    assert listed(gallery) == ["i2"]
    assert gallery.feedback.sweep() == 1
    gallery.add([image(1)])
    assert listed(gallery) == ["i2"]


def test_retention_takes_answers_along(tmp_path: Path, clock: Clock) -> None:
    LocalGallery.create(tmp_path, "yard", replace(SPEC, retention_days=1.0))
    with closing(LocalGallery(tmp_path, clock=clock)) as gallery:
        gallery.add([image(n) for n in range(2)])
        give(gallery, 1)
        clock.now += timedelta(days=2)
        assert listed(gallery) == []
        gallery.sweep()
        assert gallery.feedback.delete_all() == 0


def test_erasing(gallery: LocalGallery) -> None:
    given = [give(gallery, n) for n in (1, 2, 3)]
    gallery.feedback.delete(given[1].answer_id)
    with pytest.raises(FeedbackNotFound, match=given[1].answer_id):
        gallery.feedback.delete(given[1].answer_id)
    assert listed(gallery) == ["i3", "i1"]
    assert gallery.feedback.delete_all() == 2
    assert gallery.feedback.delete_all() == 0


def test_images_that_are_not_there_or_without_a_crop(tmp_path: Path, gallery: LocalGallery) -> None:
    for n, query in ((9, "i0"), (1, "i9"), (9, QUERY)):
        with pytest.raises(ImageNotFound, match="i9"):
            give(gallery, n, query=query)
    LocalGallery.create(tmp_path, "lean", replace(SPEC, keep_crops=False))
    with closing(LocalGallery(tmp_path)) as lean:
        lean.add([image(n) for n in range(2)])
        with pytest.raises(NothingKept, match="keep_crops"):
            give(lean, 1)


def test_compaction_leaves_no_byte_and_keeps_the_rest(folder: Path, gallery: LocalGallery) -> None:
    answer = give(gallery, 1, query=QUERY)
    for n in range(2, 6):
        give(gallery, n, query=QUERY + b" telltale %d" % n)
    for n in range(2, 6):
        gallery.delete(f"i{n}")
    before = gallery.info().disk_bytes
    gallery.compact()
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"telltale" not in data
    assert gallery.feedback.picture(answer.query_crop) == QUERY
    assert gallery.info().disk_bytes <= before


def test_a_closed_gallery_has_none_and_waits_for_who_is_at_it(gallery: LocalGallery) -> None:
    give(gallery, 1)
    inside, closed = threading.Event(), threading.Event()

    def close() -> None:
        inside.wait(10)
        gallery.feedback.close()
        closed.set()

    thread = threading.Thread(target=close)
    thread.start()
    with gallery.feedback._open():
        inside.set()
        assert not closed.is_set()
    thread.join()
    with pytest.raises(GalleryNotFound):
        gallery.feedback.page(limit=1)
    with pytest.raises(GalleryNotFound):
        give(gallery, 2)


def test_a_dropped_gallery_has_none_when_it_is_made_anew(tmp_path: Path) -> None:
    with closing(DataFolder(tmp_path / "data", default_spec=SPEC)) as home:
        yard, _ = home.create("yard", SPEC)
        yard.add([image(n) for n in range(3)])
        give(yard, 1)
        home.drop("yard")
        again, _ = home.create("yard", SPEC)
        again.add([image(n) for n in range(3)])
        assert listed(again) == []
        assert not list((tmp_path / "data").rglob(FEEDBACK))


def test_a_folder_that_is_only_read(folder: Path, gallery: LocalGallery) -> None:
    answer = give(gallery, 1)
    gallery.close()
    with closing(LocalGallery(folder, read_only=True)) as reader:
        assert list(reader.feedback.page(limit=9).answers) == [answer]
        for write in (lambda: give(reader, 2), reader.feedback.delete_all, lambda: reader.feedback.delete("x")):
            with pytest.raises(ReadOnly):
                write()


def test_a_full_disk_lets_go_and_takes_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=48) as disk, closing(DataFolder(disk / "data", default_spec=SPEC)) as home:
        gallery = home.get("default")
        gallery.add([image(n) for n in range(3)])
        answer = give(gallery, 1, query=QUERY)
        fill(disk)
        with pytest.raises(StorageFull):
            give(gallery, 2, query=QUERY + bytes(1 << 20))
        gallery.feedback.delete(answer.answer_id)
        assert listed(gallery) == []
