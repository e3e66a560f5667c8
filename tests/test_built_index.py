"""Every kind that is built, against NumPy."""

import io
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from index.gallery import BuiltKind, Vectors
from index.searching.built_index import BuiltIndex
from index.searching.vector_index import Candidates
from tests.clustered_vectors import clustered
from tests.index_kinds import BUILT_ANYWHERE, index_class, kind_name, mirror

D, ROWS = 32, 2500

pytestmark = pytest.mark.parametrize("kind", BUILT_ANYWHERE, ids=kind_name)


@lru_cache
def stored() -> NDArray[np.float32]:
    return np.concatenate(list(clustered(ROWS, D)))


@lru_cache
def queries(count: int) -> NDArray[np.float32]:
    return next(iter(clustered(count, D, seed=1)))


@lru_cache
def ids() -> NDArray[np.int64]:
    """They ascend with gaps."""
    return 7 + np.cumsum(np.random.default_rng(1).integers(1, 5, ROWS)).astype(np.int64)


@lru_cache  # what a device has is saved as what it has not
def saved(kind: tuple[BuiltKind, Vectors]) -> tuple[bytes, float]:
    built = index_class(kind).made(D, kind[1], rows=ROWS, sample=stored()[::2])
    for part in np.array_split(np.arange(ROWS), 4):
        built.add(ids()[part], stored()[part])
    file = io.BytesIO()
    built.save(file.write)
    return file.getvalue(), built.error


def filled(kind: tuple[BuiltKind, Vectors]) -> BuiltIndex:
    data, error = saved(kind)
    built = index_class(kind).restored(kind[1], rows=ROWS, error=error, read=io.BytesIO(data).read)
    mirror(built, kind)
    return built


def exact(row_ids: NDArray[np.int64], query: NDArray[np.float32]) -> dict[int, float]:
    vectors = stored()[np.isin(ids(), row_ids)]
    distances = np.linalg.norm(vectors.astype(float) - query.astype(float), axis=1)
    return dict(zip(np.sort(row_ids).tolist(), distances.tolist(), strict=True))


def check(built: BuiltIndex, found: Candidates, distances: dict[int, float], count: int) -> None:
    """Distances are within ``error``, and everything nearer than ``certain`` is there."""
    own = np.array([distances[row] for row in found.row_ids.tolist()])
    assert found.exact == (built.vectors == "fp32" or not len(own))
    np.testing.assert_allclose(found.distances, own, rtol=1e-9 if found.exact else 0, atol=built.error + 1e-5)
    assert (np.diff(found.distances) >= 0).all()
    assert set(found.row_ids.tolist()) >= {row for row, distance in distances.items() if distance < found.certain}
    assert len(found.row_ids) == min(count, len(distances))
    assert (found.certain == np.inf) == (count >= len(distances))


@pytest.mark.parametrize("number", [1, 25])
def test_a_scan_overlooks_nothing(kind: tuple[BuiltKind, Vectors], number: int) -> None:
    built, row_ids = filled(kind), ids()
    for count in (1, 60, ROWS, 2 * ROWS):
        for query, found in zip(queries(number), built.scan(queries(number), count), strict=True):
            check(built, found, exact(row_ids, query), count)


