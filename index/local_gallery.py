"""A gallery on one machine: SQLite is the truth, FAISS finds, crops lie beside them as files.

How a search never sees half a write, and sees every acknowledged one:

- A writer adds new vectors to the index, commits, and only then retires the vectors that the commit made old.
- A reader takes its view of the database and searches the index without letting a writer touch the index in between.

So every row of a reader's view is in the index it searches. Whatever else is there (rows not yet committed, rows just
erased) is unknown to the view and dropped when hits are joined to it; the search then asks for more.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal

import apsw
import numpy as np
from numpy.typing import NDArray

from index.contract import Contract
from index.crops import content_name
from index.errors import (
    ImageNotFound,
    InvalidValue,
    StorageError,
    StorageFull,
)
from index.feedback.answer_book import AnswerBook
from index.gallery import (
    Facets,
    Filters,
    GalleryInfo,
    GallerySpec,
    IndexState,
    Look,
    Match,
    Metadata,
    Migration,
    NewImage,
    Order,
    Page,
    SearchOptions,
    Spread,
    StoredImage,
)
from index.gallery_migration import GalleryMigration
from index.gallery_rules import DAY, changed, check_images, check_vectors, require_space, utc_now
from index.machine.free_memory import free_memory
from index.searching.growing_index import GrowingIndex
from index.searching.index_device import IndexDevice
from index.searching.index_kind import is_mirrored
from index.searching.index_snapshot import snapshot_bytes
from index.searching.index_upkeep import IndexUpkeep
from index.served_space import ServedSpace
from index.storage import image_rows
from index.storage.compaction import compact
from index.storage.crop_list import is_crop
from index.storage.crop_store import CropStore, current_crop, is_as_written
from index.storage.facet_counts import FacetCounts
from index.storage.feedback_database import FeedbackDatabase
from index.storage.gallery_database import Bound, GalleryDatabase, bound_of, searched_space
from index.storage.gallery_files import CROPS, DATABASE
from index.storage.image_listing import after_cursor, cursor_after, listed_part
from index.storage.row_checksum import OF_IMAGE
from index.storage.row_filter import Condition
from index.storage.selected_rows import SelectedRows
from index.storage.space_reserve import SpaceReserve
from index.storage.stored_time import microseconds

_ERASED_WHERE_FULL = 16  # rows in a write
_EXPIRED = f"ingested_at < ? AND checksum IS {OF_IMAGE}"
_CHANGED_AT_ONCE = 1000  # rows in memory; the transaction is one
_WHOLE_AT_ONCE = 4096  # images with their vectors
_SWEPT_A_WRITE = 1000  # expired rows that a write takes with it


class LocalGallery:
    """One gallery's folder; see ``index.gallery.Gallery``.

    ``clock`` gives the time, UTC, ``erasing_clock`` that by which retention erases where it is another, ``memory`` the
    bytes that are free, None where nobody knows. ``read_only``: nothing in the folder is touched, and nobody else may
    write to it. ``reserve``: space for erasing on a full disk. ``device`` searches, where it takes the gallery's kind.
    """

    name: str

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        erasing_clock: Callable[[], datetime] | None = None,
        memory: Callable[[], int | None] = free_memory,
        read_only: bool = False,
        reserve: SpaceReserve | None = None,
        device: IndexDevice | None = None,
    ) -> None:
        self._clock, self._memory, self._reserve, self._device = clock, memory, reserve, device
        self._erasing_clock = erasing_clock or clock
        self._folder = folder
        self._database = GalleryDatabase(folder / DATABASE, read_only=read_only, reserve=reserve)
        self.name = self._database.name
        self._crops = CropStore(folder / CROPS)
        self._answers = FeedbackDatabase(folder, read_only=read_only)
        self.feedback = AnswerBook(
            self, self._answers, secret=self._database.secret, changes=self._last_change,
            require_writable=self._database.require_writable, clock=clock, reserve=reserve,
        )  # fmt: skip
        self._writing = threading.Lock()
        self._unlinked: list[str] = []  # crops whose files are gone, still listed in ``discarded``
        try:
            if not read_only:
                self._recover_crops()
            with self._database.snapshot() as connection:
                bound = bound_of(connection)
            upkeep = IndexUpkeep(
                folder, self._database, bound, self._writing, memory=memory, read_only=read_only, device=device
            )
            self._served = ServedSpace(bound, upkeep, SelectedRows(bound.space_id), FacetCounts(bound.space_id))
        except BaseException:
            self._database.close()
            raise
        self._migration = GalleryMigration(
            self, self._database, self._crops, self._writing, clock=clock, memory=memory,
            mirrored=device is not None and is_mirrored(bound.spec.kind, bound.spec.vectors),
        )  # fmt: skip
        try:
            self._upkeep.wake()
        except BaseException:
            self.close(keep_snapshot=False)
            raise

    @staticmethod
    def create(folder: Path, name: str, spec: GallerySpec) -> None:
        """Make an empty gallery in a folder that exists and is empty."""
        CropStore(folder / CROPS).create()
        GalleryDatabase.create(folder / DATABASE, name, spec)

    @property
    def spec(self) -> GallerySpec:
        return self._served.spec

    def info(self) -> GalleryInfo:
        with self._view() as (connection, served):
            last_change = image_rows.last_change(connection)
            crop_bytes: int = connection.execute("SELECT coalesce(sum(bytes), 0) FROM crops").get
            images = image_rows.count(connection, self._passing(Filters()))
        return GalleryInfo(
            name=self.name,
            spec=served.spec,
            index=served.upkeep.state(),
            images=images,
            last_change=last_change,
            created_at=self._database.created_at,
            disk_bytes=self._database.disk_bytes()
            + crop_bytes
            + snapshot_bytes(self._database.path.parent)
            + self._answers.disk_bytes(),
        )

    def index_state(self) -> IndexState:
        return self._upkeep.state()

    def count(self) -> int:
        with self._view() as (connection, _):
            return image_rows.count(connection, self._passing(Filters()))

    def log_bytes(self) -> int:
        return self._database.log_bytes()

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]:
        self._database.require_writable()
        self._database.require_room()
        keeps = self.spec.keep_crops
        names = [content_name(image.crop) if keeps and image.crop else None for image in images]
        crops = {name: image.crop for image, name in zip(images, names, strict=True) if name is not None}
        with self._writing:
            self._database.require_open()
            check_images(self.spec, self.name, images)
            if not images:
                return []
            new_crops = self._crops.write(crops)
            try:
                written = self._commit(images, names)
            except BaseException:
                self._discard_unnamed(new_crops)
                raise
            with self._index.lock.write():
                self._index.retire(written.old)
            self._upkeep.wrote(len(images) + len(written.old))
            self._crops.settle(new_crops)
            self._unlinked = self._crops.discard(written.discarded)
        return written.statuses

    def get(self, image_id: str) -> StoredImage:
        with self._view() as (connection, served):
            return self._row(connection, served, image_id)[1]

    def find(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        with self._view() as (connection, served):
            return {image.image_id: image for _, image in self._found(connection, served, image_ids)}

    def sharing_crops(self) -> list[list[str]]:
        """Ids of the images that have one crop, who came first first, for each crop that several have."""
        with self._view() as (connection, served):
            here = self._passing(Filters(), served)
            several = f"SELECT crop FROM images WHERE crop IS NOT NULL AND {here.sql} GROUP BY crop HAVING count(*) > 1"  # noqa: S608
            found = connection.execute(
                f"SELECT crop, image_id FROM images WHERE crop IN ({several}) AND {here.sql}"  # noqa: S608
                " ORDER BY crop, ingested_at, image_id",
                (*here.bindings, *here.bindings),
            )
            return [[image_id for _, image_id in rows] for _, rows in groupby(found, lambda row: row[0])]

    def embedding(self, image_id: str) -> NDArray[np.float32]:
        with self._view() as (connection, served):
            row_id, _ = self._row(connection, served, image_id)
            _, vectors = served.vectors(connection, np.array([row_id], dtype=np.int64))
        vector: NDArray[np.float32] = vectors[0]
        return vector

    def embeddings(self, image_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        with self._view() as (connection, served):
            named = {row_id: image.image_id for row_id, image in self._found(connection, served, image_ids)}
            rows, vectors = served.vectors(connection, np.array(list(named), dtype=np.int64))
        return {named[row_id]: vector for row_id, vector in zip(rows.tolist(), vectors, strict=True)}

    def whole(self) -> Iterator[Sequence[tuple[StoredImage, NDArray[np.float32]]]]:
        after = image_rows.EVERY
        while True:
            with self._view() as (connection, served):
                passing = self._passing(Filters(), served) & after
                found = listed_part(connection, passing, order="image_id", limit=_WHOLE_AT_ONCE, offset=0)
                part = np.array([row_id for row_id, _ in found], dtype=np.int64)
                images = dict(served.select(connection, image_rows.listed(part)))
                rows, vectors = served.vectors(connection, part)
            some = [(images[row], vector) for row, vector in zip(rows.tolist(), vectors, strict=True) if row in images]
            if some:
                yield some
            if len(found) < _WHOLE_AT_ONCE:
                return
            after = Condition("image_id > ?", (found[-1][1],))

    def pictures(self, crop_names: Sequence[str]) -> dict[str, bytes]:
        found = dict[str, bytes]()
        for name in crop_names:
            with contextlib.suppress(StorageError):  # asking for that image's crop tells why
                data = self._crops.read(name)
                if data is not None and is_as_written(name, data):
                    found[name] = data
        return found

    def crop(self, image_id: str) -> tuple[str, bytes]:
        return current_crop(
            self.name, image_id, lambda: self.get(image_id).crop_name, self._crops.read,
            missing="is missing on the disk",
            way_out="; `vehicle-index verify` tells what else is lost, `vehicle-index repair` keeps the images without "
            "their crops",
        )  # fmt: skip

    def page(
        self, filters: Filters, *, limit: int, cursor: str | None = None, offset: int = 0, order: Order = "image_id",
        total: bool = False,
    ) -> Page:  # fmt: skip
        if limit < 1:
            raise InvalidValue(f"limit must be at least 1, not {limit}")
        secret = self._database.secret
        after = image_rows.EVERY if cursor is None else after_cursor(cursor, order, secret)
        with self._view() as (connection, served):
            passing = self._passing(filters, served)
            found = listed_part(connection, passing & after, order=order, limit=limit + 1, offset=offset)
            part = np.array([row_id for row_id, _ in found[:limit]], dtype=np.int64)
            images = dict(served.select(connection, image_rows.listed(part)))
            number = image_rows.count(connection, passing) if total else None
        return Page(
            images=[images[row_id] for row_id in part.tolist() if row_id in images],  # a damaged row may have no vector
            cursor=cursor_after(*found[limit - 1], order, secret) if len(found) > limit else None,
            total=number,
        )

    def facets(self) -> Facets:
        with self._view() as (connection, served):
            return served.facets.of(connection, self._since())

    def change_metadata(self, image_id: str, change: Callable[[Metadata], Metadata]) -> StoredImage:
        with self._writing, self._database.transaction() as connection:
            row_id, image = self._row(connection, self._served, image_id)
            image_rows.replace_metadata(connection, [(row_id, change(image.metadata))])
            return self._row(connection, self._served, image_id)[1]

    def change_metadata_where(self, filters: Filters, change: Callable[[Metadata], Metadata]) -> int:
        with self._writing, self._database.transaction() as connection:
            row_ids = image_rows.row_ids(connection, self._passing(filters))
            for start in range(0, len(row_ids), _CHANGED_AT_ONCE):
                some = image_rows.listed(row_ids[start : start + _CHANGED_AT_ONCE])
                said = [
                    (row_id, changed(image_id, metadata, change))
                    for row_id, image_id, metadata in image_rows.metadata_of(connection, some)
                ]
                image_rows.replace_metadata(connection, said)
        return len(row_ids)

    def delete(self, image_id: str) -> None:
        self._erase(lambda connection: np.array([self._row(connection, self._served, image_id)[0]], dtype=np.int64))

    def delete_where(self, filters: Filters) -> int:
        return self._erase(lambda connection: image_rows.row_ids(connection, self._passing(filters)))

    def sweep(self) -> int:
        swept = 0
        while count := self._erase(self._expired):
            swept += count
        with self._writing:
            self._database.empty_log()  # what was erased stands in it
        if self._reserve is not None:
            self._reserve.renew()
        self._upkeep.wake()  # work that failed is tried again also where nobody writes
        self.feedback.sweep()
        return swept

    def compact(self) -> None:
        """Leave no byte of what was erased; see ``index.storage.compaction``.

        An index that holds erased vectors is built anew for its snapshot: minutes for a million. Vectors of a model
        that the gallery was moved away from go, too.
        """
        self._migration.forget_others()
        self.sweep()
        with self._upkeep.without_snapshot(), self._writing:
            compact(self._database, self._crops)
        self.feedback.compact()
        self._upkeep.renew_snapshot()

    def search(self, queries: NDArray[np.float32], options: SearchOptions) -> list[list[Match]]:
        if options.top_k < 1:
            raise InvalidValue(f"top_k must be at least 1, not {options.top_k}")
        if options.group_by is not None and len(queries) > 1:  # they may take long, and writers wait for a search
            return [matches for query in queries for matches in self.search(query[None], options)]
        with self._searching() as (connection, served):
            require_space(self.spec, self.name, options.embedding_space)
            check_vectors(self.spec, self.name, list(queries), lambda _: "the query")
            return served.search(connection, queries, options, since=self._since())

    def migrations(self) -> list[Migration]:
        return self._migration.known()

    def begin_migration(self, contract: Contract, fingerprint: str) -> tuple[Migration, bool]:
        return self._migration.begin(contract, fingerprint)

    def migrate(self, contract: Contract, look: Look, spread: Spread, stop: threading.Event) -> Migration:
        before = self._upkeep
        try:
            return self._migration.migrate(contract, look, spread, stop)
        finally:
            if self._upkeep is not before:
                before.close(keep=False)

    def cancel_migration(self, migration_id: str) -> Migration:
        return self._migration.cancel(migration_id)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """See ``index.gallery_migration.SearchedGallery``."""
        with self._upkeep.without_snapshot(), self._writing:
            yield

    def serve(self, bound: Bound, growing: GrowingIndex, note: Callable[[apsw.Connection], None]) -> None:
        """See ``index.gallery_migration.SearchedGallery``. Searches wait for one commit."""
        old = self._served
        upkeep = IndexUpkeep(
            self._folder, self._database, bound, self._writing, memory=self._memory, made=growing, device=self._device
        )
        with old.index.lock.write():
            with self._database.transaction() as connection:
                note(connection)
            self._served = ServedSpace(bound, upkeep, SelectedRows(bound.space_id), FacetCounts(bound.space_id))
        old.upkeep.stop()
        old.upkeep.leave_device()  # which may not hold both
        upkeep.wake()

    def rewrite_snapshot(self) -> None:
        """Write the index's snapshot without the vectors of erased images; a large graph is built anew for it."""
        self._upkeep.rewrite_snapshot()

    def drop_snapshot(self) -> None:
        """Remove the index's snapshot; what is erased by now is in no later one."""
        self._upkeep.drop_snapshot()

    def close(self, *, keep_snapshot: bool = True) -> None:
        """Let go of the files. Calls that are at work end first or as if the gallery did not exist.

        With ``keep_snapshot`` the index is written to the disk first where much of it has changed.
        """
        self._upkeep.close(keep=keep_snapshot)
        self.feedback.close()
        with self._writing:
            self._database.close()

    def _commit(self, images: Sequence[NewImage], names: Sequence[str | None]) -> "_Written":
        """Write images to index and database, in order; the index still holds what they replace."""
        statuses: list[Literal["created", "updated"]] = []
        old: list[int] = []
        discarded: list[str] = []
        new: dict[int, NDArray[np.float32]] = {}
        indexed = False
        now, since = microseconds(self._clock()), self._since()
        try:
            with self._database.transaction() as connection:
                self._forget_unlinked(connection)
                for each in _runs(images):
                    before = image_rows.find(connection, [image.image_id for image in images[each]])
                    current = {image_id for image_id, (_, time) in before.items() if since is None or time >= since}
                    statuses += ["updated" if image.image_id in current else "created" for image in images[each]]
                    replaced = [row_id for row_id, _ in before.values()]
                    discarded += image_rows.remove(connection, replaced)
                    old += [row_id for row_id in replaced if new.pop(row_id, None) is None]
                    row_ids = image_rows.insert(
                        connection,
                        images[each],
                        crop_names=names[each],
                        ingested_at=[_came(image, now) for image in images[each]],
                        space_id=self._served.space_id,
                        viewpoints=self.spec.viewpoints,
                    )
                    new.update(zip(row_ids, [image.embedding for image in images[each]], strict=True))
                expired_rows = self._expired(connection)
                discarded += image_rows.remove(connection, expired_rows.tolist())
                discarded = [name for name in discarded if not is_crop(connection, name)]  # some may be in use again
                with self._index.lock.write():
                    self._index.add(np.fromiter(new, dtype=np.int64), np.stack(list(new.values())))
                    indexed = True
        except BaseException:
            if indexed:
                with self._index.lock.write():
                    self._index.forget(np.fromiter(new, dtype=np.int64))
            raise
        old_rows = np.array([*old, *expired_rows.tolist()], dtype=np.int64)
        return _Written(statuses=statuses, old=old_rows, discarded=discarded)

    def _erase(self, chosen: Callable[[apsw.Connection], NDArray[np.int64]]) -> int:
        """Erase the rows that ``chosen`` finds; how many. At once, but on a full disk, which might not take it."""
        try:
            return self._erase_at_once(chosen)
        except StorageFull:
            if self._reserve is None:
                raise
        return self._erase_on_full_disk(chosen, self._reserve)

    def _erase_on_full_disk(self, chosen: Callable[[apsw.Connection], NDArray[np.int64]], reserve: SpaceReserve) -> int:
        """A few at a time, with the log emptied in between, in the space that is kept for it."""
        reserve.lend()
        erased = 0
        try:
            with self._database.snapshot() as connection:
                row_ids = chosen(connection)
            for start in range(0, len(row_ids), _ERASED_WHERE_FULL):
                some = Condition(
                    "row_id IN (SELECT value FROM json_each(?))",
                    (json.dumps(row_ids[start : start + _ERASED_WHERE_FULL].tolist()),),
                )
                with self._writing:
                    self._database.empty_log()
                erased += self._erase_at_once(partial(image_rows.row_ids, condition=some))
        except StorageFull as error:
            raise StorageFull(
                f"no space left for {self._folder}; {erased:,} of {len(row_ids):,} images were erased: free some space "
                "and erase the others again"
            ) from error
        finally:
            with self._writing:
                self._database.empty_log()
            reserve.renew()
        return erased

    def _erase_at_once(self, chosen: Callable[[apsw.Connection], NDArray[np.int64]]) -> int:
        with self._writing:
            with self._database.transaction(erasing=True) as connection:
                self._forget_unlinked(connection)
                row_ids = chosen(connection)
                discarded = image_rows.remove(connection, row_ids.tolist())
            if len(row_ids):
                with self._index.lock.write():
                    self._index.retire(row_ids)
                self._upkeep.wrote(len(row_ids))
            self._unlinked = self._crops.discard(discarded)
        return len(row_ids)

    def _expired(self, connection: apsw.Connection) -> NDArray[np.int64]:
        """Some rows whose time is over, if their own checksums agree: a flipped bit of a time erases nothing."""
        since = self._since(self._erasing_clock)
        if since is None:
            return np.empty(0, dtype=np.int64)
        return image_rows.row_ids(connection, Condition(_EXPIRED, (since,)), limit=_SWEPT_A_WRITE)

    def _discard_unnamed(self, names: Sequence[str]) -> None:
        """Remove the crops of a write that failed, unless it was interrupted after its commit."""
        with contextlib.suppress(StorageError), self._database.snapshot() as connection:  # else: on the next opening
            self._crops.discard([name for name in names if not is_crop(connection, name)])

    def _forget_unlinked(self, connection: apsw.Connection) -> None:
        connection.executemany("DELETE FROM discarded WHERE name = ?", [(name,) for name in self._unlinked])

    def _recover_crops(self) -> None:
        """Finish what a crash left undone between database and crop folder."""
        if not self._crops.complete:
            self._make_crop_folders()
        with self._database.snapshot() as connection:
            self._crops.recover(lambda name: is_crop(connection, name))
            discarded = [name for (name,) in connection.execute("SELECT name FROM discarded")]
            left = [name for name in discarded if not is_crop(connection, name)]
        self._unlinked = self._crops.discard(left)

    def _make_crop_folders(self) -> None:
        """Make ``incoming``, which is empty, so that copies of a data folder may lack it; not a folder that is lost."""
        folder = self._database.path.with_name(CROPS)
        with self._database.snapshot() as connection:
            named: int = connection.execute("SELECT count(*) FROM crops").get
        if named and not folder.is_dir():
            raise StorageError(
                f"the folder {folder} of {named:,} crops is missing: bring it back, or let `vehicle-index repair` keep "
                "the images without their crops"
            )
        self._crops.create()

    def _last_change(self) -> int:
        with self._database.snapshot() as connection:
            return image_rows.last_change(connection)

    @property
    def _upkeep(self) -> IndexUpkeep:
        return self._served.upkeep

    @property
    def _index(self) -> GrowingIndex:
        return self._served.index

    @contextmanager
    def _view(self) -> Iterator[tuple[apsw.Connection, ServedSpace]]:
        """The database as it is now, and the space that is searched in that very view."""
        while True:
            served = self._served
            with self._database.snapshot() as connection:
                if searched_space(connection) == served.space_id:  # else the commit of a switch has just been made
                    yield connection, served
                    return

    @contextmanager
    def _searching(self) -> Iterator[tuple[apsw.Connection, ServedSpace]]:
        """As ``_view``, and every row of it is in the index, to which nobody writes until the end."""
        while True:
            served = self._served
            with served.index.lock.read():
                if served is self._served:  # else a switch has just ended
                    with self._database.snapshot() as connection:
                        yield connection, served
                        return

    def _row(self, connection: apsw.Connection, served: ServedSpace, image_id: str) -> tuple[int, StoredImage]:
        condition = Condition("image_id = ?", (image_id,)) & self._passing(Filters(), served)
        for row in served.select(connection, condition):
            return row
        raise ImageNotFound(f"gallery {self.name} has no image {image_id}")

    def _found(
        self, connection: apsw.Connection, served: ServedSpace, image_ids: Sequence[str]
    ) -> list[tuple[int, StoredImage]]:
        condition = Condition("image_id IN (SELECT value FROM json_each(?))", (json.dumps(list(image_ids)),))
        return served.select(connection, condition & self._passing(Filters(), served))

    def _passing(self, filters: Filters, served: ServedSpace | None = None) -> Condition:
        """What passes in the space of ``served``; without it in the present one, which only a switch changes."""
        return (served or self._served).passing(filters, since=self._since())

    def _since(self, clock: Callable[[], datetime] | None = None) -> int | None:
        """The oldest ingestion time that retention lets through, in microseconds since 1970."""
        days = self.spec.retention_days
        return None if days is None else microseconds((clock or self._clock)()) - round(days * DAY)


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What a commit did: to each image, to the rows that it made old, and the crops that nobody names any more."""

    statuses: list[Literal["created", "updated"]]
    old: NDArray[np.int64]
    discarded: list[str]


def _runs(images: Sequence[NewImage]) -> Iterator[slice]:
    """Parts, in order, in each of which every image_id is there once."""
    first, seen = 0, set[str]()
    for number, image in enumerate(images):
        if image.image_id in seen:
            yield slice(first, number)
            first, seen = number, set()
        seen.add(image.image_id)
    yield slice(first, len(images))


def _came(image: NewImage, now: int) -> int:
    """When an image was ingested first, in microseconds since 1970."""
    return now if image.ingested_at is None else microseconds(image.ingested_at)
