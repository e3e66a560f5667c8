"""A gallery moves to another model: what is written, replaced and erased meanwhile, what a stop leaves, what remains."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from index import gallery_migration
from index.contract import Contract, Resize
from index.crops import content_name, model_crop, read_picture
from index.data_folder import DataFolder
from index.errors import EmbeddingSpaceMismatch, GalleryConflict, MigrationNotFound, NotEnoughMemory, NotMigratable
from index.gallery import Filters, Gallery, GallerySpec, Kind, Metadata, NewImage, SearchOptions, Vectors
from index.gallery_rules import utc_now
from index.local_gallery import LocalGallery
from index.maintenance.verification import examine
from index.milvus import milvus_migration
from index.milvus.milvus_home import MilvusHome
from index.milvus.moving_gallery import MovingGallery
from index.objects.folder_objects import FolderObjects
from index.piecework import Piecework
from index.storage.gallery_files import SNAPSHOT
from tests.index_kinds import ALL_ANYWHERE, OnDevice, build_early, kind_name
from tests.milvus_homes import beside, milvus_home
from tests.pictures import png
from tests.test_sweeper import until

T = TypeVar("T")
SIZE = (8, 8)


def contract(name: str, dim: int, viewpoints: tuple[str, ...] = ("front", "rear")) -> Contract:
    """Of a model that ``look`` stands for: numbers taken from the pixels."""
    return Contract(
        contract_version=1, name=name, backbone="none", input_size=SIZE, resize=Resize(size=SIZE, crop=SIZE),
        embedding_dim=dim, viewpoints=viewpoints, distance="l2", normalized=False, precision="fp32",
        routing_threshold=None, embedding_space=f"space of {name}", trained_on=("none",), viewpoint_labels_from="none",
        metrics={}, created_at="2026-01-01T00:00:00Z", git_revision="none",
    )  # fmt: skip


OLD, NEW = contract("old", 6), contract("new", 9, ("left", "right", "top"))


def look_as(model: Contract) -> Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """A projection of the pixels that is the model's own, and viewpoints."""
    weights = np.random.default_rng(model.embedding_dim).normal(size=(3 * SIZE[0] * SIZE[1], model.embedding_dim))

    def look(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        flat = crops.reshape(len(crops), -1) / 255  # (N, H·W·3)
        views = np.abs(flat[:, : len(model.viewpoints)]) + 0.01
        return (flat @ weights).astype(np.float32), (views / views.sum(1, keepdims=True)).astype(np.float32)

    return look


def seen(model: Contract, picture: bytes) -> NDArray[np.float32]:
    crop = model_crop(read_picture(picture, max_pixels=10**6), model.resize)
    vector: NDArray[np.float32] = look_as(model)(crop[None])[0][0]
    return vector


def image(n: int, *, turn: int = 0, model: Contract = OLD) -> NewImage:
    picture = png(1000 * turn + n, (24, 16))
    crop = model_crop(read_picture(picture, max_pixels=10**6), model.resize)
    vectors, viewpoints = look_as(model)(crop[None])
    return NewImage(
        image_id=f"i{n:03}", metadata=Metadata(camera_id=f"c{n % 3}"), crop=picture, embedding=vectors[0],
        viewpoint=viewpoints[0], embedding_space=model.embedding_space,
    )  # fmt: skip


SPEC = GallerySpec.for_model(OLD)


def at_once(pieces: Iterable[Callable[[], T]]) -> Iterator[T]:
    return (piece() for piece in pieces)


def migrated(gallery: Gallery, *, stop: threading.Event | None = None) -> str:
    return gallery.migrate(NEW, look_as(NEW), at_once, stop or threading.Event()).state


def check(gallery: Gallery, expected: dict[str, NewImage], model: Contract = NEW) -> None:
    """Every image is found by its own vector of the model, and no other image is there."""
    assert {each.image_id for each in gallery.page(Filters(), limit=1000).images} == set(expected)
    assert gallery.spec.embedding_space == model.embedding_space
    assert gallery.spec.viewpoints == model.viewpoints
    for image_id, one in expected.items():
        query = seen(model, one.crop)
        ((match,),) = gallery.search(query[None], SearchOptions(top_k=1, embedding_space=model.embedding_space))
        assert match.image.image_id == image_id
        assert match.distance < 2e-3
        assert set(match.image.viewpoint) == set(model.viewpoints)
        np.testing.assert_allclose(gallery.embedding(image_id), query, atol=1e-5)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DataFolder]:
    opened = DataFolder(tmp_path / "data", default_spec=SPEC)
    yield opened
    if opened.names():  # a test that opens the folder again has closed it
        opened.close()


