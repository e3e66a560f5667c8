"""A gallery moves to another model: new vectors beside the old ones, then a switch, then the old ones go.

Ingestion writes vectors of the space that is searched, as ever; this is the only writer of the new space's, so that
taking a picture in costs no second run of a model. It goes through the rows that lack a new vector until few do, holds
what it wrote against its checksums, builds the index of the new space beside the running one, and switches in one
commit while writers wait for the last rows. Where more come meanwhile than can be waited for, the next wait is twice as
long, so that nobody keeps it from ending by writing faster than it looks. Every step finds what was done before it in
the database, so whoever is killed goes on where he was.
"""

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Protocol

import apsw

from index.contract import Contract
from index.gallery import Look, Migration, Spread
from index.migration_rules import (
    LOT,
    NAMED,
    SHOWN,
    LotLook,
    another_open,
    none_open,
    over,
    require_migratable,
    unknown,
)
from index.searching.built_index import BuiltIndex
from index.searching.growing_index import GrowingIndex
from index.searching.index_building import Stopped, build_index
from index.searching.index_kind import built_kind, estimate, require_memory
from index.storage import image_rows, space_vectors
from index.storage.about_rows import write_about
from index.storage.crop_store import CropStore
from index.storage.gallery_database import Bound, GalleryDatabase, blocks, bound_of
from index.storage.migration_records import forget_erased, open_migration, read_migrations, write_migration
from index.storage.space_vectors import LackingRow, RowVector

_READ_AT_ONCE = 1024  # rows that lack a vector
_WRITTEN_AT_ONCE, _WRITTEN_EVERY = 256, 2.0  # vectors, seconds
_LAST = 16  # rows that may still lack a vector when writers are made to wait; looked at together then
_PAUSE = 2.0  # seconds that writers wait for the last rows at first
_BETWEEN = 2.0  # seconds until they wait again, where images come as fast as they are looked at
_REMOVED_AT_ONCE = 1000  # old vectors; between two lots others write


class SearchedGallery(Protocol):
    """What a migration needs of the gallery around it."""

    def quiet(self) -> AbstractContextManager[None]:
        """Nobody writes, builds an index or writes its snapshot, and there is none."""
        ...

    def serve(self, bound: Bound, growing: GrowingIndex, note: Callable[[apsw.Connection], None]) -> None:
        """Let another space answer from now on, in one commit with ``note``; within ``quiet``."""
        ...


class _Given(Exception):  # as the house's other errors; it never leaves this module
    """The migration was cancelled, or whoever carried it on is to stop."""


