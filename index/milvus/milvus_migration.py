"""A gallery on Milvus moves to another model: a second collection is filled from the crops, then it answers.

Rows keep their ids, so what the new collection lacks, and what it has to lose, is the difference of two sets of ids
(``index.milvus.row_comparison``). Services write to the old collection only, as ever; nothing is copied but what a row
says of its image, and crops stay where they are.

Everything is decided by names of collections, which the server changes for one of several who ask, and which everybody
looks at (``index.milvus.collection_list``):

- *making* → *waiting* → *running*: filled by one service at a time. Who takes it up gives it the next turn, so that
  whoever had it before, and is slow and not dead, writes to a name that is no more.
- *closing*: writers wait while the last rows are looked at. A writer looks at the names after its rows are in. If it
  does not see this one, they were in before it was said, and are carried over; if it does, the write is told to nobody
  until it is known where the gallery is, and is done again there. Whoever waits for very long opens the gallery again.
- *serving*: the new collection answers, and the old one is dropped.
- *failed*, *cancelled*: given up. The first is filled further by the next migration to that model, the other dropped.

Whoever dies leaves a name that says how far it came. What a migration was and came to is kept beside
(``index.milvus.kept_migrations``), and only by who changed the name.
"""

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol

from index.contract import Contract
from index.errors import GalleryConflict, GalleryNotFound, ReadOnly, StorageError
from index.gallery import GallerySpec, Look, Migration, Spread
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
from index.milvus.change_counts import ChangeCounts
from index.milvus.collection_list import Standing
from index.milvus.collection_name import CollectionName, GalleryDescription
from index.milvus.collection_rows import CollectionRows, batched
from index.milvus.image_row import ALL, KEY, ImageRow, schema_of
from index.milvus.index_settings import index_of
from index.milvus.kept_migrations import KeptMigrations
from index.milvus.milvus_gallery import GRACE, MilvusGallery
from index.milvus.milvus_server import MilvusServer
from index.milvus.row_clock import LAST, RowClock
from index.milvus.row_comparison import Difference, RowComparison
from index.objects.crop_home import CropHome
from index.storage.space_vectors import LackingRow

CLOSED_SECONDS: Final = 30.0  # writers wait no longer for the last rows of one turn

_LEASE = 45.0  # seconds; whoever is at work shows it much more often
_BEAT = 5.0  # seconds
_READ_AT_ONCE = 256  # rows that are copied
_WRITTEN_AT_ONCE, _WRITTEN_EVERY = 256, 2.0  # rows, seconds
_LAST = 16  # rows that may still be lacking when writers are made to wait
_PAUSE, _LONGEST_PAUSE = 2.0, CLOSED_SECONDS * 2 / 3  # seconds that writers wait for the last rows
_BETWEEN = 2.0  # seconds until they wait again, where images come as fast as they are looked at
_VAIN = 8  # times that writers waited and the numbers of rows were not the same
_KNOWN_SECONDS = 60.0
_MAKING: Final = timedelta(minutes=10)  # a collection is made in seconds


class SearchedGallery(Protocol):
    """What a migration needs of the gallery around it."""

    name: str
    key: str

    def standing(self) -> Standing:
        """Its collections at this moment; GalleryNotFound."""
        ...

    def serving(self) -> MilvusGallery:
        """The collection that answers now."""
        ...


class _Given(Exception):  # as the house's other errors; it never leaves this module
    """The migration was cancelled or taken by another, or whoever carries it on is to stop."""


@dataclass
class _Run:
    """One who carries a migration on; ``target`` is the collection's name as this one knows it."""

    migration: Migration
    target: CollectionName
    serving: MilvusGallery
    spec: GallerySpec
    job: LotLook
    spread: Spread
    stop: threading.Event
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    suspects: set[int] = field(default_factory=set)  # rows in whose place others came, which may be gone by now


