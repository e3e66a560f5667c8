"""What the gallery on this machine promises beyond the protocol: crashes, full disks, files, memory."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.crops import content_name
from index.errors import GalleryNotFound, StorageError, StorageFull
from index.gallery import Filters, GallerySpec, Metadata, NewImage, SearchOptions
from index.local_gallery import LocalGallery
from index.maintenance.verification import examine
from tests.index_kinds import ALL_ANYWHERE, kind_name
from tests.small_disk import fill, small_disk

D = 8
SPEC = GallerySpec(embedding_space="space", embedding_dim=D, viewpoints=("front", "rear", "side"))


def vector(n: int) -> NDArray[np.float32]:
    return np.random.default_rng(n).normal(size=D).astype(np.float32)


def image(n: int, *, crop: bytes | None = None, turn: int = 0) -> NewImage:
    return NewImage(
        image_id=f"i{n}",
        metadata=Metadata(camera_id="c", attributes={"turn": turn}),
        crop=crop or f"\xff\xd8\xff crop {n} {turn}".encode("latin1"),
        embedding=vector(n + 1000 * turn),
        viewpoint=np.array([0.2, 0.3, 0.5], dtype=np.float32),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "gallery"
    folder.mkdir()
    LocalGallery.create(folder, "yard", SPEC)
    return folder


@pytest.fixture
def gallery(folder: Path) -> Iterator[LocalGallery]:
    opened = LocalGallery(folder)
    yield opened
    opened.close()


@pytest.fixture(params=ALL_ANYWHERE, ids=kind_name)
def lean(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalGallery]:
    """A gallery of each kind that keeps no crops, for many rows; its index is built once ``settled`` was called."""
    folder = tmp_path / "lean"
    folder.mkdir()
    kind, vectors = request.param
    LocalGallery.create(folder, "lean", replace(SPEC, keep_crops=False, kind=kind, vectors=vectors))
    opened = LocalGallery(folder)
    yield opened
    opened.close()


def settled(gallery: LocalGallery) -> bool:
    """Waits for the index that its kind wants; whether that finds exactly what is near."""
    gallery._upkeep.rest()
    state = gallery.info().index
    assert (state.kind, state.vectors) == (gallery.spec.kind, gallery.spec.vectors)
    return state.kind == "flat"


def crop_files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "crops").rglob("*") if path.is_file()}


def nearest(gallery: LocalGallery, query: NDArray[np.float32]) -> tuple[str, float]:
    ((match,),) = gallery.search(query[None], SearchOptions(top_k=1))
    return match.image.image_id, match.distance


def test_everything_is_there_after_opening_again(folder: Path, gallery: LocalGallery) -> None:
    gallery.add([image(n) for n in range(300)])
    gallery.add([image(n, turn=1) for n in range(0, 300, 3)])
    gallery.delete_where(Filters(attributes={"turn": (1,)}))
    before = [gallery.get(f"i{n}") for n in range(300) if n % 3]
    gallery.close()

    again = LocalGallery(folder)
    assert [again.get(f"i{n}") for n in range(300) if n % 3] == before
    assert again.count() == 200
    for n in (1, 2, 299):
        assert nearest(again, vector(n)) == (f"i{n}", 0)
        assert again.crop(f"i{n}")[1] == image(n).crop
    assert nearest(again, vector(0))[1] > 0
    again.close()


def test_a_picture_under_two_ids_keeps_its_file_until_the_last_goes(folder: Path, gallery: LocalGallery) -> None:
    shared = b"\xff\xd8\xff shared"
    gallery.add([image(1, crop=shared), image(2, crop=shared)])
    assert crop_files(folder) == {content_name(shared)}
    gallery.delete("i1")
    assert gallery.crop("i2") == (content_name(shared), shared)
    gallery.add([image(2, crop=shared, turn=1)])  # replaced with the same picture
    assert gallery.crop("i2") == (content_name(shared), shared)
    gallery.add([image(3, crop=shared), image(2, turn=2)])
    assert gallery.crop("i3")[1] == shared
    gallery.add([image(3, turn=3)])
    assert crop_files(folder) == {content_name(image(2, turn=2).crop), content_name(image(3, turn=3).crop)}
    gallery.delete_where(Filters())
    assert crop_files(folder) == set()
    gallery.add([image(1, crop=shared)])  # and it can come back
    assert gallery.crop("i1")[1] == shared


def test_erased_images_leave_no_trace_in_the_file(folder: Path, gallery: LocalGallery) -> None:
    secret = "very-secret-camera"
    gallery.add([replace(image(1), metadata=Metadata(camera_id=secret)), image(2)])
    needle = image(1).embedding.tobytes()
    gallery.delete("i1")
    gallery.close()  # the last connection moves the log into the file
    content = (folder / "gallery.sqlite").read_bytes()
    assert not (folder / "gallery.sqlite-wal").exists()
    assert secret.encode() not in content
    assert needle not in content
    assert image(2).embedding.tobytes() in content


def test_rows_of_an_erased_image_are_gone_from_every_table(folder: Path, gallery: LocalGallery) -> None:
    gallery.add([image(n) for n in range(5)])
    gallery.delete_where(Filters())
    with gallery._database.snapshot() as connection:
        for table in ("images", "embeddings", "attributes", "crops"):
            assert connection.execute(f"SELECT count(*) FROM {table}").get == 0


def test_row_ids_are_never_used_again(folder: Path) -> None:
    seen: set[int] = set()
    for turn in range(3):
        gallery = LocalGallery(folder)
        gallery.add([image(1, turn=turn), image(2, turn=turn)])
        with gallery._database.snapshot() as connection:
            rows = {row for (row,) in connection.execute("SELECT row_id FROM images")}
        assert not rows & seen
        seen |= rows
        gallery.delete_where(Filters())
        gallery.close()


def test_a_crop_that_somebody_removed_is_a_storage_error(folder: Path, gallery: LocalGallery) -> None:
    gallery.add([image(1)])
    for path in (folder / "crops").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(StorageError, match=r"missing on the disk: .*verify.*repair"):
        gallery.crop("i1")


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_a_crop_that_was_altered_is_not_given_out(folder: Path, gallery: LocalGallery, cut: int) -> None:
    gallery.add([image(1)])
    name, data = gallery.crop("i1")
    (path,) = (folder / "crops").rglob(name)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if not cut else data[:-cut])
    with pytest.raises(StorageError, match=r"is not the picture that was written: .*verify.*repair"):
        gallery.crop("i1")
    gallery.add([image(1)])
    assert gallery.crop("i1") == (name, data)


def test_an_empty_folder_that_a_copy_lacks_is_made(folder: Path, gallery: LocalGallery) -> None:
    gallery.add([image(1)])
    gallery.close()
    (folder / "crops/incoming").rmdir()
    gallery = LocalGallery(folder)
    assert gallery.add([image(2)]) == ["created"]
    gallery.close()
    (folder / "crops").rename(folder / "elsewhere")
    with pytest.raises(StorageError, match=r"the folder .*crops of 2 crops is missing: bring it back"):
        LocalGallery(folder)
    (folder / "elsewhere").rename(folder / "crops")
    gallery = LocalGallery(folder)
    assert gallery.crop("i2")[1] == image(2).crop
    gallery.close()


def test_a_closed_gallery_says_so(gallery: LocalGallery) -> None:
    gallery.add([image(1)])
    gallery.close()
    for ask in (gallery.count, gallery.info, lambda: gallery.get("i1"), lambda: gallery.add([image(2)])):
        with pytest.raises(GalleryNotFound):
            ask()


def test_expired_rows_are_erased_by_sweeps_and_writes_and_not_by_opening(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    LocalGallery.create(folder, "short", replace(SPEC, retention_days=1))
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def rows(gallery: LocalGallery) -> int:
        with gallery._database.snapshot() as connection:
            number: int = connection.execute("SELECT count(*) FROM images").get
        return number

    gallery = LocalGallery(folder, clock=lambda: now)
    gallery.add([image(n) for n in range(10)])
    now += timedelta(days=2)
    assert (gallery.count(), rows(gallery)) == (0, 10)
    gallery.add([image(100)])
    assert (gallery.count(), rows(gallery)) == (1, 1)
    assert crop_files(folder) == {content_name(image(100).crop)}
    gallery.close()
    now += timedelta(days=2)
    gallery = LocalGallery(folder, clock=lambda: now)
    assert (gallery.count(), rows(gallery)) == (0, 1)
    assert gallery.sweep() == 1
    assert rows(gallery) == 0
    assert crop_files(folder) == set()
    gallery.close()


def test_a_row_whose_time_is_damaged_is_left_by_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    LocalGallery.create(folder, "short", replace(SPEC, retention_days=1))
    with closing(LocalGallery(folder)) as gallery:
        gallery.add([image(n) for n in range(3)])
        with gallery._database.transaction() as connection:
            connection.execute("UPDATE images SET ingested_at = ingested_at / 2 WHERE image_id = 'i1'")
        assert gallery.sweep() == 0
        gallery.add([image(4)])
        assert gallery.count() == 3  # it is not returned
        assert crop_files(folder) == {content_name(image(n).crop) for n in (0, 1, 2, 4)}
    told = {finding.what: finding.subjects for finding in examine(folder).findings}
    assert told == {"an image's row is not what was written": ("i1",)}


def test_rows_that_expired_while_it_was_closed_shorten_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    LocalGallery.create(folder, "short", replace(SPEC, retention_days=1))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    gallery = LocalGallery(folder, clock=lambda: now)
    gallery.add([image(n) for n in range(10)])
    now += timedelta(hours=23)
    gallery.add([image(n) for n in range(10, 16)])
    gallery.close()
    now += timedelta(hours=2)
    gallery = LocalGallery(folder, clock=lambda: now)
    (matches,) = gallery.search(vector(0)[None], SearchOptions(top_k=100))
    assert sorted(match.image.image_id for match in matches) == [f"i{n}" for n in range(10, 16)]
    gallery.close()


def test_nearness_is_not_lost_in_rounding(lean: LocalGallery) -> None:
    """Far from the origin FAISS's batched squares are off by more than the distances that are asked for."""
    stored = np.random.default_rng(0).normal(scale=0.3, size=(1000, D)).astype(np.float32) + np.float32(3000)
    lean.add([replace(image(n), embedding=each) for n, each in enumerate(stored)])
    settled(lean)
    distances = np.round(np.linalg.norm(stored.astype(float) - stored[0].astype(float), axis=1), 4)
    limit = float(np.sort(distances)[15])
    expected = {f"i{n}" for n in np.flatnonzero(distances <= limit)}
    for matches in lean.search(np.repeat(stored[:1], 25, axis=0), SearchOptions(top_k=20, max_distance=limit)):
        assert {match.image.image_id for match in matches} == expected


