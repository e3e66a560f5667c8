"""Erasure that can be proved: afterwards a gallery's folder holds no byte of what is not stored.

SQLite overwrites what is deleted, but leaves copies of it in its log, and in the space between rows where pages were
split or joined. Only a file that is written anew has none.
"""

import shutil
from pathlib import Path

from index.errors import StorageError
from index.storage.crop_list import crop_names, require_agreeing
from index.storage.crop_store import CropStore
from index.storage.gallery_database import GalleryDatabase
from index.storage.gallery_files import SCRATCH, derived_files, set_aside


def compact(database: GalleryDatabase, crops: CropStore) -> None:
    """Leave nothing but rows and their crops, nor anything that was made from others or set aside by a repair.

    The caller is the one that may write, and lets nobody write the snapshot, which goes, too. Raises StorageFull
    where there is no room for a second file, and StorageError; of a damaged database nothing is removed, because a
    repair may still need it.
    """
    folder = database.path.parent
    database.require_sound()
    with database.transaction(erasing=True) as connection:
        require_agreeing(connection, database.path)
        named = crop_names(connection)
        for path in crops.files():
            if path.name not in named:
                _remove(path)
        connection.execute("DELETE FROM discarded")
    for path in (*derived_files(folder), folder / SCRATCH, set_aside(folder)):
        _remove(path)
    database.rewrite()
    if not database.empty_log():
        raise StorageError(f"the log of {database.path} cannot be emptied while somebody reads it; try again")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
