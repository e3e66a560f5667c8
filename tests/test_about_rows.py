"""What a gallery was created with is what was written, or it is not used."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from index.data_folder import DataFolder
from index.errors import StorageError
from index.local_gallery import LocalGallery
from index.maintenance.backup import back_up
from index.maintenance.repair import repair
from index.maintenance.restoration import restore
from index.maintenance.verification import examine
from index.storage.about_rows import agrees, checksum_of, turned_back
from index.storage.gallery_view import open_view
from index.storage.stored_time import microseconds
from tests.test_local_gallery import SPEC, image
from tests.test_verification import change, flip, folder, found

__all__ = ["folder"]

TOLD = "what the gallery was created with is not what was written"
ROWS = {b"name": b"yard", b"spec": b'{"retention_days": 90}', b"migrations": b"[]"}


def test_every_flipped_bit_is_seen_and_turned_back() -> None:
    rows = {**ROWS, b"checksum": checksum_of(ROWS)}
    assert agrees(ROWS)  # of an earlier build
    assert agrees({**rows, b"migrations": b"[{}]"})
    for key in rows.keys() - {b"migrations"}:
        for place in range(8 * len(rows[key])):
            damaged = bytearray(rows[key])
            damaged[place // 8] ^= 1 << place % 8
            assert not agrees({**rows, key: bytes(damaged)})
            assert turned_back({**rows, key: bytes(damaged)}) == rows
    assert turned_back({**rows, b"name": b"port"}) is None


def test_a_flipped_bit_is_refused_everywhere_and_mended(folder: Path) -> None:
    before = LocalGallery(folder)
    spec, created_at = before.spec, before._database.created_at
    before.close()
    flip(folder, str(microseconds(created_at)).encode())
    assert found(examine(folder))[TOLD] == ("table about",)
    with pytest.raises(StorageError, match="table about"):
        LocalGallery(folder)
    with pytest.raises(StorageError, match="table about"), open_view(folder / "gallery.sqlite", now=datetime.now(UTC)):
        pass
    told = {measure.what: measure.loss for measure in repair(folder, act=True)}
    assert told["a flipped bit turned back, of what the gallery was created with"] is False
    assert not any(told.values())
    assert found(examine(folder)) == {}
    with closing(LocalGallery(folder)) as gallery:
        assert (gallery.spec, gallery.count(), gallery._database.created_at) == (spec, 40, created_at)


def test_more_than_a_bit_needs_a_backup(folder: Path) -> None:
    change(folder, "UPDATE about SET value = '12345' WHERE key = 'created_at'")
    with pytest.raises(StorageError, match=r"more than one bit .*`vehicle-index restore`"):
        repair(folder, act=True)


def test_a_file_without_a_checksum_gets_one(folder: Path) -> None:
    change(folder, "DELETE FROM about WHERE key = 'checksum'")
    assert found(examine(folder)) == {}
    LocalGallery(folder).close()
    with closing(apsw.Connection(str(folder / "gallery.sqlite"))) as connection:
        assert connection.execute("SELECT count(*) FROM about WHERE key = 'checksum'").get == 1
    assert found(examine(folder)) == {}


def test_neither_a_backup_nor_a_restoration_believes_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with closing(DataFolder(data, default_spec=SPEC)) as home:
        home.get("default").add([image(1)])
    folder = data / "galleries/default"
    back_up(data, tmp_path / "backup")
    change(folder, "UPDATE about SET value = '00' || substr(value, 3) WHERE key = 'secret'")
    with pytest.raises(StorageError, match="table about"):
        back_up(data, tmp_path / "backup")
    with pytest.raises(StorageError, match="table about"):  # else: dropped after the backup, and made anew
        restore(tmp_path / "backup", tmp_path / "new", since=data)
    (first,) = back_up(data, tmp_path / "first")
    assert TOLD in {finding.what for finding in first.findings}
    with pytest.raises(StorageError, match="table about"):
        restore(tmp_path / "first", tmp_path / "new")
    restore(tmp_path / "backup", tmp_path / "new")
