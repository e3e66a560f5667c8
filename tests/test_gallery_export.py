"""A gallery as a Parquet table and crops: what is in it, whole or not there, beside whoever writes."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import numpy as np
import pyarrow.parquet as pq
import pytest

from index.errors import DataFolderLocked, DataFolderUnusable, InvalidValue, StorageFull
from index.exchange.export_note import read_note
from index.exchange.gallery_export import DAMAGED_ROW, GalleryExport, export_gallery
from index.gallery import Filters, Metadata, StoredImage
from index.local_gallery import LocalGallery
from index.maintenance.verification import CHANGED_CROP, MISSING_CROP, UNREADABLE_CROP
from index.storage.folder_lock import FolderLock
from index.storage.gallery_view import open_view
from tests.layout_1 import write_layout_1
from tests.small_disk import fill, small_disk
from tests.test_local_gallery import SPEC, image, vector

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery of 40 images; one knows everything, one nothing, two share a crop, some were replaced or erased."""
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", SPEC)
    gallery = LocalGallery(folder, clock=lambda: NOW)
    gallery.add([image(n) for n in range(45)])
    gallery.add([image(n, turn=1) for n in range(0, 45, 5)])
    gallery.add([replace(image(1), image_id="twin"), replace(image(99), viewpoint=None, metadata=Metadata())])
    known = Metadata(
        vehicle_id="v7", camera_id="c 1", captured_at=NOW - timedelta(microseconds=1),
        attributes={"lane": "left", "whole": 1, "part": 1.0, "long": 0.1 + 0.2},
    )  # fmt: skip
    gallery.change_metadata("i7", lambda _: known)
    for n in range(40, 45):
        gallery.delete(f"i{n}")
    gallery.close()
    return folder


def stored(folder: Path) -> dict[str, StoredImage]:
    gallery = LocalGallery(folder, clock=lambda: NOW)
    try:
        return gallery.find([*(f"i{n}" for n in range(100)), "twin"])
    finally:
        gallery.close()


def export(folder: Path, **options: object) -> tuple[Path, GalleryExport]:
    target = folder.parents[1] / "out"
    return target, export_gallery(folder, target, now=NOW, **options)  # type: ignore[arg-type]


def test_every_image_is_a_row_and_every_crop_a_file(folder: Path) -> None:
    target, done = export(folder)
    assert done.findings == ()
    rows = {row["image_id"]: row for row in pq.read_table(target / "images.parquet").to_pylist()}
    images = stored(folder)
    assert rows.keys() == images.keys()
    for image_id, row in rows.items():
        own = images[image_id]
        said = own.metadata
        assert (row["vehicle_id"], row["camera_id"]) == (said.vehicle_id, said.camera_id)
        assert (row["captured_at"], row["ingested_at"]) == (said.captured_at, own.ingested_at)
        assert row["attributes"] == json.dumps(dict(said.attributes))
        assert row["embedding_space"] == "space"
        assert (row["probabilities"] or {}) == own.viewpoint
        assert row["viewpoint"] == ("side" if own.viewpoint else None)
        picture = (target / row["crop"]).read_bytes()
        assert Path(row["crop"]).name == f"{hashlib.sha256(picture).hexdigest()}.jpg" == own.crop_name
    assert np.array_equal(np.float32(rows["i3"]["embedding"]), vector(3))
    assert np.array_equal(np.float32(rows["i5"]["embedding"]), vector(1005))
    files = {path.name for path in (target / "crops").rglob("*") if path.is_file()}
    assert files == {each.crop_name for each in images.values()}
    note = read_note(target)
    assert (note.gallery, note.spec, note.images, note.crops) == ("yard", SPEC, 42, 41)
    assert {path.name for path in target.iterdir()} == {"images.parquet", "crops", "export.json"}
    assert not target.with_name("out.partial").exists()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(camera_id=("c 1",)), {"i7"}),
        (Filters(exclude_camera_id=("c 1",), vehicle_id=("v7",)), set()),
        (Filters(attributes={"whole": (1,), "lane": ("left", "right")}, viewpoint=("side",)), {"i7"}),
        (Filters(captured_before=NOW), {"i7"}),
        (Filters(captured_before=NOW - timedelta(days=1)), set()),
    ],
)
def test_what_passes_filters_goes_with_its_crops_alone(folder: Path, filters: Filters, expected: set[str]) -> None:
    told: list[int] = []
    target, done = export(folder, filters=filters, progress=told.append)
    assert set(pq.read_table(target / "images.parquet")["image_id"].to_pylist()) == expected
    images = stored(folder)
    files = {path.name for path in (target / "crops").rglob("*") if path.is_file()}
    assert files == {images[image_id].crop_name for image_id in expected}
    assert (done.note.images, done.note.crops, sum(told)) == (len(expected), len(expected), 2 * len(expected))
    assert json.loads((target / "export.json").read_text())["filters"].keys() == {
        name for name, value in vars(filters).items() if value
    }


