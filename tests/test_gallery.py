"""What every home of the gallery keeps; written against the protocol."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.data_folder import DataFolder
from index.errors import DataFolderLocked, DataFolderUnusable, EmbeddingNotFinite, GalleryConflict, ImageNotFound
from index.gallery import Filters, Gallery, GallerySpec, Metadata, NewImage, SearchOptions

DIM = 16
SPEC = GallerySpec(embedding_space="space", embedding_dim=DIM, viewpoints=("front", "rear", "side"))
PNG = b"\x89PNG\r\n\x1a\n"


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def image(image_id: str, vector: NDArray[np.float32], *, crop: bytes = b"", view: int = 1, **said: object) -> NewImage:
    metadata = Metadata(**said)  # type: ignore[arg-type]
    viewpoint = np.eye(3, dtype=np.float32)[view]
    data = PNG + (crop or image_id.encode())
    return NewImage(image_id=image_id, metadata=metadata, crop=data, embedding=vector, viewpoint=viewpoint)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DataFolder]:
    opened = DataFolder(tmp_path / "data", default_spec=SPEC)
    yield opened
    opened.close()


@pytest.fixture
def gallery(home: DataFolder) -> Gallery:
    return home.get("default")


def ids(gallery: Gallery, query: NDArray[np.float32], **options: object) -> list[str]:
    return [match.image.image_id for match in gallery.search(query[None], SearchOptions(**options))[0]]  # type: ignore[arg-type]


def test_search_is_the_naive_loop(gallery: Gallery) -> None:
    x = vectors(300)
    gallery.add([image(f"i{n:03d}", x[n]) for n in range(300)])
    queries = vectors(40, seed=1)
    for query, matches in zip(queries, gallery.search(queries, SearchOptions(top_k=25)), strict=True):
        distances = np.linalg.norm(x.astype(np.float64) - query, axis=1)
        expected = sorted(range(300), key=lambda n: (distances[n], n))[:25]
        assert [match.image.image_id for match in matches] == [f"i{n:03d}" for n in expected]
        assert [match.distance for match in matches] == pytest.approx(distances[expected], abs=1e-6)
        assert [match.rank for match in matches] == list(range(1, 26))


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_a_stored_picture_is_at_distance_0_alone_and_in_a_batch(gallery: Gallery, scale: float) -> None:
    x = vectors(64) * np.float32(scale)
    gallery.add([image(f"i{n}", x[n]) for n in range(64)])
    for n, matches in enumerate(gallery.search(x, SearchOptions(top_k=1))):
        assert matches[0].image.image_id == f"i{n}"
        assert matches[0].distance <= 1e-3
    assert gallery.search(x[:1], SearchOptions())[0][0].distance <= 1e-3


def test_ties_are_ordered_by_id_also_across_the_cut(gallery: Gallery) -> None:
    x = vectors(1)
    names = [f"t{n:03d}" for n in np.random.default_rng(0).permutation(120)]
    gallery.add([image(name, x[0]) for name in names])
    assert ids(gallery, x[0], top_k=7) == [f"t{n:03d}" for n in range(7)]


def test_replace_delete_and_add_again_leave_one_hit(tmp_path: Path) -> None:
    x = vectors(3)
    home = DataFolder(tmp_path, default_spec=SPEC)
    gallery = home.get("default")
    assert gallery.add([image("a", x[0])]) == ["created"]
    assert gallery.add([image("a", x[1])]) == ["updated"]
    gallery.delete("a")
    assert ids(gallery, x[1]) == []
    assert gallery.add([image("a", x[2])]) == ["created"]
    for _ in range(2):
        (matches,) = gallery.search(x[2:], SearchOptions())
        assert [(match.image.image_id, match.distance) for match in matches] == [("a", 0.0)]
        assert np.array_equal(gallery.embedding("a"), x[2])
        home.close()
        home = DataFolder(tmp_path, default_spec=SPEC)
        gallery = home.get("default")
    home.close()


def test_filters_each_and_together(gallery: Gallery) -> None:
    x = vectors(6)
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    gallery.add(
        [
            image("a", x[0], view=0, camera_id="c1", vehicle_id="v1", captured_at=noon, attributes={"n": 5, "t": "5"}),
            image("b", x[1], view=1, camera_id="c2", vehicle_id="v1", captured_at=noon + timedelta(hours=1)),
            image("c", x[2], view=2, camera_id="c2", vehicle_id="v2", attributes={"n": 5.0}),
            image("d", x[3], view=1, attributes={"n": "5"}),
        ]
    )

    def passing(**filters: object) -> list[str]:
        return sorted(ids(gallery, x[5], filters=Filters(**filters)))  # type: ignore[arg-type]

    assert passing(camera_id=("c1", "c2")) == ["a", "b", "c"]
    assert passing(exclude_camera_id=("c2",)) == ["a", "d"]
    assert passing(vehicle_id=("v1",), camera_id=("c2",)) == ["b"]
    assert passing(viewpoint=("rear",)) == ["b", "d"]
    assert passing(captured_after=noon) == ["a", "b"]
    assert passing(captured_before=noon + timedelta(hours=1)) == ["a"]
    assert passing(attributes={"n": (5,)}) == ["a", "c"]
    assert passing(attributes={"n": ("5",)}) == ["d"]
    assert passing(attributes={"n": (5,), "t": ("5",)}) == ["a"]
    assert passing(camera_id=("c9",)) == []
    assert gallery.delete_where(Filters(camera_id=("c2",))) == 2
    assert passing() == ["a", "d"]


def test_twelve_of_many_come_back_all_twelve_in_order(gallery: Gallery) -> None:
    x = vectors(2000)
    gallery.add([image(f"i{n:04d}", x[n], camera_id="rare" if n % 170 == 3 else "c") for n in range(2000)])
    rare = [n for n in range(2000) if n % 170 == 3]
    query = vectors(1, seed=9)[0]
    expected = sorted(rare, key=lambda n: float(np.linalg.norm(x[n] - query)))
    assert ids(gallery, query, top_k=50, filters=Filters(camera_id=("rare",))) == [f"i{n:04d}" for n in expected]
    assert len(expected) == 12


def test_group_by_fills_up_and_lets_the_nameless_stand_alone(gallery: Gallery) -> None:
    x = vectors(1)[0]
    gallery.add([image(f"big{n:03d}", x + np.float32(1e-3 * n), vehicle_id="big") for n in range(300)])
    gallery.add([image(f"far{n}", x + np.float32(1 + n), vehicle_id=f"v{n % 4}") for n in range(8)])
    gallery.add([image("alone1", x + np.float32(20)), image("alone2", x + np.float32(21))])
    found = ids(gallery, x, top_k=7, group_by="vehicle_id")
    assert found == ["big000", "far0", "far1", "far2", "far3", "alone1", "alone2"]


def test_max_distance_is_inclusive_and_the_query_itself_can_be_left_out(gallery: Gallery) -> None:
    x = np.zeros((3, DIM), np.float32)
    x[1, 0], x[2, 0] = 1.0, 2.0
    gallery.add([image(f"i{n}", x[n]) for n in range(3)])
    assert ids(gallery, x[0], max_distance=1.0) == ["i0", "i1"]
    assert ids(gallery, x[0], exclude_image_id="i0", top_k=1) == ["i1"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(gallery: Gallery, bad: float) -> None:
    x = vectors(2)
    x[1, 3] = bad
    with pytest.raises(EmbeddingNotFinite):
        gallery.add([image("good", x[0]), image("bad", x[1])])
    assert gallery.count() == 0
    with pytest.raises(EmbeddingNotFinite):
        gallery.search(x[1:], SearchOptions())


def test_expired_rows_are_in_no_answer(home: DataFolder) -> None:
    x = vectors(3)
    gallery, _ = home.create("short", replace(SPEC, retention_days=1e-9))  # a tenth of a millisecond
    gallery.add([image("a", x[0])])
    while gallery.count():  # the clock moves on by itself
        pass
    assert ids(gallery, x[0]) == []
    assert gallery.page(Filters(), limit=10).images == []
    with pytest.raises(ImageNotFound):
        gallery.get("a")
    with pytest.raises(ImageNotFound):
        gallery.embedding("a")
    assert gallery.add([image("a", x[1])]) == ["created"]


def test_a_crop_stays_until_the_last_row_that_names_it(gallery: Gallery, tmp_path: Path) -> None:
    x = vectors(3)
    gallery.add([image("a", x[0], crop=b"same"), image("b", x[1], crop=b"same"), image("c", x[2], crop=b"other")])
    name, data = gallery.crop("a")
    assert data == PNG + b"same"
    gallery.delete("a")
    assert gallery.crop("b") == (name, data)
    gallery.add([image("b", x[1], crop=b"new")])
    files = [path.name for path in tmp_path.rglob("*.png")]
    assert sorted(files) == sorted({gallery.crop("b")[0], gallery.crop("c")[0]})


def test_a_gallery_without_crops_says_so(home: DataFolder) -> None:
    gallery, new = home.create("bare", replace(SPEC, keep_crops=False))
    assert new
    gallery.add([image("a", vectors(1)[0])])
    assert gallery.get("a").crop_name is None
    with pytest.raises(ImageNotFound, match="keeps no crops"):
        gallery.crop("a")
    with pytest.raises(GalleryConflict, match="keep_crops"):
        home.create("bare", SPEC)


def test_pages_and_metadata(gallery: Gallery) -> None:
    x = vectors(25)
    gallery.add([image(f"i{n:02d}", x[n], camera_id="c") for n in range(25)])
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = gallery.page(Filters(camera_id=("c",)), limit=10, cursor=cursor)
        seen += [one.image_id for one in page.images]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [f"i{n:02d}" for n in range(25)]
    before = gallery.get("i03")
    changed = gallery.set_metadata("i03", Metadata(vehicle_id="v", attributes={"k": 1}))
    assert (changed.metadata.vehicle_id, changed.metadata.camera_id) == ("v", None)
    assert changed.ingested_at == before.ingested_at
    assert ids(gallery, x[3], filters=Filters(attributes={"k": (1,)})) == ["i03"]


def test_readers_see_a_replaced_image_exactly_once(gallery: Gallery) -> None:
    x = vectors(50)
    gallery.add([image(f"i{n}", x[n]) for n in range(50)])
    done = threading.Event()
    wrong: list[list[str]] = []

    def read() -> None:
        while not done.is_set():
            found = ids(gallery, x[7], top_k=50)
            if sorted(found) != sorted(f"i{n}" for n in range(50)):
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(60):
        gallery.add([image("i7", x[n % 50], crop=str(n).encode())])
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


_WRITER = """
import sys
from pathlib import Path
from index.data_folder import DataFolder
from tests.test_gallery import SPEC, image, vectors
home = DataFolder(Path(sys.argv[1]), default_spec=SPEC)
gallery, start = home.get("default"), int(sys.argv[2])
for n in range(start, start + 100_000):
    gallery.add([image(f"i{n}", vectors(1, seed=n)[0])])
    print("added", n, flush=True)
    if n % 3 == 0:
        gallery.delete(f"i{n}")
        print("deleted", n, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    alive: set[int] = set()
    unsure: set[int] = set()
    start = 0
    for lines in (3, 8, 14, 21, 5):
        command = [sys.executable, "-c", _WRITER, str(tmp_path / "data"), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = [child.stdout.readline().split() for _ in range(lines)]
            os.kill(child.pid, signal.SIGKILL)
            said += [line.split() for line in child.stdout if line.endswith("\n")]
        for word, text in (line for line in said if len(line) == 2):
            (alive.add if word == "added" else alive.discard)(int(text))
        last = int(said[-1][1])
        unsure |= {last, last + 1}
        start = last + 2
        home = DataFolder(tmp_path / "data", default_spec=SPEC)
        gallery = home.get("default")
        held = {int(one.image_id[1:]) for one in gallery.page(Filters(), limit=1000).images}
        assert held - unsure == alive - unsure
        for number in alive - unsure:
            assert ids(gallery, vectors(1, seed=number)[0], top_k=1) == [f"i{number}"]
        kept = {one.crop_name for one in gallery.page(Filters(), limit=1000).images}
        files = {path.name for path in (tmp_path / "data").rglob("*.png")}
        assert files == kept
        alive = held
        home.close()


def test_one_process_owns_a_folder(tmp_path: Path) -> None:
    home = DataFolder(tmp_path, default_spec=SPEC)
    with pytest.raises(DataFolderLocked, match=str(os.getpid())):
        DataFolder(tmp_path, default_spec=SPEC)
    home.close()
    DataFolder(tmp_path, default_spec=SPEC).close()


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderUnusable, match="cannot be written"):
        DataFolder(tmp_path / "file", default_spec=SPEC)
    DataFolder(tmp_path / "data", default_spec=SPEC).close()
    (tmp_path / "data" / "layout").write_text("2\n")
    with pytest.raises(DataFolderUnusable, match="layout '2'"):
        DataFolder(tmp_path / "data", default_spec=SPEC)


def test_dropping_removes_everything(home: DataFolder, tmp_path: Path) -> None:
    gallery, _ = home.create("gone", SPEC)
    gallery.add([image("a", vectors(1)[0])])
    home.drop("gone")
    assert home.names() == ["default"]
    assert not list(tmp_path.rglob("*.png"))
