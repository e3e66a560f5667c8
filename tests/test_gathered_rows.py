"""Copies of rows that are asked for again."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from index.searching.flat_index import FlatIndex
from index.searching.gathered_rows import GatheredRows

ROWS = np.arange(100, dtype=np.int64)


def maker(made: list[str], name: str) -> Callable[[], str]:
    def make() -> str:
        made.append(name)
        return name

    return make


def test_what_is_asked_for_again_is_copied_once() -> None:
    rows, made = GatheredRows(), list[str]()
    for expected in (None, "a", "a"):
        assert rows.copy_of(ROWS[:50], maker(made, "a"), size=10, room=10) == expected  # a new view of the same rows
    assert made == ["a"]
    assert rows.copy_of(ROWS[:49], maker(made, "b"), size=10, room=10) is None
    assert rows.copy_of(ROWS[:50].copy(), maker(made, "c"), size=10, room=10) is None
    rows.clear()
    assert rows.copy_of(ROWS[:50], maker(made, "d"), size=10, room=10) is None


def test_copies_stay_within_their_room() -> None:
    rows, made = GatheredRows(), list[str]()

    def ask(first: int, size: int) -> str | None:
        found: str | None = rows.copy_of(ROWS[first:], maker(made, str(first)), size=size, room=100)
        return found

    assert [ask(0, 101), ask(0, 101)] == [None, None]
    for first in (1, 2, 1, 2):
        ask(first, 50)
    assert made == ["1", "2"]
    assert [ask(3, 60), ask(3, 60)] == [None, "3"]
    assert (ask(1, 50), ask(2, 50)) == (None, None)  # neither fits beside it
    assert ask(3, 60) == "3"


def test_arrays_that_are_only_remembered_are_few() -> None:
    rows, made = GatheredRows(), list[str]()
    for first in range(40):
        assert rows.copy_of(ROWS[first:], maker(made, "old"), size=1, room=100) is None
    assert rows.copy_of(ROWS[0:], maker(made, "new"), size=1, room=100) is None
    assert rows.copy_of(ROWS[39:], maker(made, "new"), size=1, room=100) == "new"


@pytest.mark.parametrize("batch", [1, 25])
def test_copies_are_forgotten_when_rows_come_to_lie_elsewhere(batch: int) -> None:
    vectors: NDArray[np.float32] = np.random.default_rng(0).normal(size=(6000, 8)).astype(np.float32)
    row_ids, flat = np.arange(10, 6010, dtype=np.int64), FlatIndex(8)
    flat.add(row_ids, vectors)
    among = row_ids[4000:4100]
    queries = vectors[4050:4051].repeat(batch, axis=0)
    for _ in range(3):
        assert {found.row_ids[0] for found in flat.search(queries, 1, among=among)} == {4060}
    flat.forget(row_ids[[5, 4010]])  # the second is among those asked for: a copy would have a row too many
    assert {found.row_ids[0] for found in flat.search(queries, 1, among=among)} == {4060}
