"""Import jobs beside what else becomes of a gallery, and in a service that only reads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.bulk.import_job import ImportFolder, ImportJob
from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedded, Embedder
from index.gallery import Filters, GallerySpec
from index.piecework import Piecework
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
