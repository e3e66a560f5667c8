"""Whose galleries the jobs in a database are for: those of one service, or those that any number of services share.

A job names a gallery and not where it is, so of two services whose galleries are not the same each would carry out what
the other was sent. A lock of the server's, held as long as the service lives, keeps the second from starting.
"""

import contextlib
import logging
import threading
import time
from typing import Any, Final

import psycopg

from index.errors import DataFolderLocked
from index.postgres.postgres_database import PostgresDatabase

PATIENCE_SECONDS: Final = 30.0  # with a service that died and whose connection the server has not missed yet

_LOCK: Final = 0x6761_6C6C_6572_79  # "gallery"
_ASKED_EVERY: Final = 0.5
_LOG = logging.getLogger("index.imports")


class GalleryClaim:
    """The right to carry out the jobs of a database; ``shared``: beside others that have the same galleries.

    Raises DataFolderLocked where a service with other galleries has it, after ``patience`` seconds, and StorageError.
    """

    def __init__(self, database: PostgresDatabase, *, shared: bool, patience: float = PATIENCE_SECONDS) -> None:
        self._database, self._shared = database, shared
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        deadline, told = time.monotonic() + patience, False
        while True:
            try:
                self.require()
            except DataFolderLocked as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    _LOG.warning("%s; waiting %g s for it to end", error, patience)
                told = True
                time.sleep(_ASKED_EVERY)
            else:
                return

    def require(self) -> None:
        """See that it still is ours, and claim it again where the connection was lost. Raises as above, at once."""
        with self._lock, self._database.translated():
            if self._connection is not None:
                with contextlib.suppress(psycopg.Error):
                    self._connection.execute("SELECT 1")
                    return
                self._let_go()
            with contextlib.ExitStack() as unless_ours:
                connection = unless_ours.enter_context(contextlib.closing(self._database.connection()))
                if not _locked(connection, shared=self._shared):
                    raise DataFolderLocked(
                        f"{self._database.place} is used by a service with other galleries, and each would carry out "
                        "the other's imports: name a database of its own in database_url_file, or share the galleries "
                        "(milvus_uri)"
                    )
                unless_ours.pop_all()
            self._connection = connection

    def close(self) -> None:
        """Let others have it."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _locked(connection: psycopg.Connection[Any], *, shared: bool) -> bool:
    # a machine that is switched off says no goodbye: the server looks after the connection itself
    connection.execute(
        "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),"
        " set_config('tcp_keepalives_count', '2', false)"
    )
    function = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
    row = connection.execute(f"SELECT {function}(%s)", (_LOCK,)).fetchone()
    return row is not None and bool(row[0])
