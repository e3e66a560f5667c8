"""After a compaction no byte of what was erased is anywhere in the data folder."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from index.crops import content_name
from index.data_folder import DataFolder
from index.errors import StorageError
from index.gallery import Filters, GallerySpec, Kind, Metadata, NewImage, SearchOptions, Vectors
from index.local_gallery import LocalGallery
from index.storage.gallery_files import SNAPSHOT, set_aside
from tests.index_kinds import MIRRORED, build_early, kind_name
from tests.test_verification import spoil_listed

D = 64
SPEC = GallerySpec(embedding_space="space", embedding_dim=D, viewpoints=("front", "rear"))


def secret(n: int, turn: int = 0) -> NewImage:
    """An image every part of which can be looked for."""
    rng = np.random.default_rng([n, turn])
    metadata = Metadata(
        vehicle_id=f"plate-{n}-{turn}-of-somebody", camera_id=f"gate-{n}-{turn}-of-somewhere",
        attributes={f"name-{n}-{turn}": f"value-{n}-{turn}-written", "number": int(rng.integers(2**62))},
    )  # fmt: skip
    return NewImage(
        image_id=f"secret-id-{n}-{turn if n % 2 else 'x'}", metadata=metadata, crop=b"\xff\xd8\xff" + rng.bytes(3000 + n),
        embedding=rng.normal(size=D).astype(np.float32), viewpoint=rng.random(2).astype(np.float32),
    )  # fmt: skip


def needles(image: NewImage, *, with_id: bool = True) -> dict[str, bytes]:
    """What must not be found of an image, by what it is."""
    number = int(image.metadata.attributes["number"])
    assert image.viewpoint is not None
    ids = {"id": image.image_id.encode()} if with_id else {}
    return ids | {
        "vehicle": str(image.metadata.vehicle_id).encode(),
        "camera": str(image.metadata.camera_id).encode(),
        "attribute": next(iter(image.metadata.attributes)).encode(),
        "value": str(next(iter(image.metadata.attributes.values()))).encode(),
        "number": number.to_bytes(8),
        "vector": image.embedding.tobytes()[:32],
        "end of vector": image.embedding.tobytes()[-32:],
        "probabilities": image.viewpoint.tobytes(),
        "picture": image.crop[100:164],
        "name of picture": content_name(image.crop).encode(),
        "path of picture": content_name(image.crop)[:40].encode(),
    }


def traces(data: Path, image: NewImage, *, with_id: bool = True) -> list[tuple[str, str]]:
    """Which parts of an image are found in which files, by content or by name."""
    found = []
    for path in data.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for what, needle in needles(image, with_id=with_id).items():
            if needle in content or needle in path.name.encode():
                found.append((what, str(path.relative_to(data))))
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def home(data: Path) -> Iterator[DataFolder]:
    opened = DataFolder(data, default_spec=SPEC)
    yield opened
    opened.close()


def test_the_search_for_bytes_finds_what_is_there(home: DataFolder, data: Path) -> None:
    home.get("default").add([secret(1)])
    assert {what for what, _ in traces(data, secret(1))} == set(needles(secret(1)))


@pytest.mark.parametrize("how", ["one by one", "all at once", "by filter", "while the log is read"])
def test_what_was_erased_is_nowhere(home: DataFolder, data: Path, how: str) -> None:
    gallery = home.get("default")
    images = [secret(n) for n in range(300)]
    for start in range(0, 300, 50):
        gallery.add(images[start : start + 50])
    gone, kept = images[::3], [each for n, each in enumerate(images) if n % 3]
    if how == "all at once":
        gone, kept = images, []
        gallery.delete_where(Filters())
    elif how == "by filter":
        gallery.delete_where(Filters(camera_id=tuple(str(each.metadata.camera_id) for each in gone)))
    else:
        for each in gone:
            gallery.delete(each.image_id)
    if how == "while the log is read":
        with gallery._database.snapshot(), pytest.raises(StorageError, match="while somebody reads it"):
            gallery.compact()
    gallery.compact()
    for each in gone[:: max(1, len(gone) // 25)]:
        assert traces(data, each) == []
    assert gallery.count() == len(kept)
    for each in kept[::40]:
        assert {what for what, _ in traces(data, each)} == set(needles(each))
        assert gallery.crop(each.image_id)[1] == each.crop
    assert (data / "galleries/default/gallery.sqlite-wal").stat().st_size == 0


@pytest.mark.parametrize("kind", [("flat", "fp32"), ("ivf", "fp32"), ("hnsw", "fp32"), *MIRRORED[::2]], ids=kind_name)
def test_the_snapshot_of_the_index_keeps_what_is_stored_and_nothing_else(
    data: Path, kind: tuple[Kind, Vectors], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build_early(monkeypatch)
    home = DataFolder(data, default_spec=replace(SPEC, kind=kind[0], vectors=kind[1]))
    images = [secret(n) for n in range(100)]
    home.get("default").add(images)
    home.get("default")._upkeep.rest()
    home.get("default").rewrite_snapshot()
    home.close()
    place = f"galleries/default/{SNAPSHOT}"
    assert ("vector", place) in traces(data, images[7])
    home = DataFolder(data)
    gallery = home.get("default")
    gallery.add([secret(n, turn=1) for n in range(0, 20, 2)])  # replaced
    for n in range(1, 20, 2):
        gallery.delete(f"secret-id-{n}-0")
    gallery._upkeep.rest()
    gallery.compact()
    for _ in range(2):
        for n in range(20):
            assert traces(data, secret(n), with_id=n % 2 == 1) == []
        home.close()  # which may write one, too
        for n in (*range(0, 20, 2), *range(20, 100, 10)):
            assert ("vector", place) in traces(data, secret(n, turn=int(n < 20)))
        home = DataFolder(data)
    assert home.get("default").count() == 90
    home.close()
    assert caplog.messages == []  # the snapshot was believed


def test_without_room_for_another_index_there_is_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was erased is gone all the same."""
    build_early(monkeypatch)
    folder = tmp_path / "galleries/yard"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "yard", replace(SPEC, kind="hnsw"))
    free = [1 << 30]
    gallery = LocalGallery(folder, memory=lambda: free[0])
    gallery.add([secret(n) for n in range(100)])
    gallery._upkeep.rest()
    gallery.rewrite_snapshot()
    assert ("vector", f"galleries/yard/{SNAPSHOT}") in traces(tmp_path, secret(7))
    free[0] = 1000
    gallery.delete(secret(7).image_id)
    gallery.compact()
    assert "the index stays as it is: building an index of kind hnsw" in caplog.text
    gallery.close()
    assert traces(tmp_path, secret(7)) == []
    assert not (folder / SNAPSHOT).exists()
    gallery = LocalGallery(folder)
    ((match,),) = gallery.search(secret(8).embedding[None], SearchOptions(top_k=1))
    assert match.image.image_id == secret(8).image_id
    gallery.close()


