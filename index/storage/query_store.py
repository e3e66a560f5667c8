"""Pictures that somebody searches with, kept for some hours so that their search has an address.

``queries/`` beside ``galleries/`` has a file a picture, whose name tells all that is known of it: an id that nobody can
guess, when it came, its size in pixels, the SHA-256 of what was sent. Nothing but the listing of that folder decides
which file is read. A file is there whole or not at all; what a crash leaves of one is removed on the next opening.
"""

import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, Self

from index.errors import PictureTooLarge, QueriesNotKept, QueryNotFound, StorageError, StorageFull
from index.storage.crop_store import NO_SPACE
from index.storage.space_reserve import SpaceReserve
from index.whole_file import PART, sync_folder, write_bytes

QUERY_ID: Final = "[0-9a-f]{32}"  # pattern

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(rf"({QUERY_ID})_(\d{{8}}T\d{{6}}Z)_([1-9]\d*)x([1-9]\d*)_([0-9a-f]{{64}})\.(jpg|png)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class KeptQuery:
    """One picture: its sides in pixels when upright, ``size`` in bytes, ``digest`` the SHA-256 of what was sent."""

    query_id: str
    created_at: datetime  # UTC, whole seconds
    width: int
    height: int
    digest: str
    extension: Literal["jpg", "png"]
    size: int

    @property
    def file_name(self) -> str:
        return f"{self.query_id}_{self.created_at:{_STAMP}}_{self.width}x{self.height}_{self.digest}.{self.extension}"

    @property
    def picture_name(self) -> str:
        """What an address may call the picture; it is never another."""
        return f"{self.query_id}.{self.extension}"

    @classmethod
    def of_file(cls, name: str, size: int) -> Self | None:
        """What a file's name tells; None for one that is none of ours."""
        if (found := _NAME.fullmatch(name)) is None:
            return None
        query_id, stamp, width, height, digest, extension = found.groups()
        try:
            created = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(
            query_id=query_id, created_at=created, width=int(width), height=int(height), digest=digest,
            extension="jpg" if extension == "jpg" else "png", size=size,
        )  # fmt: skip


class QueryStore:
    """All kept pictures of one data folder. For any thread; raises StorageFull and StorageError.

    They are kept for ``hours`` (0: none are) and take at most ``max_bytes`` together; the oldest make room.
    ``erasing_clock`` says, where it is another than ``clock``, by which time files are removed. ``reserve``: space for
    erasing on a full disk. ``read_only``: nothing in the folder is touched.
    """

    def __init__(
        self, data: Path, *, hours: float, max_bytes: int, read_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        erasing_clock: Callable[[], datetime] | None = None, reserve: SpaceReserve | None = None,
    ) -> None:  # fmt: skip
        self.hours, self._max_bytes, self._read_only, self._reserve = hours, max_bytes, read_only, reserve
        self._folder, self._clock, self._erasing_clock = data / "queries", clock, erasing_clock or clock
        self._writing = threading.Lock()
        with self._translated("be read"):
            found = list(self._found())
        self._queries = {each.query_id: each for each in sorted(found, key=lambda one: (one.created_at, one.query_id))}
        self._bytes = sum(each.size for each in found)

    def keep(self, data: bytes, *, width: int, height: int, digest: str, extension: Literal["jpg", "png"]) -> KeptQuery:
        """Keep a picture as it is; durable on return. Raises QueriesNotKept, and PictureTooLarge for one alone."""
        self.require_kept()
        if len(data) > self._max_bytes:
            raise PictureTooLarge(
                f"the picture takes {len(data):,} bytes as it is kept, all of them may take {self._max_bytes:,}, the "
                "limit set by max_query_bytes"
            )
        query = KeptQuery(
            query_id=secrets.token_hex(16), created_at=self._clock().replace(microsecond=0), width=width, height=height,
            digest=digest, extension=extension, size=len(data),
        )  # fmt: skip
        if self._reserve is not None:
            self._reserve.require_room()
        with self._writing, self._translated("be kept"):
            self._remove(self._oldest(self._bytes + len(data) - self._max_bytes))
            self._write(query.file_name, data)
            self._queries[query.query_id] = query
            self._bytes += query.size
        return query

    def require_kept(self) -> None:
        """Raise QueriesNotKept where none are."""
        if not self.hours:
            raise QueriesNotKept(f"query pictures are not kept here ({self._setting}); search with the picture itself")

    def get(self, query_id: str) -> KeptQuery:
        """A kept picture; raises QueryNotFound, also for one whose time is over."""
        query = self._queries.get(query_id)
        if query is None or self.kept_until(query) <= self._clock():
            raise self._not_found(query_id)
        return query

    def has(self, query: KeptQuery) -> bool:
        """Whether a picture was not removed yet."""
        return query.query_id in self._queries

    def read(self, query: KeptQuery) -> bytes:
        """A picture's bytes; raises QueryNotFound where it went meanwhile."""
        try:
            with self._translated("be read"):
                return (self._folder / query.file_name).read_bytes()
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise self._not_found(query.query_id) from error
            raise

    def erase(self, query_id: str) -> None:
        """Remove a picture before its time; raises QueryNotFound."""
        with self._writing, self._translated("be erased"):
            self._remove([self.get(query_id)])

    def sweep(self) -> list[str]:
        """Remove what is over, and the oldest where all take more than they may; the ids of those."""
        with self._writing, self._translated("be erased"):
            now = self._erasing_clock()
            over = [each for each in self._queries.values() if self.kept_until(each) <= now]
            self._remove(over)
            self._remove(crowded := self._oldest(self._bytes - self._max_bytes))
        return [each.query_id for each in (*over, *crowded)]

    def kept_until(self, query: KeptQuery) -> datetime:
        """When a picture's time is over, UTC."""
        return query.created_at + timedelta(hours=self.hours)

    def size(self) -> tuple[int, int]:
        """How many pictures there are, and their bytes."""
        return len(self._queries), self._bytes

    @property
    def _setting(self) -> str:
        return f"query_hours = {self.hours:g}"

    def _not_found(self, query_id: str) -> QueryNotFound:
        kept = f"they are kept for {self.hours:g} hours, or until somebody erases them; send the picture again"
        never = "none are kept here; search with the picture itself"
        return QueryNotFound(
            f"there is no query picture {query_id[:60]!a}: {kept if self.hours else never} ({self._setting})"
        )

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
