"""Feedback that replicas share: its limits hold for all together, and bytes that are no answer's go."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event

import pytest

from index.errors import GalleryNotFound, StorageError, TooMuchFeedback
from index.objects.folder_objects import FolderObjects
from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_feedback import PICTURES, PostgresAnswers, PostgresFeedback
from tests.postgres_server import PostgresServer
from tests.test_feedback_home import PLENTY, keep, listed, of_images, of_query, picture

REPLICAS = 3


class Store(FolderObjects):
    """A folder that lets tests do something before and after bytes are put, and refuses to remove them at times."""

    before_put: Callable[[], object] = staticmethod(lambda: None)
    after_put: Callable[[], object] = staticmethod(lambda: None)
    down = False

    def put(self, gallery: str, name: str, data: bytes) -> None:
        self.before_put()
        super().put(gallery, name, data)
        self.after_put()

    def delete(self, gallery: str, name: str) -> None:
        if self.down:
            raise StorageError("the store does not answer")
        super().delete(gallery, name)

    @property
    def held(self) -> list[bytes]:
        return [self.get(PICTURES, name) for name, _ in self.names(PICTURES)]


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture(scope="module")
def databases(url: str) -> Iterator[list[PostgresDatabase]]:
    """One for each replica."""
    opened = [PostgresDatabase(url) for _ in range(REPLICAS)]
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def homes(databases: list[PostgresDatabase], store: Store) -> list[PostgresFeedback]:
    return [PostgresFeedback(each, store) for each in databases]


@pytest.fixture
def yard(request: pytest.FixtureRequest, homes: list[PostgresFeedback]) -> list[PostgresAnswers]:
    """The answers of one gallery, as each replica has them."""
    return [home.answers(request.node.name) for home in homes]


def at_once(work: Callable[[int], object], count: int) -> list[object]:
    """What as many threads got, or the limit that they met."""
    gate = Barrier(count)

    def one(number: int) -> object:
        gate.wait()
        try:
            return work(number)
        except TooMuchFeedback as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_all_that_is_given_at_once_is_kept_up_to_the_limit(yard: list[PostgresAnswers], store: Store) -> None:
    """Ten are given three times, at each replica; half of them on a query."""

    def give(number: int) -> bool:
        mine = number % 10
        answer, data = of_query(mine, query=mine) if mine % 2 else (of_images(mine), None)
        return yard[number // 10].put(answer, data, most=8, most_bytes=1 << 20)[1]

    told = at_once(give, 30)
    kept = listed(yard[0])
    assert (len(kept), told.count(True)) == (8, 8)
    for number, what in enumerate(told):
        assert (f"i{number % 10}" in {each.image_id for each in kept}) is (not isinstance(what, TooMuchFeedback))
    assert sorted(store.held) == sorted(picture(int(each.image_id[1:]))[1] for each in kept if each.query_id)


def test_bytes_count_for_all_together(yard: list[PostgresAnswers], store: Store) -> None:
    size = len(picture(0)[1])
    told = at_once(
        lambda n: yard[n % REPLICAS].put(*of_query(n, query=n), most=100, most_bytes=4 * size + size // 2), 9
    )
    assert sum(isinstance(each, TooMuchFeedback) for each in told) == 5
    assert len(listed(yard[1])) == 4
    assert sorted(store.held) == sorted(picture(int(each.image_id[1:]))[1] for each in listed(yard[2]))


def test_one_pair_that_all_speak_of_is_one_answer(yard: list[PostgresAnswers]) -> None:
    told = at_once(lambda n: yard[n % REPLICAS].put(of_images(1, same=bool(n % 2)), None, **PLENTY)[1], 9)
    assert told.count(True) == 1
    assert len(listed(yard[0])) == 1


def test_what_one_replica_does_holds_for_the_others(yard: list[PostgresAnswers], homes: list[PostgresFeedback]) -> None:
    first, second, third = yard
    answer = keep(first, 1)
    assert (listed(second), second.picture(answer.query_crop)) == ([answer], picture(0)[1])
    assert third.delete([answer.answer_id]) == 1
    assert (listed(first), second.picture(answer.query_crop)) == ([], None)
    keep(first, 2)
    homes[1].drop(yard[0]._gallery)
    for each in yard:
        assert listed(each) == []
        with pytest.raises(GalleryNotFound, match="dropped"):
            keep(each, 3)
        with pytest.raises(GalleryNotFound, match="dropped"):
            each.put(of_images(1), None, **PLENTY)


def test_what_is_given_while_the_gallery_is_dropped_goes_with_it(
    yard: list[PostgresAnswers], homes: list[PostgresFeedback], store: Store
) -> None:
    store.before_put = lambda: homes[1].drop(yard[0]._gallery)
    with pytest.raises(GalleryNotFound):
        keep(yard[0], 1)
    assert (store.held, listed(yard[0])) == ([], [])


def test_bytes_that_were_not_put_belong_to_no_answer(yard: list[PostgresAnswers], store: Store) -> None:
    def fail() -> None:
        raise StorageError("the store does not answer")

    store.before_put = fail
    with pytest.raises(StorageError, match="does not answer"):
        keep(yard[0], 1)
    assert listed(yard[0]) == []


def test_bytes_that_cannot_be_removed_now_are_by_the_next_sweep(yard: list[PostgresAnswers], store: Store) -> None:
    answer = keep(yard[0], 1)
    store.down = True
    assert yard[0].delete([answer.answer_id]) == 1
    assert (listed(yard[1]), yard[1].picture(answer.query_crop)) == ([], None)
    with pytest.raises(StorageError):
        yard[1].sweep()
    assert store.held == [picture(0)[1]]
    again = keep(yard[2], 1)  # by another name there
    store.down = False
    yard[1].sweep()
    assert (store.held, yard[0].picture(again.query_crop)) == ([picture(0)[1]], picture(0)[1])


def test_what_a_dead_replica_had_put_goes_after_a_day(
    yard: list[PostgresAnswers], store: Store, databases: list[PostgresDatabase]
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    store.after_put = die
    with pytest.raises(KeyboardInterrupt):
        keep(yard[0], 1)
    yard[1].sweep()
    assert store.held == [picture(0)[1]]  # it may be about to say whose they are
    with databases[0].transaction() as connection:
        connection.execute("UPDATE vehicle_search.feedback_pictures SET remove_at = remove_at - interval '1 day'")
    yard[1].sweep()
    assert store.held == []


def test_who_reads_a_picture_that_is_given_anew_has_it(
    yard: list[PostgresAnswers], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, get, again = keep(yard[0], 1), store.get, Event()

    def late(gallery: str, name: str) -> bytes:
        if not again.is_set():
            again.set()
            keep(yard[1], 2)  # on the same query
        return get(gallery, name)

    monkeypatch.setattr(store, "get", late)
    assert yard[2].picture(answer.query_crop) == picture(0)[1]


def test_a_picture_that_is_not_what_was_put_is_none(yard: list[PostgresAnswers], store: Store) -> None:
    answer = keep(yard[0], 1)
    ((name, _),) = store.names(PICTURES)
    store.put(PICTURES, name, b"another")
    assert yard[0].picture(answer.query_crop) is None
    store.delete(PICTURES, name)
    assert yard[0].picture(answer.query_crop) is None
    keep(yard[0], 2)
    assert yard[0].picture(answer.query_crop) == picture(0)[1]  # mended


def test_a_database_that_goes_away_is_told(url: str, store: Store) -> None:
    with closing(PostgresDatabase(url)) as database:
        answers = PostgresFeedback(database, store).answers("gone")
    with pytest.raises(StorageError, match="PostgreSQL at 127"):
        answers.latest()
    with pytest.raises(StorageError, match="PostgreSQL at 127"):
        keep(answers, 1)
    assert store.held == []