@pytest.mark.parametrize("number", [1, 25])
@pytest.mark.parametrize("size", [0, 1, 12, 100, 400, 1100])
def test_a_search_among_some_rows_overlooks_none(kind: tuple[BuiltKind, Vectors], number: int, size: int) -> None:
    built, row_ids = filled(kind), ids()
    among = row_ids[:: ROWS // size][:size] if size else row_ids[:0]
    for _ in range(3):  # the second time they are copied, where they are few, and then the copy is looked at
        for query, found in zip(queries(number), built.search(queries(number), 40, among=among), strict=True):
            check(built, found, exact(among, query), 40)


@pytest.mark.parametrize("number", [1, 25])
def test_a_search_finds_nearly_all_that_is_near(kind: tuple[BuiltKind, Vectors], number: int) -> None:
    built, row_ids = filled(kind), ids()
    found_of = [
        candidates for n in range(0, 100, number) for candidates in built.search(queries(100)[n : n + number], 42)
    ]
    right = 0
    for query, found in zip(queries(100), found_of, strict=True):
        distances = exact(row_ids, query)
        right += len(set(sorted(distances, key=lambda row: distances[row])[:10]) & set(found.row_ids.tolist()))
        assert np.isfinite(found.certain)
    assert right / 1000 >= 0.99


@pytest.mark.parametrize("retired", [1, 500, 2499, 2500])
def test_retired_rows_are_in_no_answer(kind: tuple[BuiltKind, Vectors], retired: int) -> None:
    built, row_ids = filled(kind), ids()
    gone = np.random.default_rng(2).permutation(row_ids)[:retired]
    for part in (gone[: retired // 2], gone, np.array([3, 10**15], dtype=np.int64)):  # again, and rows that it has not
        built.retire(part)
    left = np.setdiff1d(row_ids, gone)
    assert len(built) == len(left)
    assert built.retired_share == retired / ROWS
    for query, found, near in zip(queries(3), built.scan(queries(3), 50), built.search(queries(3), 50), strict=True):
        check(built, found, exact(left, query), 50)
        assert set(near.row_ids.tolist()) <= set(left.tolist())
    built.add(np.array([10**6], dtype=np.int64), queries(1))
    (found,) = built.search(queries(1), 1)
    assert found.row_ids.tolist() == [10**6]


def test_what_is_saved_is_restored(kind: tuple[BuiltKind, Vectors]) -> None:
    built, row_ids = filled(kind), ids()
    built.retire(row_ids[5:90])
    file = io.BytesIO()
    built.save(file.write)
    file.seek(0)
    again = type(built).restored(built.vectors, rows=ROWS, error=built.error, read=file.read)
    mirror(again, kind)
    assert file.read() == b""
    assert (len(again), again.retired_share) == (len(built), built.retired_share)
    for n in range(2):
        for one, other in zip(built.search(queries(20), 30), again.search(queries(20), 30), strict=True):
            np.testing.assert_array_equal(one.row_ids, other.row_ids)
            np.testing.assert_array_equal(one.distances, other.distances)
        for each in (built, again):
            each.add(np.array([10**6 + n], dtype=np.int64), queries(n + 1)[n:])
            each.retire(row_ids[:3])


def test_vectors_beyond_what_a_half_holds(kind: tuple[BuiltKind, Vectors]) -> None:
    """They cost certainty, never a wrong answer."""
    far = np.concatenate([stored()[:1100], 1e6 * stored()[:100]])
    built = index_class(kind).made(D, kind[1], rows=1200, sample=far[:1100])
    row_ids = np.arange(1, 1201, dtype=np.int64)
    built.add(row_ids, far)
    (found,) = built.scan(far[1150:1151], 1200)
    assert np.isfinite(found.distances).all()
    distances = dict(
        zip(row_ids.tolist(), np.linalg.norm(far.astype(float) - far[1150].astype(float), axis=1).tolist(), strict=True)
    )
    np.testing.assert_allclose(
        found.distances, [distances[row] for row in found.row_ids.tolist()], atol=built.error * 1.001 + 1, rtol=1e-3
    )


def test_a_search_that_finds_nothing_near_claims_nothing(kind: tuple[BuiltKind, Vectors]) -> None:
    built, row_ids = filled(kind), ids()
    query = stored()[:1]
    order = np.argsort(np.linalg.norm(stored() - query, axis=1))
    left = row_ids[np.sort(order[-3:])]  # the farthest, in lists that no search for this query looks into
    built.retire(np.setdiff1d(row_ids, left))
    (found,) = built.search(query, 2)
    distances = exact(left, query[0])
    assert set(found.row_ids.tolist()) >= {row for row, distance in distances.items() if distance < found.certain}
    assert found.certain < np.inf


def test_rows_beyond_the_sample_lose_little(kind: tuple[BuiltKind, Vectors]) -> None:
    """Searches among some rows are sure up to the largest loss, which must not be that of a few rows cut off."""
    built = index_class(kind).made(D, kind[1], rows=ROWS, sample=stored()[::4])
    built.add(ids(), stored())
    lost = np.linalg.norm(built._index.reconstruct_n(0, ROWS) - stored(), axis=1)
    assert built.error <= 3 * np.median(lost)
    assert (built.error > 0) == (kind[1] != "fp32")


def test_rows_without_gaps_are_found_as_those_with(kind: tuple[BuiltKind, Vectors]) -> None:
    built = index_class(kind).made(D, kind[1], rows=ROWS, sample=stored())
    built.add(np.arange(11, 11 + ROWS, dtype=np.int64), stored())
    among = np.array([3, 10, 11, 500, 2510, 2511, 10**6], dtype=np.int64)
    (found,) = built.search(queries(1), 10, among=among)
    assert sorted(found.row_ids.tolist()) == [11, 500, 2510]
    built.retire(among)
    assert len(built) == ROWS - 3


def test_a_copy_with_room_answers_alike_and_takes_more(kind: tuple[BuiltKind, Vectors]) -> None:
    built, row_ids = filled(kind), ids()
    built.retire(row_ids[5:90])
    other = built.roomier(300)
    assert other.room >= 300
    assert (len(other), other.retired_share, other.error) == (len(built), built.retired_share, built.error)
    for one, twin in zip(built.search(queries(20), 30), other.search(queries(20), 30), strict=True):
        np.testing.assert_array_equal(one.row_ids, twin.row_ids)
        np.testing.assert_array_equal(one.distances, twin.distances)
    places = [numbers.data() for numbers, _ in other._arrays()]
    other.add(np.arange(10**6, 10**6 + 300, dtype=np.int64), queries(300))
    assert [int(numbers.data()) for numbers, _ in other._arrays()] == [int(place) for place in places]  # nothing moved
    (found,) = other.search(queries(300)[-1:], 1)
    assert found.row_ids.tolist() == [10**6 + 299]
    other.retire(row_ids[90:100])
    assert len(built) == ROWS - 85  # the one that was copied knows nothing of that


def test_an_index_that_is_made_has_some_room(kind: tuple[BuiltKind, Vectors]) -> None:
    built = index_class(kind).made(D, kind[1], rows=ROWS, sample=stored())
    built.add(ids(), stored())
    assert built.room >= ROWS // 16


def test_huge_pages_change_no_answer(kind: tuple[BuiltKind, Vectors], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.machine.huge_pages._WORTHWHILE", 1)
    built = filled(kind)
    before = built.search(queries(20), 30)
    built.use_huge_pages()
    for one, other in zip(before, built.search(queries(20), 30), strict=True):
        np.testing.assert_array_equal(one.row_ids, other.row_ids)
        np.testing.assert_array_equal(one.distances, other.distances)
