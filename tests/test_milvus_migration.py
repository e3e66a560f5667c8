"""A gallery on Milvus that two services have moves to another model, whatever each of them does meanwhile."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partialmethod
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from index.contract import Contract
from index.crops import model_crop, read_picture
from index.errors import EmbeddingSpaceMismatch, GalleryConflict, GalleryNotFound, NotMigratable
from index.gallery import Filters, Gallery, Metadata, Migration, NewImage, SearchOptions
from index.milvus import milvus_gallery, milvus_migration, moving_gallery, row_comparison
from index.milvus.collection_rows import CollectionRows
from index.milvus.image_row import KEY, WHOLE
from index.milvus.milvus_gallery import MilvusGallery
from index.milvus.milvus_home import MilvusHome
from index.milvus.milvus_migration import MilvusMigration
from index.milvus.milvus_server import MilvusServer
from index.milvus.moving_gallery import MovingGallery
from index.milvus.row_comparison import RowComparison
from tests.milvus_homes import beside, milvus_uri, new_home, new_prefix
from tests.test_gallery_migration import NEW, OLD, SPEC, at_once, check, contract, image, look_as, migrated, seen
from tests.test_sweeper import until

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """One gallery as two services have it, and what both are of."""

    homes: tuple[MilvusHome, MilvusHome]
    one: MovingGallery
    other: MovingGallery

    def collections(self) -> list[str]:
        """States of the gallery's collections."""
        home = self.homes[0]
        return sorted(each.state for each in home._collections.names() if each.gallery_key == self.one.key)


@pytest.fixture(scope="module")
def prefix() -> str:
    milvus_uri()
    return new_prefix()


@pytest.fixture(scope="module")
def homes(prefix: str) -> Iterator[tuple[MilvusHome, MilvusHome]]:
    with closing(new_home(prefix)) as one, closing(beside(one)) as other:
        yield one, other


numbers = iter(range(1000))


@pytest.fixture
def services(homes: tuple[MilvusHome, MilvusHome]) -> Iterator[Services]:
    name = f"g{next(numbers)}"
    one, _ = homes[0].create(name, SPEC)
    yield Services(homes, one, homes[1].get(name))
    homes[0].drop(name)


def filled(gallery: Gallery, count: int = 30) -> dict[str, NewImage]:
    images = {each.image_id: each for each in (image(n) for n in range(count))}
    gallery.add(list(images.values()))
    return images


def test_both_services_see_the_switch_at_once(services: Services) -> None:
    images = filled(services.one)
    crops = {name: services.other.get(name).crop_name for name in images}
    when = {name: services.other.get(name).ingested_at for name in images}
    begun, _ = services.one.begin_migration(NEW, "f")
    assert services.other.begin_migration(NEW, "f") == (begun, False)
    assert services.other.migrations() == [begun]
    check(services.other, images, OLD)
    assert migrated(services.other) == "finished"
    check(services.one, images)
    check(services.other, images)
    assert services.one.migrations() == services.other.migrations()
    assert {name: services.one.get(name).crop_name for name in images} == crops
    assert {name: services.one.get(name).ingested_at for name in images} == when
    assert services.collections() == ["serving"]
    assert services.one.crop("i003")[1] == images["i003"].crop


class Killed(BaseException):
    """A process that ends at once."""


def dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does on its way out is not done."""
    monkeypatch.setattr(MilvusMigration, "_let_go", lambda *_: None)


@pytest.fixture
def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is at work is taken for dead."""
    monkeypatch.setattr(milvus_migration, "_LEASE", 0)