@pytest.fixture
def gallery(home: DataFolder) -> LocalGallery:
    return home.get("default")


@dataclass(frozen=True)
class Somewhere:
    """A gallery of one of the homes that there are, and what only that home can tell."""

    home: DataFolder | MilvusHome
    gallery: LocalGallery | MovingGallery
    path: Path

    @property
    def writers_wait(self) -> bool:
        """Whether the migration is looking at its last rows."""
        if isinstance(self.gallery, LocalGallery):
            return self.gallery._writing.locked()
        return self.gallery.standing().closing is not None

    def spaces(self) -> dict[str, int]:
        """Vectors of each space."""
        if isinstance(self.gallery, LocalGallery):
            return spaces(self.gallery)
        standing, migration = self.gallery.standing(), self.gallery._migration
        there = (standing.serving, *standing.left, *standing.beside)
        return {migration._description(each).spec.embedding_space: migration._rows(each, 1).count("") for each in there}

    def crop_file(self, name: str) -> Path:
        """Where a crop is."""
        if isinstance(self.home, DataFolder):
            return self.path / "data/galleries/default/crops" / name[:2] / name
        objects = self.home._crops.objects
        assert isinstance(objects, FolderObjects)
        return objects.folder / self.gallery_key / name[:2] / name

    def again(self) -> DataFolder | MilvusHome:
        """The home opened again, as after a restart; a test ends by closing it."""
        if isinstance(self.home, DataFolder):
            self.home.close()
            return DataFolder(self.path / "data")
        return beside(self.home)

    @property
    def gallery_key(self) -> str:
        """What crops are kept under."""
        assert isinstance(self.gallery, MovingGallery)
        return self.gallery.key


