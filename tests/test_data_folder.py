"""A folder of galleries: owned once, opened again, refused with one line."""

import contextlib
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest

from index.data_folder import DataFolder
from index.errors import (
    DataFolderLocked,
    DataFolderUnusable,
    GalleryNotFound,
    GalleryUnavailable,
    ImageNotFound,
    StorageFull,
)
from index.gallery import Filters, GallerySpec, Metadata, NewImage, SearchOptions
from index.maintenance.verification import examine
from index.storage.gallery_files import set_aside
from index.storage.stored_time import moment
from tests.layout_1 import write_layout_1
from tests.small_disk import fill, small_disk

SPEC = GallerySpec(embedding_space="space", embedding_dim=2, viewpoints=("front", "rear", "side"))
IMAGE = NewImage(
    image_id="x", metadata=Metadata(), crop=b"\xff\xd8\xff", embedding=np.ones(2, dtype=np.float32), viewpoint=None
)


def test_galleries_are_there_again(tmp_path: Path) -> None:
    home = DataFolder(tmp_path / "a/b", default_spec=SPEC)
    home.create("yard", replace(SPEC, retention_days=3))[0].add([IMAGE])
    home.close()
    again = DataFolder(tmp_path / "a/b", default_spec=replace(SPEC, embedding_space="other"))
    assert again.names() == ["default", "yard"]
    assert again.get("yard").spec == replace(SPEC, retention_days=3)  # bound to the space that it was made with
    assert again.get("yard").spec.retention_days == 3
    assert again.get("yard").get("x").image_id == "x"
    again.close()


def test_it_is_owned_once(tmp_path: Path) -> None:
    home = DataFolder(tmp_path, default_spec=SPEC)
    with pytest.raises(DataFolderLocked):
        DataFolder(tmp_path, default_spec=SPEC)
    home.close()
    DataFolder(tmp_path, default_spec=SPEC).close()


def test_looking_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataFolderUnusable, match=f"no data folder {tmp_path}/none; `vehicle-index add` makes one"):
        DataFolder(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    DataFolder(tmp_path / "some", default_spec=SPEC).close()
    shutil.rmtree(tmp_path / "some/galleries/default")
    home = DataFolder(tmp_path / "some")
    assert home.names() == []
    home.close()


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    DataFolder(tmp_path, default_spec=SPEC).close()
    for name in (".making-1", ".dropping-2"):
        (tmp_path / "galleries" / name / "crops").mkdir(parents=True)
    DataFolder(tmp_path, default_spec=SPEC).close()
    assert [path.name for path in (tmp_path / "galleries").iterdir()] == ["default"]


def test_a_dropped_gallery_leaves_no_file(tmp_path: Path) -> None:
    home = DataFolder(tmp_path, default_spec=SPEC)
    home.create("yard", SPEC)[0].add([IMAGE])
    home.drop("yard")
    assert [path.name for path in (tmp_path / "galleries").iterdir()] == ["default"]
    home.close()


def test_what_was_set_aside_of_a_dropped_gallery_is_forgotten(tmp_path: Path) -> None:
    home = DataFolder(tmp_path, default_spec=SPEC)
    home.forget_dropped()
    home.create("yard", SPEC)
    for name in ("default", "yard"):
        set_aside(tmp_path / "galleries" / name).mkdir(parents=True)
        (set_aside(tmp_path / "galleries" / name) / "gallery.sqlite").touch()
    home.drop("yard")
    home.forget_dropped()
    assert [path.name for path in (tmp_path / "set-aside").iterdir()] == ["default"]
    home.close()


def test_a_layout_of_another_release_is_named(tmp_path: Path) -> None:
    (tmp_path / "layout").write_text("7\n")
    with pytest.raises(DataFolderUnusable, match="layout '7', this release reads 1"):
        DataFolder(tmp_path, default_spec=SPEC)
    (tmp_path / "layout").write_text("1\n")
    DataFolder(tmp_path, default_spec=SPEC).close()  # the lock was let go


def test_a_folder_of_the_first_release_is_brought_forward(tmp_path: Path) -> None:
    """As the first release left it: layout 1 of the folder and of a gallery's database."""
    (tmp_path / "galleries/yard/crops/incoming").mkdir(parents=True)
    (tmp_path / "layout").write_text("1\n")
    write_layout_1(tmp_path / "galleries/yard/gallery.sqlite", rows=5)
    for _ in range(2):
        home = DataFolder(tmp_path, default_spec=SPEC)
        gallery = home.get("yard")
        ((match, *_),) = gallery.search(np.array([[3, 1]], dtype=np.float32), SearchOptions())
        assert (match.image.image_id, match.distance, gallery.count()) == ("i3", 0, 5)
        assert gallery.get("i4").metadata == Metadata(
            vehicle_id="v4", camera_id="camera", captured_at=moment(4), attributes={"number": 4}
        )
        assert [each.image_id for each in gallery.page(Filters(attributes={"number": (2,)}), limit=9).images] == ["i2"]
        assert gallery.migrations() == []
        home.close()
    assert examine(tmp_path / "galleries/yard").findings == []


def test_a_gallery_of_a_newer_release_is_named(tmp_path: Path) -> None:
    DataFolder(tmp_path, default_spec=SPEC).close()
    file = tmp_path / "galleries/default/gallery.sqlite"
    with contextlib.closing(apsw.Connection(str(file))) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            DataFolderUnusable, match=r"default/gallery\.sqlite has layout 99, this release reads up to"
        ):
            DataFolder(tmp_path, default_spec=SPEC, read_only=read_only)
    assert file.read_bytes() == before


