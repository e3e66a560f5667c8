"""Feedback on a gallery, wherever both are: which of it counts when images go, and that it is erased with them."""

import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

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
    StorageError,
    StorageFull,
)
from index.feedback.answer_book import AnswerBook
from index.feedback.answer_home import FeedbackHome
from index.feedback.feedback_folder import FeedbackFolder
from index.gallery import Answer, Filters, GalleryHome, GallerySpec, NewAnswer, StoredImage
from index.local_gallery import LocalGallery
from index.milvus.milvus_home import MilvusHome
from index.milvus.moving_gallery import MovingGallery
from index.objects.folder_objects import FolderObjects
from index.postgres.postgres_database import PostgresDatabase
from tests.milvus_homes import beside, milvus_uri, new_home
from tests.small_disk import fill, small_disk
from tests.test_feedback_home import bytes_in
from tests.test_gallery import Clock
from tests.test_local_gallery import SPEC, folder, image

__all__ = ["folder"]

QUERY = b"\xff\xd8\xff secret query"

Asked = LocalGallery | MovingGallery


@pytest.fixture
def clock() -> Clock:
    return Clock()


class SharedFeedback(DataFolder):
    """Galleries in a folder whose feedback is where replicas share it: so that trying that takes no Milvus server."""

    feedback: FeedbackHome

    def _gallery(self, folder: Path) -> LocalGallery:
        gallery = super()._gallery(folder)
        secret = gallery._database.secret
        gallery.feedback = AnswerBook(
            gallery, self.feedback.answers(secret.hex()), secret=secret, changes=gallery._last_change,
            require_writable=gallery._database.require_writable, clock=self._clock,
        )  # fmt: skip
        return gallery

    def drop(self, name: str) -> None:
        secret = self.get(name)._database.secret
        super().drop(name)
        self.feedback.drop(secret.hex())


@dataclass
class Homes:
    """Opens galleries: what one service leaves to the next, or shares with another one."""

    where: str
    path: Path
    clock: Clock
    shared: FeedbackHome | None = None
    served: MilvusHome | None = None
    opened: list[GalleryHome] = field(default_factory=list)

    def open(self, **options: Any) -> GalleryHome:
        """As another service that begins now; one that has a folder to itself ends before."""
        if self.served is not None:
            feedback = self.shared or FeedbackFolder(self.path / "feedback", **options)
            home: GalleryHome = beside(self.served, feedback=feedback, clock=self.clock, **options)
        else:
            self.close()
            kind = DataFolder
            if self.shared is not None:
                kind = SharedFeedback
                kind.feedback = self.shared
            home = kind(self.path / "data", default_spec=SPEC, clock=self.clock, **options)
        self.opened.append(home)
        return home

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Iterator[PostgresDatabase]:
    with closing(PostgresDatabase(request.getfixturevalue("postgres").new_database())) as opened:
        yield opened


@pytest.fixture(scope="module")
def served() -> Iterator[MilvusHome]:
    """A home on a Milvus server, or the test is skipped; its gallery is emptied for each."""
    milvus_uri()
    with closing(new_home(default_spec=SPEC)) as opened:
        yield opened


@pytest.fixture(params=["folder", "postgres", "milvus", "milvus-postgres"])
def homes(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Homes]:
    """Wherever galleries and feedback may be."""
    made = Homes(request.param, tmp_path, clock)
    if "milvus" in request.param:
        made.served = request.getfixturevalue("served")
    if "postgres" in request.param:
        from index.postgres.postgres_feedback import PostgresFeedback

        made.shared = PostgresFeedback(request.getfixturevalue("database"), FolderObjects(tmp_path / "objects"))
    yield made
    made.close()


@pytest.fixture
def home(homes: Homes) -> GalleryHome:
    return homes.open()


@pytest.fixture
def gallery(home: GalleryHome) -> Asked:
    """The gallery ``default`` with six images."""
    gallery = asked(home)
    gallery.feedback.delete_all()
    gallery.delete_where(Filters())
    gallery.add([image(n) for n in range(6)])
    return gallery


@pytest.fixture
def local(folder: Path, clock: Clock) -> Iterator[LocalGallery]:
    """One in a folder, with six images."""
    opened = LocalGallery(folder, clock=clock)
    opened.add([image(n) for n in range(6)])
    yield opened
    opened.close()


def asked(home: GalleryHome, name: str = "default") -> Asked:
    gallery = home.get(name)
    assert isinstance(gallery, Asked)
    return gallery


def made(home: GalleryHome, name: str, spec: GallerySpec, images: int) -> Asked:
    """Another gallery with some images."""
    home.create(name, spec)
    gallery = asked(home, name)
    gallery.add([image(n) for n in range(images)])
    return gallery


