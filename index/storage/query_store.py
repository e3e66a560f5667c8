"""Pictures that somebody searches with in the data folder of one service; see ``index.storage.kept_query.QueryHome``.

``queries/`` beside ``galleries/`` has a file a picture, whose name tells all that is known of it: an id that nobody can
guess, when it came, its size in pixels, the SHA-256 of what was sent. Nothing but the listing of that folder decides
which file is read. A file is there whole or not at all; what a crash leaves of one is removed on the next opening.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from index.errors import StorageError, StorageFull
from index.storage.crop_store import NO_SPACE
from index.storage.kept_query import KeptQuery, QueryTerms
from index.storage.space_reserve import SpaceReserve
from index.whole_file import PART, sync_folder, write_bytes


class QueryStore(QueryTerms):
    """All kept pictures of one data folder. For any thread; raises StorageFull and StorageError.

    ``reserve``: space for erasing on a full disk. ``read_only``: nothing in the folder is touched.
    """

    def __init__(
        self, data: Path, *, hours: float, max_bytes: int, read_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        erasing_clock: Callable[[], datetime] | None = None, reserve: SpaceReserve | None = None,
    ) -> None:  # fmt: skip
        super().__init__(hours=hours, max_bytes=max_bytes, clock=clock, erasing_clock=erasing_clock)
        self._folder, self._read_only, self._reserve = data / "queries", read_only, reserve
        self._writing = threading.Lock()
        with self._translated("be read"):
            found = list(self._found())
        self._queries = {each.query_id: each for each in sorted(found, key=lambda one: (one.created_at, one.query_id))}
        self._bytes = sum(each.size for each in found)

    def keep(self, data: bytes, *, width: int, height: int, digest: str, extension: Literal["jpg", "png"]) -> KeptQuery:
        """Keep a picture as it is; durable on return. Raises QueriesNotKept, and PictureTooLarge for one alone."""
        query = self.new(data, width=width, height=height, digest=digest, extension=extension)
        if self._reserve is not None:
            self._reserve.require_room()
        with self._writing, self._translated("be kept"):
            self._remove(self._oldest(self._bytes + len(data) - self.max_bytes))
            self._write(query.file_name, data)
            self._queries[query.query_id] = query
            self._bytes += query.size
        return query

    def get(self, query_id: str) -> KeptQuery:
        """A kept picture; raises QueryNotFound, also for one whose time is over."""
        return self.current(self._queries.get(query_id), query_id)

    def held(self, query_ids: Collection[str]) -> set[str]:
        """Those of them that were not removed yet."""
        return {each for each in query_ids if each in self._queries}

    def read(self, query: KeptQuery) -> bytes:
        """A picture's bytes; raises QueryNotFound where it went meanwhile."""
        try:
            with self._translated("be read"):
                return (self._folder / query.file_name).read_bytes()
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise self.not_found(query.query_id) from error
            raise

    def erase(self, query_id: str) -> None:
        """Remove a picture before its time; raises QueryNotFound."""
        with self._writing, self._translated("be erased"):
            self._remove([self.get(query_id)])

    def sweep(self) -> list[str]:
        """Remove what is over, and the oldest where all take more than they may; the ids of those."""
        with self._writing, self._translated("be erased"):
            now = self.erasing_clock()
            over = [each for each in self._queries.values() if self.kept_until(each) <= now]
            self._remove(over)
            self._remove(crowded := self._oldest(self._bytes - self.max_bytes))
        return [each.query_id for each in (*over, *crowded)]

    def size(self) -> tuple[int, int]:
        """How many pictures there are, and their bytes."""
        return len(self._queries), self._bytes

    def _found(self) -> Iterator[KeptQuery]:
        if not self._folder.is_dir():
            return
        with os.scandir(self._folder) as listed:
            for each in listed:
                if each.name.endswith(PART) and not self._read_only:
                    Path(each.path).unlink(missing_ok=True)
                elif (query := KeptQuery.of_file(each.name, each.stat().st_size)) is not None:
                    yield query

    def _oldest(self, surplus: int) -> list[KeptQuery]:
        """Those that have to go so that so many bytes are free."""
        gone = []
        for query in self._queries.values():
            if surplus <= 0:
                break
            gone.append(query)
            surplus -= query.size
        return gone

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        if not self._folder.is_dir():
            self._folder.mkdir()
            sync_folder(self._folder.parent)
        try:
            write_bytes(path, data)
        except OSError:
            with suppress(OSError):
                path.unlink(missing_ok=True)  # it may have its name, and that not be on the disk
            raise

    def _remove(self, queries: Sequence[KeptQuery]) -> None:
        for query in queries:
            (self._folder / query.file_name).unlink(missing_ok=True)
            del self._queries[query.query_id]
            self._bytes -= query.size
        if queries:
            sync_folder(self._folder)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = StorageFull if error.errno in NO_SPACE else StorageError
            raise kind(
                f"pictures of queries cannot {what} in {self._folder}: {error.strerror}; free some space or mend its "
                "rights, and try again"
            ) from error
