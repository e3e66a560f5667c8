"""What galleries on Milvus have of their own: writers beside each other, what a dead one leaves, strings, many rows."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.data_folder import DataFolder
from index.errors import GalleryNotFound, ImageNotFound, InvalidValue
from index.gallery import ORDERS, Attribute, Filters, Gallery, Metadata, NewImage, SearchOptions
from index.milvus import milvus_gallery, row_listing, row_search
from index.milvus.collection_rows import CollectionRows
from index.milvus.image_row import KEY
from index.milvus.milvus_gallery import MilvusGallery
from index.milvus.milvus_home import MilvusHome
from index.milvus.moving_gallery import MovingGallery
from tests.milvus_homes import beside, milvus_uri, new_home, new_prefix
from tests.test_gallery import (
    NOON,
    SPEC,
    VIEWPOINTS,
    ids,
    image,
    jpeg,
    listed,
    naive,
    random_vectors,
    search,
    vector,
)

NASTY = (
    "plain", "it's", '"', "\\", '\\"', "a\nb\r\tc", "') or row_id > 0 or (camera_id in ['", "%_*?", "Ü日本🚗", "\u2028\x7f\x01", "{x}", "$meta", "🚗" * 256,
)  # fmt: skip


@pytest.fixture(scope="module")
def prefix() -> str:
    milvus_uri()
    return new_prefix()


@pytest.fixture(scope="module")
def home(prefix: str) -> Iterator[MilvusHome]:
    with closing(new_home(prefix, default_spec=SPEC, clock=lambda: NOON)) as opened:
        yield opened


@pytest.fixture
def gallery(home: MilvusHome) -> MovingGallery:
    """The module's gallery, empty."""
    gallery = home.get("default")
    gallery.delete_where(Filters())
    return gallery


@pytest.fixture(scope="module")
def other(prefix: str, home: MilvusHome) -> Iterator[MovingGallery]:
    """The same gallery as another service has it."""
    opened = beside(home, clock=lambda: NOON)
    yield opened.get("default")
    opened.close()


# The same as in a folder


def drawn_images(count: int) -> list[NewImage]:
    draw = random.Random(0)
    vectors = random_vectors(count)
    images = []
    for n in range(count):
        attributes: dict[str, Any] = {
            draw.choice(NASTY[:12]): draw.choice([1, "1", 1.0, 2.5, -3, "x", *NASTY]) for _ in range(draw.randrange(3))
        }
        images.append(
            image(
                f"i{n:03}",
                vectors[n],
                vehicle_id=draw.choice([None, *NASTY]),
                camera_id=draw.choice([None, *NASTY]),
                captured_at=draw.choice([None, NOON + timedelta(seconds=draw.randrange(100))]),
                attributes=attributes,
                viewpoint=np.eye(len(VIEWPOINTS), dtype=np.float32)[draw.randrange(3)],
            )
        )
    return images


def drawn_filters(draw: random.Random) -> Filters:
    def some(values: Any, share: float = 0.25) -> tuple[Any, ...]:
        return tuple(draw.sample(values, draw.randrange(1, 4))) if draw.random() < share else ()

    return Filters(
        image_id=some([f"i{n:03}" for n in range(300)], 0.1),
        camera_id=some(NASTY),
        exclude_camera_id=some(NASTY),
        vehicle_id=some(NASTY),
        viewpoint=some(VIEWPOINTS),
        captured_after=NOON + timedelta(seconds=draw.randrange(100)) if draw.random() < 0.2 else None,
        captured_before=NOON + timedelta(seconds=draw.randrange(100)) if draw.random() < 0.2 else None,
        attributes={draw.choice(NASTY[:12]): some([1, "1", 2.5, -3, "x", *NASTY], 1)} if draw.random() < 0.3 else {},
    )


