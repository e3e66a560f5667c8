"""Pictures on their way into a gallery, with a real model."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from index.bulk.import_plan import ImportPlan
from index.bulk.import_source import plan_sources
from index.bulk.ingestion import WRITTEN_AT_ONCE, Ingestion, OwnWorkers, Progress
from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedded, Embedder
from index.errors import EmbeddingSpaceMismatch, GalleryNotFound
from index.gallery import Filters, Gallery, GallerySpec
from tests.archives import KINDS, pack
from tests.pictures import encoded, jpeg, photograph, png

COUNT = 2 * WRITTEN_AT_ONCE + 50

T = TypeVar("T")


class Counting:
    """An embedder that says how many crops it has seen."""

    def __init__(self, embedder: Embedder) -> None:
        self.contract, self._embedder = embedder.contract, embedder
        self.seen = 0
        self._guard = threading.Lock()

    def embed(self, crops: np.ndarray) -> Embedded:
        with self._guard:
            self.seen += len(crops)
        return self._embedder.embed(crops)


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu", threads=1)


@pytest.fixture
def home(tmp_path: Path, embedder: Embedder) -> Iterator[DataFolder]:
    opened = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    yield opened
    opened.close()


@pytest.fixture
def gallery(home: DataFolder) -> Gallery:
    return home.get("default")


@pytest.fixture
def workers() -> Iterator[OwnWorkers]:
    made = OwnWorkers(2)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of which every hundredth is damaged."""
    path = tmp_path / "pictures"
    path.mkdir()
    picture = jpeg(0, (16, 16))
    for n in range(COUNT):
        (path / f"{n:03}.jpg").write_bytes(picture[: 20 if n % 100 == 0 else None])
    return path


def planned(*sources: Path) -> ImportPlan:
    plan = ImportPlan()
    list(plan_sources(plan, sources))
    return plan


def imported(ingestion: Ingestion, *sources: Path) -> dict[str, int]:
    with closing(planned(*sources)) as plan:
        for _ in ingestion.run(plan):
            pass
        assert plan.total == sum(plan.counts().values())
        return {name: number for name, number in plan.counts().items() if number}


def listed(gallery: Gallery) -> list[str]:
    return [image.image_id for image in gallery.page(Filters(), limit=1000).images]


def test_every_image_is_told_of_once(gallery: Gallery, folder: Path, embedder: Embedder, workers: OwnWorkers) -> None:
    with closing(planned(folder)) as plan:
        told = list(Ingestion(gallery=gallery, embedder=embedder, workers=workers).run(plan))
        failed = [failure.image_id for done in told for failure in done.failed]
        assert failed == [f"{n:03}.jpg" for n in range(0, COUNT, 100)]
        assert all(failure.reason for done in told for failure in done.failed)
        assert sum(done.images for done in told) == COUNT
        assert sum(done.created for done in told) == gallery.count() == COUNT - len(failed)
        assert listed(gallery) == [f"{n:03}.jpg" for n in range(COUNT) if n % 100]
        assert plan.counts() == {"created": COUNT - 6, "updated": 0, "unchanged": 0, "failed": 6}
        assert 0 < plan.seconds < 300
        assert list(Ingestion(gallery=gallery, embedder=embedder, workers=workers).run(plan)) == []


def test_what_was_told_of_is_stored_when_somebody_stops(
    gallery: Gallery, folder: Path, embedder: Embedder, workers: OwnWorkers
) -> None:
    with closing(planned(folder)) as plan:
        steps = Ingestion(gallery=gallery, embedder=embedder, workers=workers).run(plan)
        created = 0
        while created == 0:
            created += next(steps).created
        steps.close()
        assert COUNT - 10 > gallery.count() >= created == plan.counts()["created"]
        counting = Counting(embedder)
        before = gallery.count()
        for _ in Ingestion(gallery=gallery, embedder=counting, workers=workers).run(planned(folder)):  # type: ignore[arg-type]
            pass
    assert gallery.count() == COUNT - 6
    assert counting.seen == COUNT - 6 - before


@pytest.mark.parametrize("kind", ["folder", *KINDS])
def test_what_is_stored_is_not_embedded_again(
    gallery: Gallery, embedder: Embedder, workers: OwnWorkers, tmp_path: Path, kind: str
) -> None:
    """Also pictures that are stored in another form than they came in, and cut ones."""
    turned = photograph(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "a.jpg": jpeg(1), "b.png": png(2), "c.jpg": encoded(turned, "JPEG", exif=exif), "d.webp": encoded(turned, "WEBP"),
        "manifest.csv": b'path,vehicle_id,captured_at,box,speed\na.jpg,v1,2026-05-04T10:11:12.5+02:00,,5\nb.png,,,,\n'
        b'c.jpg,,,,\nd.webp,,,"1,2,30,40",\nd.webp,,,"5,2,30,40",1.5\n',
    }  # fmt: skip
    if kind == "folder":
        source = tmp_path / "x"
        source.mkdir()
        for name, data in files.items():
            (source / name).write_bytes(data)
    else:
        source = pack(tmp_path / f"x{kind}", files)
    counting = Counting(embedder)
    ingestion = Ingestion(gallery=gallery, embedder=counting, workers=workers)  # type: ignore[arg-type]
    assert imported(ingestion, source) == {"created": 5}
    rows = gallery.info().last_change
    assert imported(ingestion, source) == {"unchanged": 5}
    assert (counting.seen, gallery.info().last_change) == (5, rows)
    assert imported(replace(ingestion, anew=True), source) == {"updated": 5}
    assert counting.seen == 10


