"""The database file: views, transactions, full disks, layouts."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from index.errors import DataFolderUnusable, GalleryNotFound, StorageError, StorageFull
from index.gallery import GallerySpec
from index.gallery_database import LAYOUT, GalleryDatabase, microseconds, moment
from tests.small_disk import fill, small_disk

SPEC = GallerySpec(
    embedding_space="space", embedding_dim=3, viewpoints=("front", "rear"), retention_days=7, keep_crops=False
)


def create(folder: Path) -> Path:
    path = folder / "gallery.sqlite"
    GalleryDatabase.create(path, "yard", SPEC)
    return path


def note(connection: apsw.Connection, times: int = 1, *, size: int = 1) -> None:
    connection.executemany("INSERT INTO changes (row_id, kind) VALUES (1, ?)", [("x" * size,)] * times)


def changes(connection: apsw.Connection) -> int:
    number: int = connection.execute("SELECT count(*) FROM changes").get
    return number


def test_what_it_was_created_with_comes_back(tmp_path: Path) -> None:
    database = GalleryDatabase(create(tmp_path))
    assert (database.name, database.spec) == ("yard", SPEC)
    assert abs(datetime.now(UTC) - database.created_at).total_seconds() < 60
    assert len(database.secret) == 16
    assert database.disk_bytes() > 0
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


def test_a_file_of_layout_1_gets_what_it_lacks(tmp_path: Path) -> None:
    path = create(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute("DROP INDEX images_camera; CREATE INDEX images_camera ON images (camera_id)").fetchall()
    connection.execute("INSERT INTO images VALUES (7, 'x', NULL, 'c', 5, 5, NULL, '{}')")
    connection.execute("PRAGMA user_version = 1").fetchall()
    connection.close()
    for _ in range(2):
        database = GalleryDatabase(path)
        with database.snapshot() as view:
            assert view.execute("PRAGMA user_version").get == LAYOUT
            assert [name for _, _, name in view.execute("PRAGMA index_info(images_camera)")] == [
                "camera_id",
                "captured_at",
            ]
            assert view.execute("SELECT row_id FROM images WHERE camera_id = 'c' AND captured_at = 5").get == 7
        database.close()


def test_a_migration_that_is_interrupted_is_begun_again(tmp_path: Path) -> None:
    path = create(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 1; DROP INDEX images_camera").fetchall()  # so that the step fails
    connection.close()
    with pytest.raises(StorageError, match="no such index"):
        GalleryDatabase(path)
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA user_version").get == 1
    connection.execute("CREATE INDEX images_camera ON images (camera_id)").fetchall()
    connection.close()
    GalleryDatabase(path).close()