def test_it_answers_as_a_gallery_in_a_folder_does(gallery: MovingGallery, tmp_path: Path) -> None:
    with closing(DataFolder(tmp_path, default_spec=SPEC, clock=lambda: NOON)) as folder:
        local = folder.get("default")
        both: tuple[Gallery, Gallery] = (gallery, local)
        for each in both:
            each.add(drawn_images(300))
            each.add(drawn_images(20))  # again
            each.delete("i007")
        draw = random.Random(1)
        passed = 0
        for turn in range(60):
            filters = drawn_filters(draw)
            options = SearchOptions(
                top_k=draw.choice([1, 5, 50]), filters=filters, max_distance=draw.choice([None, 1.2]),
                group_by=draw.choice([None, "vehicle_id"]), exclude_image_ids=frozenset(draw.sample(["i001", "i002", "i003"], 2)),
            )  # fmt: skip
            queries = random_vectors(3, seed=turn)
            found, expected = (each.search(queries, options) for each in both)
            assert found == expected
            assert listed(gallery, filters) == listed(local, filters)
            assert gallery.page(filters, limit=1, total=True).total == len(listed(local, filters))
            passed += len(listed(local, filters))
        assert passed > 500
        assert replace(gallery.facets(), last_change=0) == replace(local.facets(), last_change=0)


def test_the_largest_that_may_be_said_is_given_back(gallery: MovingGallery) -> None:
    said = Metadata(
        vehicle_id="🚗" * 256, camera_id="\x01" * 256,
        attributes={f"{n:02}" + "\x01" * 126: "\x02" * 1024 for n in range(64)},
    )  # fmt: skip
    new = replace(image("a" + ":" * 127), metadata=said)
    gallery.add([new])
    assert gallery.get(new.image_id).metadata == said
    name, value = next(iter(said.attributes.items()))
    assert listed(gallery, Filters(attributes={name: (value,)}, camera_id=("\x01" * 256,))) == [new.image_id]


# Several services


def test_services_write_the_same_images_at_once(gallery: MovingGallery, other: MovingGallery) -> None:
    before = gallery.info().last_change
    names = [f"i{n}" for n in range(10)]

    def write(own: Gallery, seed: int) -> None:
        draw = random.Random(seed)
        for turn in range(15):
            some = draw.sample(names, 5)
            own.add(
                [
                    image(name, vector(seed, turn), vehicle_id=f"{seed} {turn}", crop=jpeg(f"{seed} {turn}"))
                    for name in some
                ]
            )
            assert {*some} <= {*listed(own)}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, (gallery, other, gallery, other), range(4)))
    assert gallery.count() == other.count() == len(names)
    assert gallery.serving()._rows.left_behind(0, every=True) == []
    assert gallery.info().last_change == other.info().last_change == before + 4 * 15 * 5
    for match in search(other, vector(0), top_k=100, embeddings=True):
        seed, turn = map(int, str(match.image.metadata.vehicle_id).split())
        assert match.embedding is not None
        assert np.array_equal(match.embedding, vector(seed, turn))
        assert other.crop(match.image.image_id)[1] == jpeg(f"{seed} {turn}")


def _with_attributes(more: Mapping[str, Attribute], said: Metadata) -> Metadata:
    return replace(said, attributes={**said.attributes, **more})


def test_no_change_of_two_services_is_lost(gallery: MovingGallery, other: MovingGallery) -> None:
    gallery.add([image("x")])

    def change(own: Gallery, who: int) -> None:
        for turn in range(8):
            one = {f"{who}-{turn}": 1}
            own.change_metadata("x", partial(_with_attributes, one))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(change, (gallery, other), range(2)))
    assert len(gallery.get("x").metadata.attributes) == 16
    assert gallery.count() == 1
    assert gallery.serving()._rows.left_behind(0, every=True) == []


