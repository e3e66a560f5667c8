"""Pictures of queries on the disk: whole or not there, for a while, and within their bytes."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from index.errors import PictureTooLarge, QueriesNotKept, QueryNotFound, StorageError, StorageFull
from index.objects.folder_objects import FolderObjects
from index.storage.kept_query import KeptQuery, QueryHome
from index.storage.query_store import QueryStore
from index.storage.space_reserve import SpaceReserve
from tests.small_disk import fill, small_disk
from tests.test_sweeper import Clock

DIGEST = "ab" * 32


def picture(number: int, size: int = 100) -> bytes:
    return bytes([number]) * size


def kept(store: QueryHome, number: int = 1, size: int = 100) -> KeptQuery:
    return store.keep(picture(number, size), width=40, height=30, digest=DIGEST, extension="jpg")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Callable[..., QueryStore]:
    def open_it(**options: Any) -> QueryStore:
        return QueryStore(tmp_path, **{"hours": 2, "max_bytes": 1000, "clock": clock, **options})

    return open_it


@pytest.fixture(params=["file", "postgres"])
def home(
    request: pytest.FixtureRequest, opened: Callable[..., QueryStore], tmp_path: Path, clock: Clock
) -> Callable[..., QueryHome]:
    """Opens either home, any number of times."""
    if request.param == "file":
        return opened
    database = request.getfixturevalue("shared_database")
    from index.postgres.postgres_queries import PostgresQueries

    def open_it(**options: Any) -> QueryHome:
        terms = {"hours": 2, "max_bytes": 1000, "clock": clock, **options}
        return PostgresQueries(database, FolderObjects(tmp_path / "objects"), **terms)

    return open_it


def kept_files(data: Path) -> list[Path]:
    """The files of either home."""
    return [path for path in data.rglob("*") if path.is_file()]


def pictures(data: Path) -> list[str]:
    """The ids of queries that either home has bytes of."""
    return sorted(path.name[:32] for path in kept_files(data))


def files(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "queries").iterdir()) if (data / "queries").exists() else []


def test_what_is_kept_is_there_after_a_restart(home: Callable[..., QueryHome], clock: Clock) -> None:
    store = home()
    clock.now += timedelta(seconds=1.5)
    first = kept(store, 1)
    second = store.keep(b"a png", width=1, height=65_535, digest="0" * 64, extension="png")
    assert first.query_id != second.query_id
    for each in (store, home()):
        assert (each.get(first.query_id), each.get(second.query_id)) == (first, second)
        assert (each.read(first), each.read(second)) == (picture(1), b"a png")
        assert each.size() == (2, 105)
    assert (first.picture_name, second.picture_name) == (f"{first.query_id}.jpg", f"{second.query_id}.png")
    assert store.kept_until(first) == datetime(2026, 1, 1, 2, 0, 1, tzinfo=UTC)


def test_what_is_erased_is_there_for_nobody(home: Callable[..., QueryHome], tmp_path: Path) -> None:
    store = home()
    first, second = kept(store, 1), kept(store, 2)
    store.erase(first.query_id)
    assert store.size() == (1, 100)
    assert store.held([first.query_id, second.query_id]) == {second.query_id}
    for each in (store, home()):
        for way in (each.get, each.erase):
            with pytest.raises(QueryNotFound):
                way(first.query_id)
        with pytest.raises(QueryNotFound):
            each.read(first)  # by whoever found it before
    assert pictures(tmp_path) == [second.query_id]


@pytest.mark.parametrize("name", ["", "..", "0" * 32, "a\0b", "\udcff", "A" * 32])
def test_an_id_that_was_not_given_out_is_not_found(home: Callable[..., QueryHome], name: str) -> None:
    store = home()
    for way in (store.get, store.erase):
        with pytest.raises(QueryNotFound, match=r"they are kept for 2 hours.*\(query_hours = 2\)"):
            way(name)


def test_it_is_flushed_before_it_has_its_name(
    opened: Callable[..., QueryStore], flushed: list[str], tmp_path: Path
) -> None:
    first = kept(opened())
    assert flushed == [tmp_path.name, f"{first.file_name}.part", "queries"]


def test_nothing_is_made_before_something_is_kept(opened: Callable[..., QueryStore], tmp_path: Path) -> None:
    opened().sweep()
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_leaves_is_removed_and_what_is_not_ours_is_left_alone(
    opened: Callable[..., QueryStore], tmp_path: Path
) -> None:
    first = kept(opened())
    cut = tmp_path / "queries" / f"{first.file_name.replace(first.query_id, 'f' * 32)}.part"
    cut.write_bytes(b"half")
    strange = [
        "notes.txt", "x.jpg", first.file_name.replace("_40x30", "_0x30"), first.file_name.upper(),
        first.file_name.replace("20260101", "20261301"), f"{first.file_name}\n",
    ]  # fmt: skip
    for name in strange:
        (tmp_path / "queries" / name).write_bytes(b"strange")
    opened(read_only=True)
    assert cut.exists()
    assert opened().size() == (1, 100)
    assert files(tmp_path) == sorted([first.file_name, *strange])


def test_a_process_that_is_killed_has_kept_what_it_said(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from index.storage.query_store import QueryStore
        store = QueryStore(Path(sys.argv[1]), hours=1, max_bytes=10**9)
        number = 0
        while True:
            kept = store.keep(bytes([number % 256]) * 50_000, width=1, height=1, digest="0" * 64, extension="jpg")
            print(kept.query_id, number % 256, flush=True)
            number += 1
    """
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = [process.stdout.readline().split() for _ in range(20)]
            process.kill()
            said += [words for words in map(str.split, process.stdout.read().splitlines(True)) if len(words) == 2]
        store = QueryStore(tmp_path, hours=1, max_bytes=10**9)
        for query_id, number in said:
            assert store.read(store.get(query_id)) == bytes([int(number)]) * 50_000
        assert all((tmp_path / "queries" / name).stat().st_size == 50_000 for name in files(tmp_path))
        assert store.size()[1] == 50_000 * len(files(tmp_path))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../lock", "queries", "0" * 32, "%2e%2e", "../../etc/passwd", "a\0b", "x" * 5000, "A" * 32]
)
def test_an_id_that_was_not_given_out_leads_to_no_file(
    opened: Callable[..., QueryStore], tmp_path: Path, name: str
) -> None:
    (tmp_path / "lock").write_text("ours")
    store = opened()
    first = kept(store)
    for strange in (
        name,
        first.file_name,
        first.picture_name,
        f"{first.query_id}/",
        f"./{first.query_id}",
        first.query_id.upper() + "x",
    ):
        with pytest.raises(QueryNotFound, match=r"they are kept for 2 hours.*\(query_hours = 2\)"):
            store.get(strange)
        with pytest.raises(QueryNotFound):
            store.erase(strange)
    assert (tmp_path / "lock").exists()
    assert store.read(store.get(first.query_id)) == picture(1)


