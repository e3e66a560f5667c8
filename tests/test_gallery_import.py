"""A gallery filled from an export: the same gallery again, whatever stopped it in between."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.contract import fingerprint
from index.errors import EmbeddingSpaceMismatch, GalleryConflict, InvalidValue
from index.exchange.export_note import ExportNote, write_note
from index.exchange.gallery_export import export_gallery
from index.exchange.gallery_import import ExportFolder, check_export, import_export
from index.exchange.image_table import record_batch, table_schema
from index.gallery import Filters, GallerySpec, Metadata, SearchOptions, StoredImage
from index.local_gallery import LocalGallery
from index.maintenance.verification import CHANGED_CROP, MISSING_CROP, examine
from index.storage.image_rows import WholeRow
from tests.test_gallery_export import NOW, folder, stored
from tests.test_local_gallery import SPEC, image, vector

__all__ = ["folder"]

LATER = NOW + timedelta(hours=2)


@pytest.fixture
def exported(folder: Path, tmp_path: Path) -> Path:
    export_gallery(folder, tmp_path / "export", now=NOW)
    return tmp_path / "export"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images a write."""
    monkeypatch.setattr("index.exchange.gallery_import._AT_ONCE", 10)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[LocalGallery]:
    with closing(made(tmp_path, "empty", SPEC)) as gallery:
        yield gallery


def made(tmp_path: Path, name: str, spec: GallerySpec) -> LocalGallery:
    folder = tmp_path / "galleries" / name
    folder.mkdir(parents=True)
    LocalGallery.create(folder, name, spec)
    return LocalGallery(folder, clock=lambda: LATER)


def brought(exported: Path, gallery: LocalGallery, *, replacing: bool = False) -> tuple[int, int, int, int]:
    done = import_export(ExportFolder(exported), gallery, replacing=replacing, now=NOW)
    return done.created, done.updated, done.same, done.expired


@pytest.mark.usefixtures("few")
def test_the_gallery_is_the_same_again(folder: Path, exported: Path, empty: LocalGallery) -> None:
    assert brought(exported, empty) == (42, 0, 0, 0)
    images = stored(folder)
    assert empty.find(list(images)) == images
    assert empty.count() == len(images)
    with closing(LocalGallery(folder)) as own:
        for image_id in images:
            assert np.array_equal(empty.embedding(image_id), own.embedding(image_id))
            assert empty.crop(image_id) == own.crop(image_id)
    assert empty.search(vector(1005)[None], SearchOptions(top_k=1))[0][0].image == images["i5"]
    assert type(empty.get("i7").metadata.attributes["part"]) is float
    assert brought(exported, empty) == (0, 0, 42, 0)
    assert empty.info().last_change == 42  # nothing was written again


def test_what_was_imported_is_sound(exported: Path, empty: LocalGallery, tmp_path: Path) -> None:
    brought(exported, empty)
    empty.close()
    assert examine(tmp_path / "galleries/empty").findings == []


@pytest.mark.usefixtures("few")
def test_other_images_under_the_same_ids_are_replaced_only_when_told(exported: Path, empty: LocalGallery) -> None:
    empty.add([image(3, turn=7), image(200)])
    empty.add([replace(image(30), ingested_at=NOW - timedelta(days=1))])
    with pytest.raises(
        GalleryConflict, match=r"other images under 2 ids of the export \(i3, i30\); nothing was written"
    ):
        brought(exported, empty)
    assert empty.count() == 3
    assert brought(exported, empty, replacing=True) == (40, 2, 0, 0)
    assert np.array_equal(empty.embedding("i3"), vector(3))
    assert empty.count() == 43