def test_a_picture_that_another_writes_outlives_a_change(gallery: MovingGallery, other: MovingGallery) -> None:
    gallery.add([image("x", vector(1), camera_id="old")])

    def change(said: Metadata) -> Metadata:
        if said.camera_id == "old":
            other.add([image("x", vector(0, 1), camera_id="new")])
        return replace(said, vehicle_id="v")

    gallery.change_metadata("x", change)
    assert other.get("x").metadata.camera_id == "new"
    (match,) = search(other, vector(0, 1))
    assert match.distance == 0


def test_an_image_that_another_erases_does_not_come_back(gallery: MovingGallery, other: MovingGallery) -> None:
    gallery.add([image("x"), image("y")])

    def change(said: Metadata) -> Metadata:
        if other.find(["x"]):
            other.delete("x")
        return replace(said, vehicle_id="v")

    with pytest.raises(ImageNotFound):
        gallery.change_metadata("x", change)
    assert listed(other) == listed(gallery) == ["y"]
    gallery.add([image("x")])
    gallery.change_metadata_where(Filters(image_id=("x",)), change)
    assert listed(other) == ["y"]


def test_a_slow_clock_loses_nothing(
    gallery: MovingGallery, other: MovingGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add([image("x", camera_id="first")])
    now = other.serving()._row_clock._now
    monkeypatch.setattr(other.serving()._row_clock, "_now", lambda: now() - 3600 * 10**6)
    monkeypatch.setattr(other.serving()._row_clock, "_last", 0)
    assert other.add([image("x", camera_id="second")]) == ["updated"]
    assert gallery.get("x").metadata.camera_id == "second"


def test_what_others_create_and_drop_is_seen(home: MilvusHome, prefix: str) -> None:
    with closing(beside(home)) as second:
        yard, new = second.create("yard-2_b", replace(SPEC, retention_days=3))
        assert new
        assert home.get("yard-2_b").spec == yard.spec
        assert home.get("yard-2_b").info().created_at == yard.info().created_at
        yard.add([image("x")])
        there = home.get("yard-2_b")
        assert listed(there) == ["x"]
        second.drop("yard-2_b")
        with pytest.raises(GalleryNotFound):
            there.get("x")
        with pytest.raises(GalleryNotFound):
            there.add([image("y")])
        home._collections._looked = 0.0  # a second later
        with pytest.raises(GalleryNotFound):
            home.get("yard-2_b")


def test_of_two_that_create_at_once_one_does(home: MilvusHome, prefix: str) -> None:
    with closing(beside(home)) as second, ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda each: each.create("both", SPEC), (home, second)))
        assert sorted(new for _, new in made) == [False, True]
        assert made[0][0].key == made[1][0].key
        home.drop("both")


WRITER = """
import sys
from pathlib import Path
from index.feedback.feedback_folder import FeedbackFolder
from index.objects.crop_home import CropHome
from index.objects.folder_objects import FolderObjects
from index.milvus.milvus_home import MilvusHome
from index.milvus.moving_gallery import MovingGallery
from tests.test_gallery import image, vector
crops, feedback = CropHome(FolderObjects(Path(sys.argv[3]))), FeedbackFolder(Path(sys.argv[3]), read_only=True)
gallery = MilvusHome(sys.argv[1], prefix=sys.argv[2], crops=crops, feedback=feedback).get("default")
for turn in range(1000):
    gallery.add([image(f"i{n}", vector(turn), vehicle_id=str(turn)) for n in range(5)] + [image(f"t{turn}")])
    print(turn, flush=True)
"""


@pytest.mark.parametrize("turns", [1, 6, 9])
def test_what_a_killed_service_acknowledged_is_there(
    gallery: MovingGallery, home: MilvusHome, prefix: str, turns: int
) -> None:
    command = [sys.executable, "-c", WRITER, milvus_uri(), prefix, str(home._crops.objects.folder)]  # type: ignore[attr-defined]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(turns):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    last = int(rest[-1]) if rest else last
    found = gallery.find([f"t{turn}" for turn in range(last + 1)])
    assert len(found) == last + 1
    turns_of = {gallery.get(f"i{n}").metadata.vehicle_id for n in range(5)}
    assert len(turns_of) == 1  # a write is there, or it is not
    assert int(turns_of.pop() or -1) in (last, last + 1)
    assert gallery.count() == len(listed(gallery)) == len(search(gallery, vector(1), top_k=1000))
    for name in listed(gallery):
        assert gallery.crop(name)[1] == jpeg(name)


