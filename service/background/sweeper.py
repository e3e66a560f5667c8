"""What nobody asks for and must be done all the same: erasing what retention no longer returns, and kept queries."""

import logging
import threading

from index.errors import GALLERY_TROUBLE, GalleryNotFound, StorageError, trouble_of
from index.gallery import GalleryHome
from service.embedding.kept_queries import KeptQueries
from service.watching.metrics import Metrics
from service.watching.usable_galleries import galleries_of

_LOG = logging.getLogger("service.sweeper")


class Sweeper:
    """Sweeps every gallery, and what is kept of queries, at once and every so many seconds, until ``close``.

    That is done in a thread of its own.
    """

    def __init__(
        self, home: GalleryHome, *, seconds: float, metrics: Metrics, queries: KeptQueries | None = None
    ) -> None:
        self._home, self._seconds, self._metrics, self._queries = home, seconds, metrics, queries
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sweeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the gallery that is being swept, and stop."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        self._sweep()
        while not self._stop.wait(self._seconds):
            self._sweep()

    def _sweep(self) -> None:
        self._sweep_queries()
        for gallery in galleries_of(self._home):
            if self._stop.is_set():
                return
            try:
                swept = gallery.sweep()
            except GalleryNotFound:
                continue  # dropped meanwhile
            except GALLERY_TROUBLE as error:  # the next round tries again
                _LOG.warning("gallery %s cannot be swept: %s", gallery.name, trouble_of(error))
                self._metrics.swept.labels("failed").inc()
                continue
            self._metrics.swept.labels("done").inc()
            if swept:
                _LOG.info("gallery %s: %d expired images erased", gallery.name, swept)

    def _sweep_queries(self) -> None:
        if self._queries is None:
            return
        try:
            swept = self._queries.sweep()
        except StorageError as error:  # the next round tries again
            _LOG.warning("%s", error)
            self._metrics.swept.labels("failed").inc()
            return
        self._metrics.swept.labels("done").inc()
        if swept:
            _LOG.info("%d query pictures erased: their time was over, or they made room", swept)
