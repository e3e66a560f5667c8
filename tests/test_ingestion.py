"""Pictures on their way into a gallery, with a real model."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from index.bulk.ingestion import WRITTEN_AT_ONCE, ingest
from index.bulk.picture_source import PictureSource, read_sources
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import EmbeddingSpaceMismatch, GalleryNotFound
from index.gallery import Filters, GallerySpec
from tests.pictures import jpeg

COUNT = 2 * WRITTEN_AT_ONCE + 50


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu")


@pytest.fixture
def home(tmp_path: Path, embedder: Embedder) -> Iterator[DataFolder]:
    opened = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    yield opened
    opened.close()


@pytest.fixture
def sources(tmp_path: Path) -> list[PictureSource]:
    """Pictures of which every hundredth is damaged."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = jpeg(0, (16, 16))
    for n in range(COUNT):
        (folder / f"{n:03}.jpg").write_bytes(picture[: 20 if n % 100 == 0 else None])
    return read_sources([folder])


def test_every_picture_is_told_of_once(home: DataFolder, sources: list[PictureSource], embedder: Embedder) -> None:
    gallery = home.get("default")
    told = list(ingest(sources, gallery, embedder))
    failed = [source.image_id for done in told for source, _ in done.failed]
    assert failed == [f"{n:03}.jpg" for n in range(0, COUNT, 100)]
    assert all(reason for done in told for _, reason in done.failed)
    assert sum(done.pictures for done in told) == COUNT
    assert sum(done.created for done in told) == gallery.count() == COUNT - len(failed)
    assert [image.image_id for image in gallery.page(Filters(), limit=1000).images] == [
        source.image_id for source in sources if source.image_id not in failed
    ]
    assert sum(done.updated for done in ingest(sources[:10], gallery, embedder)) == 9


def test_what_was_told_of_is_stored_when_somebody_stops(
    home: DataFolder, sources: list[PictureSource], embedder: Embedder
) -> None:
    gallery = home.get("default")
    steps = ingest(sources, gallery, embedder)
    created = 0
    while created == 0:
        created += next(steps).created
    steps.close()
    assert COUNT - 10 > gallery.count() >= created


def test_a_gallery_that_goes_away_ends_it(home: DataFolder, sources: list[PictureSource], embedder: Embedder) -> None:
    gallery, _ = home.create("yard", GallerySpec.for_model(embedder.contract))
    steps = ingest(sources, gallery, embedder)
    next(steps)
    home.drop("yard")
    with pytest.raises(GalleryNotFound):
        list(steps)


def test_vectors_of_another_space_are_refused_before_anything_is_read(
    home: DataFolder, sources: list[PictureSource], embedder: Embedder
) -> None:
    other, _ = home.create("other", replace(GallerySpec.for_model(embedder.contract), embedding_space="other"))
    with pytest.raises(EmbeddingSpaceMismatch, match="gallery other holds vectors of embedding space other"):
        next(ingest(sources, other, embedder))