def test_killed_it_is_gone_on_with(exported: Path, empty: LocalGallery, folder: Path) -> None:
    where = empty._database.path.parent
    empty.close()
    script = (
        "import os, signal, sys; from pathlib import Path; from index.exchange import gallery_import as g\n"
        "from index.local_gallery import LocalGallery\nfrom index.gallery_rules import utc_now\n"
        "g._AT_ONCE = 10\n"
        "gallery = LocalGallery(Path(sys.argv[2]))\n"
        "g.import_export(g.ExportFolder(Path(sys.argv[1])), gallery, replacing=False, now=utc_now(),"
        " progress=lambda n: os.kill(os.getpid(), signal.SIGKILL))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(exported), str(where)]).returncode == -9
    with closing(LocalGallery(where)) as gallery:
        assert gallery.count() == 10
        assert brought(exported, gallery) == (32, 0, 10, 0)
        assert gallery.find(list(stored(folder))) == stored(folder)


def test_the_clock_of_retention_goes_on(exported: Path, tmp_path: Path) -> None:
    with closing(made(tmp_path, "brief", replace(SPEC, retention_days=1))) as gallery:
        late = import_export(ExportFolder(exported), gallery, replacing=False, now=NOW + timedelta(hours=23))
        assert (late.created, late.expired) == (42, 0)
        gallery._clock = lambda: NOW + timedelta(hours=25)
        assert gallery.count() == 0
        later = import_export(ExportFolder(exported), gallery, replacing=False, now=NOW + timedelta(hours=25))
        assert (later.created, later.expired) == (0, 42)


def test_a_gallery_that_keeps_no_crops(exported: Path, tmp_path: Path) -> None:
    with closing(made(tmp_path, "lean", replace(SPEC, keep_crops=False))) as gallery:
        assert brought(exported, gallery) == (42, 0, 0, 0)
        assert brought(exported, gallery) == (0, 0, 42, 0)
        assert gallery.get("i1").crop_name is None


def test_a_model_of_one_viewpoint(tmp_path: Path) -> None:
    spec = replace(SPEC, viewpoints=("any",))
    with closing(made(tmp_path, "one", spec)) as gallery:
        gallery.add([replace(image(n), viewpoint=None) for n in range(3)])
    export_gallery(tmp_path / "galleries/one", tmp_path / "export", now=NOW)
    with closing(made(tmp_path, "two", spec)) as gallery:
        assert brought(tmp_path / "export", gallery) == (3, 0, 0, 0)
        assert gallery.get("i1").viewpoint == {}


@pytest.mark.parametrize(
    ("spec", "error", "advice"),
    [
        (replace(SPEC, embedding_space="other"), EmbeddingSpaceMismatch, "a gallery of another name"),
        (replace(SPEC, embedding_dim=9), EmbeddingSpaceMismatch, "vehicle-index add"),
        (replace(SPEC, viewpoints=("front", "side", "rear")), GalleryConflict, "the viewpoints front, side, rear"),
    ],
)
def test_a_gallery_of_another_space(
    spec: GallerySpec, error: type[Exception], advice: str, exported: Path, tmp_path: Path
) -> None:
    with closing(made(tmp_path, "other", spec)) as gallery, pytest.raises(error, match=advice):
        brought(exported, gallery)


def test_damaged_crops_are_told_and_their_images_found(
    exported: Path, empty: LocalGallery, folder: Path, tmp_path: Path
) -> None:
    images = stored(folder)
    files = {path.name: path for path in (exported / "crops").rglob("*.jpg")}
    lost = files[str(images["i1"].crop_name)]
    kept = lost.read_bytes()
    lost.unlink()
    files[str(images["i2"].crop_name)].write_bytes(b"\xff\xd8\xffother")
    found = {finding.what: finding.subjects for finding in check_export(ExportFolder(exported))}
    assert found == {MISSING_CROP: ("i1", "twin"), CHANGED_CROP: ("i2",)}
    done = import_export(ExportFolder(exported), empty, replacing=False, now=NOW)
    assert done.lost == {"i1": MISSING_CROP, "i2": CHANGED_CROP, "twin": MISSING_CROP}
    assert empty.get("i2").crop_name is None
    again = import_export(ExportFolder(exported), empty, replacing=False, now=NOW)
    assert (again.same, again.lost) == (42, done.lost)
    lost.write_bytes(kept)
    assert brought(exported, empty) == (0, 2, 40, 0)
    assert empty.get("i1") == images["i1"]


def test_a_sound_export(exported: Path) -> None:
    told: list[int] = []
    assert check_export(ExportFolder(exported), progress=told.append) == []
    assert sum(told) == 42


def test_a_changed_table_is_refused(exported: Path) -> None:
    table = exported / "images.parquet"
    data = bytearray(table.read_bytes())
    data[200] ^= 1
    table.write_bytes(data)
    with pytest.raises(InvalidValue, match="is not what was written"):
        ExportFolder(exported)
    table.unlink()
    with pytest.raises(InvalidValue, match=r"it has no file images\.parquet"):
        ExportFolder(exported)


def rewritten(
    exported: Path, *, columns: dict[str, object] | None = None, note_says: dict[str, object] | None = None
) -> None:
    """The export as somebody might make it: the last row's values changed, with the right checksum."""
    file = exported / "images.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[-1] |= columns or {}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    note = json.loads((exported / "export.json").read_text())
    note |= {"table": {"sha256": fingerprint(file)}, **(note_says or {})}
    (exported / "export.json").write_text(json.dumps(note))


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"crop": "crops/../../../etc/passwd"}, "names a crop 'crops/../../../etc/passwd', which is no place"),
        ({"crop": "crops/aa/" + "b" * 64 + ".jpg"}, "which is no place of an export"),
        ({"image_id": "../x"}, "must match"),
        ({"vehicle_id": ""}, "must be a string of 1–256"),
        ({"attributes": "{"}, "attributes that are not JSON"),
        ({"attributes": '{"a": [1]}'}, "an attribute must be a string or a finite number"),
        ({"embedding_space": "other"}, "is of the embedding space 'other'"),
    ],
)
def test_values_are_checked_as_a_clients_are(columns: dict[str, object], problem: str, exported: Path) -> None:
    rewritten(exported, columns=columns)
    with pytest.raises(InvalidValue, match=problem):
        check_export(ExportFolder(exported))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"images": 41}, "has 42 images, not 41"),
        ({"format": "other"}, "is not of an export"),
        ({"version": 3}, "is of version 3, this release reads 1 and 2"),
        ({"version": 2}, "lacks something, or it is wrong: KeyError 'tables'"),
        ({"version": 2, "tables": [{"file": "parts/../../x.parquet", "sha256": ""}]}, "is no place of a part"),
        ({"spec": {}}, "lacks something"),
        ({"gallery": "../x"}, "lacks something|must match"),
    ],
)
def test_a_note_that_says_something_else(change: dict[str, object], problem: str, exported: Path) -> None:
    rewritten(exported, note_says=change)
    with pytest.raises(InvalidValue, match=problem):
        ExportFolder(exported)