def test_a_replaced_picture_is_nowhere_and_the_new_one_is_there(home: DataFolder, data: Path) -> None:
    gallery = home.get("default")
    ids = [secret(n).image_id for n in range(0, 200, 2)]
    for turn in range(3):
        gallery.add([secret(n, turn) for n in range(0, 200, 2)])
    assert gallery.count() == len(ids)
    gallery.change_metadata(ids[5], lambda _: Metadata(vehicle_id="corrected"))
    gallery.compact()
    for n in range(0, 200, 20):
        for turn in range(2):
            assert traces(data, secret(n, turn), with_id=False) == []
        if n != 10:
            assert len(traces(data, secret(n, 2))) >= len(needles(secret(n, 2)))
    changed = {what for what, _ in traces(data, secret(10, 2))}
    assert changed == {
        "id",
        "vector",
        "end of vector",
        "probabilities",
        "picture",
        "name of picture",
        "path of picture",
    }


def test_a_picture_under_two_ids_stays_while_one_of_them_does(home: DataFolder, data: Path) -> None:
    gallery = home.get("default")
    gallery.add([secret(1), replace(secret(2), crop=secret(1).crop)])
    gallery.delete(secret(1).image_id)
    gallery.compact()
    assert {what for what, _ in traces(data, secret(1))} == {"picture", "name of picture", "path of picture"}
    gallery.delete(secret(2).image_id)
    gallery.compact()
    assert traces(data, secret(1)) == []


