"""An index whose rows a device has as well: the same answers, whatever the device has, does, or fails to do."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.errors import IndexDeviceUnavailable, NotEnoughMemory
from index.gallery import Filters, GallerySpec, Metadata, NewImage, SearchOptions, Vectors
from index.local_gallery import LocalGallery
from index.searching.device_copy import copy_bytes
from index.searching.index_device import IndexDevice
from index.searching.mirrored_index import MirroredIndex
from index.searching.vector_index import Candidates
from tests.clustered_vectors import clustered
from tests.host_device import AilingDevice, HostDevice
from tests.index_kinds import build_early, gpu

D, ROWS = 32, 3000
STORED = next(iter(clustered(ROWS, D)))
QUERIES = next(iter(clustered(50, D, seed=1)))
IDS = np.arange(5, 5 + 2 * ROWS, 2, dtype=np.int64)

Form = tuple[IndexDevice, Vectors]


@pytest.fixture(
    params=[
        pytest.param((place, vectors), marks=marks, id=f"{vectors}-on-{place}")
        for place, marks in (("host", ()), ("cuda", pytest.mark.gpu))
        for vectors in ("fp32", "fp16")
    ]
)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Form:
    """A device, and how it keeps vectors; segments are small, so that there are several."""
    monkeypatch.setattr("index.searching.device_copy._LARGEST", 256)
    monkeypatch.setattr("index.searching.mirrored_index._LOT", 300)
    monkeypatch.setattr("index.searching.mirrored_index._FEW", 60)
    place, vectors = request.param
    return (gpu() if place == "cuda" else HostDevice(), vectors)


def made(rows: int, vectors: Vectors) -> MirroredIndex:
    index = MirroredIndex.made(D, vectors, rows=rows, sample=STORED[:0])
    index.add(IDS[:rows], STORED[:rows])
    return index


def mirror(index: MirroredIndex, device: IndexDevice) -> list[str]:
    """What it tells of failures later."""
    told: list[str] = []
    index.mirror(device, "the index of gallery yard", told.append)
    return told


def same(found: list[Candidates], expected: list[Candidates]) -> None:
    """The same rows at the same distances; where the last ones lie close, another of them, and no more is promised."""
    for one, other in zip(found, expected, strict=True):
        sure = min(one.certain, other.certain)
        assert set(one.row_ids[one.distances < sure].tolist()) == set(other.row_ids[other.distances < sure].tolist())
        np.testing.assert_allclose(one.distances, other.distances, rtol=1e-6, atol=0 if sure == np.inf else 1e-3)
        assert other.certain == one.certain == np.inf or -1e-3 < other.certain - one.certain < 0.01


@pytest.mark.parametrize("queries", [1, 50])
@pytest.mark.parametrize("count", [1, 40, 700, ROWS])
def test_answers_are_those_of_the_host(form: Form, queries: int, count: int) -> None:
    device, vectors = form
    plain, index = made(ROWS, vectors), made(ROWS, vectors)
    mirror(index, device)
    assert (index.mirrored, index.waiting) == (ROWS, 0)
    for gone in (IDS[:0], IDS[40:41], IDS[::2], IDS[:2900]):
        for each in (plain, index):
            each.retire(gone)
        same(index.search(QUERIES[:queries], count), plain.search(QUERIES[:queries], count))
        same(index.scan(QUERIES[:queries], count), plain.scan(QUERIES[:queries], count))
        for among in (IDS[:0], IDS[-70:], IDS[2:2999], IDS[1::3]):
            left = np.setdiff1d(among, gone)
            same(index.search(QUERIES[:queries], count, among=left), plain.search(QUERIES[:queries], count, among=left))
    index.unmirror()
    assert index.mirrored == device.taken == 0


def test_rows_that_the_device_lacks_are_looked_at_on_the_host(form: Form) -> None:
    device, vectors = form
    plain, index = made(500, vectors), made(500, vectors)
    mirror(index, device)
    for first in range(500, ROWS, 700):
        for each in (plain, index):
            each.add(IDS[first : first + 700], STORED[first : first + 700])
            each.retire(IDS[first - 5 : first + 5])
        assert index.waiting == min(700, ROWS - first)
        same(index.search(QUERIES, 40), plain.search(QUERIES, 40))
        same(index.search(QUERIES, 40, among=IDS[:first:2]), plain.search(QUERIES, 40, among=IDS[:first:2]))
        mirror(index, device)
        assert index.waiting == 0
        same(index.search(QUERIES, 40), plain.search(QUERIES, 40))
    index.unmirror()


def test_searches_go_on_while_rows_are_copied_and_memory_is_given_back(form: Form) -> None:
    device, vectors = form
    index = made(1000, vectors)
    expected = made(1000, vectors).search(QUERIES[:3], 30)
    stop, rounds = threading.Event(), [0, 0, 0]

    def search(number: int) -> None:
        while not stop.is_set():
            same(index.search(QUERIES[:3], 30), expected)
            rounds[number] += 1

    with ThreadPoolExecutor(3) as pool:
        searching = [pool.submit(search, number) for number in range(3)]
        try:
            for _ in range(10):
                mirror(index, device)
                before = list(rounds)
                while any(now < then + 2 for now, then in zip(rounds, before, strict=True)):
                    assert not any(each.done() for each in searching)
                index.unmirror()
        finally:
            stop.set()
        for each in searching:
            each.result()
    assert device.taken == 0


@pytest.mark.parametrize("ails", ["memory", "deaf", "distances", "nan", "padding"])
@pytest.mark.parametrize("vectors", ["fp32", "fp16"])
def test_a_device_that_fails_is_told_of_and_not_believed(ails: str, vectors: Vectors) -> None:
    device = AilingDevice()
    plain, index = made(ROWS, vectors), made(ROWS, vectors)
    told = mirror(index, device)
    for each in (plain, index):
        each.retire(IDS[::3])
    same(index.search(QUERIES, 40), plain.search(QUERIES, 40))
    assert told == []
    device.ails = ails
    same(index.search(QUERIES, 40), plain.search(QUERIES, 40))
    (reason,) = told
    assert "the GPU failed in a search: " in reason
    assert "until it is tried again the processors look at every row" in reason
    assert index.mirrored == device.taken == 0
    device.ails = None
    mirror(index, device)
    assert index.waiting == 0
    same(index.search(QUERIES, 40), plain.search(QUERIES, 40))


@pytest.mark.parametrize("had", [0, 900])
def test_a_copy_that_fails_half_way_gives_all_back(had: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.searching.mirrored_index._LOT", 300)
    device, plain, index = AilingDevice(), made(ROWS, "fp32"), made(had, "fp32")
    mirror(index, device)
    index.add(IDS[had:], STORED[had:])
    device.ails, device.adds = "room", 3
    with pytest.raises(IndexDeviceUnavailable, match=r"the index of gallery yard cannot be copied to the GPU: .*merge"):
        mirror(index, device)
    assert index.mirrored == device.taken == 0
    same(index.search(QUERIES, 40), plain.search(QUERIES, 40))
    device.ails = None
    mirror(index, device)
    same(index.search(QUERIES, 40), plain.search(QUERIES, 40))


def test_what_does_not_fit_is_refused_and_what_is_there_stays(form: Form) -> None:
    (device, vectors) = form
    index = made(500, vectors)
    mirror(index, device)
    room = copy_bytes(500, D, vectors)
    assert device.taken == room
    device._cap = room + 1000
    try:
        index.add(IDS[500:], STORED[500:])
        with pytest.raises(
            NotEnoughMemory,
            match=r"the index of gallery yard, 3,000 rows, needs .* MB more of the GPU's memory, where of gpu_index_memory "
            r"\(.* MB\) .* MB are taken.*: raise gpu_index_memory, use vectors fp16 .* or use index_device cpu",
        ):
            mirror(index, device)
        assert (index.mirrored, index.waiting, device.taken) == (500, 2500, room)
        same(index.search(QUERIES, 40), made(ROWS, vectors).search(QUERIES, 40))
    finally:
        device._cap = None
        index.unmirror()


def gallery(folder: Path, device: IndexDevice | None, vectors: Vectors = "fp32") -> LocalGallery:
    if not folder.exists():
        folder.mkdir()
        spec = GallerySpec(embedding_space="s", embedding_dim=D, viewpoints=(), keep_crops=False, vectors=vectors)
        LocalGallery.create(folder, "yard", spec)
    return LocalGallery(folder, device=device)


def images(first: int, last: int) -> list[NewImage]:
    return [
        NewImage(
            image_id=f"i{n:04}", metadata=Metadata(camera_id=f"c{n % 7}"), crop=b"", embedding=STORED[n], viewpoint=None
        )
        for n in range(first, last)
    ]


def check(opened: LocalGallery, last: int) -> None:
    """Everything is found, exactly, with filters and without."""
    for n in range(0, last, last // 5):
        for filters in (Filters(), Filters(camera_id=(f"c{n % 7}",)), Filters(exclude_camera_id=(f"c{(n + 1) % 7}",))):
            (matches,) = opened.search(STORED[n : n + 1], SearchOptions(top_k=20, filters=filters))
            assert (matches[0].image.image_id, matches[0].distance) == (f"i{n:04}", 0)
            passing = [m for m in range(last) if _passes(m, filters)]
            distances = np.linalg.norm(STORED[passing].astype(float) - STORED[n].astype(float), axis=1)
            np.testing.assert_allclose([match.distance for match in matches], np.sort(distances)[:20], atol=5.1e-5)


def _passes(n: int, filters: Filters) -> bool:
    camera = f"c{n % 7}"
    return (not filters.camera_id or camera in filters.camera_id) and camera not in filters.exclude_camera_id


def test_a_gallery_on_a_device_is_searched_there_from_the_start(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    device, vectors = form
    opened = gallery(tmp_path / "yard", device, vectors)
    assert opened.index_state().device == "cpu"  # there is nothing
    opened.add(images(0, 1000))
    opened._upkeep.rest()
    assert (opened.index_state().device, opened.index_state().waiting) == (device.name, 0)
    check(opened, 1000)
    opened.close(keep_snapshot=False)
    assert device.taken == 0
    for keep in (True, True, False):  # without a snapshot, with one, and left without
        opened = gallery(tmp_path / "yard", device, vectors)
        state = opened.index_state()
        assert (state.device, state.rows, state.waiting, state.kind) == (device.name, 1000, 0, "flat")
        check(opened, 1000)
        opened.close(keep_snapshot=keep)
    without = gallery(tmp_path / "yard", None)  # and without the device
    without._upkeep.rest()
    assert without.index_state().device == "cpu"
    check(without, 1000)
    without.close()
    assert device.taken == 0


def test_a_rebuilt_index_takes_the_place_of_the_old_on_a_device_that_cannot_hold_both(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    device, vectors = form
    opened = gallery(tmp_path / "yard", device, vectors)
    opened.add(images(0, 1000))
    opened._upkeep.rest()
    device._cap = device.taken
    try:
        opened.delete("i0999")
        opened.rewrite_snapshot()
        opened._upkeep.wake()
        opened._upkeep.rest()
        state = opened.index_state()
        assert (state.device, state.rows, state.waiting, state.problem) == (device.name, 999, 0, None)
        check(opened, 999)
        opened.close()
    finally:
        device._cap = None
    assert device.taken == 0


def test_a_gallery_that_outgrows_its_device_goes_on_and_says_so(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    device, vectors = form
    device._cap = copy_bytes(600, D, vectors)
    try:
        opened = gallery(tmp_path / "yard", device, vectors)
        opened.add(images(0, 500))
        opened._upkeep.rest()
        assert opened.index_state().device == device.name
        for first in range(500, 1000, 50):  # few at a time, so that none of it is worth building anew
            opened.add(images(first, first + 50))
            opened._upkeep.rest()
        state = opened.index_state()
        assert "1,000 rows" in str(state.problem) or "rows, needs" in str(state.problem)
        assert "raise gpu_index_memory" in str(state.problem)
        assert state.device == device.name
        assert state.rows + state.waiting == 1000
        assert state.waiting >= 400
        check(opened, 1000)
        device._cap = None
        opened._upkeep._resting_until = 0
        opened.sweep()  # as the service does now and then
        opened._upkeep.rest()
        assert (opened.index_state().waiting, opened.index_state().problem) == (0, None)
        check(opened, 1000)
        opened.close()
    finally:
        device._cap = None


def test_a_gallery_that_does_not_fit_is_refused_on_opening(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    device, vectors = form
    opened = gallery(tmp_path / "yard", None, vectors)
    opened.add(images(0, 1000))
    opened.close()
    device._cap = 1000
    try:
        with pytest.raises(
            NotEnoughMemory, match=r"the index of gallery yard, 1,000 rows, needs 0 MB more .* use vectors"
        ):
            gallery(tmp_path / "yard", device, vectors)
        assert device.taken == 0
    finally:
        device._cap = None


def test_a_device_that_fails_in_service_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_early(monkeypatch)
    device = AilingDevice()
    opened = gallery(tmp_path / "yard", device)
    opened.add(images(0, 1000))
    opened._upkeep.rest()
    device.ails = "memory"
    check(opened, 1000)
    state = opened.index_state()
    assert (state.device, state.rows) == ("cpu", 1000)
    assert "the GPU failed in a search" in str(state.problem)
    opened.sweep()
    opened._upkeep.rest()
    assert opened.index_state().device == "cpu"  # not at once
    device.ails, opened._upkeep._resting_until = None, 0
    opened.sweep()
    opened._upkeep.rest()
    assert (opened.index_state().device, opened.index_state().problem) == ("host", None)
    check(opened, 1000)
    opened.close()


def test_kinds_that_no_device_takes_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build_early(monkeypatch)
    caplog.set_level("INFO")
    device = HostDevice()
    opened = gallery(tmp_path / "yard", device, "sq8")
    assert "gallery yard is searched by the processors: host takes the kinds flat and auto" in caplog.text
    opened.add(images(0, 300))
    opened._upkeep.rest()
    assert (opened.index_state().device, opened.index_state().vectors) == ("cpu", "sq8")
    check(opened, 300)
    opened.close()
    assert device.taken == 0


def test_a_copy_with_more_room_is_on_the_device_as_well(form: Form) -> None:
    device, vectors = form
    plain, index = made(ROWS, vectors), made(1000, vectors)
    mirror(index, device)
    taken = device.taken
    roomier = index.roomier(2000)
    assert (roomier.mirrored, device.taken) == (1000, taken)
    roomier.add(IDS[1000:], STORED[1000:])
    same(roomier.search(QUERIES, 40), plain.search(QUERIES, 40))
    mirror(roomier, device)
    assert roomier.waiting == 0
    same(roomier.search(QUERIES, 40), plain.search(QUERIES, 40))
    index.unmirror()  # whoever let the copy go
    assert device.taken == 0
    same(roomier.search(QUERIES, 40), plain.search(QUERIES, 40))
    mirror(roomier, device)
    assert roomier.waiting == 0
    same(roomier.search(QUERIES, 40), plain.search(QUERIES, 40))
    roomier.unmirror()
    assert device.taken == 0
