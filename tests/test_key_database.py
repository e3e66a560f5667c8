"""Keys on the disk, beside a service that reads them."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from index.errors import DataFolderUnusable, StorageError, StorageFull
from index.storage.key_database import FILE, KeyDatabase
from tests.key_holder import a_key
from tests.small_disk import fill, small_disk


def test_no_token_is_on_the_disk_and_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    key, token = a_key("read")
    KeyDatabase(tmp_path).add(key)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.key_id.encode() in written
    assert token.rpartition("_")[2].encode() not in written
    assert bytes.fromhex(token.rpartition("_")[2]) not in written
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_away_what_it_has_made_alone(tmp_path: Path) -> None:
    """Whoever owns the folder may have put a link there."""
    folder, secret = tmp_path / "data", tmp_path / "shadow"
    folder.mkdir()
    os.chown(folder, 4711, 4712)
    secret.write_bytes(b"")
    for target in (secret, tmp_path / "none"):
        (folder / FILE).symlink_to(target)
        with contextlib.suppress(StorageError, DataFolderUnusable):
            KeyDatabase(folder).add(a_key("read")[0])
        (folder / FILE).unlink()
    assert (secret.stat().st_uid, (tmp_path / "none").exists()) == (0, False)
    KeyDatabase(folder).add(a_key("read")[0])
    made = (folder / FILE).stat()
    assert (made.st_uid, made.st_gid) == (4711, 4712)


def test_two_commands_at_once_both_keep_their_keys(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.key_holder import kept_key\n"
        "for _ in range(20): kept_key(Path(sys.argv[1]), 'read')"
    )
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    assert [each.wait(60) for each in both] == [0, 0]
    assert len(KeyDatabase(tmp_path).all()) == 40


def test_what_a_killed_command_left_is_taken_back_by_the_reader(tmp_path: Path) -> None:
    database = KeyDatabase(tmp_path)
    key, _ = a_key("read")
    database.add(key)
    script = (
        "import apsw, os, sys; c = apsw.Connection(sys.argv[1]); c.execute('PRAGMA cache_spill = 1; BEGIN; DELETE FROM keys');"
        " c.cache_flush(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(database.path)], check=True, timeout=60)
    assert (tmp_path / f"{FILE}-journal").exists()
    with pytest.raises(StorageError):  # who only reads may not take it back
        database.all()
    database.add(a_key("read")[0])
    assert key in database.all()


@pytest.mark.parametrize("content", [b"no database at all" * 99, None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    database = KeyDatabase(tmp_path)
    database.add(a_key("read")[0])
    database.path.write_bytes(content if content is not None else database.path.read_bytes()[:5000])
    with pytest.raises(StorageError, match=r"keys\.sqlite is damaged.*make keys anew"):
        database.all()


def test_a_file_of_a_newer_release_is_named(tmp_path: Path) -> None:
    database = KeyDatabase(tmp_path)
    database.add(a_key("read")[0])
    connection = apsw.Connection(str(database.path))
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(DataFolderUnusable, match="layout 2, this release reads up to 1"):
        database.all()
    with pytest.raises(DataFolderUnusable, match="layout 2"):
        database.add(a_key("read")[0])


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataFolderUnusable, match=r"none/keys\.sqlite cannot be made"):
        KeyDatabase(tmp_path / "none").add(a_key("read")[0])


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=1) as disk:
        fill(disk)
        with pytest.raises(StorageFull):
            KeyDatabase(disk).add(a_key("read")[0])
        assert KeyDatabase(disk).all() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_root_makes_is_its_services(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1235)
    KeyDatabase(tmp_path).add(a_key("read")[0])
    assert ((tmp_path / FILE).stat().st_uid, (tmp_path / FILE).stat().st_gid) == (1234, 1235)
