"""A gallery's rows in one collection of a Milvus server, which any number of services write to at once.

How writers need not wait for each other, though Milvus has no transactions:

- Nothing is changed in its place. Writing an image adds a row, all rows of a write in one call, so that readers see the
  write or not; once they are in, the rows that they replace are erased.
- Where two rows of an image are there, readers take the later one (``index.milvus.image_row``). What a service that
  died left behind is in no answer and is erased by the next sweep.
- Every question is asked with strong consistency: what was acknowledged by anybody is in the answer.
- A change of metadata says what it was made of: where a picture is written or erased meanwhile, by whomever, the change
  is taken back and made of what is there now.
- A gallery moves to another collection with another model (``index.milvus.milvus_migration``). So a writer looks, when
  its rows are in and before it erases or tells anything, whether this collection still answers. If not, it does not
  know whether somebody carried its rows over, and does its work again where the gallery is now. A collection that is
  being dropped answers with a part of its rows: what was read counts where it is looked afterwards that none was.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.crops import content_name
from index.errors import GalleryNotFound, ImageNotFound, InvalidValue, ReadOnly, StorageError
from index.gallery import (
    Facets,
    Filters,
    GalleryInfo,
    GallerySpec,
    IndexState,
    Match,
    Metadata,
    NewImage,
    Order,
    Page,
    SearchOptions,
    StoredImage,
)
from index.gallery_rules import DAY, changed, check_images, check_vectors, require_space, utc_now
from index.milvus.change_counts import ChangeCounts
from index.milvus.collection_name import GalleryDescription
from index.milvus.collection_rows import CollectionRows
from index.milvus.facet_tally import FacetTally
from index.milvus.held_ids import HeldIds
from index.milvus.image_row import ALL, KEY, TOLD, WHOLE, ImageRow, fields_of
from index.milvus.milvus_server import MilvusServer
from index.milvus.row_clock import LAST, RowClock
from index.milvus.row_condition import RowCondition
from index.milvus.row_listing import RowListing
from index.milvus.row_search import RowSearch
from index.objects.crop_home import CropHome
from index.storage.crop_store import current_crop, is_as_written
from index.storage.image_listing import cursor_after, place_after
from index.storage.stored_time import microseconds

T = TypeVar("T")
GRACE: Final = 600.0  # seconds; a write takes no longer, clocks differ by no more
_TRIES: Final = 20
_ROW_BYTES: Final = 512  # of a row without its vector, about


class Moved(Exception):  # as the house's other errors; it never leaves this room
    """The gallery is in another collection now: what was begun is to be done there."""


class Places(Protocol):
    """Where the gallery is."""

    def serving(self) -> "MilvusGallery":
        """The collection that answers now."""
        ...

    def settled(self) -> "MilvusGallery":
        """The same, once no writer has to wait."""
        ...

    def asked(self, ask: Callable[["MilvusGallery"], T]) -> T:
        """What the collection says that answers now."""
        ...


class MilvusGallery:
    """One gallery's collection ``rows_in``; see ``index.gallery.Gallery``, of which it is all but migrations.

    ``collection`` is what crops and changes are kept under, ``clock`` gives the time, UTC. Raises Moved where a write
    came too late for this collection.
    """

    name: str

    def __init__(
        self,
        server: MilvusServer,
        collection: str,
        description: GalleryDescription,
        *,
        rows_in: str,
        places: Places,
        changes: ChangeCounts,
        row_clock: RowClock,
        crops: CropHome,
        clock: Callable[[], datetime] = utc_now,
        erasing_clock: Callable[[], datetime] | None = None,
        read_only: bool = False,
    ) -> None:
        self.name, self.collection = description.name, collection
        self._spec, self._description = description.spec, description
        self._rows, self._places = CollectionRows(server, rows_in, description.spec.embedding_dim), places
        self._changes, self._row_clock, self._crops = changes, row_clock, crops
        self._clock, self._erasing_clock, self._read_only = clock, erasing_clock or clock, read_only
        self._search = RowSearch(self._rows, description.spec)
        self._held, self._facets = HeldIds(), FacetTally()
        self._mark = 0

    @property
    def spec(self) -> GallerySpec:
        return self._spec

    @property
    def description(self) -> GalleryDescription:
        """What its collection says of it."""
        return self._description

    @property
    def read_only(self) -> bool:
        """Whether this service only reads."""
        return self._read_only

    @property
    def rows(self) -> CollectionRows:
        """Its rows."""
        return self._rows

    def info(self) -> GalleryInfo:
        images = self.count()
        return GalleryInfo(
            name=self.name,
            spec=self.spec,
            index=self._state(images),
            images=images,
            last_change=self._changes.last(self.collection),
            created_at=self._description.created_at,
            disk_bytes=max(images, 1) * (4 * self.spec.embedding_dim + _ROW_BYTES),
        )

    def index_state(self) -> IndexState:
        return self._state(self.count())

    def count(self) -> int:
        return self._count(self._passing(Filters()))

    def log_bytes(self) -> int:
        return 0

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]:
        self.require_writable()
        check_images(self.spec, self.name, images)
        if not images:
            return []
        last = {image.image_id: image for image in images}
        keeps = self.spec.keep_crops
        crops = {content_name(image.crop): image.crop for image in last.values() if keeps and image.crop}
        self._crops.put(self.collection, crops)
        with self._held.some(last):
            before = self._rows.current(last, (*KEY, "ingested_at", "crop_name"))
            since, now = self._since(), microseconds(self._clock())
            known = {name for name, row in before.items() if since is None or row.ingested_at >= since}
            row_ids = self._row_clock.take(len(last), above=max((max(row.age) for row in before.values()), default=0))
            self._rows.insert(
                [
                    fields_of(
                        image,
                        row_id,
                        parent=before[image.image_id].row_id if image.image_id in before else 0,
                        crop_name=content_name(image.crop) if keeps and image.crop else None,
                        ingested_at=now if image.ingested_at is None else microseconds(image.ingested_at),
                        viewpoints=self.spec.viewpoints,
                    )
                    for row_id, image in zip(row_ids, last.values(), strict=True)
                ]
            )
            self._changes.note(self.collection, len(images))
            self._require_here()
            self._erase_replaced(last)
        self._keep(crops)
        self._discard(row.crop_name for row in before.values())
        statuses: list[Literal["created", "updated"]] = []
        for image in images:
            statuses.append("updated" if image.image_id in known else "created")
            known.add(image.image_id)
        return statuses

    def get(self, image_id: str) -> StoredImage:
        return self._row(image_id).image(self.spec.viewpoints)

    def find(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        return {name: row.image(self.spec.viewpoints) for name, row in self._found(image_ids, ALL).items()}

    def embeddings(self, image_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return {name: row.vector for name, row in self._found(image_ids, WHOLE).items()}

    def embedding(self, image_id: str) -> NDArray[np.float32]:
        return self._row(image_id, WHOLE).vector

    def whole(self) -> Iterator[Sequence[tuple[StoredImage, NDArray[np.float32]]]]:
        passing = self._passing(Filters())
        for rows in self._pages_passing(passing, WHOLE):
            yield [(row.image(self.spec.viewpoints), row.vector) for row in rows]

    def pictures(self, crop_names: Sequence[str]) -> dict[str, bytes]:
        read = self._crops.some(self.collection, crop_names)
        return {name: data for name, data in read.items() if is_as_written(name, data)}

    def crop(self, image_id: str) -> tuple[str, bytes]:
        return current_crop(
            self.name, image_id, lambda: self.get(image_id).crop_name,
            lambda name: self._crops.get(self.collection, name),
        )  # fmt: skip

    def page(
        self, filters: Filters, *, limit: int, cursor: str | None = None, offset: int = 0, order: Order = "image_id",
        total: bool = False,
    ) -> Page:  # fmt: skip
        if limit < 1:
            raise InvalidValue(f"limit must be at least 1, not {limit}")
        secret = self._description.secret
        after = None if cursor is None else place_after(cursor, order, secret)
        passing = self._passing(filters)
        rows = RowListing(self._rows, passing, order, self._left_behind()).part(after, offset, limit + 1)
        images = [row.image(self.spec.viewpoints) for row in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            images=images,
            cursor=None if last is None else cursor_after(last.written, last.image_id, order, secret),
            total=self._count(passing) if total else None,
        )

    def facets(self) -> Facets:
        change, passing = self._changes.last(self.collection), self._passing(Filters())
        return self._facets.of(change, passing.since, lambda: self._told(passing))

    def change_metadata(self, image_id: str, change: Callable[[Metadata], Metadata]) -> StoredImage:
        self.require_writable()
        with self._held.some([image_id]):
            for attempt in range(_TRIES):
                row = self._row(image_id, WHOLE)
                metadata = change(row.image(self.spec.viewpoints).metadata)
                if not self._changed_rows([(row, metadata)]):
                    self._changes.note(self.collection, 1)
                    return self._places.asked(lambda here: here.get(image_id))
                time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 6)))  # noqa: S311  # so that one of two is first
        raise StorageError(f"{image_id} in gallery {self.name} is changed by others all the time: ask again")

    def change_metadata_where(self, filters: Filters, change: Callable[[Metadata], Metadata]) -> int:
        """See the protocol. Images that others write or erase meanwhile are as if they had done so after it.

        Where the server goes away in the midst of more images than go into one write, some are changed.
        """
        self.require_writable()
        passing = self._passing(filters)
        with self._held.every():
            wanted = {
                row.image_id: changed(row.image_id, row.image(self.spec.viewpoints).metadata, change)
                for row in self._all_passing(passing)
            }
            self._require_here()
            names, size = list(wanted), self._rows.vectors_at_once
            for start in range(0, len(names), size):
                rows = self._rows.current(names[start : start + size], WHOLE)
                self._changed_rows([(row, wanted[name]) for name, row in rows.items()])
            self._changes.note(self.collection, len(wanted))
        return len(wanted)

    def delete(self, image_id: str) -> None:
        self.require_writable()
        with self._held.some([image_id]):
            self._row(image_id)
            self._erase([image_id])

    def delete_where(self, filters: Filters) -> int:
        self.require_writable()
        passing = self._passing(filters)
        erased = 0
        with self._held.every(), self._unless_moved():
            for page in self._rows.pages(passing.expression, KEY):
                names = [
                    name
                    for name, row in self._rows.current(row.image_id for row in page).items()
                    if passing.passes(row)
                ]
                erased += self._erase(names)
        now = self._places.settled()
        return erased if now is self else erased + now.delete_where(filters)

    def sweep(self) -> int:
        """Erase what retention no longer returns, and what services that died left behind."""
        if self._read_only:
            return 0
        swept = self._sweep_expired()
        before = self._row_clock.ago(GRACE)
        left = self._rows.left_behind(self._changes.mark(self.collection), every=True)
        self._rows.delete(row for row in left if row.row_id < before)
        self._require_here()  # else they may have been carried over before, and nobody would look below the mark again
        self._changes.set_mark(self.collection, before)
        return swept

    def compact(self) -> None:
        """Remove crops that nobody names: of writes that did not come to their end."""
        self.require_writable()
        self.sweep()
        self._discard(self._crops.names(self.collection))

    def search(self, queries: NDArray[np.float32], options: SearchOptions) -> list[list[Match]]:
        if options.top_k < 1:
            raise InvalidValue(f"top_k must be at least 1, not {options.top_k}")
        require_space(self.spec, self.name, options.embedding_space)
        check_vectors(self.spec, self.name, list(queries), lambda _: "the query")
        return self._search.search(queries, options, self._passing(options.filters)) if len(queries) else []

    def _state(self, images: int) -> IndexState:
        kind = "hnsw" if self.spec.kind == "auto" else self.spec.kind
        return IndexState(kind=kind, vectors=self.spec.vectors, rows=images, waiting=0)

    def require_writable(self) -> None:
        """Raise ReadOnly where this service only reads."""
        if self._read_only:
            raise ReadOnly("this service only reads (read_only): send writes to one that may")

    def _since(self, clock: Callable[[], datetime] | None = None) -> int | None:
        """The oldest ingestion time that retention lets through, in microseconds since 1970."""
        days = self.spec.retention_days
        return None if days is None else microseconds((clock or self._clock)()) - round(days * DAY)

    def _passing(self, filters: Filters) -> RowCondition:
        return RowCondition(filters, self._since())

    def _row(self, image_id: str, fields: Sequence[str] = ALL) -> ImageRow:
        """The current row of an image; ImageNotFound."""
        row = self._rows.current([image_id], fields).get(image_id)
        if row is None or not self._passing(Filters()).passes(row):
            raise ImageNotFound(f"gallery {self.name} has no image {image_id}")
        return row

    def _found(self, image_ids: Sequence[str], fields: Sequence[str]) -> dict[str, ImageRow]:
        """The current rows of those of some images that are there."""
        passing = self._passing(Filters())
        return {name: row for name, row in self._rows.current(image_ids, fields).items() if passing.passes(row)}

    def _told(self, passing: RowCondition) -> Iterator[ImageRow]:
        """The current row of every image that passes, read TOLD; of what is written meanwhile either state."""
        left = {row.row_id for row in self._rows.left_behind(self._changes.mark(self.collection), every=True)}
        seen = set[str]()
        for page in self._rows.pages(passing.expression, TOLD):
            for row in page:
                if row.row_id not in left and row.image_id not in seen:
                    seen.add(row.image_id)
                    yield row

    def _all_passing(self, passing: RowCondition) -> Iterable[ImageRow]:
        """Every current row that passes, with ALL fields, once."""
        for rows in self._pages_passing(passing, ALL):
            yield from rows

    def _pages_passing(self, passing: RowCondition, fields: Sequence[str]) -> Iterator[list[ImageRow]]:
        """Every current row that passes, once, some at a time."""
        seen = set[str]()
        for page in self._rows.pages(passing.expression, KEY):
            names = {row.image_id for row in page} - seen
            seen |= names
            yield [row for row in self._rows.current(names, fields).values() if passing.passes(row)]

    def _count(self, passing: RowCondition) -> int:
        return self._rows.count(passing.expression, without=self._left_behind())

    def _left_behind(self) -> list[int]:
        """Rows that are there and not current: of writes that are under way, or of services that died."""
        recent = self._row_clock.ago(GRACE)
        self._mark = self._mark or self._changes.mark(self.collection)
        left = [row.row_id for row in self._rows.left_behind(self._mark)]
        self._mark = max(self._mark, self._changes.mark(self.collection) if left else recent)
        return left

    def _erase_replaced(self, image_ids: Iterable[str]) -> None:
        """Erase the rows of images that were just written which are not current."""
        with self._unless_moved():
            self._rows.delete(row for rows in self._rows.of_images(image_ids, KEY).values() for row in rows[:-1])

    def _changed_rows(self, wanted: Sequence[tuple[ImageRow, Metadata]]) -> set[str]:
        """Give rows, read WHOLE, other metadata; the images where another came in between and nothing was changed."""
        row_ids = self._row_clock.take(len(wanted), above=max((max(row.age) for row, _ in wanted), default=0))
        self._rows.insert([row.changed(row_id, said) for row_id, (row, said) in zip(row_ids, wanted, strict=True)])
        self._require_here(row_ids)
        try:
            there = self._rows.of_images([row.image_id for row, _ in wanted], (*KEY, "parent"))
        except GalleryNotFound:
            self._require_here(row_ids)
            raise
        taken_back, replaced = list[ImageRow](), list[ImageRow]()
        for row_id, (parent, _) in zip(row_ids, wanted, strict=True):
            rows = {row.row_id: row for row in there.get(parent.image_id, [])}
            own = rows.pop(row_id, None)
            if own is None:
                continue  # a picture was written since, and took its place
            others = [row for row in rows.values() if row.written == own.written and row.parent != row_id]
            beside = [row for row in others if row.age > parent.age]  # changes that this one does not have
            erased = (
                parent.row_id not in rows
                and all(row.parent != row_id for row in rows.values())
                and not [row for row in rows.values() if row.age > own.age]
            )
            if beside or erased:
                taken_back.append(own)
            else:
                replaced += [row for row in rows.values() if row.age < own.age]
        self._take_back(taken_back)
        with self._unless_moved():
            self._rows.delete(replaced)
        return {row.image_id for row in taken_back}

    def _require_here(self, row_ids: Sequence[int] = ()) -> None:
        """Raise Moved where rows that were just written may not be carried over; ``row_ids`` are then taken back.

        Whoever moves the gallery makes writers wait before it reads the last rows: what is in before is carried over.
        """
        now = self._places.settled()
        if now is not self:
            now.rows.erase(row_ids)
            raise Moved

    def _take_back(self, rows: Sequence[ImageRow]) -> None:
        """Erase rows as if they had never been written."""
        with self._unless_moved():
            self._rows.delete(rows)
        if rows and (now := self._places.settled()) is not self:
            now.rows.delete(rows)  # somebody may have carried them over before

    def _erase(self, image_ids: Sequence[str], *, written: Mapping[str, int] | None = None) -> int:
        """Erase every row of some images, and the crops that nobody names any more.

        ``written``: of each image only pictures that were written no later.
        """
        there = self._rows.of_images(image_ids, (*KEY, "crop_name"))
        if written is not None:
            asked = {name: [row for row in rows if row.written <= written[name]] for name, rows in there.items()}
            there = {name: rows for name, rows in asked.items() if rows}
        self._rows.delete(row for rows in there.values() for row in rows)
        self._changes.note(self.collection, len(there))
        if (now := self._places.settled()) is not self:  # somebody may have carried them over before
            found = {name: rows[-1].written for name, rows in there.items()}
            now._erase(image_ids, written=dict.fromkeys(image_ids, LAST) | dict(written or found))
        self._discard(row.crop_name for rows in there.values() for row in rows)
        return len(there)

    def _sweep_expired(self) -> int:
        since = self._since(self._erasing_clock)
        swept = 0
        if since is None:
            return swept
        with self._held.every():
            for page in self._rows.pages(f"ingested_at < {since}", KEY):
                current = self._rows.current(row.image_id for row in page)
                expired = {name: row.written for name, row in current.items() if row.ingested_at < since}
                swept += self._erase(list(expired), written=expired)
        return swept

    def _keep(self, crops: dict[str, bytes]) -> None:
        """Somebody who erased the last image of a crop may have removed it before ours was there to name it."""
        self._crops.put(self.collection, {name: crops[name] for name in self._crops.missing(self.collection, crops)})

    def _discard(self, names: Iterable[str | None]) -> None:
        """Remove crops that no row names; a writer that begins to name one meanwhile finds it again."""
        asked = {name for name in names if name is not None}
        unnamed = asked - self._named_crops(asked) if asked else asked
        kept = {name: data for name in unnamed if (data := self._crops.get(self.collection, name)) is not None}
        self._crops.delete(self.collection, unnamed)
        if unnamed and (again := self._named_crops(unnamed)):
            self._crops.put(self.collection, {name: kept[name] for name in again if name in kept})

    def _named_crops(self, names: Iterable[str]) -> set[str]:
        """Those of some crops that a row names, wherever the gallery is now."""
        asked = set(names)
        return self._places.asked(lambda here: here.rows.named_crops(asked))

    @contextmanager
    def _unless_moved(self) -> Iterator[None]:
        """For what need not be done where this collection is gone."""
        try:
            yield
        except GalleryNotFound:
            if self._places.settled() is self:
                raise
