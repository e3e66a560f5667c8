"""Feedback on galleries that lie elsewhere, in a folder of this service alone: a database in a folder for each."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.errors import StorageError, StorageFull
from index.storage.crop_store import NO_SPACE
from index.storage.feedback_database import FeedbackDatabase
from index.whole_file import sync_folder


class FeedbackFolder:
    """See ``index.feedback.answer_home.FeedbackHome``. Raises StorageFull and StorageError.

    ``folder`` is made with the first gallery; where ``read_only`` nothing is.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._folder, self._read_only = folder, read_only

    def answers(self, identity: str) -> FeedbackDatabase:
        own = self._folder / identity
        if not self._read_only:
            with self._translated():
                for folder in (self._folder, own):
                    if not folder.is_dir():
                        folder.mkdir(parents=True, exist_ok=True)
                        sync_folder(folder.parent)
        return FeedbackDatabase(own, read_only=self._read_only)

    def drop(self, identity: str) -> None:
        """As declared, once nobody uses what ``answers`` gave: with its folder goes its place."""
        with self._translated():
            if (self._folder / identity).is_dir():
                shutil.rmtree(self._folder / identity)
                sync_folder(self._folder)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = StorageFull if error.errno in NO_SPACE else StorageError
            raise kind(f"feedback cannot be kept in {self._folder}: {error.strerror}") from error
