"""The keys as they are now: read again as soon as a command has changed them, in a thread, so that no request waits."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

from index.access_key import AccessKey
from index.errors import StorageError, VehicleSearchError
from index.storage.key_database import KeyDatabase, Stamp
from service.problems import NotReady

WATCH_SECONDS: Final = 0.25  # between two looks at the file; a revoked key works so long at most
PATIENCE_SECONDS: Final = 5.0  # that keys which cannot be read again go on working

_LOG = logging.getLogger("service.keyring")


class Keyring:
    """Keys by id, watched from ``start`` to ``close``; without a database there are none, ever.

    Raises what the database raises where the keys cannot be read at first. Where they cannot later, nobody is let in
    after ``PATIENCE_SECONDS``: a revocation may be among what cannot be read.
    """

    def __init__(self, database: KeyDatabase | None) -> None:
        self._database = database
        self._keys: Mapping[str, AccessKey] = {}
        self._stamp: Stamp | None = None
        self._problem = ""
        self._read_at = time.monotonic()
        self._started = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keyring", daemon=True)
        if database is not None:
            self._read(database)

    @property
    def keyless(self) -> bool:
        """Whether no key was ever made, so that none is asked for."""
        return not self._keys and not self._problem

    def key(self, key_id: str) -> AccessKey | None:
        """A key by its id, ended or not. Raises NotReady where the keys cannot be read."""
        self.require_fresh()
        return self._keys.get(key_id)

    def require_fresh(self) -> None:
        """Raise NotReady where the keys have not been read for too long."""
        if self._started and time.monotonic() - self._read_at >= PATIENCE_SECONDS:
            raise NotReady(
                f"the keys cannot be read, so nobody is let in: {self._problem or 'the disk does not answer'}"
            )

    def start(self) -> None:
        """Begin to watch."""
        if self._database is not None:
            self._thread.start()
            self._started = True

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._started:
            self._thread.join()

    def _watch(self) -> None:
        assert self._database is not None  # noqa: S101  # only then it is started
        while not self._stop.wait(WATCH_SECONDS):
            try:
                self._read(self._database)
            except VehicleSearchError as error:
                if str(error) != self._problem:
                    _LOG.error("the keys cannot be read; in %g s nobody is let in: %s", PATIENCE_SECONDS, error)
                self._problem = str(error)
            else:
                if self._problem:
                    _LOG.warning("the keys can be read again")
                self._problem = ""

    def _read(self, database: KeyDatabase) -> None:
        stamp = database.stamp()
        if stamp is None or stamp != self._stamp:
            keys = {key.key_id: key for key in database.all()}
            if self._keys and not keys:
                raise StorageError(f"{database.path} is gone, or empty; put it back, or restart to go on without keys")
            if self._started and keys and not self._keys:
                _LOG.warning("there is a key now: from here on every request needs one")
            self._keys, self._stamp = keys, stamp
        self._read_at = time.monotonic()
