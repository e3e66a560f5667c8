"""What nobody asks for and must be done all the same: erasing what retention no longer returns."""

import logging
import threading

from index.errors import GALLERY_TROUBLE, GalleryNotFound, trouble_of
from index.gallery import GalleryHome
from service.context import galleries_of

_LOG = logging.getLogger("service.sweeper")


class Sweeper:
    """Sweeps every gallery, at once and every so many seconds, in a thread of its own, until ``close``."""

    def __init__(self, home: GalleryHome, *, seconds: float) -> None:
        self._home, self._seconds = home, seconds
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
        for gallery in galleries_of(self._home):
            if self._stop.is_set():
                return
            try:
                swept = gallery.sweep()
            except GalleryNotFound:
                continue  # dropped meanwhile
            except GALLERY_TROUBLE as error:  # the next round tries again
                _LOG.warning("gallery %s cannot be swept: %s", gallery.name, trouble_of(error))
                continue
            if swept:
                _LOG.info("gallery %s: %d expired images erased", gallery.name, swept)