def test_the_embedding_is_a_list_of_fixed_size_in_row_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.exchange.gallery_export.GROUP", 10)
    target, _ = export(folder)
    with pq.ParquetFile(target / "images.parquet") as table:
        assert str(table.schema_arrow.field("embedding").type) == "fixed_size_list<element: float not null>[8]"
        assert [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)] == [10, 10, 10, 10, 2]


def test_what_retention_no_longer_returns_stays_out_with_its_crop(tmp_path: Path) -> None:
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", replace(SPEC, retention_days=1))
    gallery = LocalGallery(folder, clock=lambda: NOW)
    gallery.add([replace(image(0), ingested_at=NOW - timedelta(hours=23)), image(1)])
    gallery.close()
    target, done = export_gallery_at(folder, NOW + timedelta(hours=2))
    assert (done.note.images, done.note.crops) == (1, 1)
    assert len(list((target / "crops").rglob("*.jpg"))) == 1


def export_gallery_at(folder: Path, now: datetime) -> tuple[Path, GalleryExport]:
    target = folder.parents[1] / "out"
    return target, export_gallery(folder, target, now=now)


def after(rows: int, act: Callable[[], None]) -> Callable[[int], None]:
    """A progress that acts once when so much was told."""
    told = 0

    def progress(more: int) -> None:
        nonlocal told
        before, told = told, told + more
        if before < rows <= told:
            act()

    return progress


