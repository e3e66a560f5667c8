"""A gallery's database as it is at one moment, for reading beside whoever holds the data folder."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import apsw

from index.errors import DataFolderUnusable
from index.gallery import Filters, GallerySpec
from index.storage import image_rows
from index.storage.about_rows import require_about
from index.storage.database_file import open_read_only, translated
from index.storage.gallery_database import bound_of
from index.storage.gallery_schema import LAYOUT
from index.storage.image_rows import WholeRow
from index.storage.row_filter import Condition, passing
from index.storage.stored_time import microseconds

_CROPS_AT_ONCE: Final = 1024


@dataclass(frozen=True, kw_only=True)
class GalleryView:
    """One view. ``passing``: the images that it is of, none of which is past its retention.

    ``crops_passing`` is the same for a look at each of many rows.
    """

    connection: apsw.Connection
    name: str
    spec: GallerySpec
    space_id: int
    passing: Condition
    crops_passing: Condition

    def count(self) -> int:
        """How many images it is of."""
        return image_rows.count(self.connection, self.passing)

    def count_crops(self) -> int:
        """How many crops they have."""
        number: int = self.connection.execute(
            f"SELECT count(DISTINCT crop) FROM images WHERE {self.passing.sql}",  # noqa: S608
            self.passing.bindings,
        ).get
        return number

    def rows(self, condition: Condition | None = None) -> Iterator[WholeRow]:
        """All of them, or those that pass, in the order of their row ids; one that is damaged says so."""
        return image_rows.select_whole(
            self.connection, self.passing if condition is None else self.passing & condition, space_id=self.space_id,
            viewpoints=self.spec.viewpoints,
        )  # fmt: skip

    def row(self, image_id: str) -> WholeRow | None:
        """The row of one image."""
        return next(self.rows(Condition("image_id = ?", (image_id,))), None)

    def crop_names(self) -> Iterator[list[str]]:
        """Names of their crops, some at a time; between two lots nothing is read.

        They end early where the list of images by crop is damaged, so that they do not come in order.
        """
        last = ""
        while block := self._names_after(last):
            if any(name <= before for before, name in pairwise([last, *block])):
                return  # paging on by a name that goes back would never end
            yield block
            last = block[-1]

    def _names_after(self, last: str) -> list[str]:
        found = self.connection.execute(
            f"SELECT DISTINCT crop FROM images WHERE crop > ? AND {self.crops_passing.sql} ORDER BY crop LIMIT ?",  # noqa: S608
            (last, *self.crops_passing.bindings, _CROPS_AT_ONCE),
        )
        return [name for (name,) in found]


@contextmanager
def open_view(
    file: Path, *, now: datetime, filters: Filters | None = None, moving: bool = False
) -> Iterator[GalleryView]:
    """A view of one moment; ``moving``: each statement sees what is there by then. ``now``, UTC, is for retention.

    It is of the images that a search with these ``filters`` can return.

    A view that is held long makes the log of a gallery that is written to grow. Raises DataFolderUnusable for a file
    of another layout, StorageError for one that cannot be read.
    """
    with translated(file), closing(open_read_only(file)) as connection:
        _require_layout(connection, file)
        if not moving:
            connection.execute("BEGIN")
        require_about(connection, file)  # the first read pins the state, BEGIN does not
        bound = bound_of(connection)
        name: str = connection.execute("SELECT value FROM about WHERE key = 'name'").get
        days = bound.spec.retention_days
        since = None if days is None else microseconds(now - timedelta(days=days))
        chosen = partial(passing, filters or Filters(), space_id=bound.space_id, since=since)
        yield GalleryView(
            connection=connection, name=name, spec=bound.spec, space_id=bound.space_id, passing=chosen(),
            crops_passing=chosen(listing=lambda _: False),
        )  # fmt: skip


def _require_layout(connection: apsw.Connection, file: Path) -> None:
    layout: int = connection.execute("PRAGMA user_version").get
    if layout < LAYOUT:
        raise DataFolderUnusable(
            f"{file} has layout {layout}, this release reads {LAYOUT}; `vehicle-index list` upgrades it"
        )
    if layout > LAYOUT:
        raise DataFolderUnusable(f"{file} has layout {layout}, this release reads {LAYOUT}: use the newer release")