def test_another_picture_or_other_metadata_replaces(
    gallery: Gallery, embedder: Embedder, workers: OwnWorkers, tmp_path: Path
) -> None:
    ingestion = Ingestion(gallery=gallery, embedder=embedder, workers=workers)
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    manifest = tmp_path / "m.csv"
    for rows, data, expected in (
        ("a.jpg,x,v1", jpeg(1), {"created": 1}),
        ("a.jpg,x,v2", jpeg(1), {"updated": 1}),
        ("a.jpg,x,v2", jpeg(2), {"updated": 1}),
        ("a.jpg,x,v2", jpeg(2), {"unchanged": 1}),
    ):
        manifest.write_text(f"path,image_id,vehicle_id\n{rows}\n")
        (tmp_path / "a.jpg").write_bytes(data)
        assert imported(ingestion, manifest) == expected
    assert gallery.crop("x")[1] == jpeg(2)


def test_a_gallery_without_crops_cannot_tell(
    home: DataFolder, embedder: Embedder, workers: OwnWorkers, tmp_path: Path
) -> None:
    bare, _ = home.create("bare", GallerySpec.for_model(embedder.contract, keep_crops=False))
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    ingestion = Ingestion(gallery=bare, embedder=embedder, workers=workers)
    assert imported(ingestion, tmp_path / "a.jpg") == {"created": 1}
    assert imported(ingestion, tmp_path / "a.jpg") == {"updated": 1}


def test_vectors_are_those_of_the_cut_pictures(
    gallery: Gallery, embedder: Embedder, workers: OwnWorkers, tmp_path: Path
) -> None:
    frame = photograph(5, (400, 300))
    (tmp_path / "frame.png").write_bytes(encoded(frame, "PNG"))
    boxes = [(x, y, 40, 30) for x in range(0, 360, 30) for y in range(0, 270, 30)]
    rows = "".join(f'frame.png,"{",".join(map(str, box))}",{n}\n' for n, box in enumerate([*boxes, (380, 0, 40, 30)]))
    (tmp_path / "m.csv").write_text(f"path,box,image_id\n{rows}")
    done = imported(Ingestion(gallery=gallery, embedder=embedder, workers=workers), tmp_path / "m.csv")
    assert done == {"created": len(boxes), "failed": 1}
    for n in (0, 63, 64, 107):  # a frame comes in pieces of 64
        x, y, width, height = boxes[n]
        crop = model_crop(frame.crop((x, y, x + width, y + height)), embedder.contract.resize)
        np.testing.assert_allclose(gallery.embedding(str(n)), embedder.embed(crop[None]).embedding[0], atol=1e-4)
        stored = read_picture(gallery.crop(str(n))[1], max_pixels=10**6)
        assert stored.tobytes() == frame.crop((x, y, x + width, y + height)).tobytes()


def test_a_gallery_that_goes_away_ends_it(
    home: DataFolder, folder: Path, embedder: Embedder, workers: OwnWorkers
) -> None:
    gallery, _ = home.create("yard", GallerySpec.for_model(embedder.contract))
    with closing(planned(folder)) as plan:
        steps = Ingestion(gallery=gallery, embedder=embedder, workers=workers).run(plan)
        next(steps)
        home.drop("yard")
        with pytest.raises(GalleryNotFound):
            list(steps)


def test_vectors_of_another_space_are_refused_before_anything_is_read(
    home: DataFolder, folder: Path, embedder: Embedder, workers: OwnWorkers
) -> None:
    other, _ = home.create("other", replace(GallerySpec.for_model(embedder.contract), embedding_space="other"))
    with (
        closing(planned(folder)) as plan,
        pytest.raises(EmbeddingSpaceMismatch, match="gallery other holds vectors of embedding space other"),
    ):
        next(Ingestion(gallery=other, embedder=embedder, workers=workers).run(plan))


class Watched:
    """Workers that say how much work was begun and not taken back."""

    count = 2

    def __init__(self, workers: OwnWorkers) -> None:
        self._workers = workers
        self.begun: list[Future[object]] = []
        self.most = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        future = self._workers.submit(work)
        self.begun = [each for each in self.begun if not each.done()] + [future]  # type: ignore[list-item]
        self.most = max(self.most, len(self.begun))
        return future


def test_no_more_is_begun_than_memory_is_for(
    gallery: Gallery, folder: Path, embedder: Embedder, workers: OwnWorkers
) -> None:
    watched = Watched(workers)
    told: list[Progress] = []
    with closing(planned(folder)) as plan:
        told += Ingestion(gallery=gallery, embedder=embedder, workers=watched).run(plan)
    assert sum(done.images for done in told) == COUNT
    assert 1 < watched.most <= 4
