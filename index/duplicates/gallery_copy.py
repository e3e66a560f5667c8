"""A gallery as it is at one moment, for looking at with an index beside whoever holds the data folder."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from index.gallery_rules import utc_now
from index.local_gallery import LocalGallery
from index.searching.index_device import IndexDevice
from index.storage.database_file import open_read_only, translated
from index.storage.gallery_files import CROPS, DATABASE


@contextmanager
def gallery_copy(
    folder: Path, *, clock: Callable[[], datetime] = utc_now, device: IndexDevice | None = None
) -> Iterator[LocalGallery]:
    """A gallery that only reads: a copy of the database in a temporary folder, and the crops where they are.

    ``device`` searches, where it takes the gallery's kind.

    The crop of an image that is erased or replaced meanwhile is missing. Raises StorageError, StorageFull, and
    NotEnoughMemory where the machine cannot hold the index a second time.
    """
    with tempfile.TemporaryDirectory(prefix="vehicle-index-") as name:
        copy = Path(name)
        with translated(copy / DATABASE), closing(open_read_only(folder / DATABASE)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy / DATABASE),)).fetchall()
        (copy / CROPS).symlink_to((folder / CROPS).resolve())
        with closing(LocalGallery(copy, clock=clock, read_only=True, device=device)) as gallery:
            yield gallery