def test_it_is_not_found_from_the_moment_on_at_which_its_time_is_over(
    home: Callable[..., QueryHome], clock: Clock, tmp_path: Path
) -> None:
    store = home()
    first = kept(store)
    clock.now += timedelta(hours=2) - timedelta(seconds=1)
    second = kept(store, 2)
    assert (store.get(first.query_id), store.sweep()) == (first, [])
    clock.now += timedelta(seconds=1)
    with pytest.raises(QueryNotFound):
        store.get(first.query_id)
    assert store.sweep() == [first.query_id]
    assert pictures(tmp_path) == [second.query_id]
    assert (store.size(), store.get(second.query_id)) == ((1, 100), second)


def test_the_time_counts_by_the_setting_as_it_is_now(
    home: Callable[..., QueryHome], clock: Clock, tmp_path: Path
) -> None:
    first = kept(home())
    clock.now += timedelta(hours=5)
    assert home(hours=6).get(first.query_id) == first
    none = home(hours=0)
    with pytest.raises(QueryNotFound, match="none are kept here"):
        none.get(first.query_id)
    with pytest.raises(QueriesNotKept, match="query_hours = 0"):
        kept(none)
    assert none.sweep() == [first.query_id]
    assert pictures(tmp_path) == []


def test_pictures_are_removed_by_the_erasing_clock(
    home: Callable[..., QueryHome], clock: Clock, tmp_path: Path
) -> None:
    steady = Clock()
    store = home(erasing_clock=steady)
    first = kept(store)
    clock.now += timedelta(days=3000)  # set wrong
    with pytest.raises(QueryNotFound):
        store.get(first.query_id)
    assert store.sweep() == []
    clock.now -= timedelta(days=3000)
    assert store.read(store.get(first.query_id)) == picture(1)
    steady.now += timedelta(hours=2)
    assert store.sweep() == [first.query_id]


