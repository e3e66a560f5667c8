"""``vehicle-index copy`` to a Milvus server and back, whatever stopped it; skipped where there is no server."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from index.feedback.feedback_folder import FeedbackFolder
from index.gallery import Filters, GalleryHome, GallerySpec, Metadata, StoredImage
from index.milvus.milvus_home import MilvusHome
from index.objects.crop_home import CropHome
from index.objects.folder_objects import FolderObjects
from index.vehicle_index import main as vehicle_index
from tests.milvus_homes import milvus_uri, new_home, new_prefix
from tests.test_copy_command import MANY, filled, killed, opened
from tests.test_gallery import NOON, image

__all__ = ["filled"]  # a fixture


@pytest.fixture
def server(tmp_path: Path) -> Iterator[list[str]]:
    """Options that name collections of our own, which are dropped at the end, and a folder of crops."""
    prefix = new_prefix()
    yield ["--milvus-uri", milvus_uri(), "--milvus-prefix", prefix, "--crops-url", str(tmp_path / "crops")]
    new_home(prefix).close()


def stored(home: GalleryHome, name: str) -> tuple[GallerySpec, list[StoredImage], dict[str, bytes], dict[str, bytes]]:
    """All of a gallery: images, vectors bit for bit, crops."""
    gallery = home.get(name)
    images = list(gallery.page(Filters(), limit=1000).images)
    vectors = {each: vector.tobytes() for each, vector in gallery.embeddings([one.image_id for one in images]).items()}
    names = {one.crop_name for one in images if one.crop_name is not None}
    crops = dict(gallery.pictures(sorted(names)))
    assert crops.keys() == names
    return gallery.spec, images, vectors, crops


def test_there_killed_gone_on_with_and_back(
    filled: Path, server: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["copy", "--from", str(filled), "--to", "milvus", *server]
    assert killed(to, module="milvus.milvus_gallery", gallery="MilvusGallery") == -9
    assert vehicle_index(to) == 0
    said = capsys.readouterr().out
    assert f"default: {MANY - 512} created, 0 updated, 512 there already" in said
    assert "100 searches agree to 100.0% (100% is asked), 100 of 100 crops the same: the same" in said
    assert "yard: 1 images" in said
    assert vehicle_index(["copy", "--from", "milvus", "--to", str(tmp_path / "back"), *server]) == 0
    with opened(filled) as own, opened(tmp_path / "back") as other:
        assert other.names() == own.names() == ["default", "yard"]
        for name in own.names():
            assert stored(other, name) == stored(own, name)


def test_what_differs_on_the_server_is_told_and_mended(
    filled: Path, server: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["copy", "--from", str(filled), "--to", "milvus", *server, "--gallery", "default"]
    assert vehicle_index(words) == 0
    crops, feedback = CropHome(FolderObjects(Path(server[5]))), FeedbackFolder(filled, read_only=True)
    with closing(MilvusHome(server[1], crops=crops, feedback=feedback, prefix=server[3])) as home:
        gallery = home.get("default")
        gallery.add([image("extra"), replace(image("i3"), ingested_at=NOON)])
        gallery.change_metadata("i4", lambda _: Metadata(vehicle_id="another"))
        gallery.delete("i5")
    capsys.readouterr()
    assert vehicle_index([*words, "--check"]) == 1
    told = capsys.readouterr()
    assert f"default: not the same: {MANY} images with" in told.err
    assert "created" not in told.out
    assert vehicle_index([*words, "--mirror"]) == 0
    assert f"1 created, 2 updated, {MANY - 3} there already, 1 erased" in capsys.readouterr().out


def test_a_kind_that_milvus_has_not_is_refused_before_anything_is_made(
    filled: Path, server: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["copy", "--from", str(filled), "--to", "milvus", *server, "--kind", "hnsw", "--vectors", "sq8"]
    assert vehicle_index(words) == 2
    told = capsys.readouterr().err
    assert "cannot be hnsw with vectors sq8" in told
    assert "--kind and --vectors" in told
