"""The same promises of a file of keys and of a database of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index.access_key import KeyHome
from index.errors import KeyNotFound
from index.storage.key_database import KeyDatabase
from tests.key_holder import a_key

NOW = datetime(2026, 11, 26, 10, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["file", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], KeyHome]:
    """Opens the keys, any number of times."""
    if request.param == "file":
        return lambda: KeyDatabase(tmp_path)
    database = request.getfixturevalue("shared_database")
    from index.postgres.postgres_keys import PostgresKeys

    return lambda: PostgresKeys(database)


def test_keys_come_back_as_they_were(opened: Callable[[], KeyHome], tmp_path: Path) -> None:
    home = opened()
    assert (home.all(), home.stamp()) == ([], None)
    assert not list(tmp_path.iterdir())
    keys = [
        a_key("read")[0],
        a_key("write", "admin", galleries=("b", "a"), rate=0.5, burst=9, name="Tür ü", expires_at=NOW)[0],
        a_key("read", galleries=(), revoked_at=NOW)[0],
    ]
    for key in keys:
        home.add(key)
    assert opened().all() == sorted(keys, key=lambda key: (key.created_at, key.key_id))


def test_a_revoked_key_keeps_its_time(opened: Callable[[], KeyHome]) -> None:
    home = opened()
    with pytest.raises(KeyNotFound, match="0" * 12):
        home.revoke("0" * 12, NOW)
    assert home.stamp() is None
    key, _ = a_key("read")
    home.add(key)
    assert home.revoke(key.key_id, NOW).revoked_at == NOW
    assert home.revoke(key.key_id, NOW + timedelta(1)).revoked_at == NOW
    for never in ("nope", "a\0b", "é", "\udcff"):
        with pytest.raises(KeyNotFound, match="vehicle-search keys list"):
            home.revoke(never, NOW)


def test_every_change_changes_the_stamp_for_whoever_looks(opened: Callable[[], KeyHome]) -> None:
    home, elsewhere = opened(), opened()
    stamps = [elsewhere.stamp()]
    for _ in range(20):
        key, _ = a_key("read")
        home.add(key)
        stamps.append(elsewhere.stamp())
        home.revoke(key.key_id, NOW)
        stamps.append(elsewhere.stamp())
        home.all()
        assert elsewhere.stamp() == stamps[-1]
    assert len(set(stamps)) == 41