@pytest.fixture
def interrupted(gallery: MovingGallery, monkeypatch: pytest.MonkeyPatch) -> MovingGallery:
    """A gallery with rows that a service left behind which died after writing others in their place."""
    gallery.add([image(f"i{n}", vector(n), camera_id="old", crop=jpeg("old")) for n in range(5)])
    with monkeypatch.context() as patch:
        patch.setattr(MilvusGallery, "_erase_replaced", lambda *_: None)
        patch.setattr(MilvusGallery, "_discard", lambda *_: None)
        gallery.add([image(f"i{n}", vector(n, 9), camera_id="new", crop=jpeg("new")) for n in range(3)])
    assert len(gallery.serving()._rows.left_behind(0)) == 3
    return gallery


def test_what_was_left_behind_is_in_no_answer(interrupted: MovingGallery) -> None:
    assert interrupted.count() == interrupted.info().images == 5
    assert listed(interrupted) == [f"i{n}" for n in range(5)]
    old = Filters(camera_id=("old",))
    assert listed(interrupted, old) == ["i3", "i4"]
    assert interrupted.page(old, limit=1, total=True).total == 2
    assert ids(search(interrupted, vector(0), filters=old)) == ["i3", "i4"]
    assert ids(search(interrupted, vector(0), top_k=2)) == ["i3", "i4"]
    assert interrupted.facets().cameras == [("new", 3), ("old", 2)]
    assert interrupted.change_metadata_where(old, lambda said: said) == 2
    assert interrupted.delete_where(old) == 2
    assert listed(interrupted) == ["i0", "i1", "i2"]
    interrupted.delete("i0")  # and what it was before does not come back
    assert listed(interrupted) == ["i1", "i2"]


def test_facets_count_an_image_once_that_two_wrote_first(
    gallery: MovingGallery, other: MovingGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CollectionRows, "current", lambda *_: {})
        patch.setattr(MilvusGallery, "_erase_replaced", lambda *_: None)
        gallery.add([image("x", camera_id="first")])
        other.add([image("x", camera_id="second")])
    assert gallery.facets().cameras == [("second", 1)]