def test_the_oldest_make_room(home: Callable[..., QueryHome], clock: Clock, tmp_path: Path) -> None:
    store = home()
    queries = []
    for number in range(5):
        queries.append(kept(store, number, 300))
        clock.now += timedelta(seconds=1)
        assert sum(path.stat().st_size for path in kept_files(tmp_path)) == store.size()[1] <= 1000
    assert pictures(tmp_path) == sorted(each.query_id for each in queries[2:])
    whole = kept(store, 9, 1000)
    assert (pictures(tmp_path), store.size()) == ([whole.query_id], (1, 1000))
    with pytest.raises(PictureTooLarge, match=r"1,001 bytes as it is kept.*1,000.*max_query_bytes"):
        kept(store, 1, 1001)
    assert store.get(whole.query_id) == whole


def test_a_limit_that_was_lowered_counts_with_the_next_sweep(home: Callable[..., QueryHome], clock: Clock) -> None:
    store = home()
    queries = []
    for number in range(3):
        queries.append(kept(store, number, 300))
        clock.now += timedelta(seconds=1)
    lower = home(max_bytes=500)
    assert lower.sweep() == [each.query_id for each in queries[:2]]
    assert lower.size() == (1, 300)


def test_what_is_erased_is_gone(opened: Callable[..., QueryStore], flushed: list[str], tmp_path: Path) -> None:
    store = opened()
    first, second = kept(store, 1), kept(store, 2)
    flushed.clear()
    store.erase(first.query_id)
    assert flushed == ["queries"]
    for each in (store, opened()):
        with pytest.raises(QueryNotFound):
            each.get(first.query_id)
        assert each.size() == (1, 100)
    with pytest.raises(QueryNotFound):
        store.erase(first.query_id)
    with pytest.raises(QueryNotFound):
        store.read(first)  # by whoever found it before
    assert files(tmp_path) == [second.file_name]


def test_a_full_disk_keeps_nothing_of_it_and_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=1) as disk:
        store = QueryStore(disk, hours=1, max_bytes=10**9)
        first = kept(store)
        fill(disk, leave=8192)
        with pytest.raises(StorageFull, match=r"No space left.*free some space"):
            kept(store, 2, 100_000)
        assert files(disk) == [first.file_name]
        assert store.size() == (1, 100)
        store.erase(first.query_id)


def test_the_space_that_is_kept_for_erasing_is_not_for_queries(
    opened: Callable[..., QueryStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = SpaceReserve(tmp_path / "reserve")
    store = opened(reserve=reserve)
    kept(store)
    monkeypatch.setattr(SpaceReserve, "renew", lambda self: None)  # as on a disk that stays full
    reserve.lend()
    with pytest.raises(StorageFull, match="kept for erasing"):
        kept(store)


def test_a_folder_that_cannot_be_read_is_named(opened: Callable[..., QueryStore], tmp_path: Path) -> None:
    store = opened()
    first = kept(store)
    path = tmp_path / "queries" / first.file_name
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"cannot be read in .*queries: Is a directory"):
        store.read(first)
    with pytest.raises(StorageError, match="cannot be erased"):
        store.erase(first.query_id)