def test_a_file_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    for path in (tmp_path / "data", tmp_path / "data/below"):
        with pytest.raises(DataFolderUnusable, match="choose another --data-dir") as refused:
            DataFolder(path, default_spec=SPEC)
        assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataFolderUnusable, match="/proc/sys/none cannot be used"):
        DataFolder(Path("/proc/sys/none"), default_spec=SPEC)  # refuses even root


@pytest.mark.parametrize("damaged", ["default", "yard"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_gallery_keeps_no_other_from_being_used(tmp_path: Path, damaged: str, read_only: bool) -> None:
    home = DataFolder(tmp_path, default_spec=SPEC)
    for name in ("default", "yard"):
        home.create(name, SPEC)[0].add([IMAGE])
    home.close()
    file = tmp_path / f"galleries/{damaged}/gallery.sqlite"
    file.write_bytes(b"damage" * 10_000)
    with contextlib.closing(DataFolder(tmp_path, default_spec=SPEC, read_only=read_only)) as home:
        (other,) = home.names()
        assert {other, damaged} == {"default", "yard"}
        assert home.get(other).count() == 1
        assert list(home.problems()) == [damaged]
        asked: list[Callable[[], object]] = [lambda: home.get(damaged), home.require_all]
        if not read_only:
            asked += [lambda: home.create(damaged, SPEC), lambda: home.drop(damaged)]
        for ask in asked:
            with pytest.raises(
                GalleryUnavailable, match=rf"gallery {damaged} cannot be used, others can: .*{file}.*repair"
            ):
                ask()
        with pytest.raises(GalleryNotFound):
            home.get("none")
    assert file.read_bytes() == b"damage" * 10_000


def _no_link(crops: Path) -> None:
    shutil.rmtree(crops)
    crops.symlink_to("/none/of/a/disk")


def _file_for_folder(crops: Path) -> None:
    (crops / "incoming").rmdir()
    (crops / "incoming").touch()


def _circle(crops: Path) -> None:
    shutil.rmtree(crops)
    crops.symlink_to(crops)


@pytest.mark.parametrize("harm", [_no_link, _file_for_folder, _circle])
@pytest.mark.parametrize("filled", [False, True])
def test_what_lies_in_a_gallerys_place_keeps_no_other_from_being_used(
    tmp_path: Path, harm: Callable[[Path], None], filled: bool
) -> None:
    home = DataFolder(tmp_path, default_spec=SPEC)
    home.create("yard", SPEC)[0].add([IMAGE] if filled else [])
    home.close()
    harm(tmp_path / "galleries/yard/crops")
    with contextlib.closing(DataFolder(tmp_path, default_spec=SPEC)) as home:
        assert home.names() == ["default"]
        assert str(tmp_path / "galleries/yard/crops") in home.problems()["yard"]
        assert "start again" in home.problems()["yard"] or "bring it back" in home.problems()["yard"]
        assert "\n" not in home.problems()["yard"]


@pytest.mark.parametrize("key", ["spec", "secret", "created_at", "space"])
def test_a_gallery_that_has_forgotten_what_it_is_is_damaged(tmp_path: Path, key: str) -> None:
    DataFolder(tmp_path, default_spec=SPEC).close()
    file = tmp_path / "galleries/default/gallery.sqlite"
    with contextlib.closing(apsw.Connection(str(file))) as connection:
        connection.execute("UPDATE about SET value = 'x' || value WHERE key = ?", (key,))
    with contextlib.closing(DataFolder(tmp_path, default_spec=SPEC)) as home:
        assert "what the gallery was created with cannot be read" in home.problems()["default"]


def test_a_full_disk_makes_no_half_gallery(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        home = DataFolder(disk / "data", default_spec=SPEC)
        filler = fill(disk)
        with pytest.raises(StorageFull):
            home.create("yard", SPEC)
        assert [path.name for path in (disk / "data/galleries").iterdir()] == ["default"]
        filler.unlink()
        assert home.create("yard", SPEC)[1]
        home.close()


def test_dropping_and_making_again_under_readers(tmp_path: Path) -> None:
    """Whoever works on a dropped gallery ends as if it did not exist, and never takes its successor's rows for it."""
    home = DataFolder(tmp_path, default_spec=SPEC)
    stop, begun = threading.Event(), threading.Barrier(3)

    def read() -> int:
        answers = 0
        begun.wait(10)
        while not stop.wait(0.001):
            with contextlib.suppress(GalleryNotFound):
                gallery = home.get("yard")
                (matches,) = gallery.search(IMAGE.embedding[None], SearchOptions())
                found = [match.image.metadata.vehicle_id for match in matches]
                assert found in ([], [str(gallery.spec.retention_days)])
                with contextlib.suppress(ImageNotFound):
                    gallery.crop("x")
                gallery.info()
                answers += 1
        return answers

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            begun.wait(10)
            for number in range(1, 21):
                gallery, _ = home.create("yard", replace(SPEC, retention_days=float(number)))
                gallery.add([replace(IMAGE, metadata=Metadata(vehicle_id=str(float(number))))])
                home.drop("yard")
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)
    home.close()
    assert [path.name for path in (tmp_path / "galleries").iterdir()] == ["default"]


def test_a_crash_while_the_layout_is_written_is_mended(tmp_path: Path) -> None:
    (tmp_path / "layout.part").touch()
    for _ in range(2):
        DataFolder(tmp_path, default_spec=SPEC).close()
    assert (tmp_path / "layout").read_text() == "1\n"


def test_an_empty_default_gallery_follows_the_model(tmp_path: Path) -> None:
    """One that holds an image stays with the model that filled it."""
    other = replace(SPEC, embedding_space="another")
    home = DataFolder(tmp_path, default_spec=SPEC)
    home.close()
    home = DataFolder(tmp_path, default_spec=other)
    assert home.get("default").spec == other
    home.get("default").add([IMAGE])
    home.close()
    home = DataFolder(tmp_path, default_spec=SPEC)
    assert (home.get("default").spec, home.get("default").count()) == (other, 1)
    home.close()
