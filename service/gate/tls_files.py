"""Certificate and key of the service, as files that are renewed while it runs."""

import logging
import ssl
import threading
from pathlib import Path
from typing import Final

from index.errors import VehicleSearchError

LOOKED_AT_EVERY: Final = 10.0  # seconds
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good

_LOG = logging.getLogger("service.tls")

_Stamp = tuple[tuple[int, int, int], ...]


class TlsError(VehicleSearchError):
    """Certificate or key cannot be used."""


class TlsFiles:
    """A certificate with its chain, and its key, both PEM. Raises TlsError where they cannot be used at first.

    From ``watch`` to ``close`` new ones are taken into use as they come, by connections that are made afterwards; what
    cannot be used is told, and the former stay in use.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = self._stamp()
        self._require_usable()

    def watch(self, context: ssl.SSLContext) -> None:
        """Keep ``context`` up to date."""
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._thread = threading.Thread(target=self._work, args=(context,), name="tls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self, context: ssl.SSLContext) -> None:
        while not self._stop.wait(LOOKED_AT_EVERY):
            try:
                if (stamp := self._stamp()) == self._seen:
                    continue
                self._seen = stamp
                self._require_usable()  # of a context that is in use, half of a pair that does not fit would stay
                context.load_cert_chain(self._certificate, self._key)
            except (TlsError, OSError) as error:  # renewed by halves: the next look finds the other half
                _LOG.error("the former certificate stays in use: %s", error)
            else:
                _LOG.info("certificate %s was renewed", self._certificate)

    def _stamp(self) -> _Stamp:
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError as error:
            raise TlsError(f"{error.filename} cannot be read: {error.strerror}") from error
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)

    def _require_usable(self) -> None:
        names = f"tls_certificate {self._certificate} with tls_key {self._key}"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key, password=_no_password)
        except ssl.SSLError as error:
            raise TlsError(f"{names} cannot be used: {error.reason or error}; PEM files that fit are needed") from error
        except OSError as error:
            raise TlsError(f"{names} cannot be read: {error.strerror}") from error


def _no_password() -> str:
    """A key that asks for a password would wait for a person."""
    return ""