@pytest.mark.usefixtures("no_lease")
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_nothing_is_lost_while_both_write_and_one_takes_over(
    services: Services, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Each of four writers has images of its own; whatever it was told is so for the other service at once."""
    images = filled(services.one, 40)
    done, guard = threading.Event(), threading.Lock()
    turns = [0] * 4

    def write(number: int) -> None:
        draw = random.Random(number)
        own, asked = (services.one, services.other)[:: 1 if number % 2 else -1]
        mine = {name: each for name, each in images.items() if int(name[1:]) % 4 == number}
        while not done.is_set():
            n = draw.randrange(number, 60, 4)
            name = f"i{n:03}"
            if name in mine and draw.random() < 0.3:
                own.delete(name)
                del mine[name]
                assert name not in asked.find([name])
            elif name in mine and draw.random() < 0.5:
                own.change_metadata(name, lambda said: replace(said, vehicle_id=str(turns[number])))
                assert asked.get(name).metadata.vehicle_id == str(turns[number])
                mine[name] = replace(mine[name], metadata=asked.get(name).metadata)
            else:
                new = image(n, turn=draw.randrange(1000))
                mine[name] = _added(own, new)
                _found(asked, mine[name])
            turns[number] += 1
        with guard:
            for name in list(images):
                if int(name[1:]) % 4 == number:
                    del images[name]
            images.update(mine)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, number) for number in range(4)]
        try:
            until(lambda: min(turns) > 0)
            services.one.begin_migration(NEW, "f")
            _stopped_in_its_midst(services.one, monkeypatch, killed=killed)
            assert services.other.migrate(NEW, look_as(NEW), at_once, threading.Event()).state == "finished"
            after = list(turns)
            until(lambda: all(now > then + 2 for now, then in zip(turns, after, strict=True)) or _failed(writers))
        finally:
            done.set()
        for each in writers:
            each.result()
    for gallery in (services.one, services.other):
        check(gallery, images)
        for name, said in images.items():
            assert gallery.get(name).metadata == said.metadata
    assert services.collections() == ["serving"]


def _failed(futures: Sequence[Future[None]]) -> bool:
    return any(each.done() for each in futures)


def _added(gallery: Gallery, new: NewImage) -> NewImage:
    """Add an image by the model that the gallery is of, as the service does."""
    while True:
        model = NEW if gallery.spec.embedding_space == NEW.embedding_space else OLD
        crop = model_crop(read_picture(new.crop, max_pixels=10**6), model.resize)
        vectors, viewpoints = look_as(model)(crop[None])
        embedded = replace(new, embedding=vectors[0], viewpoint=viewpoints[0], embedding_space=model.embedding_space)
        try:
            gallery.add([embedded])
        except EmbeddingSpaceMismatch:
            assert gallery.spec.embedding_space != model.embedding_space
            continue
        return embedded


def _found(gallery: Gallery, one: NewImage) -> None:
    """The next search of either service finds an image."""
    while True:
        model = NEW if gallery.spec.embedding_space == NEW.embedding_space else OLD
        options = SearchOptions(top_k=1, embedding_space=model.embedding_space)
        try:
            ((match,),) = gallery.search(seen(model, one.crop)[None], options)
        except EmbeddingSpaceMismatch:
            continue
        assert match.image.image_id == one.image_id
        assert match.distance < 2e-3
        return


def _stopped_in_its_midst(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, *, killed: bool) -> None:
    stop, looked = threading.Event(), [0]

    def look(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        looked[0] += len(crops)
        if looked[0] >= 20 and killed:
            raise Killed
        if looked[0] >= 20:
            stop.set()
        return look_as(NEW)(crops)

    with monkeypatch.context() as patch:
        patch.setattr(milvus_migration, "_WRITTEN_AT_ONCE", 8)
        if not killed:
            assert gallery.migrate(NEW, look, at_once, stop).state == "waiting"
            return
        dies(patch)
        with pytest.raises(Killed):
            gallery.migrate(NEW, look, at_once, stop)
    (known,) = gallery.migrations()
    assert known.state == "running"
    assert 0 < known.done < known.total


# Who writes as the gallery switches


class Late:
    """A write of another thread that is held before its rows go in, until the last rows were looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write: Callable[[], object]) -> None:
        self._arrived, self._go, self._in = threading.Event(), threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="late")
        for step in ("insert", "erase"):
            monkeypatch.setattr(CollectionRows, step, self._held(getattr(CollectionRows, step)))
        original = MilvusMigration._fill_last

        def fill_last(*arguments: Any) -> bool:
            found = original(*arguments)
            if found:
                self._go.set()
                assert self._in.wait(60)
            return found

        finish = MilvusMigration._finish

        def finish_after(*arguments: Any) -> Migration:
            wait([self.written], timeout=60)  # the old collection is there until then
            return finish(*arguments)

        monkeypatch.setattr(MilvusMigration, "_fill_last", fill_last)
        monkeypatch.setattr(MilvusMigration, "_finish", finish_after)
        self.written = self._pool.submit(write)
        assert self._arrived.wait(60)

    def _held(self, step: Callable[..., None]) -> Callable[..., None]:
        def held(*arguments: Any) -> None:
            first = threading.current_thread().name.startswith("late") and not self._in.is_set()
            if first:
                self._arrived.set()
                assert self._go.wait(60)
            step(*arguments)
            if first:
                self._in.set()

        return held