def give(gallery: Asked, n: int, *, same: bool = True, query: str | bytes = "i0") -> Answer:
    """Of the image n and another one, or a query's crop."""
    if isinstance(query, bytes):
        new = NewAnswer(image_id=f"i{n}", same=same, query_id="f" * 32, query_crop=query, box=(0, 0, 9, 9))
    else:
        new = NewAnswer(image_id=f"i{n}", same=same, query_image_id=query, distance=0.5)
    return gallery.feedback.give(new, most=100, most_bytes=1 << 20)[0]


def listed(gallery: Asked) -> list[str]:
    return [each.image_id for each in gallery.feedback.page(limit=100).answers]


def test_what_is_given_is_listed_and_survives(homes: Homes, gallery: Asked, clock: Clock) -> None:
    first, second = give(gallery, 1), give(gallery, 2, same=False, query=QUERY)
    assert (first.image_crop, first.query_crop) == (content_name(image(1).crop), content_name(image(0).crop))
    assert (second.query_crop, second.box, second.given_at) == (content_name(QUERY), (0, 0, 9, 9), clock.now)
    again = asked(homes.open())
    page = again.feedback.page(limit=100)
    assert (list(page.answers), page.cursor) == ([second, first], None)
    assert again.feedback.picture(second.query_crop) == QUERY
    assert give(again, 1, same=False) == replace(first, same=False)
    assert [each.image_id for each in again.feedback.page(limit=9, query_id="f" * 32).answers] == ["i2"]


def test_the_archive_has_its_pictures(gallery: Asked) -> None:
    give(gallery, 1)
    give(gallery, 2, query=QUERY)
    give(gallery, 3, query=QUERY)
    gallery.delete("i3")
    with zipfile.ZipFile(io.BytesIO(b"".join(gallery.feedback.archive()))) as archive:
        pictures = {archive.read(name) for name in archive.namelist() if name.startswith("pictures/")}
        assert pictures == {QUERY, *(image(n).crop for n in range(3))}
        assert len(archive.read("answers.csv").splitlines()) == 3


def test_pages_go_through_all_whatever_is_stale_in_between(gallery: Asked) -> None:
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


def test_an_erased_image_takes_its_answers_along(gallery: Asked, tmp_path: Path) -> None:
    for n in (1, 2):
        give(gallery, n)
    give(gallery, 3, query=QUERY)
    gallery.delete("i3")
    assert listed(gallery) == ["i2", "i1"]
    assert b"secret query" in bytes_in(tmp_path)
    gallery.sweep()
    assert b"secret query" not in bytes_in(tmp_path)
    gallery.delete("i0")  # the query of the others
    assert listed(gallery) == []
    assert gallery.feedback.sweep() == 2
    assert gallery.feedback.sweep() == 0