def test_what_retention_swept_is_nowhere(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    home = DataFolder(tmp_path, default_spec=replace(SPEC, retention_days=1), clock=lambda: now)
    gallery = home.get("default")
    gallery.add([secret(n) for n in range(50)])
    now += timedelta(days=2)
    gallery.compact()
    for n in range(50):
        assert traces(tmp_path, secret(n)) == []
    home.close()


def test_what_a_crash_or_a_repair_left_is_erased(home: DataFolder, data: Path) -> None:
    gallery = home.get("default")
    gallery.add([secret(n) for n in range(3)])
    name = content_name(secret(1).crop)
    gallery.close()
    folder = data / "galleries/default"
    aside = set_aside(folder)
    aside.mkdir(parents=True)
    (folder / ".repair").mkdir()
    for path in (
        folder / "crops/incoming" / f"{name}.part",
        folder / f"{SNAPSHOT}.part",
        aside / name,
        folder / "old.faiss",
        folder / "gallery.sqlite.old",
        folder / ".repair/new.sqlite",
        folder / "crops.old",
        folder / "crops/zz.jpg",
    ):
        path.write_bytes(secret(1).crop)
    (folder / "crops/zz").mkdir()
    (folder / "crops/zz/stray").write_bytes(secret(1).crop)
    gallery = LocalGallery(folder)
    gallery.delete(secret(1).image_id)
    gallery.compact()
    assert traces(data, secret(1)) == []
    assert gallery.crop(secret(2).image_id)[1] == secret(2).crop
    gallery.close()


def test_the_change_sequence_and_the_lock_keep_no_ids(data: Path) -> None:
    """Even before a compaction: erased ids stand in no table."""
    home = DataFolder(data, default_spec=SPEC)
    gallery = home.get("default")
    gallery.add([secret(n) for n in range(5)])
    gallery.delete_where(Filters())
    with gallery._database.snapshot() as view:
        tables = [name for (name,) in view.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        stored = [str(row) for table in tables for row in view.execute(f"SELECT * FROM {table}")]
        assert not any("secret-id" in row for row in stored)
        assert view.execute("SELECT count(*) FROM changes").get == 10
    assert (data / "lock").read_text().startswith("process ")
    home.close()
    assert (data / "lock").read_text().strip() == ""


def test_nothing_is_lost_by_it(data: Path) -> None:
    home = DataFolder(data, default_spec=SPEC)
    gallery = home.get("default")
    gallery.add([secret(n) for n in range(40)])
    gallery.delete(secret(7).image_id)
    before, last = gallery.page(Filters(), limit=100).images, gallery.info().last_change
    gallery.compact()
    home.close()
    again = DataFolder(data)
    assert again.get("default").page(Filters(), limit=100).images == before
    assert again.get("default").info().last_change == last
    again.close()


def test_what_split_pages_kept_between_their_rows_is_nowhere(tmp_path: Path) -> None:
    """Overwriting what is deleted is not enough: of 3,000 erased images 14 to 27 left a text in the file."""
    folder = tmp_path / "galleries/lean"
    folder.mkdir(parents=True)
    LocalGallery.create(folder, "lean", replace(SPEC, embedding_dim=8, keep_crops=False))
    gallery = LocalGallery(folder)
    order = np.random.default_rng(0).permutation(6000).tolist()
    for start in range(0, 6000, 200):
        gallery.add([small(n) for n in order[start : start + 200]])
    for start in range(0, 3000, 100):
        gallery.delete_where(Filters(vehicle_id=tuple(texts(n)[1] for n in order[start : start + 100])))
    gallery.compact()
    content = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    left = set(re.findall(rb"(?:ident|veh|cam|val)-[0-9]{4}-[a-z]", content))
    assert left == {text.encode() for n in order[3000:] for text in texts(n)}
    gallery.close()


def texts(n: int) -> tuple[str, str, str, str]:
    """Image, vehicle, camera and attribute, in no order."""
    return f"ident-{n:04}-x", f"veh-{n * 7919 % 6007:04}-y", f"cam-{n * 4729 % 6007:04}-z", f"val-{n:04}-w"


def small(n: int) -> NewImage:
    """An image of few bytes."""
    image_id, vehicle_id, camera_id, value = texts(n)
    metadata = Metadata(vehicle_id=vehicle_id, camera_id=camera_id, attributes={f"attr{n * 31 % 97}": value})
    vector = np.full(8, n, dtype=np.float32)
    return NewImage(image_id=image_id, metadata=metadata, crop=b"", embedding=vector, viewpoint=None)


def test_no_crop_is_removed_that_an_image_names_though_the_list_does_not(home: DataFolder, data: Path) -> None:
    gallery, folder = home.get("default"), data / "galleries/default"
    gallery.add([secret(n) for n in range(20)])
    gallery.close()
    spoil_listed(folder, (name := content_name(secret(7).crop)))
    with closing(LocalGallery(folder)) as gallery:
        with pytest.raises(StorageError, match=r"`vehicle-index verify` tells what is damaged"):
            gallery.compact()
        assert gallery.crop(secret(7).image_id) == (name, secret(7).crop)