def test_the_index_holds_what_the_database_holds(folder: Path, gallery: LocalGallery) -> None:
    gallery.add([image(n) for n in range(400)])
    for turn in (1, 2):
        gallery.add([image(n, turn=turn) for n in range(0, 400, 2)] + [image(1, turn=turn), image(1)])
        assert len(gallery._index) == gallery.count() == 400
    gallery.delete("i0")
    gallery.delete_where(Filters(attributes={"turn": (0,)}))
    assert len(gallery._index) == gallery.count() == 199


# Commits that fail


def test_a_commit_that_fails_leaves_nothing_and_the_next_one_is_found(folder: Path, gallery: LocalGallery) -> None:
    gallery.add([image(n) for n in range(3)])
    gallery._database._writer.set_commit_hook(lambda: True)  # SQLite turns it into a rollback
    for turn in (1, 2):
        with pytest.raises(StorageError):
            gallery.add([image(1, turn=turn), *(image(n) for n in range(10, 20))])
        with pytest.raises(StorageError):
            gallery.delete("i2")
    gallery._database._writer.set_commit_hook(None)
    assert gallery.count() == 3
    assert crop_files(folder) == {content_name(image(n).crop) for n in range(3)}
    for n in range(3):
        assert nearest(gallery, vector(n)) == (f"i{n}", 0)
        assert gallery.crop(f"i{n}")[1] == image(n).crop

    gallery.add([image(n) for n in range(30, 40)])  # under the row ids that were given back
    for n in range(30, 40):
        assert nearest(gallery, vector(n)) == (f"i{n}", 0)
    (matches,) = gallery.search(vector(10)[None], SearchOptions(top_k=100))
    assert len(matches) == gallery.count() == 13


