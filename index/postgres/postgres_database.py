"""Connections to the database that replicas share. Nothing waits for it for ever, and its errors become ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout

from index.errors import DataFolderUnusable, InvalidValue, StorageError, StorageFull
from index.postgres.postgres_schema import make_tables

CONNECT_SECONDS: Final = 4
ANSWER_SECONDS: Final = 10.0  # of a statement, and of a network that has gone silent
MOST_CONNECTIONS: Final = 6  # of a replica

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # each try to come back; whoever asks is told why it fails


class PostgresDatabase:
    """A database whose tables are there. Safe from any thread. ``place`` names it for people, without a password.

    Raises InvalidValue for a URL that is none, StorageError where the database does not answer, DataFolderUnusable for
    one of a newer release or of an encoding other than UTF8; afterwards StorageError and StorageFull.
    """

    def __init__(self, url: str) -> None:
        try:
            said = conninfo_to_dict(url)
            if not said or "@" in f"{said.get('host')}{said.get('port')}{said.get('dbname')}":  # a part of the password
                raise psycopg.ProgrammingError
        except (psycopg.ProgrammingError, UnicodeDecodeError):
            raise InvalidValue(
                "the database's URL is none: postgresql://USER:PASSWORD@HOST/DATABASE is expected, with %40 for @, "
                "%2F for /, %3F for ? and %25 for % in the password"
            ) from None  # which would show it, password and all
        milliseconds = int(ANSWER_SECONDS * 1000)
        options = (
            f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
            f"-c idle_in_transaction_session_timeout={3 * milliseconds}"
        )
        ways: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": milliseconds, "keepalives_idle": 10,
            "keepalives_interval": 5, "keepalives_count": 2, "application_name": "vehicle-search",
        } | said | {
            "options": f"{options} {said.get('options') or ''}".strip(),
            "client_encoding": "UTF8",  # whatever the environment says
        }  # fmt: skip
        self.place = f"PostgreSQL at {said.get('host', 'localhost')}, database {said.get('dbname', 'of its user')}"
        self._ways = ways
        with self.translated(), self.connection() as connection:
            self._require_unicode(connection)
            make_tables(connection)
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            kwargs=ways | {"prepare_threshold": None}, min_size=1, max_size=MOST_CONNECTIONS, timeout=CONNECT_SECONDS,
            reconnect_timeout=CONNECT_SECONDS,  # whoever asks then begins anew; pauses would double, up to minutes
            configure=_be_durable, check=ConnectionPool.check_connection, open=True, name="vehicle-search",
        )  # fmt: skip

    def _require_unicode(self, connection: psycopg.Connection[Any]) -> None:
        """Others cannot keep every name; SQL_ASCII, of a server set up without a locale, gives bytes for text."""
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise DataFolderUnusable(
                f"{self.place} has the encoding {encoding}, and UTF8 is needed; make another one: "
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """What is done within holds as a whole, and is durable at the end; nothing of it where something is raised."""
        with self.translated(), self._pool.connection() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()

    def connection(self) -> psycopg.Connection[Any]:
        """One apart from the pool, for whoever keeps it; each statement is a transaction. Raises psycopg's errors."""
        return psycopg.connect(**self._ways, autocommit=True)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of psycopg become ours."""
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise StorageFull(f"{self.place} has no space left; nothing was written") from error
        except (psycopg.Error, PoolTimeout) as error:
            raise StorageError(f"{self.place} cannot be used: {' '.join(str(error).split())}") from error


def _be_durable(connection: psycopg.Connection[Any]) -> None:
    """Wait for the disk at each commit, also where the server is set up not to."""
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()
