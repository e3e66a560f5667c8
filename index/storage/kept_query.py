"""A picture that somebody searches with, kept for some hours so that its search has an address."""

import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, Self

from index.errors import PictureTooLarge, QueriesNotKept, QueryNotFound

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


class QueryHome(Protocol):
    """Where pictures are kept: the data folder of one service, or what several replicas share.

    One is there whole or not at all, for some hours (0: none are kept); all of them take so many bytes at most, and the
    oldest make room. Safe to call from any thread; methods may wait for a disk or a database unless they say otherwise,
    and raise StorageFull and StorageError.
    """

    def keep(self, data: bytes, *, width: int, height: int, digest: str, extension: Literal["jpg", "png"]) -> KeptQuery:
        """Keep a picture as it is; durable on return. Raises QueriesNotKept, and PictureTooLarge for one alone."""
        ...

    def get(self, query_id: str) -> KeptQuery:
        """A kept picture; raises QueryNotFound, also for one whose time is over."""
        ...

    def read(self, query: KeptQuery) -> bytes:
        """A picture's bytes; raises QueryNotFound where it went meanwhile."""
        ...

    def held(self, query_ids: Collection[str]) -> set[str]:
        """Those of them that were not removed yet, by anybody."""
        ...

    def erase(self, query_id: str) -> None:
        """Remove a picture before its time, for everybody; raises QueryNotFound."""
        ...

    def sweep(self) -> list[str]:
        """Remove what is over, and the oldest where all take more than they may; the ids of those."""
        ...

    def size(self) -> tuple[int, int]:
        """How many pictures there are, and their bytes, as last known; waits for nothing."""
        ...

    def require_kept(self) -> None:
        """Raise QueriesNotKept where none are; waits for nothing."""
        ...

    def kept_until(self, query: KeptQuery) -> datetime:
        """When a picture's time is over, UTC; waits for nothing."""
        ...


class QueryTerms:
    """On what terms every home keeps pictures: for ``hours`` (0: none are), at most ``max_bytes`` together.

    ``erasing_clock`` says, where it is another than ``clock``, by which time they are removed.
    """

    def __init__(
        self, *, hours: float, max_bytes: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        erasing_clock: Callable[[], datetime] | None = None,
    ) -> None:  # fmt: skip
        self.hours, self.max_bytes, self.clock, self.erasing_clock = hours, max_bytes, clock, erasing_clock or clock

    def new(self, data: bytes, *, width: int, height: int, digest: str, extension: Literal["jpg", "png"]) -> KeptQuery:
        """What is known of a picture that is to be kept; raises QueriesNotKept, and PictureTooLarge for one alone."""
        self.require_kept()
        if len(data) > self.max_bytes:
            raise PictureTooLarge(
                f"the picture takes {len(data):,} bytes as it is kept, all of them may take {self.max_bytes:,}, the "
                "limit set by max_query_bytes"
            )
        return KeptQuery(
            query_id=secrets.token_hex(16), created_at=self.clock().replace(microsecond=0), width=width, height=height,
            digest=digest, extension=extension, size=len(data),
        )  # fmt: skip

    def require_kept(self) -> None:
        """Raise QueriesNotKept where none are."""
        if not self.hours:
            raise QueriesNotKept(f"query pictures are not kept here ({self._setting}); search with the picture itself")

    def kept_until(self, query: KeptQuery) -> datetime:
        """When a picture's time is over, UTC."""
        return query.created_at + timedelta(hours=self.hours)

    def current(self, query: KeptQuery | None, query_id: str) -> KeptQuery:
        """What was found by an id; raises QueryNotFound for nothing, and for one whose time is over."""
        if query is None or self.kept_until(query) <= self.clock():
            raise self.not_found(query_id)
        return query

    def not_found(self, query_id: str) -> QueryNotFound:
        """The error for a picture that is not there."""
        kept = f"they are kept for {self.hours:g} hours, or until somebody erases them; send the picture again"
        never = "none are kept here; search with the picture itself"
        return QueryNotFound(
            f"there is no query picture {query_id[:60]!a}: {kept if self.hours else never} ({self._setting})"
        )

    @property
    def _setting(self) -> str:
        return f"query_hours = {self.hours:g}"