def test_other_columns(exported: Path) -> None:
    file = exported / "images.parquet"
    pq.write_table(pq.read_table(file).drop_columns("camera_id"), file)
    rewritten(exported)
    with pytest.raises(InvalidValue, match="has other columns"):
        ExportFolder(exported)


def test_a_large_table_is_not_held_in_memory(tmp_path: Path) -> None:
    spec, rows = replace(SPEC, embedding_dim=512), 12_288
    shown = StoredImage(
        image_id="i", metadata=Metadata(), ingested_at=NOW, viewpoint={"front": 1.0, "rear": 0.0, "side": 0.0},
        crop_name=None,
    )  # fmt: skip
    row = WholeRow(1, shown, np.zeros(512, dtype=np.float32), intact=True)
    block = record_batch([row] * 1024, spec)
    with pq.ParquetWriter(
        tmp_path / "images.parquet", table_schema(spec), compression="NONE", use_dictionary=False
    ) as writer:
        for _ in range(rows // 1024):
            writer.write_batch(block)
    note = ExportNote(
        gallery="yard", spec=spec, images=rows, crops=0, last_change=1, exported_at=NOW,
        tables={"images.parquet": fingerprint(tmp_path / "images.parquet")},
    )  # fmt: skip
    write_note(tmp_path, note, Filters())
    del block
    before = pa.total_allocated_bytes()
    seen, most = 0, 0
    for lot in ExportFolder(tmp_path).rows():
        seen, most = seen + len(lot), max(most, pa.total_allocated_bytes() - before)
    assert seen == rows
    assert most < rows * 512 * 4 / 3


def test_no_export(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InvalidValue, match=r"is no export: it has no file export\.json"):
            ExportFolder(path)
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(InvalidValue, match="cannot be read"):
        ExportFolder(tmp_path)


def test_metadata_without_anything(exported: Path, empty: LocalGallery) -> None:
    brought(exported, empty)
    assert empty.get("i99").metadata == Metadata()
    assert not empty.page(Filters(vehicle_id=("None",)), limit=5).images
