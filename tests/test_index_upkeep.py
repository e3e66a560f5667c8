"""The index of a gallery over its life: built beside, kept up, saved, loaded, mistrusted."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import apsw
import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import NotEnoughMemory
from index.gallery import Filters, GallerySpec, Kind, Metadata, NewImage, SearchOptions, Vectors
from index.local_gallery import LocalGallery
from index.maintenance.verification import examine
from index.searching.index_snapshot import open_snapshot, write_snapshot
from index.storage.gallery_database import Bound, GalleryDatabase, blocks
from index.storage.gallery_files import SNAPSHOT
from tests.clustered_vectors import clustered
from tests.index_kinds import ALL_ANYWHERE, BUILT, OnDevice, build_early, kind_name

D, ROWS = 32, 300
STORED = next(iter(clustered(3000, D)))
SPEC = GallerySpec(embedding_space="space", embedding_dim=D, viewpoints=(), keep_crops=False)


@pytest.fixture(autouse=True)
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    build_early(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "gallery"
    folder.mkdir()
    return folder


def images(first: int, last: int, *, camera_id: str | None = None) -> list[NewImage]:
    return [
        NewImage(
            image_id=f"i{n}", metadata=Metadata(camera_id=camera_id), crop=b"", embedding=STORED[n], viewpoint=None
        )
        for n in range(first, last)
    ]


def created(folder: Path, kind: Kind, vectors: Vectors = "fp32", rows: int = ROWS) -> LocalGallery:
    LocalGallery.create(folder, "yard", replace(SPEC, kind=kind, vectors=vectors))
    gallery = LocalGallery(folder)
    gallery.add(images(0, rows))
    gallery._upkeep.rest()
    return gallery


def stored(gallery: LocalGallery) -> list[str]:
    """What a search finds that looks at everything."""
    (matches,) = gallery.search(STORED[:1], SearchOptions(top_k=1000))
    return sorted(match.image.image_id for match in matches)


def check(gallery: LocalGallery, expected: list[int]) -> None:
    """Everything is found, at exact distances."""
    assert stored(gallery) == sorted(f"i{n}" for n in expected)
    for n in expected[:: max(1, len(expected) // 7)]:
        ((match,),) = gallery.search(STORED[n : n + 1], SearchOptions(top_k=1, embeddings=True))
        assert (match.image.image_id, match.distance) == (f"i{n}", 0)
        assert match.embedding is not None
        np.testing.assert_array_equal(match.embedding, STORED[n])


def opened_without_snapshot(folder: Path, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """It says why, and everything is there."""
    caplog.clear()
    gallery = LocalGallery(folder)
    assert [record.levelname for record in caplog.records if "snapshot" in record.message] == ["WARNING"]
    assert reason in caplog.text
    gallery._upkeep.rest()
    check(gallery, list(range(ROWS)))
    gallery.close()


@pytest.mark.parametrize("kind", ALL_ANYWHERE, ids=kind_name)
def test_an_index_is_built_beside_and_takes_in_what_follows(
    folder: Path, kind: tuple[Kind, Vectors], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gallery = created(folder, *kind)
    state = gallery.info().index
    assert (state.kind, state.vectors, state.rows, state.waiting, state.building) == (*kind, ROWS, 0, None)
    assert (f"the index of kind {kind[0]} answers now" in caplog.text) == (
        kind != ("flat", "fp32") or isinstance(kind, OnDevice)
    )
    gallery.add(images(ROWS, ROWS + 50))
    gallery.delete("i7")
    check(gallery, [n for n in range(ROWS + 50) if n != 7])  # at once, whoever holds it
    gallery._upkeep.rest()
    assert gallery.info().index.waiting == 0
    check(gallery, [n for n in range(ROWS + 50) if n != 7])
    gallery.delete_where(Filters())
    gallery._upkeep.rest()
    assert stored(gallery) == []
    assert gallery.info().index.kind == "flat"
    gallery.add(images(0, 3))
    check(gallery, [0, 1, 2])
    gallery.close()


def test_auto_becomes_hnsw_and_nothing_stops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.searching.index_kind._HNSW_FROM", 1000)
    gallery = created(folder, "auto")
    assert gallery.info().index.kind == "flat"
    stop, seen = threading.Event(), set()

    def search() -> int:
        rounds = 0
        while not stop.is_set():
            last = gallery.count() - 1  # acknowledged, so it is found
            ((match,),) = gallery.search(STORED[last : last + 1], SearchOptions(top_k=1))
            assert match.image.image_id == f"i{last}"
            state = gallery.info().index
            seen.add((state.kind, state.building))
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as pool:
        searching = [pool.submit(search) for _ in range(2)]
        try:
            for first in range(ROWS, 3000, 50):
                gallery.add(images(first, first + 50))
            gallery._upkeep.rest()
        finally:
            stop.set()
        assert all(done.result() for done in searching)
    assert ("flat", "hnsw") in seen  # it was searched while the next one was being built
    state = gallery.info().index
    assert (state.kind, state.waiting) == ("hnsw", 0)
    gallery.close()


@pytest.mark.parametrize("kind", ALL_ANYWHERE, ids=kind_name)
def test_a_snapshot_is_loaded_and_caught_up(
    folder: Path, kind: tuple[Kind, Vectors], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = created(folder, *kind)
    gallery.close()
    before = (folder / SNAPSHOT).read_bytes()
    gallery = LocalGallery(folder)
    gallery.add([*images(ROWS, ROWS + 3), *images(5, 6, camera_id="replaced")])
    gallery.delete("i9")
    monkeypatch.setattr("index.searching.index_upkeep._WRITTEN_ON_CLOSING", 1)
    gallery.close()
    assert (folder / SNAPSHOT).read_bytes() == before  # so little has changed

    read = _rows_read(monkeypatch)
    gallery = LocalGallery(folder)
    assert sum(read) == 4  # the three and the replacement, from the database
    assert "snapshot" not in caplog.text
    check(gallery, [n for n in range(ROWS + 3) if n != 9])
    assert gallery.info().index.kind == kind[0]
    gallery.close()


def _rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each block had that was read from the database."""
    read: list[int] = []

    def counted(
        connection: apsw.Connection, bound: Bound, *, above: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for row_ids, vectors in blocks(connection, bound, above=above):
            read.append(len(row_ids))
            yield row_ids, vectors

    monkeypatch.setattr("index.searching.index_upkeep.blocks", counted)
    return read


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("kind", [("flat", "fp32"), ("hnsw", "sq8"), ("ivf", "fp32")], ids=kind_name)
@pytest.mark.parametrize(
    ("harm", "reason"),
    [(_cut, "is damaged"), (_empty, "does not begin"), (_flip, "is damaged"), (_folder, "Is a directory")],
)
def test_a_damaged_snapshot_is_told_and_not_believed(
    folder: Path,
    kind: tuple[Kind, Vectors],
    harm: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    created(folder, *kind).close()
    harm(folder / SNAPSHOT)
    opened_without_snapshot(folder, caplog, reason)


@pytest.mark.parametrize("name", [b"IHNf", b"IxF2"])  # of the graph, and of the vectors in it
def test_a_snapshot_that_another_release_of_faiss_wrote_is_told_and_not_believed(
    folder: Path, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """All checksums are right, but the index in it is of a type that FAISS does not know here."""
    created(folder, "hnsw").close()
    with open_snapshot(folder) as opened:
        assert opened is not None
        about, reader = opened
        data = b"".join(iter(reader.block, b""))
    assert data.count(name) == 1
    write_snapshot(folder, about, lambda write: write(data.replace(name, name[:3] + b"z")))
    reason = f"FAISS {faiss.__version__} cannot read it"
    assert any(reason in finding.subjects[0] for finding in examine(folder).findings)
    opened_without_snapshot(folder, caplog, reason)


def test_a_snapshot_of_something_else_is_not_believed(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    created(folder, "hnsw").close()
    others = {
        "of the kind ivf": replace(SPEC, kind="ivf"),
        "of the kind hnsw, sq8": replace(SPEC, kind="hnsw", vectors="sq8"),
        "of the space other": replace(SPEC, kind="hnsw", embedding_space="other"),
        "of the kind flat": SPEC,
    }
    for number, (reason, spec) in enumerate(others.items()):
        other = tmp_path / str(number)
        other.mkdir()
        LocalGallery.create(other, "other", spec)
        gallery = LocalGallery(other)
        gallery.add(images(0, ROWS))
        gallery._upkeep.rest()
        gallery.close()
        (folder / SNAPSHOT).write_bytes((other / SNAPSHOT).read_bytes())
        opened_without_snapshot(folder, caplog, reason)


@pytest.mark.parametrize("kind", [("flat", "fp32"), ("hnsw", "fp32")], ids=kind_name)
def test_a_snapshot_newer_than_the_database_is_not_believed(
    folder: Path, kind: tuple[Kind, Vectors], caplog: pytest.LogCaptureFixture
) -> None:
    created(folder, *kind).close()
    old = (folder / "gallery.sqlite").read_bytes()
    gallery = LocalGallery(folder)
    gallery.add(images(ROWS, 3 * ROWS))
    gallery._upkeep.rest()
    gallery.close()
    (folder / "gallery.sqlite").write_bytes(old)
    opened_without_snapshot(folder, caplog, "newer than the database")


@pytest.mark.parametrize("kind", [("flat", "fp32"), ("hnsw", "fp32")], ids=kind_name)
def test_a_snapshot_of_another_past_is_not_believed(
    folder: Path, kind: tuple[Kind, Vectors], caplog: pytest.LogCaptureFixture
) -> None:
    """A database put back and written to again has the same change numbers for other rows."""
    created(folder, *kind, rows=ROWS // 2).close()
    old = (folder / "gallery.sqlite").read_bytes()
    gallery = LocalGallery(folder)
    gallery.add([replace(image, embedding=-image.embedding) for image in images(ROWS // 2, ROWS)])
    gallery._upkeep.rest()
    gallery.close()
    newer = (folder / SNAPSHOT).read_bytes()
    (folder / "gallery.sqlite").write_bytes(old)
    gallery = LocalGallery(folder)
    gallery.add(images(ROWS // 2, ROWS))
    gallery._upkeep.rest()
    gallery.close()
    (folder / SNAPSHOT).write_bytes(newer)
    opened_without_snapshot(folder, caplog, "another past")


def test_rows_that_are_missing_without_a_change_are_noticed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    created(folder, "hnsw").close()
    connection = apsw.Connection(str(folder / "gallery.sqlite"))
    connection.execute("PRAGMA foreign_keys = ON; DELETE FROM images WHERE image_id = 'i8'").fetchall()
    connection.close()
    gallery = LocalGallery(folder)
    assert "it holds 300 rows, not 299" in caplog.text
    check(gallery, [n for n in range(ROWS) if n != 8])
    gallery.close()


def _as_kept(gallery: LocalGallery, vector: NDArray[np.float32]) -> bytes:
    """The bytes that the index keeps of a vector."""
    built = gallery._upkeep.index.built
    if built is None or built.vectors == "fp32":
        return vector.tobytes()
    codec = faiss.downcast_index(built._index.storage) if built.kind == "hnsw" else built._index
    code: bytes = codec.sa_encode(vector[None]).tobytes()
    return code[-D:]  # behind the number of its list


@pytest.mark.parametrize("kind", ALL_ANYWHERE, ids=kind_name)
def test_erased_vectors_are_in_no_snapshot_that_was_rewritten(folder: Path, kind: tuple[Kind, Vectors]) -> None:
    gallery = created(folder, *kind)
    gallery.rewrite_snapshot()
    needle = _as_kept(gallery, STORED[7])
    assert needle in (folder / SNAPSHOT).read_bytes()
    gallery.delete("i7")
    gallery.rewrite_snapshot()
    assert needle not in (folder / SNAPSHOT).read_bytes()
    check(gallery, [n for n in range(ROWS) if n != 7])

    gallery.delete_where(Filters())
    gallery._upkeep.rest()
    gallery.rewrite_snapshot()
    assert not (folder / SNAPSHOT).exists()
    gallery.close()


@pytest.mark.parametrize("kind", BUILT[2:4], ids=kind_name)
def test_a_dropped_snapshot_does_not_come_back_with_what_was_erased(folder: Path, kind: tuple[Kind, Vectors]) -> None:
    gallery = created(folder, *kind)
    needle = _as_kept(gallery, STORED[7])
    gallery.delete("i7")
    gallery.drop_snapshot()
    assert not (folder / SNAPSHOT).exists()
    gallery.close()
    if (folder / SNAPSHOT).exists():
        assert needle not in (folder / SNAPSHOT).read_bytes()
    gallery = LocalGallery(folder)
    check(gallery, [n for n in range(ROWS) if n != 7])
    gallery.close()


def test_a_snapshot_counts_as_disk_space(folder: Path) -> None:
    gallery = created(folder, "hnsw")
    gallery.drop_snapshot()
    without = gallery.info().disk_bytes
    gallery.rewrite_snapshot()
    assert gallery.info().disk_bytes == without + (folder / SNAPSHOT).stat().st_size
    gallery.close()


@pytest.mark.parametrize("row_id", [7, 0])
@pytest.mark.parametrize("kind", [("flat", "fp32"), ("hnsw", "fp32")], ids=kind_name)
def test_after_a_repair_that_lost_rows_the_snapshot_is_not_believed(
    folder: Path, kind: tuple[Kind, Vectors], row_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 0 stands for changes that nobody can read any more."""
    created(folder, *kind).close()
    connection = apsw.Connection(str(folder / "gallery.sqlite"))
    connection.execute("INSERT INTO changes (row_id, kind) VALUES (?, 'lost')", (row_id,))
    connection.close()
    opened_without_snapshot(folder, caplog, "the database was repaired since")


def test_what_a_crash_left_of_a_snapshot_goes_on_opening(folder: Path) -> None:
    created(folder, "hnsw").close()
    (folder / f"{SNAPSHOT}.part").write_bytes(b"x")
    LocalGallery(folder).close()
    assert not (folder / f"{SNAPSHOT}.part").exists()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_gallery_that_is_closed_while_it_is_compacted_waits(
    folder: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes a snapshot while it is at it, and closing does not take the database away from under it."""
    gallery = created(folder, kind)
    gallery.delete("i7")
    within, go_on, order = threading.Event(), threading.Event(), list[str]()
    rewrite = GalleryDatabase.rewrite

    def slow(self: GalleryDatabase) -> None:
        within.set()
        assert go_on.wait(60)
        rewrite(self)
        order.append("compacted")

    def close() -> None:
        gallery.close()
        order.append("closed")

    monkeypatch.setattr(GalleryDatabase, "rewrite", slow)
    with ThreadPoolExecutor(2) as pool:
        compacting = pool.submit(gallery.compact)
        assert within.wait(60)
        assert not (folder / SNAPSHOT).exists()
        closing = pool.submit(close)
        assert gallery._upkeep._stopping.wait(60)
        go_on.set()
        compacting.result()
        closing.result()
    assert order == ["compacted", "closed"]
    if (folder / SNAPSHOT).exists():
        assert _as_kept(gallery, STORED[7]) not in (folder / SNAPSHOT).read_bytes()
    gallery = LocalGallery(folder)
    check(gallery, [n for n in range(ROWS) if n != 7])
    gallery.close()


def test_what_the_machine_cannot_hold_is_refused_on_opening(folder: Path) -> None:
    created(folder, "hnsw").close()
    with pytest.raises(NotEnoughMemory, match=r"the index of gallery yard, 300 rows, needs about .* use vectors fp16"):
        LocalGallery(folder, memory=lambda: 100_000)
    LocalGallery(folder, memory=lambda: None).close()


@pytest.mark.parametrize("kind", BUILT, ids=kind_name)
def test_a_full_index_is_copied_before_rows_are_moved_into_it(folder: Path, kind: tuple[Kind, Vectors]) -> None:
    created(folder, *kind).close()
    gallery = LocalGallery(folder)  # what a snapshot gives has no room
    before = gallery._upkeep.index.built
    assert before is not None
    for first in range(ROWS, ROWS + 100, 20):
        gallery.add(images(first, first + 20))
        gallery.delete(f"i{first - 7}")
    gallery._upkeep.rest()
    built = gallery._upkeep.index.built
    assert built is not None
    assert (built is before) == (kind[0] == "ivf")
    assert built.room > 0
    assert gallery.info().index.waiting == 0
    check(gallery, sorted({*range(ROWS + 100)} - {*range(ROWS - 7, ROWS + 90, 20)}))
    gallery.close()


@pytest.mark.parametrize(("free", "moved"), [(100_000, False), (200_000, True)])
def test_without_memory_for_a_copy_rows_are_moved_in_place_or_wait(
    folder: Path, caplog: pytest.LogCaptureFixture, free: int, moved: bool
) -> None:
    created(folder, "hnsw").close()
    left = [10**9]
    gallery = LocalGallery(folder, memory=lambda: left[0])
    gallery._upkeep.rest()
    before, left[0] = gallery._upkeep.index.built, free
    gallery.add(images(ROWS, ROWS + 20))
    gallery._upkeep.rest()
    told = "making room for more rows in the index of gallery yard needs about"
    assert (told in caplog.text) == (not moved)
    state = gallery.info().index
    assert (state.rows, state.waiting) == ((ROWS + 20, 0) if moved else (ROWS, 20))
    assert gallery._upkeep.index.built is before
    check(gallery, list(range(ROWS + 20)))
    gallery.close()


def test_what_the_machine_cannot_build_is_told_and_searches_go_on(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LocalGallery.create(folder, "yard", replace(SPEC, kind="hnsw"))
    gallery = LocalGallery(folder, memory=lambda: 50_000)
    gallery.add(images(0, ROWS))
    gallery._upkeep.rest()
    assert "the index stays as it is: building an index of kind hnsw" in caplog.text
    state = gallery.info().index
    assert (state.kind, state.rows, state.building) == ("flat", ROWS, None)
    assert "MB are free" in str(state.problem)
    check(gallery, list(range(ROWS)))
    gallery.close()


def test_closing_does_not_wait_for_a_build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.searching.index_building._LOT", 1)
    LocalGallery.create(folder, "yard", replace(SPEC, kind="hnsw"))
    gallery = LocalGallery(folder)
    gallery.add(images(0, 3000))
    while gallery.info().index.building is None:
        assert gallery.info().index.kind == "flat"
    gallery.close()
    assert gallery._upkeep.index.built is None
    assert not (folder / SNAPSHOT).exists()
    gallery = LocalGallery(folder)
    ((match,),) = gallery.search(STORED[2999:3000], SearchOptions(top_k=1))
    assert match.image.image_id == "i2999"
    gallery.close()