def test_an_interruption_after_the_commit_loses_no_crop(folder: Path) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    gallery = LocalGallery(folder)
    gallery._database._writer.set_wal_hook(interrupt)  # called when the commit is done
    with pytest.raises(KeyboardInterrupt):
        gallery.add([image(1)])
    gallery.close()
    gallery = LocalGallery(folder)
    assert gallery.crop("i1")[1] == image(1).crop
    assert nearest(gallery, vector(1)) == ("i1", 0)
    gallery.close()


# Full disks


@pytest.mark.parametrize("keep_crops", [True, False])
def test_a_full_disk_refuses_writes_reads_go_on_and_writes_come_back(tmp_path: Path, keep_crops: bool) -> None:
    with small_disk(tmp_path) as disk:
        (disk / "gallery").mkdir()
        LocalGallery.create(disk / "gallery", "yard", replace(SPEC, keep_crops=keep_crops))
        gallery = LocalGallery(disk / "gallery")
        gallery.add([image(1)])
        filler = fill(disk, leave=8192)
        batch = [image(n, crop=b"\xff\xd8\xff" + os.urandom(3000)) for n in range(2, 200)]
        for _ in range(2):
            with pytest.raises(StorageFull):
                gallery.add(batch)
            assert gallery.count() == 1
            assert nearest(gallery, vector(1)) == ("i1", 0)
            assert nearest(gallery, vector(150))[1] > 0
            assert len(crop_files(disk / "gallery")) == keep_crops
        filler.unlink()
        assert gallery.add(batch) == ["created"] * len(batch)
        assert nearest(gallery, vector(150)) == ("i150", 0)  # its row id may be one that a refused write gave back
        gallery.close()