def test_what_is_replaced_or_erased_behind_the_view(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view still has the old rows, whose crops are gone from the folder and from what was copied."""
    monkeypatch.setattr("index.exchange.gallery_export.GROUP", 10)
    gallery = LocalGallery(folder, clock=lambda: NOW)
    before = gallery.find([f"i{n}" for n in range(40)])

    def act() -> None:
        gallery.add([image(14, turn=5), image(25, turn=5)])
        gallery.delete("i13")
        for image_id in ("i13", "i14", "i25"):
            name = before[image_id].crop_name
            (copied,) = (folder.parents[1] / "out.partial").rglob(str(name))
            copied.unlink()  # as if it had been erased before we came to copy it

    target, done = export(folder, progress=after(41 + 10, act))
    gallery.close()
    assert done.findings == ()
    rows = {row["image_id"]: row for row in pq.read_table(target / "images.parquet").to_pylist()}
    assert rows.keys() == before.keys() - {"i13"} | {"twin", "i99"}
    assert np.array_equal(np.float32(rows["i14"]["embedding"]), vector(5014))
    assert all((target / row["crop"]).exists() for row in rows.values())


def test_damage_is_told_and_the_rest_exported(folder: Path) -> None:
    images = stored(folder)
    crops = folder / "crops"
    for image_id, data in (("i1", None), ("i2", b"\xff\xd8\xffother")):
        name = images[image_id].crop_name
        assert name is not None
        if data is None:
            (crops / name[:2] / name).unlink()
        else:
            (crops / name[:2] / name).write_bytes(data)
    with apsw.Connection(str(folder / "gallery.sqlite")) as connection:
        connection.execute(
            "UPDATE embeddings SET vector = zeroblob(32) WHERE row_id = (SELECT row_id FROM images WHERE image_id = 'i3')"
        )
    connection.close()
    target, done = export(folder)
    assert {found.what: found.subjects for found in done.findings} == {
        MISSING_CROP: ("i1", "twin"), CHANGED_CROP: ("i2",), DAMAGED_ROW: ("i3",),
    }  # fmt: skip
    rows = {row["image_id"]: row for row in pq.read_table(target / "images.parquet").to_pylist()}
    assert "i3" not in rows
    assert [image_id for image_id, row in rows.items() if row["crop"] is None] == ["i1", "i2", "twin"]


def test_a_crop_that_cannot_be_read_is_left_out_and_told(folder: Path) -> None:
    path = next((folder / "crops").rglob("*.jpg"))
    path.unlink()
    path.mkdir()
    _, done = export(folder)
    assert [found.what for found in done.findings] == [UNREADABLE_CROP]
    assert done.note.images == 42


def test_names_of_crops_that_do_not_come_in_order_do_not_come_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit of a name flipped in the list of images by crop, so that paging by names goes back."""
    monkeypatch.setattr("index.storage.gallery_view._CROPS_AT_ONCE", 8)
    with open_view(folder / "gallery.sqlite", now=NOW) as view:
        last = next(view.crop_names())[-1]
    spoil(folder, last)
    _, done = export(folder)
    assert (done.note.images, done.findings) == (42, ())


def spoil(folder: Path, name: str) -> None:
    """Turn the first digit of a crop's name into a sign before all digits, where images are listed by crop."""
    file = folder / "gallery.sqlite"
    whole = file.read_bytes()
    for found in re.finditer(name.encode(), whole):
        data = bytearray(whole)
        data[found.start()] ^= 0x10
        file.write_bytes(data)
        with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            if (name,) not in connection.execute("SELECT crop FROM images INDEXED BY images_crop").fetchall():
                return
    raise AssertionError(name)


def test_killed_it_leaves_no_export_and_is_taken_up(folder: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from index.exchange.gallery_export import export_gallery\n"
        "from index.gallery_rules import utc_now\n"
        "export_gallery(Path(sys.argv[1]), Path(sys.argv[2]), now=utc_now(),"
        " progress=lambda n: os.kill(os.getpid(), signal.SIGKILL))"
    )
    target = folder.parents[1] / "out"
    killed = subprocess.run([sys.executable, "-c", script, str(folder), str(target)])
    assert killed.returncode == -9
    assert not target.exists()
    copied = {path: path.stat().st_ino for path in (folder.parents[1] / "out.partial/crops").rglob("*.jpg")}
    assert copied
    _, done = export(folder)
    assert done.note.images == 42
    kept = {path.name: path.stat().st_ino for path in (target / "crops").rglob("*.jpg")}
    assert all(kept[path.name] == inode for path, inode in copied.items())


def test_a_full_disk_leaves_no_export(folder: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        filler = fill(disk, leave=16 << 10)
        with pytest.raises(StorageFull, match="no space left"):
            export_gallery(folder, disk / "out", now=NOW)
        assert not (disk / "out").exists()
        filler.unlink()
        assert export_gallery(folder, disk / "out", now=NOW).note.images == 42


def test_what_is_there_is_not_touched(folder: Path) -> None:
    root = folder.parents[1]
    (root / "mine").mkdir()
    (root / "mine/file").touch()
    (root / "b.partial").mkdir()
    (root / "b.partial/file").touch()
    (root / "c.partial").mkdir()
    for name, problem in (("mine", "not an empty folder"), ("mine/file", "not an empty"), ("b", "not of an export")):
        with pytest.raises(InvalidValue, match=problem):
            export_gallery(folder, root / name, now=NOW)
    lock = FolderLock(root / "c.partial")
    with pytest.raises(DataFolderLocked):
        export_gallery(folder, root / "c", now=NOW)
    lock.close()


def test_a_gallery_of_an_older_layout_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "galleries/old"
    folder.mkdir(parents=True)
    write_layout_1(folder / "gallery.sqlite")
    with pytest.raises(DataFolderUnusable, match=r"has layout 1.*`vehicle-index list` upgrades it"):
        export_gallery(folder, tmp_path / "out", now=NOW)


def test_an_empty_gallery(tmp_path: Path) -> None:
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", SPEC)
    target, done = export(folder)
    assert (done.note.images, pq.read_table(target / "images.parquet").num_rows) == (0, 0)