class GalleryMigration:
    """The migrations of one gallery; ``migrate`` is run by one thread at a time, everything else by any."""

    def __init__(
        self,
        gallery: SearchedGallery,
        database: GalleryDatabase,
        crops: CropStore,
        writing: threading.Lock,
        *,
        clock: Callable[[], datetime],
        memory: Callable[[], int | None],
        mirrored: bool = False,
    ) -> None:
        self._gallery, self._database, self._crops, self._writing = gallery, database, crops, writing
        self._clock, self._memory, self._mirrored = clock, memory, mirrored
        self._at_work = threading.Lock()

    def known(self) -> list[Migration]:
        """See ``index.gallery.Gallery.migrations``."""
        with self._database.snapshot() as connection:
            return [self._counted(connection, each) if each.open else each for each in read_migrations(connection)]

    def begin(self, contract: Contract, fingerprint: str) -> tuple[Migration, bool]:
        """See ``index.gallery.Gallery.begin_migration``."""
        with self._writing, self._database.transaction() as connection:
            bound, current = bound_of(connection), open_migration(connection)
            name = self._database.name
            if current is not None and current.to_space == contract.embedding_space:
                return self._counted(connection, current), False
            if current is not None:
                raise another_open(current, name)
            some, number = space_vectors.cropless(connection, limit=NAMED)
            require_migratable(bound.spec, contract, name, some, number)
            space_vectors.bound_to(connection, bound.spec, contract)
            migration = Migration(
                migration_id=uuid.uuid4().hex[:12], state="waiting", model=contract.name, fingerprint=fingerprint,
                from_space=bound.spec.embedding_space, to_space=contract.embedding_space, begun_at=self._clock(),
            )  # fmt: skip
            write_migration(connection, migration)
            return self._counted(connection, migration), True

    def cancel(self, migration_id: str) -> Migration:
        """See ``index.gallery.Gallery.cancel_migration``."""
        with self._writing, self._database.transaction() as connection:
            migration = _known(connection, migration_id, self._database.name)
            if migration.state not in ("waiting", "running"):
                raise over(migration)
            migration = replace(self._counted(connection, migration), state="cancelled", ended_at=self._clock())
            write_migration(connection, migration)
        if self._at_work.acquire(blocking=False):  # else whoever is at work removes them
            try:
                self._forget_others()
            finally:
                self._at_work.release()
        return migration

    def migrate(self, contract: Contract, look: Look, spread: Spread, stop: threading.Event) -> Migration:
        """See ``index.gallery.Gallery.migrate``."""
        with self._at_work:
            migration, bound = self._taken_up(contract)
            try:
                if migration.state != "switched":
                    self._move(migration, bound, LotLook(self._crops.read, contract.resize, look), spread, stop)
                self._forget_others(stop)
                return self._finish(migration)
            except (_Given, Stopped):
                migration = self._given_up(migration.migration_id)
                if migration.state == "cancelled":
                    self._forget_others()
                return migration

    def forget_others(self) -> None:
        """Erase vectors of spaces that are neither searched nor being moved to, and names of images that are gone."""
        with self._at_work:
            self._forget_others()
            with self._writing, self._database.transaction() as connection:
                forget_erased(connection)

    # Steps

    def _taken_up(self, contract: Contract) -> tuple[Migration, Bound]:
        with self._writing, self._database.transaction() as connection:
            migration = open_migration(connection)
            if migration is None or migration.to_space != contract.embedding_space:
                raise none_open(migration, contract, self._database.name)
            if migration.state == "waiting":
                migration = replace(migration, state="running")
                write_migration(connection, migration)
            return migration, space_vectors.bound_to(connection, bound_of(connection).spec, contract)

    def _move(self, migration: Migration, bound: Bound, job: LotLook, spread: Spread, stop: threading.Event) -> None:
        beside: _BesideIndex | None = None
        sound, pause, between = 0, _PAUSE, math.inf
        while True:
            if not self._embed_most(migration, bound, job, spread, stop, seconds=between):
                between = _BETWEEN
            up_to = self._sound(bound, above=sound)
            if up_to is None:
                beside, sound = None, 0
                continue
            sound = up_to
            if beside is None:
                beside = _BesideIndex(self._database, bound, self._memory, stop, mirrored=self._mirrored)
            with self._database.snapshot() as connection:
                beside.catch_up(connection)
            if self._switch(migration, bound, job, beside, stop, pause):
                return
            pause *= 2

    def _embed_most(
        self, migration: Migration, bound: Bound, job: LotLook, spread: Spread, stop: threading.Event, *, seconds: float
    ) -> bool:
        """Go through the rows that lack a vector until few do but those that fail; ends the migration for these.

        False where the time was over before, or images come about as fast as they are looked at.
        """
        failed: dict[int, tuple[str, str]] = {}
        due, left = time.monotonic() + seconds, self._left(bound)
        while True:
            self._embed_once(migration, bound, job, spread, failed, due)
            if stop.is_set():
                raise _Given
            before, left = left, self._left(bound) - len(failed)
            if left <= _LAST or 4 * left > 3 * before or time.monotonic() >= due:
                self._end_where_failed(migration, bound, failed)
                return left <= _LAST

    def _left(self, bound: Bound) -> int:
        with self._database.snapshot() as connection:
            return space_vectors.lacking_count(connection, bound.space_id)

    def _embed_once(
        self, migration: Migration, bound: Bound, job: LotLook, spread: Spread, failed: dict[int, tuple[str, str]],
        due: float,
    ) -> None:  # fmt: skip
        """Go once through the rows that lack a vector now; adds to ``failed``."""
        waiting: list[RowVector] = []
        write_at = time.monotonic() + _WRITTEN_EVERY
        rows = self._rows(bound, passing_over=failed)
        for seen in spread(partial(job.seen, lot) for lot in takewhile(lambda _: time.monotonic() < due, rows)):
            failed |= seen.failed
            waiting += seen.vectors
            if len(waiting) >= _WRITTEN_AT_ONCE or time.monotonic() >= write_at:
                self._write(migration, bound, waiting)
                waiting, write_at = [], time.monotonic() + _WRITTEN_EVERY
        self._write(migration, bound, waiting)

    def _rows(self, bound: Bound, *, passing_over: dict[int, tuple[str, str]]) -> Iterator[list[LackingRow]]:
        """Lots of rows that lack a vector, by id; what comes meanwhile is not among them."""
        above = 0
        with self._database.snapshot() as connection:
            last = image_rows.last_row(connection)
        while above < last:
            with self._database.snapshot() as connection:
                rows = space_vectors.lacking_rows(connection, bound.space_id, above=above, limit=_READ_AT_ONCE)
            if not rows:
                return
            above = rows[-1].row_id
            rows = [row for row in rows if row.row_id <= last and row.row_id not in passing_over]
            for start in range(0, len(rows), LOT):
                yield rows[start : start + LOT]

    def _write(self, migration: Migration, bound: Bound, vectors: Sequence[RowVector]) -> None:
        with self._writing, self._database.transaction() as connection:
            _require_open(connection, migration)
            space_vectors.write_vectors(connection, bound, vectors)

    def _end_where_failed(self, migration: Migration, bound: Bound, failed: dict[int, tuple[str, str]]) -> None:
        """End a migration some of whose images have no vector and are still there; what it wrote stays for the next."""
        with self._writing, self._database.transaction() as connection:
            _require_open(connection, migration)
            rows = space_vectors.lacking_rows(connection, bound.space_id, limit=len(failed) + _READ_AT_ONCE)
            left = sorted(failed[row.row_id] for row in rows if row.row_id in failed)
            if not left:
                return
            ended = replace(
                self._counted(connection, migration), state="failed", ended_at=self._clock(),
                failed=tuple(left[:SHOWN]), failures=len(left),
            )  # fmt: skip
            write_migration(connection, ended)
        raise _Given

    def _sound(self, bound: Bound, *, above: int) -> int | None:
        """The row id up to which every row has a vector that is what was written, where it is so up to ``above``.

        None where some vectors are not; they are removed, to be made again.
        """
        with self._database.snapshot() as connection:
            up_to = _whole_up_to(connection, bound, above=above)
            damaged = space_vectors.damaged_vectors(connection, bound, above=above)
        if not damaged:
            return up_to
        _log.warning("gallery %s: %d new vectors are damaged and made again", self._database.name, len(damaged))
        with self._writing, self._database.transaction() as connection:
            space_vectors.remove_vectors(connection, bound.space_id, damaged)
        return None

    def _switch(
        self, migration: Migration, bound: Bound, job: LotLook, beside: "_BesideIndex", stop: threading.Event,
        seconds: float,
    ) -> bool:  # fmt: skip
        """Make up for the last rows while nobody writes, and switch; False where they are too many for the time."""
        with self._gallery.quiet():
            if not self._embed_last(migration, bound, job, beside, stop, time.monotonic() + seconds):
                return False
            with self._database.snapshot() as connection:
                if space_vectors.lacking_count(connection, bound.space_id):
                    return False  # one of the last cannot be read: it is looked at again, and told
                beside.catch_up(connection)
                beside.require_whole(connection)
                switched = replace(self._counted(connection, migration), state="switched")

            def note(connection: apsw.Connection) -> None:
                write_about(connection, {"space": str(bound.space_id)})
                write_migration(connection, switched)

            self._gallery.serve(bound, beside.growing, note)
        _log.info(
            "gallery %s: the model %s answers now, %s images", self._database.name, migration.model,
            f"{switched.total:,}",
        )  # fmt: skip
        return True

    def _embed_last(
        self, migration: Migration, bound: Bound, job: LotLook, beside: "_BesideIndex", stop: threading.Event,
        due: float,
    ) -> bool:  # fmt: skip
        """Look at what came since, on this thread, whatever else is asked of the workers; whether none is left.

        A first lot is looked at whatever the time is.
        """
        above = beside.up_to
        while True:
            with self._database.snapshot() as connection:
                rows = space_vectors.lacking_rows(connection, bound.space_id, above=above, limit=_LAST)
            if stop.is_set():
                raise _Given
            if not rows:
                return True
            if above > beside.up_to and time.monotonic() >= due:
                return False
            seen, above = job.seen(rows), rows[-1].row_id
            with self._database.transaction() as connection:
                _require_open(connection, migration)
                space_vectors.write_vectors(connection, bound, seen.vectors)

    def _forget_others(self, stop: threading.Event | None = None) -> None:
        """Erase the vectors of spaces that nobody needs, some at a time."""
        with self._database.snapshot() as connection:
            spaces = space_vectors.other_spaces(connection, _wanted(connection))
        for space_id in spaces:
            above = 0
            while True:
                if stop is not None and stop.is_set():
                    raise _Given
                with self._database.snapshot() as connection:
                    rows = space_vectors.some_vectors(connection, space_id, above=above, limit=_REMOVED_AT_ONCE)
                with self._writing, self._database.transaction() as connection:
                    if rows:
                        space_vectors.remove_vectors(connection, space_id, rows)
                    elif space_id in space_vectors.other_spaces(connection, _wanted(connection)):
                        space_vectors.forget_space(connection, space_id)
                if not rows:
                    break
                above = rows[-1]

    def _finish(self, migration: Migration) -> Migration:
        with self._writing, self._database.transaction() as connection:
            known = _known(connection, migration.migration_id, self._database.name)
            finished = replace(known, state="finished", ended_at=self._clock())
            write_migration(connection, finished)
        return finished

    def _given_up(self, migration_id: str) -> Migration:
        """A migration that somebody is to carry on later, unless it was ended."""
        with self._writing, self._database.transaction() as connection:
            migration = _known(connection, migration_id, self._database.name)
            if migration.state == "running":
                migration = replace(migration, state="waiting")
                write_migration(connection, migration)
            return self._counted(connection, migration) if migration.open else migration

    def _counted(self, connection: apsw.Connection, migration: Migration) -> Migration:
        """With the number of images that have a vector by now."""
        total = image_rows.count(connection, image_rows.EVERY)
        found = connection.execute("SELECT space_id FROM spaces WHERE name = ?", (migration.to_space,)).fetchone()
        lacking = total if found is None else space_vectors.lacking_count(connection, found[0])
        return replace(migration, done=total - lacking, total=total)


