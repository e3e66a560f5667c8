"""Parts that follow each other, moved and replaced while they are searched."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from index.searching.built_index import BuiltIndex
from index.searching.growing_index import GrowingIndex, next_lot
from index.searching.hnsw_index import HnswIndex
from tests.clustered_vectors import clustered

D = 16
STORED = np.concatenate(list(clustered(3000, D)))


def ids(first: int, last: int) -> NDArray[np.int64]:
    return np.arange(first, last, dtype=np.int64)


def add(growing: GrowingIndex, first: int, last: int) -> None:
    with growing.lock.write():
        growing.add(ids(first, last), STORED[first:last])


def built(first: int, last: int) -> BuiltIndex:
    graph = HnswIndex.made(D, "fp32", rows=last - first, sample=STORED)
    graph.add(ids(first, last), STORED[first:last])
    return graph


def found(growing: GrowingIndex, row: int, count: int = 1) -> list[int]:
    with growing.lock.read():
        rows: list[int] = growing.search(STORED[row : row + 1], count)[0].row_ids[:count].tolist()
    return rows


def everything(growing: GrowingIndex) -> list[int]:
    rows: list[int] = growing.scan(STORED[:1], 10_000)[0].row_ids.tolist()
    return sorted(rows)


def test_parts_answer_together() -> None:
    growing = GrowingIndex(D)
    growing.start_with(built(1, 500), 500)
    add(growing, 501, 700)
    assert (len(growing), growing.waiting, growing.built_up_to) == (698, 199, 500)
    for row in (1, 499, 501, 699):
        assert found(growing, row) == [row]
    among = np.array([1, 499, 501, 699], dtype=np.int64)
    (some,) = growing.search(STORED[:1], 10, among=among)
    assert (sorted(some.row_ids.tolist()), some.certain) == (among.tolist(), np.inf)
    growing.retire(np.array([499, 501], dtype=np.int64))
    assert everything(growing) == sorted({*range(1, 500), *range(501, 700)} - {499, 501})
    (near,) = growing.search(STORED[:1], 10)
    assert (np.diff(near.distances) >= 0).all()
    assert len(near.row_ids) == 20  # of each part
    true = np.sort(np.linalg.norm(STORED[everything(growing)].astype(float) - STORED[0].astype(float), axis=1))
    certain = int((near.distances < near.certain).sum())
    assert 9 <= certain < 20
    np.testing.assert_allclose(near.distances[:certain], true[:certain])


def test_rows_are_retired_wherever_they_are_and_in_any_order() -> None:
    growing = GrowingIndex(D)
    growing.start_with(built(1, 500), 500)
    add(growing, 501, 600)
    growing.seal(600)
    add(growing, 601, 700)
    growing.retire(np.array([650, 3, 550, 499, 502, 1], dtype=np.int64))
    assert everything(growing) == sorted(
        {*range(1, 500), *range(501, 600), *range(601, 700)} - {1, 3, 499, 502, 550, 650}
    )


def test_what_is_retired_while_an_index_is_built_is_not_in_it() -> None:
    growing = GrowingIndex(D)
    add(growing, 1, 400)
    with growing.noting():
        growing.seal(400)
        first = built(1, 400)
        add(growing, 401, 600)  # a write goes on
        with growing.lock.write():
            growing.retire(np.array([5, 6, 405, 9999], dtype=np.int64)[:3])
        growing.replace(first, 400)
    expected = sorted({*range(1, 400), *range(401, 600)} - {5, 6, 405})
    assert everything(growing) == expected
    assert len(growing) == len(expected)
    assert growing.waiting == 198
    assert found(growing, 5) != [5]


def test_a_build_that_fails_loses_nothing() -> None:
    growing = GrowingIndex(D)
    add(growing, 1, 100)
    for cut in (100, 200):
        growing.seal(cut)
        add(growing, cut + 1, cut + 50)
    assert everything(growing) == [*range(1, 100), *range(101, 150), *range(201, 250)]
    growing.seal(250)
    growing.replace(built(1, 250), 250)
    add(growing, 251, 260)
    assert everything(growing) == [*range(1, 250), *range(251, 260)]


def test_rows_are_moved_while_others_search_and_write() -> None:
    growing = GrowingIndex(D)
    growing.start_with(built(1, 500), 500)
    add(growing, 501, 1500)
    stop = threading.Event()

    def search() -> int:
        rounds = 0
        while not stop.is_set():
            for row in (3, 700, 1499):
                assert found(growing, row) == [row]
            with growing.lock.read():
                assert len(growing.scan(STORED[:1], 10_000)[0].row_ids) == len(growing)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as pool:
        searching = [pool.submit(search) for _ in range(2)]
        try:
            with growing.noting():
                waiting = growing.settled()
                assert waiting.tolist() == list(range(501, 1500))
                add(growing, 1500, 1600)
                for start in range(0, len(waiting), 100):
                    with growing.lock.write():
                        growing.retire(np.array([501 + start + 50, 1500 + start // 100], dtype=np.int64))
                    assert growing.move(waiting[start : start + 100]) > 0
        finally:
            stop.set()
        assert all(done.result() for done in searching)
    gone = {501 + 50 + start for start in range(0, 1000, 100)} | set(range(1500, 1510))
    assert everything(growing) == sorted({*range(1, 500), *range(501, 1600)} - gone)
    assert (growing.waiting, growing.built_up_to) == (90, 1499)


def test_a_part_that_is_empty_is_passed_over() -> None:
    growing = GrowingIndex(D)
    growing.start_with(built(1, 100), 100)
    add(growing, 101, 110)
    growing.seal(110)
    add(growing, 111, 120)
    growing.retire(ids(101, 110))
    waiting = growing.settled()
    assert waiting.tolist() == list(range(111, 120))
    growing.move(waiting)
    assert growing.waiting == 0
    assert everything(growing) == [*range(1, 100), *range(111, 120)]


def test_a_write_that_is_rolled_back_is_forgotten() -> None:
    growing = GrowingIndex(D)
    growing.start_with(built(1, 100), 100)
    add(growing, 101, 110)
    growing.forget(ids(101, 110))
    growing.add(ids(101, 102), STORED[2000:2001])
    assert found(growing, 2000) == [101]
    assert len(growing) == 100


@pytest.mark.parametrize(
    ("lot", "seconds", "following"), [(1, 0.001, 2), (64, 0.004, 64), (64, 0.04, 6), (1, 9, 1), (1024, 0, 1024)]
)
def test_lots_take_some_milliseconds(lot: int, seconds: float, following: int) -> None:
    assert next_lot(lot, seconds) == following
