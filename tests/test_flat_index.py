"""FAISS against NumPy."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from index.searching.flat_index import FlatIndex
from index.searching.vector_index import Candidates

D = 24


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)


def filled(count: int = 1000) -> tuple[FlatIndex, NDArray[np.int64], NDArray[np.float32]]:
    """An index whose row ids ascend with gaps."""
    row_ids = np.sort(np.random.default_rng(1).permutation(10 * count)[:count].astype(np.int64) + 1)
    index = FlatIndex(D)
    index.add(row_ids[:10], vectors(count)[:10])
    index.add(row_ids[10:], vectors(count)[10:])
    return index, row_ids, vectors(count)


def check(found: Candidates, rows: dict[int, NDArray[np.float32]], query: NDArray[np.float32], count: int) -> None:
    """Distances are exact, and everything nearer than ``certain`` is there."""
    distances = {row: float(np.linalg.norm(each.astype(float) - query.astype(float))) for row, each in rows.items()}
    np.testing.assert_allclose(found.distances, [distances[row] for row in found.row_ids.tolist()], rtol=1e-12)
    assert (np.diff(found.distances) >= 0).all()
    assert set(found.row_ids.tolist()) >= {row for row, distance in distances.items() if distance < found.certain}
    assert len(found.row_ids) == min(count, len(rows))
    assert (found.certain == np.inf) == (count >= len(rows))


@pytest.mark.parametrize("queries", [1, 19, 20, 50])
@pytest.mark.parametrize("count", [1, 10, 150, 1000, 2000])
def test_candidates_are_the_nearest(queries: int, count: int) -> None:
    index, row_ids, stored = filled()
    rows = dict(zip(row_ids.tolist(), stored, strict=True))
    probes = vectors(queries, seed=2)
    found = index.search(probes, count)
    assert len(found) == queries
    for query, candidates in zip(probes, found, strict=True):
        check(candidates, rows, query, count)


def test_certainty_leaves_out_the_last_candidates_only() -> None:
    index, _, _ = filled()
    (found,) = index.search(vectors(1, seed=2), 100)
    assert (found.distances < found.certain).sum() >= 98


@pytest.mark.parametrize("size", [0, 1, 30, 1000])
def test_a_search_among_some_rows(size: int) -> None:
    index, row_ids, stored = filled()
    among = np.sort(row_ids)[:size]
    rows = {row: each for row, each in zip(row_ids.tolist(), stored, strict=True) if row in set(among.tolist())}
    for queries in (1, 25):
        probes = vectors(queries, seed=3)
        for query, found in zip(probes, index.search(probes, 40, among=among), strict=True):
            check(found, rows, query, 40)


@pytest.mark.parametrize("retired", [1, 100, 255, 256, 999, 1000])
def test_retired_rows_are_in_no_answer(retired: int) -> None:
    index, row_ids, stored = filled()
    for part in np.array_split(row_ids[:retired], 3):
        index.retire(part)
    assert len(index) == 1000 - retired
    rows = dict(zip(row_ids[retired:].tolist(), stored[retired:], strict=True))
    for queries in (1, 25):
        for query, found in zip(stored[:queries], index.search(stored[:queries], 50), strict=True):
            check(found, rows, query, 50)
    index.add(np.array([99_999], dtype=np.int64), stored[:1])
    (found,) = index.search(stored[:1], 1)
    assert found.row_ids.tolist() == [99_999]


def test_vectors_come_back_bit_by_bit() -> None:
    index, row_ids, stored = filled()
    np.testing.assert_array_equal(index.stored(row_ids[::7]), stored[::7])
    assert index.stored(np.empty(0, dtype=np.int64)).shape == (0, D)


def test_an_empty_index() -> None:
    (found,) = FlatIndex(D).search(vectors(1), 5)
    assert (found.row_ids.size, found.certain) == (0, np.inf)
    assert filled()[0].search(vectors(0), 5) == []


@pytest.mark.parametrize("first", [2**25 - 2, 2**40])
def test_large_row_ids(first: int) -> None:
    index = FlatIndex(D)
    row_ids = np.arange(first, first + 100, dtype=np.int64)
    index.add(row_ids, vectors(100))
    (found,) = index.search(vectors(1), 100)
    assert sorted(found.row_ids.tolist()) == row_ids.tolist()
    for some in (row_ids[::3], row_ids[:2]):
        (found,) = index.search(vectors(1), 100, among=some)
        assert sorted(found.row_ids.tolist()) == some.tolist()


def test_forgotten_row_ids_can_be_used_again() -> None:
    index, row_ids, stored = filled(100)
    index.retire(row_ids[:5])
    index.add(np.array([5000, 5001], dtype=np.int64), stored[:2])
    index.forget(np.array([5000, 5001], dtype=np.int64))
    index.add(np.array([5000], dtype=np.int64), stored[2:3] + 1)
    assert len(index) == 96
    (found,) = index.search(stored[2:3] + 1, 1)
    assert (found.row_ids.tolist(), found.distances.tolist()) == ([5000], [0])
    np.testing.assert_array_equal(index.stored(np.array([5000], dtype=np.int64)), stored[2:3] + 1)


def test_many_search_at_once_where_rows_are_retired() -> None:
    flat, row_ids, stored = filled(20_000)
    flat.retire(row_ids[:100])
    expected = [found.row_ids.tolist() for found in (flat.search(stored[n : n + 1], 5)[0] for n in range(40))]

    def search(n: int) -> list[int]:
        found: list[int] = flat.search(stored[n % 40 : n % 40 + 1], 5)[0].row_ids.tolist()
        return found

    with ThreadPoolExecutor(4) as pool:
        for n, found in enumerate(pool.map(search, range(600))):
            assert found == expected[n % 40]


def test_room_that_is_made_is_used() -> None:
    flat, vectors = FlatIndex(8), np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    flat.reserve(5000)
    flat.add(np.arange(1, 11, dtype=np.int64), vectors[:10])
    place = int(flat._index.codes.data())
    flat.add(np.arange(11, 5001, dtype=np.int64), vectors[10:])
    assert int(flat._index.codes.data()) == place  # nothing was copied
    (found,) = flat.search(vectors[4321:4322], 1)
    assert found.row_ids.tolist() == [4322]
    flat.retire(np.arange(1, 4001, dtype=np.int64))
    flat.reserve(100)  # less than there is
    (found,) = flat.search(vectors[4321:4322], 1)
    assert found.row_ids.tolist() == [4322]
