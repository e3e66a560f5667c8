"""Import jobs beside what else becomes of a gallery, and in a service that only reads."""

import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.bulk.import_job import ImportFolder, ImportJob, archive_in
from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedded, Embedder
from index.gallery import Filters, GallerySpec
from index.objects.folder_objects import FolderObjects
from index.piecework import Piecework
from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_imports import PostgresImports
from service.background.importer import Importer
from service.embedding.engine import Engine
from service.embedding.loaded_models import LoadedModels
from service.watching.metrics import Metrics
from tests.pictures import jpeg
from tests.test_sweeper import until


class Overtaken(Embedder):
    """A model from which the gallery moves away while it looks at its first pictures."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, device="cpu", threads=1)
        self.move = threading.Event()
        self.home: DataFolder
        self.next: Embedder

    def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
        if getattr(self, "move", None) is not None and self.move.is_set():
            self.move.clear()
            gallery = self.home.get("default")
            gallery.begin_migration(self.next.contract, self.next.fingerprint)
            with ThreadPoolExecutor(1) as pool:
                spread = Piecework(pool.submit, at_once=1)
                gallery.migrate(self.next.contract, self._look, spread, threading.Event())
        return super().embed(crops)

    def _look(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        embedded = self.next.embed(crops)
        return embedded.embedding, embedded.viewpoint


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "pictures"
    folder.mkdir(parents=True)
    for n in range(12):
        (folder / f"{n:02}.jpg").write_bytes(jpeg(n))
    return folder


@pytest.fixture
def old(tiny_model: Path) -> Overtaken:
    return Overtaken(tiny_model)


@pytest.fixture
def home(tmp_path: Path, old: Overtaken) -> Iterator[DataFolder]:
    opened = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(old.contract))
    yield opened
    opened.close()


def test_a_job_goes_on_with_the_model_that_its_gallery_moves_to(
    home: DataFolder, old: Overtaken, next_model: Path, pictures: Path
) -> None:
    new = Embedder(next_model, device="cpu", threads=1)
    old.home, old.next = home, new
    old.move.set()
    engine = Engine(LoadedModels(present=new), Metrics(), workers=1, queue_size=4, max_pixels=10**6)
    folder = ImportFolder(home.path)
    importer = Importer(
        folder, home, engine, LoadedModels(present=new, previous=old), Metrics(), root=pictures.parent,
        max_pixels=10**6,
    )  # fmt: skip
    importer.start()
    job = ImportJob(
        job_id="a", gallery="default", path="pictures", name=None, state="queued", created_at="2026-05-04T10:11:12Z"
    )
    importer.submit(folder.receive(), job)
    until(lambda: importer.get("a").ended)
    ended = importer.get("a")
    assert (ended.state, ended.counts["created"], ended.counts["failed"]) == ("done", 12, 0), ended.problem
    assert not old.move.is_set()
    gallery = home.get("default")
    assert gallery.spec.embedding_space == new.contract.embedding_space
    assert gallery.count() == len(gallery.page(Filters(), limit=100).images) == 12
    for image in gallery.page(Filters(), limit=100).images:
        _, stored = gallery.crop(image.image_id)
        crop = model_crop(read_picture(stored, max_pixels=10**6), new.contract.resize)
        np.testing.assert_allclose(gallery.embedding(image.image_id), new.embed(crop[None]).embedding[0], atol=1e-5)
    importer.stop()
    engine.close()
    importer.close()


def _memory() -> bool:
    raise MemoryError


@pytest.mark.parametrize(
    ("fail", "told"), [(lambda: True, "gallery.sqlite cannot be used"), (_memory, "not enough memory")]
)
def test_a_job_into_a_gallery_that_fails_waits_and_the_others_go_on(
    home: DataFolder, old: Overtaken, pictures: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], bool],
    told: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("service.background.importer.RETRIED_EVERY", 0.05)
    yard = home.create("yard", home.get("default").spec)[0]
    yard._database._writer.set_commit_hook(fail)
    engine = Engine(LoadedModels(present=old), Metrics(), workers=1, queue_size=4, max_pixels=10**6)
    folder = ImportFolder(home.path)
    importer = Importer(
        folder, home, engine, LoadedModels(present=old), Metrics(), root=pictures.parent, max_pixels=10**6
    )
    for name, gallery in (("a", "yard"), ("b", "default")):
        job = ImportJob(
            job_id=name, gallery=gallery, path="pictures", name=None, state="queued",
            created_at="2026-05-04T10:11:12Z",
        )  # fmt: skip
        importer.submit(folder.receive(), job)
    importer.start()
    until(lambda: importer.get("b").state == "done")

    def waits() -> bool:
        job = importer.get("a")
        assert not job.ended
        return job.state == "queued" and told in str(job.problem) and "tried again every" in str(job.problem)

    until(waits)
    yard._database._writer.set_commit_hook(None)
    until(lambda: importer.get("a").state == "done")
    assert (yard.count(), importer.get("a").problem) == (12, None)
    importer.stop()
    engine.close()
    importer.close()


class Replica:
    """One of several importers of the same jobs; ``slow`` holds its model up until it is told."""

    def __init__(self, home: DataFolder, model: Embedder, jobs: PostgresImports, root: Path) -> None:
        models = LoadedModels(present=model)
        self.jobs, self.metrics = jobs, Metrics()
        self.engine = Engine(models, self.metrics, workers=1, queue_size=4, max_pixels=10**6)
        self.importer = Importer(jobs, home, self.engine, models, self.metrics, root=root, max_pixels=10**6)

    def close(self) -> None:
        self.importer.stop()
        self.importer._lost.set()  # where a test holds it up
        self.engine.close()
        if self.importer._thread.ident is not None:
            self.importer.close()
        self.jobs.close()


@pytest.fixture
def two(
    home: DataFolder, old: Overtaken, pictures: Path, tmp_path: Path, shared_database: PostgresDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Replica, Replica]]:  # fmt: skip
    """Two replicas that write two pictures at a time; neither has begun."""
    monkeypatch.setattr("service.background.importer.LOOKED_EVERY", 0.05)
    monkeypatch.setattr("index.bulk.ingestion.WRITTEN_AT_ONCE", 2)
    objects = FolderObjects(tmp_path / "objects")
    replicas = [
        Replica(
            home, old, PostgresImports(shared_database, objects, tmp_path / name, lease=1.0, renewed_every=0.05),
            pictures.parent,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    yield replicas[0], replicas[1]
    for replica in replicas:
        replica.close()


def sent(replica: Replica, pictures: Path, name: str = "a") -> None:
    """Give a replica an archive of the pictures and two that are none."""
    receiving = replica.jobs.receive()
    with zipfile.ZipFile(archive_in(receiving), "w") as archive:
        for path in sorted(pictures.iterdir()):
            archive.write(path, path.name)
        archive.writestr("50.jpg", b"no picture")
        archive.writestr("51.jpg", b"nor this")
    job = ImportJob(
        job_id=name, gallery="default", path=None, name="x.zip", state="queued", created_at="2026-05-04T10:11:12Z"
    )
    replica.importer.submit(receiving, job)


def stopped_after(replica: Replica, images: int, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have a replica die once it has told of so many images: from then on it neither renews, tells, nor ends."""
    dead, tell = threading.Event(), replica.jobs.tell

    def told(job: ImportJob, *, imported: Sequence[str] = (), failures: Iterable[str] = ()) -> None:
        if not dead.is_set():
            tell(job, imported=imported, failures=failures)
        if job.done >= images:
            dead.set()
            monkeypatch.setattr(replica.jobs, "_renewed", lambda *_: True)
            replica.importer._lost.wait(60)

    monkeypatch.setattr(replica.jobs, "tell", told)
    return dead