class _BesideIndex:
    """The index of the new space, as far as it has been built: of the rows up to ``up_to``, as of some change."""

    def __init__(
        self, database: GalleryDatabase, bound: Bound, memory: Callable[[], int | None], stop: threading.Event, *,
        mirrored: bool,
    ) -> None:  # fmt: skip
        self._bound = bound
        spec = bound.spec
        self.growing = GrowingIndex(spec.embedding_dim)
        with database.snapshot() as connection:
            rows = image_rows.count(connection, image_rows.EVERY)
            kind = built_kind(spec.kind, spec.vectors, rows, now=None, mirrored=mirrored)
            needed = estimate(kind or "flat", spec.vectors if kind else "fp32", rows, spec.embedding_dim)
            require_memory(needed, memory(), f"the index of gallery {database.name} for the new model, {rows:,} rows,")
            self._change, self.up_to = image_rows.last_change(connection), 0
            up_to = _whole_up_to(connection, bound, above=0)
        if kind is None:
            return  # catching up is all there is to do
        _log.info("gallery %s: an index of kind %s is being built for the new model", database.name, kind)
        built = build_index(database, bound, kind, rows=rows, up_to=up_to, stopping=stop, mirrored=mirrored)
        if isinstance(built, BuiltIndex):
            self.growing.start_with(built, up_to)
            self.up_to = up_to

    def catch_up(self, connection: apsw.Connection) -> None:
        """Take in what was written and erased since, up to the first row that lacks a vector."""
        removed = image_rows.removed_since(connection, self._change)
        self.growing.retire(removed[removed <= self.up_to])
        up_to = _whole_up_to(connection, self._bound, above=self.up_to)
        for row_ids, vectors in blocks(connection, self._bound, above=self.up_to, up_to=up_to):
            self.growing.add(row_ids, vectors)
        self._change, self.up_to = image_rows.last_change(connection), max(up_to, self.up_to)

    def require_whole(self, connection: apsw.Connection) -> None:
        """Every image is in it, and nothing else."""
        rows = image_rows.count(connection, image_rows.EVERY)
        if len(self.growing) != rows:
            raise RuntimeError(f"the index of the new model holds {len(self.growing):,} rows, not {rows:,}")


def _whole_up_to(connection: apsw.Connection, bound: Bound, *, above: int) -> int:
    """The row id up to which every row has a vector, where it is so up to ``above``."""
    first = space_vectors.lacking_rows(connection, bound.space_id, above=above, limit=1)
    return first[0].row_id - 1 if first else image_rows.last_row(connection)


def _require_open(connection: apsw.Connection, migration: Migration) -> None:
    """Raise _Given where somebody cancelled it."""
    current = open_migration(connection)
    if current is None or current.migration_id != migration.migration_id:
        raise _Given


def _known(connection: apsw.Connection, migration_id: str, gallery: str) -> Migration:
    for each in read_migrations(connection):
        if each.migration_id == migration_id:
            return each
    raise unknown(migration_id, gallery)


def _wanted(connection: apsw.Connection) -> list[str]:
    """Spaces whose vectors somebody will still need: of an open migration, or of the last, where it failed."""
    latest = read_migrations(connection)[:1]
    return [each.to_space for each in latest if each.state in ("waiting", "running", "failed")]


_log = logging.getLogger(__name__)
