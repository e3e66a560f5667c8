"""The database file: views, transactions, full disks, layouts."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import numpy as np
import pytest

from index.errors import DataFolderUnusable, GalleryNotFound, LogDamaged, StorageError, StorageFull
from index.gallery import GallerySpec
from index.storage.gallery_database import (
    LAYOUT,
    PAGE,
    Bound,
    GalleryDatabase,
    bound_of,
    lacking,
    microseconds,
    moment,
    open_read_only,
)
from index.storage.row_checksum import row_checksum
from index.storage.write_ahead_log import log_of, log_problem
from tests.layout_1 import write_layout_1
from tests.small_disk import fill, small_disk

SPEC = GallerySpec(
    embedding_space="space", embedding_dim=3, viewpoints=("front", "rear"), retention_days=7, keep_crops=False
)


def create(folder: Path) -> Path:
    path = folder / "gallery.sqlite"
    GalleryDatabase.create(path, "yard", SPEC)
    return path


def bound(database: GalleryDatabase) -> Bound:
    with database.snapshot() as view:
        return bound_of(view)


def note(connection: apsw.Connection, times: int = 1, *, size: int = 1) -> None:
    connection.executemany("INSERT INTO changes (row_id, kind) VALUES (1, ?)", [("x" * size,)] * times)


def changes(connection: apsw.Connection) -> int:
    number: int = connection.execute("SELECT count(*) FROM changes").get
    return number


def test_what_it_was_created_with_comes_back(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    assert (database.name, bound(database).spec) == ("yard", SPEC)
    assert abs(datetime.now(UTC) - database.created_at).total_seconds() < 60
    assert len(database.secret) == 16
    assert database.disk_bytes() > 0
    database.close()


def test_a_large_transaction_reaches_the_log_at_its_end_and_no_page_twice(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    log = tmp_path / "gallery.sqlite-wal"
    with database.transaction() as connection:
        before = log.stat().st_size
        note(connection, 100, size=100_000)
        assert log.stat().st_size == before
    assert log.stat().st_size < 11_000_000
    database.close()


def test_the_settings_that_durability_rests_on(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "page_size": 16384,
        "secure_delete": 1,
        "foreign_keys": 1,
        "journal_size_limit": 2**26,
    }
    for pragma, value in expected.items():
        with database.transaction() as connection:
            assert connection.execute(f"PRAGMA {pragma}").get == value
    database.close()


def test_a_view_stays_as_it_was_taken(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    with database.snapshot() as view:
        with database.transaction() as connection:
            note(connection)
        assert changes(view) == 0
        with database.snapshot() as later:
            assert changes(later) == 1
        with pytest.raises(apsw.ReadOnlyError):
            note(view)
    database.close()


def test_an_error_undoes_the_transaction_and_the_next_one_works(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))

    def fail() -> None:
        with database.transaction() as connection:
            note(connection)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.transaction() as connection:
        assert changes(connection) == 0
        note(connection)
    with database.snapshot() as view:
        assert changes(view) == 1
    database.close()


def test_many_threads_read(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    together = threading.Barrier(8)

    def read() -> int:
        with database.snapshot() as view:
            together.wait(10)
            return changes(view)

    with ThreadPoolExecutor(8) as pool:
        assert [done.result() for done in [pool.submit(read) for _ in range(8)]] == [0] * 8
    database.close()


def test_after_closing_nothing_opens_and_what_is_open_ends(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    with database.snapshot() as view:
        database.close()
        assert changes(view) == 0
    with pytest.raises(GalleryNotFound), database.snapshot():
        pass
    with pytest.raises(GalleryNotFound), database.transaction():
        pass


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = create(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    connection.close()
    with pytest.raises(DataFolderUnusable, match=f"layout {LAYOUT + 1}, this release reads up to {LAYOUT}"):
        GalleryDatabase(path)


@pytest.mark.parametrize("content", [b"not a database" * 1000, None])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "gallery.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot be used") as refused:
        GalleryDatabase(path)
    assert "\n" not in str(refused.value)


def test_a_file_at_its_limit_is_full_and_grows_again(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    with database.transaction() as connection:
        pages = connection.execute("PRAGMA page_count").get
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull, match="no space left"), database.transaction() as connection:
        note(connection, 1000, size=1000)
    with database.transaction() as connection:
        assert changes(connection) == 0
        connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    with database.transaction() as connection:
        note(connection, 1000, size=1000)
    database.close()


@pytest.mark.parametrize("leave", [0, 4096, 100_000])
def test_a_full_disk_is_full_until_space_is_freed(tmp_path: Path, leave: int) -> None:
    with small_disk(tmp_path) as disk:
        database = GalleryDatabase(create(disk))
        with database.transaction() as connection:
            note(connection)
        filler = fill(disk, leave=leave)
        for _ in range(2):
            with pytest.raises(StorageFull), database.transaction() as connection:
                note(connection, 1000, size=1000)
        with database.snapshot() as view:
            assert changes(view) == 1
        filler.unlink()
        with database.transaction() as connection:
            note(connection, 1000, size=1000)
        with database.snapshot() as view:
            assert changes(view) == 1001
        database.close()


def test_a_disk_that_is_full_on_opening(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        path = create(disk)
        filler = fill(disk)
        with pytest.raises(StorageFull):
            GalleryDatabase(path)
        filler.unlink()
        GalleryDatabase(path).close()


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 5, 4, 10, 11, 12, 345_678, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_times_come_back(time: datetime) -> None:
    assert moment(microseconds(time)) == time


# The write-ahead log


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> int:
    """A log of a megabyte is already a long one."""
    monkeypatch.setattr("index.storage.gallery_database._LONGEST_LOG", 1 << 20)
    return 1 << 20


def log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def test_readers_that_overlap_do_not_make_the_log_grow_for_ever(tmp_path: Path, short_log: int) -> None:
    """SQLite starts its log anew only when nobody reads from it, and here somebody always does."""
    path = create(tmp_path)
    database = GalleryDatabase(path)
    stop, taken = threading.Event(), [threading.Event(), threading.Event()]

    def read(own: threading.Event, other: threading.Event) -> int:
        views = 0
        while not stop.is_set():
            with database.snapshot() as view:
                changes(view)
                views += 1
                own.set()
                other.wait(0.05)  # until the other one has a view, too
                other.clear()
        return views

    longest = 0
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, *taken), pool.submit(read, *reversed(taken))]
        try:
            for _ in range(40):
                with database.transaction() as connection:
                    note(connection, 20, size=10_000)
                longest = max(longest, log_bytes(path))
        finally:
            stop.set()
        assert all(reader.result() > 3 for reader in readers)
    assert longest < 6 * short_log  # 13 otherwise
    database.close()


def test_a_view_that_is_never_let_go_holds_nobody_up(tmp_path: Path, short_log: int) -> None:
    path = create(tmp_path)
    database = GalleryDatabase(path)
    with database.snapshot() as view:
        for _ in range(8):
            with database.transaction() as connection:
                note(connection, 20, size=10_000)
        assert changes(view) == 0
        assert log_bytes(path) > short_log
        assert not database.empty_log()
    with database.transaction() as connection:
        note(connection)
    assert log_bytes(path) == 0
    with database.snapshot() as view:
        assert changes(view) == 161
    database.close()


# Layouts


def test_a_file_of_layout_1_gets_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    write_layout_1(path)
    for _ in range(2):
        database = GalleryDatabase(path)
        assert (bound(database).spec.kind, bound(database).spec.vectors) == ("flat", "fp32")
        with database.snapshot() as view:
            assert [checksum for (checksum,) in view.execute("SELECT checksum FROM images ORDER BY row_id")] == [
                row_checksum(f"i{n}", f"v{n}", "camera", n, 5, None, f'{{"number": {n}}}') for n in (1, 2, 3)
            ]
            assert [checksum for (checksum,) in view.execute("SELECT checksum FROM embeddings ORDER BY row_id")] == [
                row_checksum(n, 1, None, None, np.array([n, 1], dtype="<f4").tobytes()) for n in (1, 2, 3)
            ]
            assert [name for _, _, name in view.execute("PRAGMA index_info(images_camera)")] == [
                "camera_id",
                "captured_at",
            ]
            assert view.execute("SELECT row_id FROM images WHERE camera_id = 'camera' AND captured_at = 2").get == 2
            assert view.execute("PRAGMA user_version").get == LAYOUT
        database.close()


def test_a_file_of_layout_1_becomes_what_is_created_now(tmp_path: Path) -> None:
    """Nothing tells later which of both a file was."""
    old = tmp_path / "old.sqlite"
    write_layout_1(old)
    with closing(apsw.Connection(str(old))) as connection:
        assert lacking(connection) == []  # but for columns, which an older layout need not have
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        assert lacking(connection) == ["embeddings", "images", "images_camera"]
        connection.execute("PRAGMA user_version = 1")
    GalleryDatabase(old).close()
    with closing(open_read_only(old)) as connection:
        assert lacking(connection) == []


def test_a_migration_that_is_interrupted_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    write_layout_1(path)
    connection = apsw.Connection(str(path))
    connection.execute("DROP INDEX images_camera").fetchall()  # so that the step fails
    with pytest.raises(StorageError, match="no such index"):
        GalleryDatabase(path)
    assert connection.execute("PRAGMA user_version").get == 1
    assert "checksum" not in [column[1] for column in connection.execute("PRAGMA table_info(images)")]
    connection.execute("CREATE INDEX images_camera ON images (camera_id)").fetchall()
    connection.close()
    GalleryDatabase(path).close()


def test_a_log_that_hides_commits_is_neither_opened_nor_brought_in(tmp_path: Path) -> None:
    path, copy = create(tmp_path), tmp_path / "killed" / "gallery.sqlite"
    database = GalleryDatabase(path)
    for _ in range(3):
        with database.transaction() as connection:
            note(connection)
    copy.parent.mkdir()
    for file in (path, log_of(path)):
        shutil.copy(file, copy.parent)
    database.close()
    log = bytearray(log_of(copy).read_bytes())
    log[32 + 24 + 100] ^= 1
    log_of(copy).write_bytes(log)
    before = {file.name: file.read_bytes() for file in copy.parent.iterdir()}
    with pytest.raises(LogDamaged, match=r"gallery.sqlite-wal is damaged at frame 1 .* `vehicle-index repair`"):
        GalleryDatabase(copy)
    assert {file.name: file.read_bytes() for file in copy.parent.iterdir()} == before
    with pytest.raises(LogDamaged):
        open_read_only(copy)  # a backup of it would lack what is hidden
    assert {file.name: file.read_bytes() for file in copy.parent.iterdir() if file.suffix != ".sqlite-shm"} == before


def test_a_log_that_is_damaged_while_it_is_open_is_read_on(tmp_path: Path) -> None:
    """Its owner sees all of it; and ending in order brings it in."""
    path = create(tmp_path)
    database = GalleryDatabase(path)
    for _ in range(3):
        with database.transaction() as connection:
            note(connection)
    with log_of(path).open("r+b") as log:
        log.seek(32 + 16)
        log.write(b"\0")
    with closing(open_read_only(path)) as beside:
        assert changes(beside) == 3
    assert log_problem(path, page=PAGE) is not None
    database.close()
    with closing(GalleryDatabase(path)) as again, again.snapshot() as connection:
        assert changes(connection) == 3