def test_an_image_that_comes_too_late_is_refused_and_nothing_is_lost(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    late = Late(monkeypatch, lambda: services.other.add([image(3, turn=1), image(50)]))
    assert migrated(services.one) == "finished"
    with pytest.raises(EmbeddingSpaceMismatch, match="it was migrated meanwhile"):
        late.written.result(60)
    check(services.other, images)


def test_an_image_that_is_erased_too_late_does_not_come_back(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    late = Late(
        monkeypatch, lambda: services.other.delete_where(Filters(viewpoint=("front", "rear"), image_id=("i003",)))
    )
    assert migrated(services.one) == "finished"
    assert late.written.result(60) == 1
    del images["i003"]
    check(services.other, images)
    assert not list(services.one.serving()._rows.of_images(["i003"]))


def test_what_is_swept_too_late_is_swept_again(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that one who died left behind was carried over, and nobody would ever look for it again."""
    monkeypatch.setattr(milvus_gallery, "GRACE", -60)
    images = filled(services.one, 6)
    old = services.one.serving().rows
    (row,) = old.some('image_id == "i003"', WHOLE, 1)
    old.insert([row.changed(row.row_id + 1, images["i003"].metadata)])
    services.one.begin_migration(NEW, "f")
    late = Late(monkeypatch, services.other.sweep)
    assert migrated(services.one) == "finished"
    late.written.result(60)
    assert len(services.one.serving().rows.of_images(["i003"], KEY)["i003"]) == 1
    check(services.one, images)


def test_a_change_that_comes_too_late_is_made_again(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")

    def change(said: Metadata) -> Metadata:
        return replace(said, attributes={**said.attributes, "times": 1 + int(said.attributes.get("times", 0))})

    late = Late(monkeypatch, lambda: services.other.change_metadata("i003", change))
    assert migrated(services.one) == "finished"
    late.written.result(60)
    check(services.other, images)
    assert services.one.get("i003").metadata.attributes == {"times": 1}


def test_a_change_that_was_carried_over_is_made_once(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose rows were in, and who does not know it, takes them back before it begins again."""
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    settled, calls = MovingGallery.settled, iter(range(100))

    def too_long(self: MovingGallery) -> MilvusGallery:
        if self is services.other and next(calls) == 1:  # its row is in
            assert migrated(services.one) == "finished"
        return settled(self)

    def change(said: Metadata) -> Metadata:
        return replace(said, attributes={**said.attributes, "times": 1 + int(said.attributes.get("times", 0))})

    with monkeypatch.context() as patch:
        patch.setattr(MovingGallery, "settled", too_long)
        services.other.change_metadata("i003", change)
    check(services.one, images)
    assert services.one.get("i003").metadata.attributes == {"times": 1}
    assert services.one.count() == 6


@pytest.mark.usefixtures("no_lease")
def test_writers_do_not_wait_for_one_who_died(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    with monkeypatch.context() as patch:
        patch.setattr(MilvusMigration, "_fill_last", _killed)
        dies(patch)
        with pytest.raises(Killed):
            migrated(services.one)
    assert services.collections() == ["closing", "serving"]
    check(services.other, images, OLD)
    monkeypatch.setattr(moving_gallery, "CLOSED_SECONDS", 0.1)
    services.other.add([image(50)])
    images["i050"] = image(50)
    assert services.collections() == ["serving", "waiting"]
    assert migrated(services.other) == "finished"
    check(services.one, images)


def _killed(*_: object) -> bool:
    raise Killed


@pytest.mark.parametrize("step", ["of_images", "delete"])
def test_a_write_whose_collection_goes_is_told_and_made_once(
    services: Services, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Its rows were carried over, and then it looks for what to erase in a collection that is no more."""
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    original = getattr(CollectionRows, step)
    inserted, moved = threading.Event(), threading.Event()
    insert = CollectionRows.insert

    def inserting(self: CollectionRows, rows: Any) -> None:
        insert(self, rows)
        inserted.set()

    def too_late(self: CollectionRows, *words: Any) -> Any:
        if inserted.is_set() and not moved.is_set():
            moved.set()
            assert migrated(services.one) == "finished"
        return original(self, *words)

    def change(said: Metadata) -> Metadata:
        return replace(said, attributes={**said.attributes, "times": 1 + int(said.attributes.get("times", 0))})

    with monkeypatch.context() as patch:
        patch.setattr(CollectionRows, "insert", inserting)
        patch.setattr(CollectionRows, step, too_late)
        said = services.other.change_metadata("i003", change)
    assert moved.is_set()
    assert said.metadata.attributes == services.one.get("i003").metadata.attributes == {"times": 1}
    check(services.one, images)


def test_what_a_collection_says_that_is_being_dropped_does_not_count(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers with a part of its rows, or with none."""
    images = filled(services.one, 6)
    asked = iter((NEW, OLD, NEW, OLD, NEW))

    def after_a_switch(ask: Callable[[], T]) -> T:
        target = next(asked)
        services.one.begin_migration(target, "f")
        steps = {name: getattr(CollectionRows, name) for name in ("of_images", "pages", "count")}
        empty: dict[str, Any] = {"of_images": {}, "pages": iter(()), "count": 0}
        moved = threading.Event()

        def dropped(name: str, *words: Any, **options: Any) -> Any:
            if threading.current_thread() is not caller or moved.is_set():
                return steps[name](*words, **options)
            with ThreadPoolExecutor(1) as pool:
                done = pool.submit(services.one.migrate, target, look_as(target), at_once, threading.Event())
                assert done.result(60).state == "finished"
            moved.set()
            return empty[name]

        caller = threading.current_thread()
        with monkeypatch.context() as patch:
            for name in steps:
                patch.setattr(CollectionRows, name, partialmethod(_told, dropped, name))
            found = ask()
        assert moved.is_set()
        return found

    other = services.other
    assert after_a_switch(lambda: other.get("i003")).image_id == "i003"
    assert after_a_switch(other.count) == 6
    after_a_switch(lambda: other.delete("i003"))
    assert after_a_switch(lambda: other.delete_where(Filters(image_id=("i004",)))) == 1
    assert after_a_switch(lambda: other.change_metadata_where(Filters(), lambda said: said)) == 4
    for name in ("i003", "i004"):
        del images[name]
    check(other, images)


def _told(self: CollectionRows, told: Callable[..., Any], name: str, *words: Any, **options: Any) -> Any:
    return told(name, self, *words, **options)


def test_whoever_reads_all_while_it_switches_is_told_to_begin_again(services: Services) -> None:
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    pages = services.other.whole()
    assert migrated(services.one) == "finished"
    assert {each.image_id for page in pages for each, _ in page} == set(images)  # it had not begun
    pages = services.other.whole()
    assert next(pages)
    services.one.begin_migration(OLD, "f")
    assert services.one.migrate(OLD, look_as(OLD), at_once, threading.Event()).state == "finished"
    with pytest.raises(GalleryConflict, match="begin again"):
        next(pages)


def test_an_image_that_is_erased_just_before_is_found_by_counting(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When writers wait, only rows of the last minutes are compared one by one."""
    monkeypatch.setattr(milvus_migration, "GRACE", 0)
    images = filled(services.one, 6)
    services.one.begin_migration(NEW, "f")
    switch = MilvusMigration._switch

    def erased_before(*arguments: Any) -> bool:
        if "i003" in images:
            services.other.delete("i003")
            del images["i003"]
        return switch(*arguments)

    monkeypatch.setattr(MilvusMigration, "_switch", erased_before)
    assert migrated(services.one) == "finished"
    check(services.other, images)


# Who carries it on


def test_only_one_service_is_at_work(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    images = filled(services.one, 12)
    services.one.begin_migration(NEW, "f")
    states: list[str] = []

    def look(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        states.append(migrated(services.other))
        return look_as(NEW)(crops)

    assert services.one.migrate(NEW, look, at_once, threading.Event()).state == "finished"
    assert states == ["running"] * 3
    check(services.other, images)


def test_one_who_shows_nothing_is_taken_for_dead_after_a_while(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = filled(services.one, 30)
    services.one.begin_migration(NEW, "f")
    _stopped_in_its_midst(services.one, monkeypatch, killed=True)
    assert migrated(services.other) == "running"
    services.one._migration._changes.note(services.one._migration._beats(services.one.migrations()[0]), 1)
    monkeypatch.setattr(milvus_migration, "_LEASE", 0.1)
    assert migrated(services.other) == "running"  # it has shown itself since
    time.sleep(0.1)
    assert migrated(services.other) == "finished"
    check(services.one, images)


@pytest.mark.usefixtures("no_lease")
def test_one_who_was_slow_and_not_dead_does_no_harm(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another finished meanwhile, and an image was erased: what the slow one looked at does not come back."""
    images = filled(services.one, 12)
    services.one.begin_migration(NEW, "f")
    calls = iter(range(100))

    def slow(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if next(calls) == 0:
            assert migrated(services.other) == "finished"
            services.other.delete("i000")
        return look_as(NEW)(crops)

    assert services.one.migrate(NEW, slow, at_once, threading.Event()).state == "finished"
    del images["i000"]
    check(services.one, images)
    assert services.collections() == ["serving"]
    assert len(services.one.migrations()) == 1


def test_of_two_that_begin_at_once_one_does(services: Services) -> None:
    filled(services.one, 2)
    with ThreadPoolExecutor(2) as pool:
        begun = list(pool.map(lambda each: each.begin_migration(NEW, "f"), (services.one, services.other)))
    assert begun[0][0].migration_id == begun[1][0].migration_id
    assert sorted(new for _, new in begun) == [False, True]
    assert services.collections() == ["serving", "waiting"]
    third = contract("third", 4)
    with pytest.raises(GalleryConflict, match="is being migrated to the embedding space space of new"):
        services.other.begin_migration(third, "f")
    services.other.cancel_migration(begun[0][0].migration_id)
    assert services.collections() == ["serving"]
    assert services.one.begin_migration(third, "f")[1]


def test_one_who_dies_as_it_begins_is_in_nobodys_way(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    images = filled(services.one, 2)
    with monkeypatch.context() as patch:
        patch.setattr(MilvusServer, "load", _killed)
        with pytest.raises(Killed):
            services.one.begin_migration(NEW, "f")
    assert services.collections() == ["making", "serving"]
    assert services.other.migrations() == []
    begun, new = services.other.begin_migration(NEW, "f")
    assert new
    assert services.collections() == ["making", "serving", "waiting"]  # somebody may be at it
    services.other.cancel_migration(begun.migration_id)
    monkeypatch.setattr(milvus_migration, "_MAKING", timedelta(0))
    services.other.begin_migration(NEW, "f")
    assert services.collections() == ["serving", "waiting"]
    assert [each.state for each in services.one.migrations()] == ["waiting", "cancelled"]
    assert migrated(services.one) == "finished"
    check(services.other, images)


@pytest.mark.usefixtures("no_lease")
def test_killed_at_any_step_another_goes_on(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call that changes something on the server is once the last one."""
    images = filled(services.one, 5)
    models, steps = [NEW, OLD], 0
    while True:
        target = models[steps % 2]
        services.one.begin_migration(target, "f")
        if not _killed_after(steps, services.one, target, monkeypatch):
            break
        steps += 1
        services.other.add([image(steps, turn=steps, model=_model_of(services.other))])
        images[f"i{steps:03}"] = image(steps, turn=steps)
        if any(each.open for each in services.other.migrations()):
            assert services.other.migrate(target, look_as(target), at_once, threading.Event()).state == "finished"
        check(services.one, images, target)
        assert services.collections() == ["serving"]
        assert [each.state for each in services.other.migrations()] == ["finished"] * steps
    assert steps > 6


def _model_of(gallery: Gallery) -> Contract:
    gallery.count()
    return NEW if gallery.spec.embedding_space == NEW.embedding_space else OLD


def _killed_after(steps: int, gallery: Gallery, target: Contract, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a migration that may change so much only came to that."""
    made = iter(range(1000))
    call = MilvusServer.call

    def counted(self: MilvusServer, name: str, *words: Any, **options: Any) -> Any:
        found = call(self, name, *words, **options)
        if name in ("rename_collection", "insert", "delete", "drop_collection") and next(made) == steps:
            raise Killed
        return found

    with monkeypatch.context() as patch:
        dies(patch)
        patch.setattr(MilvusServer, "call", counted)
        patch.setattr(milvus_migration, "_WRITTEN_AT_ONCE", 4)
        try:
            assert gallery.migrate(target, look_as(target), at_once, threading.Event()).state == "finished"
        except Killed:
            return True
    return False


@pytest.mark.parametrize("at", ["drop_collection", "create_collection"])
def test_a_gallery_that_is_dropped_while_it_moves_does_not_come_back(
    homes: tuple[MilvusHome, MilvusHome], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Its collections have other names, or are more, than when they were listed to be dropped."""
    gallery = f"g{next(numbers)}"
    one, _ = homes[0].create(gallery, SPEC)
    filled(one, 2)
    server, call, done = homes[int(at == "drop_collection")]._server, MilvusServer.call, threading.Event()

    def other_first(self: MilvusServer, name: str, *words: Any, **options: Any) -> Any:
        if self is server and name == at and not done.is_set():
            done.set()
            if at == "drop_collection":
                (target,) = one.standing().targets
                homes[0]._server.rename(target.text, replace(target, state="serving").text)
            else:
                homes[1].drop(gallery)
        return call(self, name, *words, **options)

    if at == "drop_collection":
        one.begin_migration(NEW, "f")
    monkeypatch.setattr(MilvusServer, "call", other_first)
    if at == "drop_collection":
        homes[1].drop(gallery)
    else:
        with pytest.raises(GalleryNotFound):
            one.begin_migration(NEW, "f")
    assert done.is_set()
    assert [each for each in homes[0]._collections.names() if each.gallery == gallery] == []
    assert one._migration._kept.known(one.key) == []


@pytest.mark.usefixtures("no_lease")
def test_of_two_that_begin_at_once_one_may_end_before_the_other_has_begun(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other gives its own away, and where it dies before, whoever comes next does."""
    images = filled(services.one, 6)
    made = MilvusMigration._made

    def slow(self: MilvusMigration, *words: Any) -> Any:
        if self is services.one._migration:
            services.other.begin_migration(NEW, "f")
            assert migrated(services.other) == "finished"
        return made(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(MilvusMigration, "_made", slow)
        patch.setattr(MilvusMigration, "_give_away", _killed)
        with pytest.raises(Killed):
            services.one.begin_migration(NEW, "f")
    assert services.collections() == ["serving", "waiting"]
    with pytest.raises(NotMigratable, match="none is"):
        migrated(services.other)
    assert services.collections() == ["serving"]
    check(services.one, images)
    check(services.other, images)


# Which rows differ


def test_a_row_that_the_old_collection_has_twice_is_in_nobodys_way(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that lost the answer to a write may have written it again."""
    images = filled(services.one, 6)
    old = services.one.serving().rows
    (row,) = old.some('image_id == "i003"', WHOLE, 1)
    old.insert([row.fields])
    assert old.count("") == 7
    monkeypatch.setattr(milvus_migration, "_VAIN", 1)
    services.one.begin_migration(NEW, "f")
    assert migrated(services.one) == "finished"
    check(services.other, images)


def test_rows_that_differ_are_found_among_many(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is lacking, one that was erased, and one that was written twice."""
    monkeypatch.setattr(row_comparison, "_WINDOW", 32)
    monkeypatch.setattr(row_comparison, "_AGAIN", 8)
    images = filled(services.one, 300)
    services.one.begin_migration(NEW, "f")
    stop = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(MilvusMigration, "_switch", lambda *_: stop.set())
        assert migrated(services.one, stop=stop) == "waiting"
    (target,) = services.one.standing().targets
    old, new = services.one.serving().rows, CollectionRows(services.homes[0]._server, target.text, NEW.embedding_dim)
    comparison = RowComparison(old, new)
    assert comparison.alike()
    assert list(comparison.differing()) == []
    ids = [row.row_id for page in old.pages("", KEY) for row in page]
    (twice,) = new.some(f"row_id == {ids[7]}", WHOLE, 1)
    (erased,) = old.some(f"row_id == {ids[200]}", KEY, 1)
    new.erase(ids[100:103])
    old.erase(ids[200:201])
    new.insert([twice.fields])
    found = list(comparison.differing())
    assert sorted(each for one in found for each in one.lacking) == ids[100:103]
    surplus = {each for one in found for each in one.surplus}
    assert {ids[200], ids[7]} <= surplus
    assert len(surplus) <= 1 + 8
    passed = list(comparison.passes(0))
    assert sorted(each for one in passed for each in one.lacking) == ids[100:103]
    assert sorted(each for one in passed for each in one.surplus) == [ids[200]]
    assert comparison.gone({*ids[198:203], 5}) == {ids[200], 5}
    assert migrated(services.one) == "finished"
    assert services.one.count() == len(images) - 1
    assert services.one.find([erased.image_id]) == {}
