"""Keys in memory follow the file; where that cannot be read nobody is let in."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index.errors import KeyNotFound, StorageError
from index.storage.key_database import KeyDatabase, Stamp
from service.access import keyring as module
from service.access.keyring import Keyring
from service.wire.problems import NotReady
from tests.key_holder import a_key


class Watched(KeyDatabase):
    """Tells when the ring has looked, and lets a test hold it up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.looked, self.may_look = threading.Semaphore(0), threading.Event()
        self.may_look.set()

    def stamp(self) -> Stamp | None:
        self.may_look.wait()
        try:
            return super().stamp()
        finally:
            self.looked.release()

    def await_look(self) -> None:
        """Return when the ring has looked from beginning to end after this call."""
        while self.looked.acquire(blocking=False):
            pass
        for _ in range(4):  # a look that has begun, and one with all that it asks
            assert self.looked.acquire(timeout=30)


def asks(ring: Keyring) -> bool:
    """Whether a key is asked for."""
    return not ring.keyless


@pytest.fixture
def database(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@pytest.fixture
def ring(database: Watched) -> Iterator[Keyring]:
    made = Keyring(database)
    made.start()
    yield made
    database.may_look.set()
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)


def test_keys_come_and_are_revoked_while_it_watches(database: Watched, ring: Keyring) -> None:
    assert module.WATCH_SECONDS < 0.5  # what the documents promise is a second
    assert not asks(ring)
    key, _ = a_key("read")
    database.add(key)
    database.await_look()
    assert asks(ring)
    assert ring.key(key.key_id) == key
    assert ring.key("0" * 12) is None
    revoked = database.revoke(key.key_id, key.created_at)
    database.await_look()
    assert ring.key(key.key_id) == revoked
    assert asks(ring)


def test_what_goes_through_it_holds_at_once(tmp_path: Path) -> None:
    ring = Keyring(KeyDatabase(tmp_path))  # nobody watches
    first, second = a_key("read")[0], a_key("admin")[0]
    ring.add(first)
    assert not ring.keyless
    ring.add(second)
    assert ring.all() == sorted([first, second], key=lambda key: (key.created_at, key.key_id))
    revoked = ring.revoke(first.key_id, second.created_at)
    assert ring.key(first.key_id) == revoked
    assert revoked.ended(second.created_at) == "revoked"
    assert KeyDatabase(tmp_path).all() == ring.all()


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    ring = Keyring(KeyDatabase(tmp_path / "gone"))
    with pytest.raises(StorageError, match="cannot be made"):
        ring.add(a_key("read")[0])
    assert ring.keyless
    with pytest.raises(KeyNotFound, match="none was ever made"):
        ring.revoke("3f0c6e1d2a3b", a_key("read")[0].created_at)


def test_a_start_that_took_long_is_no_silence_of_the_disk(database: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(database)
    key, _ = a_key("read")
    database.add(key)
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    ring.start()
    try:
        assert ring.key(key.key_id) == key
    finally:
        ring.close()


def test_without_a_database_there_are_none() -> None:
    ring = Keyring(None)
    ring.start()
    assert ring.keyless
    assert ring.all() == []
    with pytest.raises(NotReady, match="keeps no keys"):
        ring.add(a_key("read")[0])
    ring.close()


@pytest.mark.parametrize("damage", ["gone", "empty", "noise", "folder"])
def test_what_cannot_be_read_lets_nobody_in_until_it_can(
    database: Watched, ring: Keyring, impatient: Callable[[], None], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    key, _ = a_key("read")
    database.add(key)
    database.await_look()
    whole = database.path.read_bytes()
    database.path.unlink()
    if damage == "folder":
        database.path.mkdir()
    elif damage != "gone":
        database.path.write_bytes(b"" if damage == "empty" else b"noise" * 2000)
    database.await_look()
    assert ring.key(key.key_id) == key  # patience
    assert asks(ring)
    with monkeypatch.context() as patched:
        patched.setattr(module, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(NotReady, match="nobody is let in"):
            ring.key(key.key_id)
    database.path.rmdir() if damage == "folder" else database.path.unlink(missing_ok=True)
    database.path.write_bytes(whole)
    database.await_look()
    assert ring.key(key.key_id) == key


def test_a_first_key_that_cannot_be_read_ends_the_keyless_time(database: Watched, ring: Keyring) -> None:
    database.path.write_bytes(b"noise" * 2000)
    database.await_look()
    assert asks(ring)


def test_a_disk_that_does_not_answer_lets_nobody_in(
    database: Watched, ring: Keyring, impatient: Callable[[], None]
) -> None:
    key, _ = a_key("read")
    database.add(key)
    database.await_look()
    database.may_look.clear()
    impatient()
    with pytest.raises(NotReady, match="the disk does not answer"):
        ring.key(key.key_id)


def test_keys_that_cannot_be_read_at_first_end_the_start(tmp_path: Path) -> None:
    database = KeyDatabase(tmp_path)
    database.path.write_bytes(b"noise" * 2000)
    with pytest.raises(StorageError, match="is damaged"):
        Keyring(database)