@pytest.fixture(params=["folder", "milvus"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Somewhere]:
    home: DataFolder | MilvusHome
    if request.param == "milvus":
        home = milvus_home(tmp_path, default_spec=SPEC, clock=utc_now, device=None)
        monkeypatch.setattr(milvus_migration, "_LEASE", 0)  # who is at work here is asked nobody else
    else:
        home = DataFolder(tmp_path / "data", default_spec=SPEC)
    yield Somewhere(home, home.get("default"), tmp_path)
    if home.names():  # a test that opens the folder again has closed it
        home.close()


def write_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write what was looked at in small lots."""
    for module in (gallery_migration, milvus_migration):
        monkeypatch.setattr(module, "_WRITTEN_AT_ONCE", 8)


def spaces(gallery: LocalGallery) -> dict[str, int]:
    """Vectors of each space."""
    with gallery._database.snapshot() as connection:
        return dict(
            connection.execute(
                "SELECT name, count(row_id) FROM spaces LEFT JOIN embeddings USING (space_id) GROUP BY name"
            )
        )


@pytest.mark.parametrize("kind", ALL_ANYWHERE, ids=kind_name)
def test_every_kind_of_gallery_moves(
    kind: tuple[Kind, Vectors], home: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    gallery, _ = home.create("yard", replace(SPEC, kind=kind[0], vectors=kind[1]))
    images = {each.image_id: each for each in (image(n) for n in range(60))}
    gallery.add(list(images.values()))
    begun, new = gallery.begin_migration(NEW, "f" * 64)
    assert (new, begun.state, begun.done, begun.total) == (True, "waiting", 0, 60)
    assert gallery.begin_migration(NEW, "f" * 64) == (begun, False)
    assert migrated(gallery) == "finished"
    (ended,) = gallery.migrations()
    assert (ended.done, ended.total, ended.failures, ended.from_space) == (60, 60, 0, OLD.embedding_space)
    check(gallery, images)
    gallery.delete("i003")
    del images["i003"]
    gallery.add([image(100, model=NEW)])
    images["i100"] = image(100)
    check(gallery, images)
    gallery._upkeep.rest()
    assert gallery.info().index.kind == kind[0]
    assert (gallery.info().index.device == "cpu") == (not isinstance(kind, OnDevice))
    home.close()
    again = DataFolder(tmp_path / "data")
    check(again.get("yard"), images)
    again.close()
    assert examine(tmp_path / "data/galleries/yard").findings == []


def test_what_happens_meanwhile_is_right_afterwards(somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are added, replaced and erased at every step, while searches of the old space go on."""
    write_often(monkeypatch)
    gallery = somewhere.gallery
    images = {each.image_id: each for each in (image(n) for n in range(60))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    steps = iter(range(10_000))

    def busy(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        step = next(steps)
        if step < 15 and gallery.spec.embedding_space == OLD.embedding_space and not somewhere.writers_wait:
            for changed in (image(100 + step), image(step, turn=1)):
                gallery.add([changed])
                images[changed.image_id] = changed
            gallery.delete(f"i{30 + step:03}")
            del images[f"i{30 + step:03}"]
            ((match,),) = gallery.search(seen(OLD, images["i000"].crop)[None], SearchOptions(top_k=1))
            assert match.image.image_id == "i000"
        return look_as(NEW)(crops)

    assert gallery.migrate(NEW, busy, at_once, threading.Event()).state == "finished"
    assert next(steps) > 15
    check(gallery, images)
    assert somewhere.spaces() == {NEW.embedding_space: len(images)}


@pytest.mark.parametrize("came", [1, 4, 6], ids=["slower", "as fast", "faster"])
def test_it_ends_however_fast_others_write(somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch, came: int) -> None:
    """While four images are looked at so many come, without an end."""
    for module in (gallery_migration, milvus_migration):
        monkeypatch.setattr(module, "_PAUSE", 0.01)
        monkeypatch.setattr(module, "_BETWEEN", 0.1)
    gallery = somewhere.gallery
    images = {each.image_id: each for each in (image(n) for n in range(60))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    numbers = iter(range(100, 100_000))

    def beside_a_writer(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not somewhere.writers_wait:
            new = [image(next(numbers)) for _ in range(came)]
            gallery.add(new)
            images.update((each.image_id, each) for each in new)
        return look_as(NEW)(crops)

    assert gallery.migrate(NEW, beside_a_writer, at_once, threading.Event()).state == "finished"
    assert len(images) > 60
    some = dict(list(images.items())[:: len(images) // 50])
    assert gallery.count() == len(images)
    for image_id, one in some.items():
        np.testing.assert_allclose(gallery.embedding(image_id), seen(NEW, one.crop), atol=1e-5)
    assert somewhere.spaces() == {NEW.embedding_space: len(images)}


@pytest.mark.parametrize("many", [2, 20], ids=["a few", "too many to wait for"])
@pytest.mark.parametrize(("kind", "vectors"), [("flat", "fp32"), ("hnsw", "fp32"), ("ivf", "sq8")], ids=str)
def test_what_happens_after_the_index_was_built_is_right_afterwards(
    home: DataFolder, monkeypatch: pytest.MonkeyPatch, kind: Kind, vectors: Vectors, many: int
) -> None:
    """Between building the index of the new space and the switch; the first time it is too late for the index."""
    build_early(monkeypatch)
    monkeypatch.setattr(gallery_migration, "_PAUSE", 0.0)  # one lot is looked at while writers wait
    gallery, _ = home.create("yard", replace(SPEC, kind=kind, vectors=vectors))
    images = {each.image_id: each for each in (image(n) for n in range(60))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    original = gallery_migration.GalleryMigration._switch
    calls: list[int] = []

    def switch(self: gallery_migration.GalleryMigration, *arguments: object) -> bool:
        calls.append(len(calls))
        if len(calls) == 1:
            for changed in (*(image(100 + n) for n in range(many)), *(image(n, turn=1) for n in range(many))):
                gallery.add([changed])
                images[changed.image_id] = changed
            for n in (30, 31, 100):
                gallery.delete(f"i{n:03}")
                del images[f"i{n:03}"]
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery_migration.GalleryMigration, "_switch", switch)
    assert migrated(gallery) == "finished"
    assert len(calls) == (1 if many == 2 else 2)
    check(gallery, images)
    gallery._upkeep.rest()
    check(gallery, images)


def test_searches_and_writes_never_fail_or_mix_spaces_while_it_switches(somewhere: Somewhere) -> None:
    """A search says of which space its query is, and is answered from that space or told to ask again."""
    gallery, rounds = somewhere.gallery, 5 if isinstance(somewhere.home, DataFolder) else 1
    gallery.add([image(n) for n in range(40)])
    stop, started = threading.Event(), threading.Barrier(4)
    told: list[str] = []

    def search() -> int:
        answers = 0
        started.wait(20)
        while not stop.is_set():
            model = NEW if gallery.spec.embedding_space == NEW.embedding_space else OLD
            number = answers % 40
            try:
                ((match,),) = gallery.search(
                    seen(model, image(number).crop)[None],
                    SearchOptions(top_k=1, embedding_space=model.embedding_space),
                )
                gallery.embedding(match.image.image_id)
                gallery.page(Filters(viewpoint=("front",)), limit=5)
            except EmbeddingSpaceMismatch as error:
                told.append(str(error))
                continue
            assert match.image.image_id == f"i{number:03}"
            assert match.distance < 2e-3
            answers += 1
        return answers

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        started.wait(20)
        try:
            for _ in range(rounds):
                for target in (NEW, OLD):
                    gallery.begin_migration(target, "f")
                    assert gallery.migrate(target, look_as(target), at_once, threading.Event()).state == "finished"
        finally:
            stop.set()
        assert all(done.result() > 0 for done in searches)
    assert len(gallery.migrations()) == 2 * rounds


def test_it_switches_when_no_search_is_between_index_and_database(gallery: LocalGallery) -> None:
    """Such a search would see a database without the vectors of the index that it looks into."""
    images = {each.image_id: each for each in (image(n) for n in range(20))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    lock = gallery._index.lock
    with ThreadPoolExecutor(1) as pool:
        with lock.read():
            migrating = pool.submit(migrated, gallery)
            until(lambda: lock.waiting_writers == 1)
            assert gallery.spec.embedding_space == OLD.embedding_space
            assert gallery.migrations()[0].state == "running"
        assert migrating.result(60) == "finished"
    check(gallery, images)


def test_a_vector_of_the_old_space_is_refused_after_the_switch(somewhere: Somewhere) -> None:
    gallery = somewhere.gallery
    gallery.add([image(0)])
    gallery.begin_migration(NEW, "f")
    migrated(gallery)
    with pytest.raises(EmbeddingSpaceMismatch, match="it was migrated meanwhile"):
        gallery.add([image(1)])
    with pytest.raises(EmbeddingSpaceMismatch, match="it was migrated meanwhile"):
        gallery.search(image(0).embedding[None], SearchOptions(embedding_space=OLD.embedding_space))
    assert gallery.count() == 1


def test_one_that_was_stopped_goes_on_where_it_was(somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    write_often(monkeypatch)
    gallery = somewhere.gallery
    images = {each.image_id: each for each in (image(n) for n in range(60))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    looked: list[int] = []
    stop = threading.Event()

    def counted(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        looked.append(len(crops))
        if sum(looked) >= 24:
            stop.set()
        return look_as(NEW)(crops)

    with ThreadPoolExecutor(1) as pool:
        stopped = gallery.migrate(NEW, counted, Piecework(pool.submit, at_once=2, turn=lambda: not stop.is_set()), stop)
    assert stopped.state == "waiting"
    assert 24 <= stopped.done == sum(looked) < 60
    check(gallery, images, OLD)
    again = somewhere.again()
    (known,) = again.get("default").migrations()
    assert (known.state, known.done) == ("waiting", stopped.done)
    looked.clear()
    stop = threading.Event()
    looked.append(-1000)  # never again enough to stop
    assert again.get("default").migrate(NEW, counted, at_once, stop).state == "finished"
    assert sum(looked) + 1000 == 60 - stopped.done
    check(again.get("default"), images)
    again.close()


def test_a_cancelled_one_leaves_nothing(somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    write_often(monkeypatch)
    gallery = somewhere.gallery
    images = {each.image_id: each for each in (image(n) for n in range(60))}
    gallery.add(list(images.values()))
    begun, _ = gallery.begin_migration(NEW, "f")
    calls = iter(range(1000))

    def cancelling(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if next(calls) == 6:
            assert gallery.cancel_migration(begun.migration_id).state == "cancelled"
        return look_as(NEW)(crops)

    assert gallery.migrate(NEW, cancelling, at_once, threading.Event()).state == "cancelled"
    assert somewhere.spaces() == {OLD.embedding_space: 60}
    check(gallery, images, OLD)
    with pytest.raises(GalleryConflict, match="is cancelled"):
        gallery.cancel_migration(begun.migration_id)
    with pytest.raises(MigrationNotFound):
        gallery.cancel_migration("none")
    with pytest.raises(NotMigratable, match="no migration of gallery default"):
        migrated(gallery)
    gallery.begin_migration(NEW, "f")
    assert migrated(gallery) == "finished"
    check(gallery, images)


def test_what_cannot_be_migrated_says_so_at_once(somewhere: Somewhere) -> None:
    home, gallery = somewhere.home, somewhere.gallery
    with pytest.raises(NotMigratable, match="nothing to do"):
        gallery.begin_migration(OLD, "f")
    lean, _ = home.create("lean", replace(SPEC, keep_crops=False))
    with pytest.raises(NotMigratable, match="gallery lean keeps no crops"):
        lean.begin_migration(NEW, "f")
    gallery.add([image(1), replace(image(2), crop=b"")])
    with pytest.raises(NotMigratable, match=r"1 images of gallery default have no crop \(i002\)"):
        gallery.begin_migration(NEW, "f")
    gallery.delete("i002")
    gallery.begin_migration(NEW, "f")
    with pytest.raises(GalleryConflict, match="is being migrated to the embedding space space of new"):
        gallery.begin_migration(contract("third", 4), "f")


def test_crops_that_cannot_be_read_end_it_and_are_named(somewhere: Somewhere) -> None:
    gallery = somewhere.gallery
    images = {each.image_id: each for each in (image(n) for n in range(30))}
    gallery.add(list(images.values()))
    gone, other = (somewhere.crop_file(content_name(images[i].crop)) for i in ("i003", "i007"))
    gone.unlink()
    other.write_bytes(images["i008"].crop)
    gallery.begin_migration(NEW, "f")
    assert migrated(gallery) == "failed"
    (failed,) = gallery.migrations()
    assert failed.failures == 2
    assert failed.failed == (
        ("i003", "its crop is missing"), ("i007", "its crop is not the picture that was written")
    )  # fmt: skip
    check(gallery, images, OLD)
    gallery.add([images["i003"]])
    gallery.delete("i007")
    del images["i007"]
    begun, _ = gallery.begin_migration(NEW, "f")
    assert begun.done == 28  # what the first one wrote is kept
    assert migrated(gallery) == "finished"
    check(gallery, images)


def test_a_new_vector_that_is_damaged_is_made_again(gallery: LocalGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {each.image_id: each for each in (image(n) for n in range(20))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    with monkeypatch.context() as patched:
        stop = threading.Event()

        def stopping(*_: object) -> bool:
            stop.set()
            return False

        patched.setattr(gallery_migration.GalleryMigration, "_switch", stopping)
        assert migrated(gallery, stop=stop) == "waiting"
    with gallery._database.transaction() as connection:
        connection.execute(
            "UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE space_id = 2 AND row_id IN (3, 4)"
        )
    assert migrated(gallery) == "finished"
    check(gallery, images)


def test_the_model_that_was_left_is_nowhere_after_compaction(gallery: LocalGallery, tmp_path: Path) -> None:
    images = [image(n) for n in range(40)]
    gallery.add(images)
    old = [each.embedding.tobytes() for each in images]
    gallery.begin_migration(NEW, "f")
    assert migrated(gallery) == "finished"
    gallery.compact()
    files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert not any(vector in files for vector in old)
    assert all(seen(NEW, each.crop).tobytes() in files for each in images)


def test_erased_images_leave_no_trace_in_either_space(gallery: LocalGallery, tmp_path: Path) -> None:
    images = [image(n) for n in range(20)]
    gallery.add(images)
    crops = tmp_path / "data/galleries/default/crops"
    name = content_name(images[3].crop)
    (crops / name[:2] / name).unlink()
    gallery.begin_migration(NEW, "f")
    assert migrated(gallery) == "failed"  # and i003 is named
    gallery.delete("i003")
    gallery.delete("i004")
    gallery.compact()
    files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b"i003" not in files
    assert b"i004" not in files
    for vector in (images[4].embedding, seen(NEW, images[4].crop)):
        assert vector.tobytes() not in files


def test_too_little_memory_for_a_second_index_changes_nothing(
    home: DataFolder, gallery: LocalGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {each.image_id: each for each in (image(n) for n in range(20))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    monkeypatch.setattr(gallery._migration, "_memory", lambda: 100)
    with pytest.raises(NotEnoughMemory, match="for the new model, 20 rows"):
        migrated(gallery)
    (known,) = gallery.migrations()
    assert (known.state, known.done) == ("running", 20)
    check(gallery, images, OLD)
    monkeypatch.setattr(gallery._migration, "_memory", lambda: None)
    assert migrated(gallery) == "finished"


def test_it_finishes_what_was_switched(gallery: LocalGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the switch and the removal of the old vectors; both are asked for by the state alone."""
    images = {each.image_id: each for each in (image(n) for n in range(20))}
    gallery.add(list(images.values()))
    gallery.begin_migration(NEW, "f")
    stop = threading.Event()
    serve = gallery.serve

    def stopping(*arguments: object) -> None:
        serve(*arguments)  # type: ignore[arg-type]
        stop.set()

    monkeypatch.setattr(gallery, "serve", stopping)
    assert migrated(gallery, stop=stop) == "switched"
    assert spaces(gallery) == {OLD.embedding_space: 20, NEW.embedding_space: 20}
    check(gallery, images)
    with pytest.raises(GalleryConflict, match="is switched"):
        gallery.cancel_migration(gallery.migrations()[0].migration_id)
    assert migrated(gallery) == "finished"
    assert spaces(gallery) == {NEW.embedding_space: 20}


def test_the_snapshot_of_the_old_space_is_gone(
    home: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    gallery, _ = home.create("yard", replace(SPEC, kind="hnsw"))
    gallery.add([image(n) for n in range(60)])
    gallery._upkeep.rest()
    snapshot = tmp_path / "data/galleries/yard" / SNAPSHOT
    assert image(5).embedding.tobytes() in snapshot.read_bytes()
    gallery.begin_migration(NEW, "f")
    migrated(gallery)
    gallery._upkeep.rest()
    assert image(5).embedding.tobytes() not in snapshot.read_bytes()
    assert seen(NEW, image(5).crop).tobytes() in snapshot.read_bytes()


def test_an_empty_gallery_moves(somewhere: Somewhere) -> None:
    gallery = somewhere.gallery
    gallery.begin_migration(NEW, "f")
    assert migrated(gallery) == "finished"
    check(gallery, {})