class MilvusMigration:
    """The migrations of one gallery. Safe to use from any thread, and by any number of services at once."""

    def __init__(
        self,
        gallery: SearchedGallery,
        server: MilvusServer,
        *,
        changes: ChangeCounts,
        kept: KeptMigrations,
        crops: CropHome,
        row_clock: RowClock,
        clock: Callable[[], datetime],
        read_only: bool = False,
    ) -> None:
        self._gallery, self._server, self._changes, self._kept, self._crops = gallery, server, changes, kept, crops
        self._row_clock, self._clock, self._read_only = row_clock, clock, read_only
        self._at_work = threading.Lock()
        self._seen: tuple[str, int] | None = None  # whose turn it was, and how often that one had shown it
        self._seen_at = 0.0
        self._ended: tuple[Standing, list[Migration], float] | None = None

    def known(self) -> list[Migration]:
        """See ``index.gallery.Gallery.migrations``."""
        standing = self._gallery.standing()
        ended = self._ended
        if ended is not None and ended[0] == standing and time.monotonic() < ended[2]:
            return list(ended[1])
        records = self._kept.known(self._gallery.key)
        found = [stated for each in records if (stated := self._stated(each, standing)) is not None]
        if all(each.ended_at is not None for each in found):  # nothing changes but names
            self._ended = standing, found, time.monotonic() + _KNOWN_SECONDS
        return found

    def begin(self, contract: Contract, fingerprint: str) -> tuple[Migration, bool]:
        """See ``index.gallery.Gallery.begin_migration``."""
        self._require_writable()
        while True:
            standing, name = self._gallery.standing(), self._gallery.name
            if (current := self._open(standing)) is not None:
                if current.to_space != contract.embedding_space:
                    raise another_open(current, name)
                return current, False
            serving = self._gallery.serving()
            self._require_migratable(serving, contract)
            spec = serving.spec.moved_to(contract)
            migration = Migration(
                migration_id=uuid.uuid4().hex[:12], state="waiting", model=contract.name, fingerprint=fingerprint,
                from_space=serving.spec.embedding_space, to_space=contract.embedding_space, begun_at=self._clock(),
            )  # fmt: skip
            self._kept.write(self._gallery.key, migration)
            own = self._made(standing, replace(serving.description, spec=spec), migration)
            if own is None:
                continue
            try:
                now = self._gallery.standing()
            except GalleryNotFound:  # dropped meanwhile, perhaps before this one was there
                self._server.call("drop_collection", own.text)
                self._kept.forget(self._gallery.key)
                raise
            if now.serving == standing.serving and all(each.migration == own.migration for each in now.targets):
                return self._stated(migration, now) or migration, True
            self._give_away(migration)  # another began at the same time, and may have ended

    def cancel(self, migration_id: str) -> Migration:
        """See ``index.gallery.Gallery.cancel_migration``."""
        self._require_writable()
        while True:
            standing = self._gallery.standing()
            record = self._record(migration_id)
            stated, target = self._stated(record, standing), standing.of_migration(migration_id)
            if target is None or stated is None or stated.state not in ("waiting", "running"):
                raise over(stated or record)
            cancelled = replace(target, state="cancelled")
            if self._renamed(target, cancelled):
                return self._end(replace(stated, state="cancelled"), drop=cancelled)

    def migrate(self, contract: Contract, look: Look, spread: Spread, stop: threading.Event) -> Migration:
        """See ``index.gallery.Gallery.migrate``; where another service is at work, it is left to that one."""
        self._require_writable()
        with self._at_work:
            migration, target = self._taken_up(contract)
            if target is None:
                return migration
            serving = self._gallery.serving()
            job = LotLook(partial(self._crops.get, self._gallery.key), contract.resize, look)
            run = _Run(migration, target, serving, serving.spec.moved_to(contract), job, spread, stop)
            try:
                if target.state != "serving":
                    with self._beating(migration):
                        self._move(run)
                return self._finish(run)
            except _Given:
                self._let_go(run)
                standing = self._gallery.standing()
                return self._stated(self._record(migration.migration_id), standing) or migration
            except BaseException:
                with contextlib.suppress(StorageError, GalleryNotFound):
                    self._let_go(run)
                raise

    def reopen(self, closing: CollectionName) -> None:
        """Let writers go on that wait for the last rows of somebody's turn; who had it takes it up anew."""
        self._require_writable()
        if self._renamed(closing, replace(closing, state="waiting")):
            _log.warning("gallery %s: whoever migrates it did not come back, and writers go on", self._gallery.name)

    def forget_erased(self) -> None:
        """Leave no name of an image that is no longer there."""
        for migration in self._kept.known(self._gallery.key):
            names = [image_id for image_id, _ in migration.failed]
            there = self._gallery.serving().find(names) if names else {}
            kept = tuple(each for each in migration.failed if each[0] in there)
            if kept != migration.failed:
                self._kept.write(self._gallery.key, replace(migration, failed=kept))
                self._ended = None

    # What there is

    def _require_writable(self) -> None:
        if self._read_only:
            raise ReadOnly("this service only reads (read_only): galleries are not migrated by it")

    def _require_migratable(self, serving: MilvusGallery, contract: Contract) -> None:
        lacking = 'crop_name == ""'
        number = serving.rows.count(lacking)
        some = sorted({row.image_id for row in serving.rows.some(lacking, KEY, NAMED)}) if number else []
        require_migratable(serving.spec, contract, self._gallery.name, some, number)

    def _record(self, migration_id: str) -> Migration:
        for each in self._kept.known(self._gallery.key):
            if each.migration_id == migration_id:
                return each
        raise unknown(migration_id, self._gallery.name)

    def _stated(self, record: Migration, standing: Standing) -> Migration | None:
        """A migration as names of collections say it is; None for one that did not come to be."""
        if record.ended_at is not None:
            return record
        target = standing.of_migration(record.migration_id)
        match None if target is None else target.state:
            case "waiting":
                return self._counted(replace(record, state="waiting"))
            case "running" | "closing":
                return self._counted(replace(record, state="running"))
            case "serving":
                return self._counted(replace(record, state="switched"))
            case "failed":
                return replace(record, state="failed")
            case "cancelled":
                return replace(record, state="cancelled")
        return None

    def _counted(self, migration: Migration) -> Migration:
        """With the number of images that have a vector by now."""
        while True:
            standing = self._gallery.standing()
            target = standing.of_migration(migration.migration_id)
            try:
                total = self._rows(standing.serving, 1).count("")
                done = 0 if target is None else self._rows(target, 1).count("")
            except GalleryNotFound:
                if self._gallery.standing() == standing:
                    raise
                continue
            return replace(migration, done=min(done, total), total=total)

    def _open(self, standing: Standing) -> Migration | None:
        """The one migration that has not ended."""
        if not standing.targets and not standing.serving.migration:
            return None
        stated = (self._stated(each, standing) for each in self._kept.known(self._gallery.key))
        return next((each for each in stated if each is not None and each.open), None)

    def _rows(self, collection: CollectionName, dim: int) -> CollectionRows:
        return CollectionRows(self._server, collection.text, dim)

    def _renamed(self, before: CollectionName, after: CollectionName) -> bool:
        """Whether it was this one who gave a collection another name."""
        try:
            self._server.rename(before.text, after.text)
        except GalleryNotFound:
            return False
        return True

    # Beginning and ending

    def _made(self, standing: Standing, description: GalleryDescription, migration: Migration) -> CollectionName | None:
        """A collection for a migration, waiting; what a failed one left of it where there is such. None: look again."""
        own = replace(
            standing.serving, generation=standing.serving.generation + 1, state="waiting",
            migration=migration.migration_id, turn=0,
        )  # fmt: skip
        for each in standing.beside:
            if each.state == "failed" and self._description(each).spec == description.spec:
                return own if self._renamed(each, own) else None
        making = replace(own, state="making")
        spec = description.spec
        self._server.create(
            making.text, schema_of(description.text, spec.embedding_dim), "embedding", index_of(spec)
        )  # fmt: skip
        self._clear(standing)
        return own if self._renamed(making, own) else None

    def _clear(self, standing: Standing) -> None:
        """Drop what others gave up or left behind."""
        records = {each.migration_id: each for each in self._kept.known(self._gallery.key)}
        for each in standing.beside:
            record = records.get(each.migration)
            if each.state in ("failed", "cancelled"):
                if record is not None and record.ended_at is None:  # who gave it up died before saying so
                    self._end(replace(record, state="failed" if each.state == "failed" else "cancelled"))
                self._server.call("drop_collection", each.text)
            elif each.state == "making" and (record is None or record.begun_at < self._clock() - _MAKING):
                self._server.call("drop_collection", each.text)

    def _description(self, collection: CollectionName) -> GalleryDescription:
        said = self._server.call("describe_collection", collection.text)["description"]
        return GalleryDescription.read(said, collection.text)

    def _give_away(self, migration: Migration) -> None:
        with contextlib.suppress(GalleryConflict):
            self.cancel(migration.migration_id)

    def _end(self, migration: Migration, *, drop: CollectionName | None = None) -> Migration:
        """Remember what a migration came to."""
        ended = replace(migration, ended_at=self._clock())
        self._kept.write(self._gallery.key, ended)
        if drop is not None:
            self._server.call("drop_collection", drop.text)
        self._changes.forget(self._beats(migration))
        return ended

    def _taken_up(self, contract: Contract) -> tuple[Migration, CollectionName | None]:
        """The open migration and its collection; None where another service is at work on it."""
        while True:
            standing = self._gallery.standing()
            migration = self._open(standing)
            if migration is None or migration.to_space != contract.embedding_space:
                raise none_open(migration, contract, self._gallery.name)
            target = standing.of_migration(migration.migration_id)
            if target is None:
                continue  # it was ended just now
            if target.state == "serving":
                return migration, target
            if target.generation <= standing.serving.generation:
                self._give_away(migration)  # of two that began at once the other one ended
                continue
            if target.state != "waiting" and not self._abandoned(migration, target):
                return migration, None
            own = replace(target, state="running", turn=target.turn + 1)
            if self._renamed(target, own):
                return migration, own

    def _abandoned(self, migration: Migration, target: CollectionName) -> bool:
        """Whether whoever is at work has not shown it for long, as far as this process has looked."""
        seen = target.text, self._changes.last(self._beats(migration))
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
            return _LEASE <= 0
        return time.monotonic() - self._seen_at >= _LEASE

    def _beats(self, migration: Migration) -> str:
        return f"{self._gallery.key} {migration.migration_id}"

    @contextlib.contextmanager
    def _beating(self, migration: Migration) -> Iterator[None]:
        """Show meanwhile that somebody is at work."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(_BEAT):
                with contextlib.suppress(StorageError, GalleryNotFound):
                    self._changes.note(self._beats(migration), 1)

        thread = threading.Thread(target=beat, name="migration-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _let_go(self, run: _Run) -> None:
        """Leave it to whoever comes next, where it is still ours."""
        if run.target.state in ("running", "closing"):
            self._renamed(run.target, replace(run.target, state="waiting"))

    def _finish(self, run: _Run) -> Migration:
        """Drop the collection that answered before."""
        if run.stop.is_set():
            raise _Given
        for each in self._gallery.standing().left:
            self._server.call("drop_collection", each.text)
        rows = self._rows(run.target, 1).count("")
        return self._end(replace(run.migration, state="finished", done=rows, total=rows))

    # Moving

    def _move(self, run: _Run) -> None:
        self._server.load(run.target.text, "embedding", index_of(run.spec))
        since, pause, between, vain = 0, _PAUSE, math.inf, 0
        while True:
            few, since = self._fill_most(run, since, seconds=between)
            between = between if few else _BETWEEN
            self._even_out(run)
            self._end_where_failed(run)
            if self._switch(run, since, pause):
                return
            pause, vain = min(pause * 2, _LONGEST_PAUSE), vain + few
            if vain >= _VAIN:
                raise StorageError(
                    f"gallery {self._gallery.name}: writers waited {vain} times for the last images, and its two "
                    "collections still have not the same number of rows; it is tried again later"
                )

    def _fill_most(self, run: _Run, since: int, *, seconds: float) -> tuple[bool, int]:
        """Go through the rows that lack a vector until few do, and the row id above which others may come.

        False where the time was over before, or images come about as fast as they are looked at.
        """
        due, before = time.monotonic() + seconds, math.inf
        while True:
            after, since = since, self._row_clock.ago(GRACE)
            left = self._fill(run, self._comparison(run).passes(after), due)
            self._require_going_on(run)
            if time.monotonic() >= due:
                return False, after
            if left <= _LAST or 4 * left > 3 * before:
                return left <= _LAST, since
            before = left

    def _even_out(self, run: _Run) -> None:
        """Find what was erased since, and whatever else differs in number."""
        self._fill(run, self._differing(run), math.inf)
        self._require_going_on(run)

    def _fill(self, run: _Run, differences: Iterable[Difference], due: float) -> int:
        """Make up for differences; how many rows lacked a vector that can have one. Adds to ``run.failed``."""
        copied: dict[int, ImageRow] = {}
        lacked = 0

        def lots() -> Iterator[list[LackingRow]]:
            nonlocal lacked
            for difference in differences:
                self._lose(run, difference.surplus)
                lacking = [row_id for row_id in difference.lacking if row_id not in run.failed]
                for some in batched(lacking, _READ_AT_ONCE):
                    rows = run.serving.rows.some(f"row_id in {list(some)}", ALL, len(some))
                    lacked += len(rows)
                    copied.update((row.row_id, row) for row in rows)
                    for lot in batched(rows, LOT):
                        if run.stop.is_set() or time.monotonic() >= due:
                            return
                        yield [LackingRow(row.row_id, row.image_id, row.crop_name) for row in lot]
                self._require_going_on(run, stop=False)
                if run.stop.is_set() or time.monotonic() >= due:
                    return

        waiting: list[dict[str, Any]] = []
        write_at = time.monotonic() + _WRITTEN_EVERY
        for seen in run.spread(partial(run.job.seen, lot) for lot in lots()):
            run.failed |= seen.failed
            for row_id in seen.failed:
                copied.pop(row_id)
            for each in seen.vectors:
                row = copied.pop(each.row_id)
                run.suspects |= {row.parent} if row.parent else set()
                waiting.append(row.moved(each.vector, each.viewpoint, run.spec.viewpoints))
            if len(waiting) >= _WRITTEN_AT_ONCE or time.monotonic() >= write_at:
                self._write(run, waiting)
                waiting, write_at = [], time.monotonic() + _WRITTEN_EVERY
        self._write(run, waiting)
        return lacked

    def _write(self, run: _Run, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to the new collection; those in whose place they came go where they are gone."""
        try:
            if rows:
                self._target(run).insert(rows)
        except GalleryNotFound as error:
            raise _Given from error
        gone = self._comparison(run).gone(run.suspects)
        run.suspects -= gone
        self._lose(run, sorted(gone))

    def _lose(self, run: _Run, row_ids: Sequence[int]) -> None:
        try:
            self._target(run).erase(row_ids)
        except GalleryNotFound as error:
            raise _Given from error

    def _end_where_failed(self, run: _Run) -> None:
        """End a migration some of whose images have no vector and are still there; what it wrote stays for the next."""
        gone = self._comparison(run).gone(set(run.failed))
        left = sorted(why for row_id, why in run.failed.items() if row_id not in gone)
        run.failed.clear()
        if not left:
            return
        counted = self._counted(run.migration)
        if self._renamed(run.target, replace(run.target, state="failed")):
            self._end(replace(counted, state="failed", failed=tuple(left[:SHOWN]), failures=len(left)))
        raise _Given

    def _switch(self, run: _Run, since: int, seconds: float) -> bool:
        """Make up for the last rows while nobody writes, and switch; False where they are too many for the time."""
        self._rename(run, replace(run.target, state="closing"))
        due = time.monotonic() + seconds
        first = True
        while first or time.monotonic() < due:
            first = False
            if self._fill_last(run, since, due):
                serving = replace(run.target, state="serving", turn=0)
                self._rename(run, serving)
                self._changes.note(self._gallery.key, 1)
                _log.info("gallery %s: the model %s answers now", self._gallery.name, run.migration.model)
                return True
            self._require_going_on(run)
            if run.failed:
                break  # one of the last cannot be read: it is told where it is still there
        self._rename(run, replace(run.target, state="running", turn=run.target.turn + 1))
        return False

    def _fill_last(self, run: _Run, since: int, due: float) -> bool:
        """Look at what came since, on this thread, whatever else is asked of the workers; whether both are the same."""
        own = replace(run, spread=lambda pieces: (piece() for piece in pieces))
        comparison = self._comparison(run)
        self._fill(own, comparison.passes(since), math.inf)
        if run.failed or run.stop.is_set():
            return False
        if comparison.alike():
            return True
        differing = self._differing(run)
        if (first := next(differing, None)) is None:
            return True  # the old one has rows twice
        self._fill(own, chain([first], differing), due)
        return False  # looked at once more

    def _require_going_on(self, run: _Run, *, stop: bool = True) -> None:
        """Raise _Given where it is to stop, or not ours any more."""
        if stop and run.stop.is_set():
            raise _Given
        if run.target not in self._gallery.standing().beside:
            raise _Given

    def _rename(self, run: _Run, name: CollectionName) -> None:
        if not self._renamed(run.target, name):
            raise _Given
        run.target = name

    def _target(self, run: _Run) -> CollectionRows:
        return self._rows(run.target, run.spec.embedding_dim)

    def _comparison(self, run: _Run) -> RowComparison:
        return RowComparison(run.serving.rows, self._target(run))

    def _differing(self, run: _Run) -> Iterator[Difference]:
        comparison = self._comparison(run)
        first = [row.row_id for rows in (comparison.old, comparison.new) for row in rows.some("", KEY, 1)]
        begin, now = min(first, default=1) - 1, self._row_clock.ago(-2 * GRACE)  # nearly all are in between
        return chain(*map(comparison.differing, (0, begin, now), (begin, now, LAST)))


_log = logging.getLogger(__name__)