def test_what_was_left_behind_is_swept(interrupted: MovingGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interrupted.sweep() == 0
    assert len(interrupted.serving()._rows.left_behind(0)) == 3  # somebody may be at it
    monkeypatch.setattr(milvus_gallery, "GRACE", 0)
    monkeypatch.setattr(interrupted.serving()._changes, "mark", lambda _: 0)
    interrupted.delete("i3")
    interrupted.delete("i4")
    assert sorted(interrupted.serving()._crops.names(interrupted.key)) == sorted(
        {
            str(interrupted.get("i0").crop_name),
            *(row.crop_name or "" for row in interrupted.serving()._rows.of_images(["i0"])["i0"]),
        }
    )
    interrupted.sweep()
    assert interrupted.serving()._rows.left_behind(0) == []
    interrupted.compact()
    assert list(interrupted.serving()._crops.names(interrupted.key)) == [interrupted.get("i0").crop_name]
    assert interrupted.crop("i1")[1] == jpeg("new")


def test_a_crop_goes_with_the_last_image_that_has_it(gallery: MovingGallery, other: MovingGallery) -> None:
    gallery.add([image(name, crop=jpeg("one")) for name in "abc"])
    gallery.delete("a")
    other.add([image("b", crop=jpeg("two"))])
    assert gallery.crop("c")[1] == jpeg("one")
    name = gallery.get("c").crop_name
    other.delete("c")
    assert name not in list(gallery.serving()._crops.names(gallery.key))
    assert other.crop("b")[1] == jpeg("two")


def test_a_crop_that_another_removes_before_it_is_named_is_there(
    gallery: MovingGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = gallery.serving()._row_clock.take

    def removed_first(count: int, *, above: int = 0) -> range:
        gallery.serving()._crops.delete(gallery.key, list(gallery.serving()._crops.names(gallery.key)))
        return take(count, above=above)

    with monkeypatch.context() as patch:
        patch.setattr(gallery.serving()._row_clock, "take", removed_first)
        gallery.add([image("x")])
    assert gallery.crop("x")[1] == jpeg("x")


# Many rows


@pytest.mark.parametrize("order", ORDERS)
def test_a_page_of_very_many_begins_anywhere(
    gallery: MovingGallery, monkeypatch: pytest.MonkeyPatch, order: Any
) -> None:
    monkeypatch.setattr(row_listing, "_SORTED", 50)
    monkeypatch.setattr(row_listing, "_SAMPLE", 60)
    monkeypatch.setattr(row_listing, "_MARGIN", 3)
    names = [f"i{n:03}" for n in np.random.default_rng(0).permutation(700)]
    gallery.add([image(name, crop=b"") for name in names])
    expected = sorted(names) if order == "image_id" else names[::-1]
    assert len(gallery.serving()._rows.some("", KEY, 1000)) > 50
    for offset in (0, 1, 333, 640, 699, 700):
        page = gallery.page(Filters(), limit=30, offset=offset, order=order)
        assert [each.image_id for each in page.images] == expected[offset : offset + 30]
        assert (page.cursor is None) is (offset + 30 >= 700)
        if page.cursor is not None:
            page = gallery.page(Filters(), limit=30, cursor=page.cursor, order=order)
            assert [each.image_id for each in page.images] == expected[offset + 30 : offset + 60]


@pytest.mark.timeout(60)
def test_looking_for_a_page_ends_where_no_place_is_nearer(
    gallery: MovingGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an unlucky sample, which widens the margin: the last place that may be is the one that is known."""
    monkeypatch.setattr(row_listing, "_SORTED", 50)
    monkeypatch.setattr(row_listing, "_SAMPLE", 60)
    monkeypatch.setattr(row_listing, "_MARGIN", 12)
    names = [f"i{n:03}" for n in range(110)]
    gallery.add([image(name, crop=b"") for name in names])
    page = gallery.page(Filters(), limit=30, offset=10)
    assert [each.image_id for each in page.images] == names[10:40]


def test_more_than_a_search_gives_is_measured_here(gallery: MovingGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_search, "MOST", 64)
    vectors = random_vectors(300)
    gallery.add([image(f"i{n:03}", vectors[n], vehicle_id=f"v{n % 3}", crop=b"") for n in range(300)])
    gallery.add([image(f"t{n:03}", vector(9), vehicle_id="t", crop=b"") for n in range(100)])
    names = [f"i{n:03}" for n in range(300)]
    matches = search(gallery, vectors[5], top_k=250)
    assert [match.image.image_id for match in matches] == [name for _, name in naive(vectors, names, vectors[5], 250)]
    assert ids(search(gallery, vector(9), top_k=3)) == ["t000", "t001", "t002"]  # 100 are as near
    grouped = search(gallery, vector(9), top_k=4, group_by="vehicle_id")
    assert ids(grouped)[0] == "t000"
    assert sorted(str(match.image.metadata.vehicle_id) for match in grouped) == ["t", "v0", "v1", "v2"]


def test_kinds_that_milvus_has_not_are_refused(home: MilvusHome) -> None:
    with pytest.raises(InvalidValue, match="cannot be hnsw with vectors sq8; it can be flat with fp32"):
        home.create("odd", replace(SPEC, kind="hnsw", vectors="sq8"))
    assert "odd" not in home.names()