@pytest.mark.parametrize("homes", ["postgres", "milvus-postgres"], indirect=True)
def test_bytes_that_the_store_keeps_go_by_the_next_sweep(
    gallery: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.sweep()
    answer = give(gallery, 1, query=QUERY)
    gallery.feedback.sweep()

    def refuse(*_: str) -> None:
        raise StorageError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(FolderObjects, "delete", refuse)
        gallery.feedback.delete(answer.answer_id)
    assert b"secret query" in bytes_in(tmp_path)
    gallery.sweep()
    assert b"secret query" not in bytes_in(tmp_path)


def test_an_image_with_another_picture_is_another_image(gallery: Asked) -> None:
    give(gallery, 1)
    give(gallery, 2)
    gallery.add([image(1)])  # the same again
    assert listed(gallery) == ["i2", "i1"]
    gallery.add([image(1, turn=1)])
    assert listed(gallery) == ["i2"]
    assert gallery.feedback.sweep() == 1
    gallery.add([image(1)])
    assert listed(gallery) == ["i2"]


@contextmanager
def after_a_look(gallery: Asked, happens: Callable[[], object]) -> Iterator[None]:
    """What others do between the look at the images and what is made of it."""
    find = gallery.find
    with pytest.MonkeyPatch.context() as patch:

        def then(image_ids: Sequence[str]) -> Mapping[str, StoredImage]:
            patch.undo()
            found = find(image_ids)
            happens()
            return found

        patch.setattr(gallery, "find", then)
        yield


def test_what_is_said_of_an_image_that_goes_at_that_moment_is_swept(gallery: Asked, tmp_path: Path) -> None:
    with after_a_look(gallery, lambda: (gallery.delete("i1"), gallery.sweep())):
        give(gallery, 1, query=QUERY)
    assert listed(gallery) == []
    assert gallery.feedback.sweep() == 1
    assert b"secret query" not in bytes_in(tmp_path)


def test_what_is_said_anew_of_an_image_that_came_back_is_not_swept(gallery: Asked, clock: Clock) -> None:
    give(gallery, 1)
    gallery.delete("i1")
    clock.now += timedelta(seconds=1)
    with after_a_look(gallery, lambda: (gallery.add([image(1)]), give(gallery, 1, same=False))):
        assert gallery.feedback.sweep() == 0
    assert listed(gallery) == ["i1"]


@pytest.mark.parametrize("homes", ["milvus"], indirect=True)
def test_what_a_service_did_that_died_before_it_counted_that_is_swept_within_an_hour(
    gallery: MovingGallery, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(gallery, 1)
    gallery.sweep()
    monkeypatch.setattr(gallery.serving()._changes, "note", lambda *_: None)
    gallery.delete("i1")
    assert gallery.feedback.sweep() == 0
    clock.now += timedelta(hours=1)
    assert gallery.feedback.sweep() == 1


def test_retention_takes_answers_along(home: GalleryHome, clock: Clock) -> None:
    gallery = made(home, "brief", replace(SPEC, retention_days=1.0), 2)
    give(gallery, 1)
    clock.now += timedelta(days=2)
    assert listed(gallery) == []
    gallery.sweep()
    assert gallery.feedback.delete_all() == 0
    home.drop("brief")


def test_erasing(gallery: Asked) -> None:
    given = [give(gallery, n) for n in (1, 2, 3)]
    gallery.feedback.delete(given[1].answer_id)
    with pytest.raises(FeedbackNotFound, match=given[1].answer_id):
        gallery.feedback.delete(given[1].answer_id)
    assert listed(gallery) == ["i3", "i1"]
    assert gallery.feedback.delete_all() == 2
    assert gallery.feedback.delete_all() == 0


def test_images_that_are_not_there_or_without_a_crop(home: GalleryHome, gallery: Asked) -> None:
    for n, query in ((9, "i0"), (1, "i9"), (9, QUERY)):
        with pytest.raises(ImageNotFound, match="i9"):
            give(gallery, n, query=query)
    lean = made(home, "lean", replace(SPEC, keep_crops=False), 2)
    with pytest.raises(NothingKept, match="keep_crops"):
        give(lean, 1)
    home.drop("lean")


def test_a_dropped_gallery_has_none_when_it_is_made_anew(home: GalleryHome, homes: Homes) -> None:
    dropped = made(home, "yard", SPEC, 3)
    give(dropped, 1, query=QUERY)
    assert b"secret query" in bytes_in(homes.path)
    home.drop("yard")
    assert b"secret query" not in bytes_in(homes.path)
    for use in (lambda: give(dropped, 1), lambda: listed(dropped), dropped.feedback.delete_all):
        with pytest.raises(GalleryNotFound):
            use()
    again = made(home, "yard", SPEC, 3)
    assert listed(again) == []
    give(again, 2)
    assert listed(again) == ["i2"]
    home.drop("yard")


@pytest.mark.parametrize("homes", ["milvus"], indirect=True)
def test_nobody_is_at_what_is_said_of_a_gallery_while_that_is_removed(
    home: GalleryHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped, drop = made(home, "yard", SPEC, 2), FeedbackFolder.drop

    def looked(folder: FeedbackFolder, identity: str) -> None:
        with pytest.raises(GalleryNotFound):
            listed(dropped)
        drop(folder, identity)

    monkeypatch.setattr(FeedbackFolder, "drop", looked)
    home.drop("yard")


def test_who_only_reads_gives_out_and_takes_nothing(homes: Homes, gallery: Asked) -> None:
    answer = give(gallery, 1)
    homes.close()
    reader = asked(homes.open(read_only=True))
    assert list(reader.feedback.page(limit=9).answers) == [answer]
    for write in (lambda: give(reader, 2), reader.feedback.delete_all, lambda: reader.feedback.delete("x")):
        with pytest.raises(ReadOnly):
            write()


def test_compaction_leaves_no_byte_and_keeps_the_rest(folder: Path, local: LocalGallery) -> None:
    answer = give(local, 1, query=QUERY)
    for n in range(2, 6):
        give(local, n, query=QUERY + b" telltale %d" % n)
    for n in range(2, 6):
        local.delete(f"i{n}")
    before = local.info().disk_bytes
    local.compact()
    assert b"telltale" not in bytes_in(folder)
    assert local.feedback.picture(answer.query_crop) == QUERY
    assert local.info().disk_bytes <= before


def test_a_closed_gallery_has_none_and_waits_for_who_is_at_it(local: LocalGallery) -> None:
    give(local, 1)
    inside, closed = threading.Event(), threading.Event()

    def close() -> None:
        inside.wait(10)
        local.feedback.close()
        closed.set()

    thread = threading.Thread(target=close)
    thread.start()
    with local.feedback._open():
        inside.set()
        assert not closed.is_set()
    thread.join()
    with pytest.raises(GalleryNotFound):
        local.feedback.page(limit=1)
    with pytest.raises(GalleryNotFound):
        give(local, 2)


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
