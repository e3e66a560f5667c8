"""Kept queries that replicas share: what one does holds for the others, and nothing is left of what has no row."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from index.errors import QueryNotFound, StorageError
from index.objects.folder_objects import FolderObjects
from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_queries import LOOKED_FOR_EVERY, ORPHANED_AFTER, PICTURES, PostgresQueries
from service.embedding.kept_queries import KeptQueries, Remembered
from tests.test_query_store import kept, picture
from tests.test_sweeper import Clock

Opened = Callable[[], PostgresQueries]


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return FolderObjects(tmp_path / "objects")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replica(shared_database: PostgresDatabase, objects: FolderObjects, clock: Clock) -> Opened:
    return lambda: PostgresQueries(shared_database, objects, hours=2, max_bytes=1000, clock=clock)


def names(objects: FolderObjects) -> list[str]:
    return sorted(name for name, _ in objects.names(PICTURES))


def put_before(objects: FolderObjects, name: str, clock: Clock, age: timedelta) -> None:
    """Make an object look as if it had been put so long ago."""
    seconds = (clock.now - age).timestamp()
    os.utime(objects.folder / PICTURES / name[:2] / name, (seconds, seconds))


def test_what_one_replica_does_holds_for_the_other(replica: Opened, objects: FolderObjects, clock: Clock) -> None:
    one, other = replica(), replica()
    first, second = kept(one, 1), kept(other, 2)
    assert (other.get(first.query_id), other.read(first)) == (first, picture(1))
    other.erase(first.query_id)
    with pytest.raises(QueryNotFound):
        one.get(first.query_id)
    with pytest.raises(QueryNotFound):
        one.read(first)
    clock.now += timedelta(seconds=1)
    third = kept(one, 3, 950)  # the other's had to make room
    with pytest.raises(QueryNotFound):
        other.get(second.query_id)
    assert names(objects) == [third.picture_name]
    clock.now += timedelta(hours=2)
    assert (other.sweep(), one.sweep()) == ([third.query_id], [])
    assert (names(objects), one.size(), other.size()) == ([], (0, 0), (0, 0))


def test_the_limit_holds_while_all_keep_at_once(replica: Opened, objects: FolderObjects) -> None:
    replicas = [replica() for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: kept(replicas[number % 3], number), range(30)))
    assert replica().size() == (10, 1000)
    assert len(names(objects)) == 10


def test_what_models_made_of_it_is_forgotten_by_the_others_when_they_sweep(replica: Opened) -> None:
    here, there = KeptQueries(replica()), KeptQueries(replica())
    erased, left = kept(here.store, 1), kept(here.store, 2)
    for query in (erased, left):
        there.remember(query, None, "m", Remembered(embedding=np.zeros(4, np.float32), viewpoint=None))
    here.erase(erased.query_id)
    there.sweep()
    assert [there.remembered(query, None, "m") is None for query in (erased, left)] == [True, False]


def test_bytes_without_a_row_are_removed_after_a_day(replica: Opened, objects: FolderObjects, clock: Clock) -> None:
    store = replica()
    query = kept(store)
    old, young = f"{'0' * 32}.jpg", f"{'1' * 32}.jpg"
    for name in (old, young):
        objects.put(PICTURES, name, b"cut off")
        put_before(objects, name, clock, ORPHANED_AFTER - timedelta(minutes=30))
    put_before(objects, old, clock, ORPHANED_AFTER + timedelta(seconds=1))
    put_before(objects, query.picture_name, clock, 2 * ORPHANED_AFTER)
    assert store.sweep() == []
    assert names(objects) == sorted([young, query.picture_name])
    clock.now += LOOKED_FOR_EVERY
    assert store.sweep() == []
    assert names(objects) == [query.picture_name]


def test_a_picture_whose_row_cannot_be_written_was_never_there(
    replica: Opened, shared_database: PostgresDatabase
) -> None:
    store = replica()
    first = kept(store)
    with shared_database.transaction() as connection:
        connection.execute("ALTER TABLE vehicle_search.queries ADD CHECK (size < 500)")
    with pytest.raises(StorageError):
        kept(store, 2, 950)
    assert (store.get(first.query_id), store.read(first)) == (first, picture(1))  # it did not make room for nothing
    assert (store.size(), replica().size()) == ((1, 100), (1, 100))


def test_who_is_told_that_erasing_failed_can_ask_again(
    replica: Opened, shared_database: PostgresDatabase, objects: FolderObjects
) -> None:
    store = replica()
    query = kept(store)
    place = objects.folder / PICTURES / query.picture_name[:2] / query.picture_name
    place.unlink()
    place.mkdir()
    with pytest.raises(StorageError):
        store.erase(query.query_id)
    assert store.get(query.query_id) == query
    place.rmdir()
    store.erase(query.query_id)
    assert store.held([query.query_id]) == set()
