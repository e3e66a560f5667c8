"""Galleries whose disk failed a request not long ago, though they were opened without a fault."""

import time
from typing import Final

from index.errors import GalleryUnavailable, NotEnoughMemory, StorageError, StorageFull, trouble_of
from index.gallery import GalleryHome

REMEMBERED: Final = 600.0  # seconds; a page or a crop that is damaged fails some requests and not others
_NO_DAMAGE = (GalleryUnavailable, NotEnoughMemory, StorageFull)


class GalleryFailures:
    """The last failure of each gallery of a home; any thread may note and ask."""

    def __init__(self, home: GalleryHome) -> None:
        self._home = home
        self._last: dict[str, tuple[float, str]] = {}

    def note(self, gallery: str, error: BaseException) -> None:
        """Keep an error that a request to a gallery met, if it tells of its files."""
        if isinstance(error, StorageError) and not isinstance(error, _NO_DAMAGE):
            self._last[gallery] = time.monotonic(), trouble_of(error)

    def told(self) -> dict[str, str]:
        """What failed within ``REMEMBERED``, by gallery; those that were dropped are left out."""
        since, names = time.monotonic() - REMEMBERED, set(self._home.names())
        return {name: problem for name, (at, problem) in self._last.copy().items() if at > since and name in names}
