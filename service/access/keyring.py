"""The keys as they are now: read again as soon as a command has changed them, in a thread, so that no request waits.

What a request changes goes through here, so that it holds for the next one.
"""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from index.access_key import AccessKey, KeyHome
from index.errors import StorageError, VehicleSearchError
from service.wire.problems import NotReady

WATCH_SECONDS: Final = 0.25  # between two looks at the keys; a revoked key works so long at most
PATIENCE_SECONDS: Final = 5.0  # that keys which cannot be read again go on working

_LOG = logging.getLogger("service.keyring")


class Keyring:
    """Keys by id, watched from ``start`` to ``close``; without a database there are none, ever.

    Raises what the database raises where the keys cannot be read at first. Where they cannot later, nobody is let in
    after ``PATIENCE_SECONDS``: a revocation may be among what cannot be read.
    """

    def __init__(self, database: KeyHome | None) -> None:
        self._database = database
        self._keys: Mapping[str, AccessKey] = {}
        self._stamp: object | None = None
        self._problem = ""
        self._read_at = time.monotonic()
        self._started = False
        self._reading = threading.Lock()
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

    def all(self) -> list[AccessKey]:
        """Every key that was made, ended or not, oldest first. Raises NotReady where they cannot be read."""
        self.require_fresh()
        return list(self._keys.values())

    def add(self, key: AccessKey) -> None:
        """Keep a new key, which works when this returns. Raises what the database raises, and NotReady without one."""
        self._writable().add(key)
        self._look_now()

    def revoke(self, key_id: str, now: datetime) -> AccessKey:
        """End a key, which works no more when this returns. Raises as :meth:`add`, and KeyNotFound."""
        revoked = self._writable().revoke(key_id, now)
        self._look_now()
        return revoked

    def require_fresh(self) -> None:
        """Raise NotReady where the keys have not been read for too long."""
        if self._started and time.monotonic() - self._read_at >= PATIENCE_SECONDS:
            why = "the service's log says why" if self._problem else "the disk does not answer"  # strangers read this
            raise NotReady(f"the keys cannot be read, so nobody is let in: {why}")

    def start(self) -> None:
        """Begin to watch."""
        if self._database is not None:
            self._look_now()  # a model may have taken long to open since the keys were read
            self._thread.start()
            self._started = True

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._started:
            self._thread.join()

    def _writable(self) -> KeyHome:
        if self._database is None:
            raise NotReady("this service keeps no keys")
        return self._database

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            self._look_now()

    def _look_now(self) -> None:
        """Read the keys where they have changed; what goes wrong is told to whoever asks for one."""
        assert self._database is not None  # noqa: S101  # else nobody watches, and nothing is written
        with self._reading:
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

    def _read(self, database: KeyHome) -> None:
        stamp = database.stamp()
        if stamp is None or stamp != self._stamp:
            keys = {key.key_id: key for key in database.all()}
            if self._keys and not keys:
                raise StorageError(f"{database.place} is gone, or empty; put it back, or restart to go on without keys")
            if self._started and keys and not self._keys:
                _LOG.warning("there is a key now: from here on every request needs one")
            self._keys, self._stamp = keys, stamp
        self._read_at = time.monotonic()
