"""A database that several replicas open, that goes away and comes back, and that a newer release has changed."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from index.errors import DataFolderUnusable, InvalidValue, StorageError
from index.postgres import postgres_schema
from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_home import open_database
from index.postgres.postgres_keys import PostgresKeys
from service.access.keyring import PATIENCE_SECONDS, Keyring
from service.wire.problems import NotReady
from tests.key_holder import a_key
from tests.postgres_server import PostgresServer
from tests.test_sweeper import until


def test_replicas_that_start_at_once_make_the_tables_once(postgres: PostgresServer) -> None:
    url, gate = postgres.new_database(), threading.Barrier(4)

    def start(_: int) -> int:
        gate.wait()
        with closing(PostgresDatabase(url)) as database:
            PostgresKeys(database).add(a_key("read")[0])
            return len(PostgresKeys(database).all())

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(start, range(4))) == 4


def test_a_database_of_a_newer_release_is_refused(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    PostgresDatabase(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE vehicle_search.about SET layout = 3")
    with pytest.raises(DataFolderUnusable, match="layout 3, this release reads up to 2"):
        PostgresDatabase(url)


def test_what_an_earlier_release_made_is_added_to_once(postgres: PostgresServer) -> None:
    url, gate = postgres.new_database(), threading.Barrier(4)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(postgres_schema._STEPS[0])
        connection.execute("INSERT INTO vehicle_search.audit (entry) VALUES ('of the earlier release')")

    def start(_: int) -> list[str]:
        gate.wait()
        with closing(PostgresDatabase(url)) as database, database.transaction() as connection:
            connection.execute("SELECT * FROM vehicle_search.feedback, vehicle_search.feedback_pictures")
            return [entry for (entry,) in connection.execute("SELECT entry FROM vehicle_search.audit")]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [["of the earlier release"]] * 4


def test_a_database_that_cannot_keep_every_name_is_refused(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.new_database(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(DataFolderUnusable, match=r"database ascii has the encoding SQL_ASCII.*UTF8"):
        PostgresDatabase(postgres.url("ascii"))


def test_text_is_unicode_whatever_the_environment_says(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    with closing(PostgresDatabase(postgres.new_database())) as database:
        key, _ = a_key("read")
        PostgresKeys(database).add(key)
        assert PostgresKeys(database).all() == [key]


def test_the_url_comes_from_a_file_and_its_password_goes_nowhere(postgres: PostgresServer, tmp_path: Path) -> None:
    file = tmp_path / "url"
    with pytest.raises(InvalidValue, match=r"database_url_file.*No such file"):
        open_database(file)
    for wrong in (
        "", "postgresql://cars:s%2Fecret@127.0.0.1:port/x", "s/ecret", "mysql://cars:s/ecret@x/y",
        "postgresql://cars:s/ecret@127.0.0.1/x", "postgresql://cars:s@ecret@127.0.0.1/x", "postgresql://cars:s?ecret@x/y",
        "postgresql://cars:s%ecret@127.0.0.1/x",
    ):  # fmt: skip
        file.write_text(wrong)
        with pytest.raises((InvalidValue, StorageError)) as refused:
            open_database(file)
        assert "ecret" not in str(refused.value)
    with pytest.raises(InvalidValue, match="database_url_file names a file that holds the secret") as refused:
        open_database(Path("postgresql://cars:s%2Fecret@127.0.0.1/cars"))
    assert "ecret@" not in str(refused.value)
    file.write_text("postgresql://cars:s%2Fecret@127.0.0.1:9/cars")
    with pytest.raises(StorageError, match=r"PostgreSQL at 127\.0\.0\.1.*refused") as refused:
        open_database(file)
    assert "ecret" not in str(refused.value)
    file.write_text(postgres.new_database() + "\n")
    with closing(open_database(file)) as database:
        assert "ecret" not in database.place
        assert PostgresKeys(database).all() == []


def test_another_replica_follows_a_revocation(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with closing(PostgresDatabase(url)) as here, closing(PostgresDatabase(url)) as there:
        one, other = Keyring(PostgresKeys(here)), Keyring(PostgresKeys(there))
        other.start()
        try:
            key, _ = a_key("read")
            one.add(key)
            until(lambda: other.key(key.key_id) == key)
            revoked = one.revoke(key.key_id, datetime.now(UTC))
            until(lambda: other.key(key.key_id) == revoked)
        finally:
            other.close()


def test_a_server_that_goes_away_is_told_and_used_again_when_it_is_back(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.postgres.postgres_database.CONNECT_SECONDS", 1)
    with closing(PostgresDatabase(postgres.new_database())) as database:
        keys = PostgresKeys(database)
        key, _ = a_key("read")
        ring = Keyring(keys)
        ring.add(key)
        postgres.stop("immediate")
        try:
            for _ in range(2):  # the pool gives up each time, and begins anew
                with pytest.raises(StorageError, match="PostgreSQL at 127"):
                    keys.all()
            ring.start()
            ring._read_at -= PATIENCE_SECONDS
            with pytest.raises(NotReady, match="nobody is let in"):
                ring.key(key.key_id)
        finally:
            postgres.start()
        until(lambda: not ring._problem)
        assert ring.key(key.key_id) == key
        ring.close()


def test_who_needs_neither_database_nor_store_installs_neither() -> None:
    script = (
        "import sys; sys.modules.update(psycopg=None, psycopg_pool=None, fsspec=None)\n"
        "from service.commands.keys_command import keys\n"
        "from pathlib import Path; import service.application, service.vehicle_search\n"
        "from index.objects.object_home import open_objects; from index.postgres.postgres_home import open_database\n"
        "for opened in (\n"
        "    lambda: open_objects('s3://cars'), lambda: open_database(Path('/dev/null')),\n"
        "    lambda: keys(['list', '--database-url-file', '/dev/null'])\n"
        "):\n"
        "    try: opened()\n"
        "    except Exception as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert [line.partition(" needs the extra ")[2].split(":")[0] for line in told.stdout.splitlines()] == [
        "s3",
        "postgres",
        "postgres",
    ]
