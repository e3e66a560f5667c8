"""Files of earlier layouts, and what a file lacks of this one."""

from contextlib import closing
from pathlib import Path

import apsw
import numpy as np
import pytest

from index.errors import StorageError
from index.storage.database_file import open_read_only
from index.storage.gallery_database import GalleryDatabase, bound_of
from index.storage.gallery_schema import LAYOUT, lacking
from index.storage.row_checksum import row_checksum
from tests.layout_1 import write_layout_1


def test_a_file_of_layout_1_gets_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    write_layout_1(path)
    for _ in range(2):
        database = GalleryDatabase(path)
        with database.snapshot() as view:
            spec = bound_of(view).spec
            assert (spec.kind, spec.vectors) == ("flat", "fp32")
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