def test_a_client_that_pages_slowly_does_not_keep_the_log(
    folder: Path, gallery: LocalGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cursor is the last image_id, no view that stays open between the pages."""
    monkeypatch.setattr("index.storage.gallery_database.LONGEST_LOG", 1 << 18)
    log, longest, seen = folder / "gallery.sqlite-wal", 0, []
    gallery.add([image(n) for n in range(10, 30)])
    page = gallery.page(Filters(), limit=1)
    for turn in range(1, 20):
        gallery.add([image(n, turn=turn) for n in range(10, 30)])
        longest = max(longest, log.stat().st_size)
        seen += [each.image_id for each in page.images]
        page = gallery.page(Filters(), limit=1, cursor=page.cursor)
    assert seen == [f"i{n}" for n in range(10, 29)]
    assert longest < 1 << 19


# Every way to a filtered answer


@pytest.fixture
def selective(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows already count as many, so that small galleries take the ways of large ones."""
    monkeypatch.setattr("index.served_space._SELECTIVE", 100)


@pytest.mark.usefixtures("selective")
@pytest.mark.parametrize("step", [1, 2, 10, 100, 167])
@pytest.mark.parametrize("queries", [1, 25])
def test_a_filter_is_exact_at_every_selectivity(lean: LocalGallery, step: int, queries: int) -> None:
    lean.add([replace(image(n), metadata=Metadata(attributes={"in": int(n % step == 0)})) for n in range(2000)])
    query = vector(5000)
    distances = {n: np.linalg.norm(vector(n).astype(float) - query.astype(float)) for n in range(0, 2000, step)}
    expected = [f"i{n}" for n in sorted(distances, key=lambda n: distances[n])[:12]]
    exact = settled(lean) or len(distances) <= 100
    options = SearchOptions(top_k=12, filters=Filters(attributes={"in": (1,)}))
    for matches in lean.search(np.repeat(query[None], queries, axis=0), options):
        found = [match.image.image_id for match in matches]
        assert found == expected if exact else len(set(found) & set(expected)) >= 11
        assert [match.distance for match in matches] == [round(float(distances[int(name[1:])]), 4) for name in found]


@pytest.mark.usefixtures("selective")
def test_a_broad_filter_whose_rows_are_all_far_away(lean: LocalGallery) -> None:
    def at(place: float, n: int, camera: str) -> NewImage:
        embedding = np.array([place, n / 10_000, *[0] * (D - 2)], dtype=np.float32)
        return replace(image(n), image_id=f"{camera}-{n:04}", embedding=embedding, metadata=Metadata(camera_id=camera))

    lean.add([at(1, n, "near") for n in range(3000)] + [at(-1, n, "far") for n in range(3000)])
    settled(lean)
    query = at(1, 0, "query").embedding
    ((*matches,),) = lean.search(query[None], SearchOptions(top_k=3, filters=Filters(camera_id=("far",))))
    assert [match.image.image_id for match in matches] == ["far-0000", "far-0001", "far-0002"]


def test_groups_are_filled_up_and_those_who_left_make_room(lean: LocalGallery) -> None:
    """One vehicle has more pictures near the query than any search looks at first."""
    rng = np.random.default_rng(3)
    near = rng.normal(scale=0.01, size=(1500, D)).astype(np.float32) + np.float32(1)
    others = rng.normal(size=(1500, D)).astype(np.float32)
    lean.add(
        [replace(image(n), embedding=each, metadata=Metadata(vehicle_id="crowd")) for n, each in enumerate(near)]
        + [
            replace(image(1500 + n), embedding=each, metadata=Metadata(vehicle_id=f"v{n // 3}"))
            for n, each in enumerate(others)
        ]
    )
    settled(lean)
    query = np.ones(D, dtype=np.float32)
    distances = np.linalg.norm(others.astype(float) - query, axis=1)
    vehicles = list(dict.fromkeys(f"v{n // 3}" for n in np.argsort(distances)))
    ((*matches,),) = lean.search(query[None], SearchOptions(top_k=30, group_by="vehicle_id"))
    assert [match.image.metadata.vehicle_id for match in matches] == ["crowd", *vehicles[:29]]
    lean.delete_where(Filters(vehicle_id=("crowd",)))
    ((*matches,),) = lean.search(query[None], SearchOptions(top_k=30, group_by="vehicle_id"))
    assert [match.image.metadata.vehicle_id for match in matches] == vehicles[:30]
    (everything,) = lean.search(query[None], SearchOptions(top_k=1000, max_distance=1e6))
    assert len(everything) == 1000
    (nothing,) = lean.search(query[None], SearchOptions(top_k=1000, max_distance=1e-6))
    assert nothing == []


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("top_k", [1, 5, 12, 100])
def test_few_vehicles_of_many_images_are_all_found(lean: LocalGallery, top_k: int, filtered: bool) -> None:
    """Against sorting all: fewer groups than are asked for, and some images without a vehicle."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(10, D)).astype(np.float32)
    vectors = (np.repeat(centres, 300, axis=0) + rng.normal(scale=0.05, size=(3000, D))).astype(np.float32)
    vehicle_of = [None if n % 1000 == 0 else f"v{n // 300}" for n in range(3000)]
    lean.add([
        replace(
            image(n), image_id=f"i{n:04}", embedding=each,
            metadata=Metadata(vehicle_id=vehicle_of[n], camera_id=f"c{n % 3}"),
        )
        for n, each in enumerate(vectors)
    ])  # fmt: skip
    settled(lean)
    filters = Filters(camera_id=("c1", "c2")) if filtered else Filters()
    for query in (vectors[10], rng.normal(size=D).astype(np.float32)):
        distances = np.linalg.norm(vectors.astype(float) - query.astype(float), axis=1).round(4)
        expected, seen = [], set()
        for distance, n in sorted(zip(distances.tolist(), range(3000), strict=True)):
            if (not filtered or n % 3) and (vehicle_of[n] is None or vehicle_of[n] not in seen):
                seen.add(vehicle_of[n])
                expected.append((f"i{n:04}", distance))
        ((*matches,),) = lean.search(query[None], SearchOptions(top_k=top_k, group_by="vehicle_id", filters=filters))
        assert [(match.image.image_id, match.distance) for match in matches] == expected[:top_k]


# Crashes

WRITER = """
import os
import sys
from pathlib import Path
from index.local_gallery import LocalGallery
from tests.test_local_gallery import image

gallery = LocalGallery(Path(sys.argv[1]))
for turn in range(int(sys.argv[2]), 1_000_000):
    names = gallery.add([image(n, turn=turn) for n in range(6)])
    os.write(1, f"wrote {turn}\\n".encode())
    gallery.delete("i0")
    os.write(1, f"erased {turn}\\n".encode())
"""


def test_what_was_acknowledged_survives_kill_9(folder: Path) -> None:
    first = 0
    for acknowledged in (1, 2, 5, 8, 13):  # an odd count ends after a write, an even one after an erasure
        command = [sys.executable, "-c", WRITER, str(folder), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline().split() for _ in range(acknowledged)]
            writer.send_signal(signal.SIGKILL)  # it is at its next write by now
        assert writer.returncode == -signal.SIGKILL
        word, turn = said[-1][0], int(said[-1][1])
        first = turn + 2

        gallery = LocalGallery(folder)
        stored = {each.image_id: each for each in gallery.page(Filters(), limit=100).images}
        turns = {each.metadata.attributes["turn"] for each in stored.values()}
        assert len(turns) == 1, "a write is there whole or not at all"
        (found,) = turns
        assert found in (turn, turn + 1)  # the next one may have been committed and not yet acknowledged
        if word == "erased" and found == turn:
            assert "i0" not in stored
        assert set(stored) | {"i0"} == {f"i{n}" for n in range(6)}
        for name in stored:
            expected = image(int(name[1:]), turn=int(found))
            assert gallery.crop(name)[1] == expected.crop
            assert nearest(gallery, expected.embedding) == (name, 0)
        assert gallery.count() == len(stored)
        assert crop_files(folder) == {each.crop_name for each in stored.values()}  # no orphan, none missing
        gallery.close()


CROWD = """
import os, sys, threading
from pathlib import Path
from index.local_gallery import LocalGallery
from tests.test_local_gallery import image

gallery = LocalGallery(Path(sys.argv[1]))
said = threading.Lock()

def say(*words):
    with said:
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole or not at all, whenever it is killed

def write(n):
    for turn in range(int(sys.argv[2]), 1_000_000):
        say("writing", f"i{n}", turn)
        gallery.add([image(n, turn=turn)])
        say("wrote", f"i{n}", turn)
        if turn % 3 == 0:
            say("erasing", f"i{n}", turn)
            gallery.delete(f"i{n}")
            say("erased", f"i{n}", turn)

for n in range(4):
    threading.Thread(target=write, args=(n,)).start()
"""


def test_what_several_writers_were_told_survives_kill_9(folder: Path) -> None:
    possible: dict[str, set[int | None]] = {f"i{n}": {None} for n in range(4)}  # turn that is stored, None: no image
    for kill in range(10):
        command = [sys.executable, "-c", CROWD, str(folder), str(1000 * (kill + 1))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writers:
            assert writers.stdout is not None
            lines = [writers.stdout.readline() for _ in range(20 + 7 * kill)]
            writers.send_signal(signal.SIGKILL)
            lines += writers.stdout.readlines()
        for line in lines:
            word, name, turn = line.split()
            after = None if word.startswith("eras") else int(turn)
            possible[name] = {after} if word in ("wrote", "erased") else {*possible[name], after}

        gallery = LocalGallery(folder)
        stored = {each.image_id: each for each in gallery.page(Filters(), limit=100).images}
        for name in possible:
            found = int(stored[name].metadata.attributes["turn"]) if name in stored else None
            assert found in possible[name]
            possible[name] = {found}
            if found is not None:
                expected = image(int(name[1:]), turn=found)
                assert gallery.crop(name)[1] == expected.crop
                assert nearest(gallery, expected.embedding) == (name, 0)
        assert gallery.count() == len(stored)
        assert crop_files(folder) == {each.crop_name for each in stored.values()}
        gallery.close()


def test_crops_between_commit_and_their_place_are_settled_on_opening(folder: Path) -> None:
    gallery = LocalGallery(folder)
    gallery.add([image(1)])
    gallery.close()
    (path,) = (folder / "crops").rglob("*.jpg")
    path.rename(folder / "crops/incoming" / path.name)
    (folder / "crops/incoming" / f"{'0' * 64}.jpg").write_bytes(b"nobody's")
    (folder / "crops/incoming" / f"{'1' * 64}.jpg.part").write_bytes(b"half")

    gallery = LocalGallery(folder)
    assert gallery.crop("i1")[1] == image(1).crop
    assert list((folder / "crops/incoming").iterdir()) == []
    assert crop_files(folder) == {path.name}
    gallery.close()