def held_up(replica: Replica, by: threading.Event, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have a replica wait for something once it has told of four images; set when it has."""
    held, tell = threading.Event(), replica.jobs.tell

    def told(job: ImportJob, *, imported: Sequence[str] = (), failures: Iterable[str] = ()) -> None:
        tell(job, imported=imported, failures=failures)
        if job.done >= 4:
            held.set()
            assert by.wait(60)

    monkeypatch.setattr(replica.jobs, "tell", told)
    return held


def test_a_dead_replicas_import_is_taken_over_and_counts_are_right(
    two: tuple[Replica, Replica], home: DataFolder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    dead = stopped_after(first, 4, monkeypatch)
    sent(first, pictures)
    first.importer.start()
    assert dead.wait(60)
    erased = home.get("default").page(Filters(), limit=1).images[0].image_id
    home.get("default").delete(erased)
    between = second.importer.get("a")
    assert (between.state, between.done >= 4, between.total) == ("running", True, 14)
    second.importer.start()
    until(lambda: second.importer.get("a").ended)
    ended = second.importer.get("a")
    assert ended.state == "done", ended.problem
    assert (ended.total, ended.done, ended.counts) == (
        14, 14, {"created": 12, "updated": 0, "unchanged": 0, "failed": 2}
    )  # fmt: skip
    assert home.get("default").count() == 11  # what was erased meanwhile does not come back
    assert [line.split(",")[0] for line in second.importer.failures(ended)] == ["path", "50.jpg", "51.jpg"]
    assert not [path for path in second.jobs._folder.rglob("archive") if path.is_file()]


def test_an_import_is_cancelled_by_a_replica_that_does_not_work_on_it(
    two: tuple[Replica, Replica], home: DataFolder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    held = held_up(first, first.importer._cancel, monkeypatch)
    sent(first, pictures)
    first.importer.start()
    assert held.wait(60)
    cancelled = second.importer.cancel("a")
    assert cancelled.state == "cancelled"
    assert 4 <= cancelled.done == home.get("default").count() < 12
    second.importer.remove("a")
    assert first.importer.jobs() == []


def test_a_replica_that_stops_leaves_its_job_to_the_others_at_once(
    two: tuple[Replica, Replica], home: DataFolder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    first.jobs._lease = second.jobs._lease = 600
    held = held_up(first, first.importer._stop, monkeypatch)
    sent(first, pictures)
    first.importer.start()
    assert held.wait(60)
    first.importer.stop()
    second.importer.start()
    until(lambda: second.importer.get("a").ended)
    ended = second.importer.get("a")
    assert (ended.done, ended.counts["created"], ended.counts["unchanged"]) == (14, 12, 0)
    assert len(list(second.importer.failures(ended))) == 3
    assert home.get("default").count() == 12


def test_a_folder_that_is_only_read_is_left_as_it_is(tmp_path: Path) -> None:
    assert ImportFolder(tmp_path, read_only=True).jobs() == []
    assert not list(tmp_path.iterdir())
    folder = ImportFolder(tmp_path)
    receiving = folder.receive()
    job = ImportJob(job_id="a", gallery="default", path="x", name=None, state="done", created_at="2026-05-04T10:11:12Z")
    folder.accept(folder.receive(), job)
    folder.archive(job).write_bytes(b"archive")
    assert ImportFolder(tmp_path, read_only=True).jobs() == [job]
    assert receiving.exists()
    assert folder.archive(job).exists()
    assert ImportFolder(tmp_path).jobs() == [job]
    assert not receiving.exists()
    assert not folder.archive(job).exists()
