"""What models made of kept pictures: remembered while it is asked for, forgotten with the picture."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from index.crops import Box
from index.storage.query_store import QueryStore
from service.embedding.kept_queries import KeptQueries, Remembered
from tests.test_query_store import kept
from tests.test_sweeper import Clock

BOX: Box = (0, 0, 4, 4)


def made(number: int) -> Remembered:
    return Remembered(embedding=np.full(4, number, np.float32), viewpoint=None)


def test_each_part_and_each_model_has_its_own(tmp_path: Path) -> None:
    queries = KeptQueries(QueryStore(tmp_path, hours=1, max_bytes=1000))
    one, other = kept(queries.store, 1), kept(queries.store, 2)
    keys = [(one, None, "m"), (one, BOX, "m"), (one, None, "n"), (other, None, "m")]
    for number, key in enumerate(keys):
        assert queries.remembered(*key) is None
        queries.remember(*key, made(number))
    for number, key in enumerate(keys):
        known = queries.remembered(*key)
        assert known is not None
        assert known.embedding[0] == number


def test_those_that_were_asked_for_last_are_remembered(tmp_path: Path) -> None:
    queries = KeptQueries(QueryStore(tmp_path, hours=1, max_bytes=1000), most=3)
    one = kept(queries.store)
    for number in range(3):
        queries.remember(one, None, f"m{number}", made(number))
    assert queries.remembered(one, None, "m0") is not None
    queries.remember(one, None, "m3", made(3))
    assert [queries.remembered(one, None, f"m{number}") is not None for number in range(4)] == [True, False, True, True]


def test_what_was_made_of_a_picture_is_forgotten_with_it(tmp_path: Path) -> None:
    clock = Clock()
    queries = KeptQueries(QueryStore(tmp_path, hours=1, max_bytes=250, clock=clock))
    erased, over = kept(queries.store), kept(queries.store)
    for each in (erased, over):
        queries.remember(each, None, "m", made(1))
        queries.remember(each, BOX, "m", made(2))
    queries.erase(erased.query_id)
    assert [queries.remembered(each, BOX, "m") is None for each in (erased, over)] == [True, False]
    clock.now += timedelta(hours=1)
    assert queries.sweep() == 1
    assert queries.remembered(over, None, "m") is None
    assert queries._remembered == {}


def test_what_is_made_of_a_picture_that_was_erased_meanwhile_is_not_remembered(tmp_path: Path) -> None:
    queries = KeptQueries(QueryStore(tmp_path, hours=1, max_bytes=250))
    query = kept(queries.store)
    queries.erase(query.query_id)
    queries.remember(query, None, "m", made(1))
    assert queries._remembered == {}
