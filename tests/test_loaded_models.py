"""Which model does a gallery's work, and what becomes of it where the gallery moves."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import EmbeddingSpaceMismatch
from index.gallery import Gallery, GallerySpec
from service.embedding.loaded_models import LoadedModels
from tests.test_gallery_migration import at_once


@pytest.fixture
def models(tiny_model: Path, next_model: Path) -> LoadedModels:
    return LoadedModels(
        present=Embedder(next_model, device="cpu", threads=1), previous=Embedder(tiny_model, device="cpu", threads=1)
    )


@pytest.fixture
def gallery(tmp_path: Path, models: LoadedModels) -> Iterator[Gallery]:
    """One of the previous model."""
    assert models.previous is not None
    with closing(DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(models.previous.contract))) as home:
        yield home.get("default")


def no_image(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], None]:
    raise AssertionError("there is none to look at")


def test_work_that_a_move_overtook_is_done_again(gallery: Gallery, models: LoadedModels) -> None:
    tried: list[Embedder] = []
    while len(tried) < 2:
        with models.turn(gallery) as embedder:
            tried.append(embedder)
            if len(tried) == 1:
                gallery.begin_migration(models.present.contract, models.present.fingerprint)
                gallery.migrate(models.present.contract, no_image, at_once, threading.Event())
                raise EmbeddingSpaceMismatch("overtaken")
    assert tried == [models.previous, models.present]


def test_a_mismatch_without_a_move_is_one(gallery: Gallery, models: LoadedModels) -> None:
    with pytest.raises(EmbeddingSpaceMismatch, match="of another"), models.turn(gallery):
        raise EmbeddingSpaceMismatch("of another")
    alone = LoadedModels(present=models.present)
    with pytest.raises(EmbeddingSpaceMismatch, match="gallery default holds"), alone.turn(gallery):
        pytest.fail("no model of it is loaded")
