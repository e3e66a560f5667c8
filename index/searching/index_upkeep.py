"""The index of one gallery from opening to closing: loaded, kept up with what is written, built anew beside itself.

Work is done in a thread that lives as long as there is some: building the next index from the database, moving rows
that wait into the built one, writing the snapshot. Only that work changes a built index or puts another in its place,
so it needs no lock to read it; searches wait for a lot of moved rows, some milliseconds, and never for more: where
the built index is full, a copy with room takes its place first.
"""

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import apsw
import numpy as np

from index.errors import GALLERY_TROUBLE, IndexDeviceUnavailable, NotEnoughMemory, trouble_of
from index.gallery import BuiltKind, IndexState
from index.searching.built_index import BuiltIndex
from index.searching.flat_index import FlatIndex
from index.searching.growing_index import GrowingIndex, next_lot
from index.searching.index_building import Stopped, build_index
from index.searching.index_device import IndexDevice
from index.searching.index_kind import built_kind, class_of, estimate, is_mirrored, require_memory, restored
from index.searching.index_snapshot import (
    SnapshotAbout,
    SnapshotReader,
    SnapshotUnusable,
    discard_part,
    open_snapshot,
    remove_snapshot,
    write_snapshot,
)
from index.searching.mirrored_index import MirroredIndex
from index.storage import image_rows
from index.storage.gallery_database import Bound, GalleryDatabase, blocks

_MOVED_FROM = 512  # waiting rows, less than a millisecond of looking at each
_ROOM_SHARE = 8  # one row in so many more than a full index has fit into its copy
_COPIES = 2  # times its memory that a copy with room takes while it is made
_WAITING_SHARE = 2  # where more wait than half of what is built, building all anew on every core is sooner done
_RETIRED_SHARE = 0.2
_REST = 600.0  # seconds until work that failed is tried again
_SNAPSHOT_FROM = 10_000  # rows; fewer plain ones are read from the database in 70 ms
_WRITTEN_SHARE, _WRITTEN_ON_CLOSING = 5, 20  # of the rows: changes missed for which the snapshot is written
_HEAD = struct.Struct("<I")  # rows of a block

_log = logging.getLogger(__name__)


class IndexUpkeep:
    """The index and who looks after it.

    ``writing`` is held by whoever writes; ``memory`` tells the bytes that are free, None where nobody knows. ``made``
    is the index where it is there already; ``read_only``: a snapshot is read, never written. ``device`` gets a copy of
    what is built, where it takes this gallery's kind. Raises NotEnoughMemory where machine or device cannot hold the
    index, IndexDeviceUnavailable where the device does not work.
    """

    index: GrowingIndex

    def __init__(
        self,
        folder: Path,
        database: GalleryDatabase,
        bound: Bound,
        writing: threading.Lock,
        *,
        memory: Callable[[], int | None],
        made: GrowingIndex | None = None,
        read_only: bool = False,
        device: IndexDevice | None = None,
    ) -> None:
        self._folder, self._database, self._writing, self._memory = folder, database, writing, memory
        self._bound, self._spec, self._read_only = bound, bound.spec, read_only
        self._device = device if is_mirrored(bound.spec.kind, bound.spec.vectors) else None
        self._guard = threading.Lock()  # of the thread and of stopping
        self._working = threading.Lock()  # held while a piece of work is done
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._building: BuiltKind | None = None
        self._problem: str | None = None
        self._resting_until = 0.0
        self._missed = 0  # changes that the snapshot does not hold
        self._unclean = False  # whether retired rows must not reach the disk again
        self._scattered = True  # whether what was loaded lies in small pages of memory
        if not read_only:
            discard_part(folder)
        if device is not None and self._device is None:
            _log.info(
                "gallery %s is searched by the processors: %s takes the kinds flat and auto with vectors fp32 or fp16, "
                "not %s with %s", database.name, device.name, bound.spec.kind, bound.spec.vectors,
            )  # fmt: skip
        if made is None:
            self._load()
        else:
            self.index, self._missed = made, len(made)

    def state(self) -> IndexState:
        """What answers now, and what becomes of it."""
        with self.index.lock.read():
            built, rows, waiting = self.index.built, len(self.index), self.index.waiting
        device = None
        if built is None:
            waiting = 0
        elif isinstance(built, MirroredIndex) and built.mirrored:
            device, waiting = self._device, min(waiting + built.waiting, rows)
        return IndexState(
            kind="flat" if built is None else built.kind,
            vectors="fp32" if built is None else built.vectors,
            rows=rows - waiting,
            waiting=waiting,
            building=self._building,
            problem=self._problem,
            device="cpu" if device is None else device.name,
        )

    def wrote(self, changes: int) -> None:
        """So many rows were added or retired: see whether there is work. The caller holds ``writing``."""
        self._missed += changes
        self.wake()

    def wake(self) -> None:
        """Do what is to be done, in a thread of its own."""
        with self._guard:
            if self._thread is None and not self._stopping.is_set() and self._due() is not None:
                self._thread = threading.Thread(target=self._work, name=f"index of {self._database.name}", daemon=True)
                self._thread.start()

    def rest(self) -> None:
        """Wait until there is no work."""
        while (thread := self._thread) is not None:
            thread.join()

    def stop(self) -> None:
        """Begin no more work, and break off what can be broken off."""
        with self._guard:
            self._stopping.set()

    def close(self, *, keep: bool) -> None:
        """Stop working; with ``keep`` leave a snapshot where much has changed. Nobody writes any more."""
        self.stop()
        self.rest()
        with self._working:  # a compaction may be at it
            rows = len(self.index)
            if keep and self._worth_writing(_WRITTEN_ON_CLOSING) and not (self._unclean and self._retired()):
                _log.info("gallery %s: writing the index of %s rows to the disk", self._database.name, f"{rows:,}")
                self._carefully(self._write)
            self.leave_device()

    def leave_device(self) -> None:
        """Give a device's memory back; the processors answer whoever still searches."""
        if isinstance(built := self.index.built, MirroredIndex):
            built.unmirror()

    def drop_snapshot(self) -> None:
        """Remove the snapshot; the next one will hold no row that is retired by now. Raises OSError."""
        with self.without_snapshot():
            pass

    @contextmanager
    def without_snapshot(self) -> Iterator[None]:
        """As ``drop_snapshot``, and no work is done on the index, nor a view held for it, until the end."""
        with self._working:
            self._unclean = True
            self._missed = len(self.index)
            remove_snapshot(self._folder)
            yield

    def renew_snapshot(self) -> None:
        """As ``rewrite_snapshot``; where that fails, it is told, and there is none."""
        self._carefully(self.rewrite_snapshot)

    def rewrite_snapshot(self) -> None:
        """Write the snapshot without rows that were erased; where none is worth writing, none is left.

        A built index is built anew for that where it holds such rows: minutes for a million. Raises StorageError and
        OSError.
        """
        with self._working:
            self._database.require_open()
            built = self.index.built
            if built is not None and built.retired_share:
                self._build(built.kind)
            if self._worth_writing(0):
                self._write()
            else:
                remove_snapshot(self._folder)

    # Loading

    def _load(self) -> None:
        with self._database.snapshot() as connection:
            rows = _count(connection)
            wanted = self._wanted(rows, now=None)
            needed = estimate(
                wanted or "flat", self._spec.vectors if wanted else "fp32", rows, self._spec.embedding_dim
            )
            require_memory(needed, self._memory(), f"the index of gallery {self._database.name}, {rows:,} rows,")
            try:
                self._load_snapshot(connection, rows)
            except (SnapshotUnusable, OSError) as error:
                _log.warning(
                    "gallery %s: the snapshot of the index is not used, %s; the index is made from the database",
                    self._database.name, error,
                )  # fmt: skip
                self._load_afresh(connection, rows)
        self._mirror()

    def _load_afresh(self, connection: apsw.Connection, rows: int) -> None:
        growing, above = GrowingIndex(self._spec.embedding_dim), 0
        if self._device is not None and (kind := self._wanted(rows, now=None)) is not None:  # it has nothing to learn
            nothing = np.empty((0, self._spec.embedding_dim), dtype=np.float32)
            built = class_of(kind, mirrored=True).made(
                self._spec.embedding_dim, self._spec.vectors, rows=rows, sample=nothing
            )
            for row_ids, vectors in blocks(connection, self._bound):
                built.add(row_ids, vectors)
            above = image_rows.last_row(connection)
            growing.start_with(built, above)
        self._load_rows(connection, growing, above=above)
        self._missed = rows

    def _load_snapshot(self, connection: apsw.Connection, rows: int) -> None:
        growing = GrowingIndex(self._spec.embedding_dim)
        with open_snapshot(self._folder) as opened:
            if opened is None:
                self._load_afresh(connection, rows)
                return
            about, reader = opened
            self._check(connection, about, rows)
            removed = image_rows.removed_since(connection, about.change)
            if about.built:
                built = restored(about, reader, mirrored=self._device is not None)
                growing.start_with(built, about.up_to)
                built.retire(removed)
            else:
                _add_blocks(growing, reader, about)
                growing.retire(removed)
            reader.finish()
        self._load_rows(connection, growing, above=about.up_to)
        if len(growing) != rows:
            raise SnapshotUnusable(f"with what was written since it holds {len(growing):,} rows, not {rows:,}")
        self._missed = growing.waiting + len(removed) if about.built else rows - about.rows + len(removed)

    def _load_rows(self, connection: apsw.Connection, growing: GrowingIndex, *, above: int) -> None:
        if not above:
            growing.reserve(_count(connection))
        for row_ids, vectors in blocks(connection, self._bound, above=above):
            growing.add(row_ids, vectors)
        self.index = growing

    def _check(self, connection: apsw.Connection, about: SnapshotAbout, rows: int) -> None:
        spec, now = self._spec, about.kind if about.built else None
        if (about.space, about.dim) != (spec.embedding_space, spec.embedding_dim):
            raise SnapshotUnusable(f"it holds vectors of the space {about.space}, {about.dim} numbers each")
        wanted = self._wanted(rows, now=now)
        if now != wanted or (wanted is not None and about.vectors != spec.vectors):
            raise SnapshotUnusable(f"it is of the kind {about.kind}, {about.vectors}")
        if about.change > image_rows.last_change(connection):
            raise SnapshotUnusable("it is newer than the database")
        if image_rows.lost_since(connection, about.change):
            raise SnapshotUnusable("the database was repaired since")
        if not _same_past(connection, about):
            raise SnapshotUnusable("the database has another past")

    # Work

    def _due(self) -> Callable[[], None] | None:
        """The next piece of work."""
        if time.monotonic() < self._resting_until:
            return None
        if self._scattered:
            return self._use_huge_pages
        index, built = self.index, self.index.built
        now = None if built is None else built.kind
        wanted = self._wanted(len(index), now=now)
        if wanted != now:
            return partial(self._build, wanted)
        if built is not None and (
            built.retired_share > _RETIRED_SHARE or index.waiting * _WAITING_SHARE > len(built) + 2 * _MOVED_FROM
        ):
            return partial(self._build, wanted)
        if built is not None and index.waiting >= _MOVED_FROM:
            return self._move
        if self._device is not None and isinstance(built, MirroredIndex) and built.waiting:
            return self._mirror
        # Plain rows are read from the database in 1.3 times the time, no reason to write them again and again.
        return self._write if built is not None and self._worth_writing(_WRITTEN_SHARE) else None

    def _work(self) -> None:
        try:
            while (work := self._next()) is not None:
                with self._working:
                    self._carefully(work)
        except BaseException:
            self._thread = None  # a bug is told by the thread's end; nobody waits for it
            raise

    def _next(self) -> Callable[[], None] | None:
        """The next piece of work; where there is none, this thread is none any more."""
        with self._guard:
            work = None if self._stopping.is_set() else self._due()
            if work is None:
                self._thread = None
            return work

    def _carefully(self, work: Callable[[], None]) -> None:
        """Do a piece of work; where it fails, searches go on with what there is, and it is tried again later."""
        try:
            work()
            self._problem = None
        except Stopped:
            pass
        except GALLERY_TROUBLE as error:
            self._give_up(trouble_of(error))

    def _give_up(self, problem: str) -> None:
        """Tell it, and do nothing for a while."""
        self._problem, self._resting_until = problem, time.monotonic() + _REST
        _log.warning("gallery %s: the index stays as it is: %s", self._database.name, problem)

    def _wanted(self, rows: int, *, now: BuiltKind | None) -> BuiltKind | None:
        """The kind to build for so many rows; see ``built_kind``."""
        return built_kind(self._spec.kind, self._spec.vectors, rows, now=now, mirrored=self._device is not None)

    def _mirror(self) -> None:
        """Copy to the device what it does not have of the built index."""
        if self._device is not None and isinstance(built := self.index.built, MirroredIndex):
            built.mirror(self._device, f"the index of gallery {self._database.name}", self._give_up)

    def _build(self, kind: BuiltKind | None) -> None:
        """Build an index of ``kind`` (None: the plain flat one) from the database and let it answer."""
        began, dim, rows = time.monotonic(), self._spec.embedding_dim, len(self.index)
        name, vectors = kind or "flat", self._spec.vectors if kind else "fp32"
        require_memory(
            estimate(name, vectors, rows, dim), self._memory(),
            f"building an index of kind {name} beside the running one of gallery {self._database.name}",
        )  # fmt: skip
        _log.info("gallery %s: an index of kind %s is being built, %s rows", self._database.name, name, f"{rows:,}")
        self._building = name
        try:
            with self.index.noting():
                with self._writing, self._database.snapshot() as connection:
                    up_to = image_rows.last_row(connection)
                    self.index.seal(up_to)
                built = build_index(
                    self._database, self._bound, kind, rows=rows, up_to=up_to, stopping=self._stopping,
                    mirrored=self._device is not None,
                )  # fmt: skip
                built.use_huge_pages()
                self._replace(built, up_to)
        finally:
            self._building = None
        self._missed, self._unclean = len(self.index), False
        _log.info(
            "gallery %s: the index of kind %s answers now; it was built in %.1f s",
            self._database.name, name, time.monotonic() - began,
        )  # fmt: skip

    def _replace(self, built: BuiltIndex | FlatIndex, up_to: int) -> None:
        """Let ``built`` answer, from the device at once where that holds both; else its copy follows (``_due``)."""
        old = self.index.built
        if self._device is not None and isinstance(built, MirroredIndex):
            with suppress(NotEnoughMemory, IndexDeviceUnavailable):
                built.mirror(self._device, f"the index of gallery {self._database.name}", self._give_up)
        self.index.replace(built, up_to)
        if isinstance(old, MirroredIndex):
            old.unmirror()

    def _move(self) -> None:
        """Take what waits into the built index, a few rows at a time; readers have their turn in between."""
        with self.index.noting():
            with self._writing:
                row_ids = self.index.settled()
            self._make_room(len(row_ids))
            lot = 1
            while len(row_ids) and not self._stopping.is_set():
                took = self.index.move(row_ids[:lot])
                row_ids, lot = row_ids[lot:], next_lot(lot, took)
                self._stopping.wait(2 * took)

    def _make_room(self, rows: int) -> None:
        """See to it that so many rows can be moved without FAISS copying all of them while searches wait.

        Where there is no memory for that, searches wait: a second for a million rows, once for each eighth more.
        """
        built = self.index.built
        if built is None or built.room >= rows:
            return
        more, all_rows = max(rows, len(built) // _ROOM_SHARE), len(built.row_ids())
        needed = estimate(built.kind, built.vectors, all_rows + more, self._spec.embedding_dim)
        what = f"making room for more rows in the index of gallery {self._database.name}"
        try:
            require_memory(_COPIES * needed, self._memory(), what)
        except NotEnoughMemory:
            require_memory(needed, self._memory(), what)
            with self.index.lock.write():
                built.reserve(all_rows + more)
            return
        roomier = built.roomier(more)
        roomier.use_huge_pages()
        self.index.replace(roomier, self.index.built_up_to)

    def _use_huge_pages(self) -> None:
        self._scattered = False
        self.index.use_huge_pages()

    def _worth_writing(self, share: int) -> bool:
        rows, built = len(self.index), self.index.built
        wanted = self._wanted(rows, now=None if built is None else built.kind)
        if self._read_only or (built is None) != (wanted is None) or (built is None and rows < _SNAPSHOT_FROM):
            return False
        return share == 0 or self._missed > max(rows // share, _SNAPSHOT_FROM // share)

    def _retired(self) -> bool:
        built = self.index.built
        return built is not None and built.retired_share > 0

    def _write(self) -> None:
        """Write the snapshot: a built index as it is, the plain flat one's rows from the database."""
        if self._unclean and (built := self.index.built) is not None and built.retired_share:
            self._build(built.kind)
        built, missed = self.index.built, self._missed
        with self._database.snapshot() as connection:
            with self._writing:
                pass  # whoever committed what this view sees has retired it by now
            up_to = image_rows.last_row(connection) if built is None else self.index.built_up_to
            about = SnapshotAbout(
                space=self._spec.embedding_space,
                dim=self._spec.embedding_dim,
                kind="flat" if built is None else built.kind,
                vectors="fp32" if built is None else built.vectors,
                built=built is not None,
                change=image_rows.last_change(connection),
                up_to=up_to,
                rows=_count(connection) if built is None else len(built.row_ids()),
                error=0.0 if built is None else built.error,
                witness=image_rows.newest(connection, up_to=up_to),
            )
            write_snapshot(self._folder, about, partial(self._save_rows, connection) if built is None else built.save)
        with self._writing:
            self._missed -= missed

    def _save_rows(self, connection: apsw.Connection, write: Callable[[bytes], None]) -> None:
        for row_ids, vectors in blocks(connection, self._bound):
            write(_HEAD.pack(len(row_ids)) + row_ids.astype("<i8").tobytes() + vectors.astype("<f4").tobytes())


def _add_blocks(growing: GrowingIndex, reader: SnapshotReader, about: SnapshotAbout) -> None:
    """The way back from ``_save_rows``."""
    growing.reserve(about.rows)
    while len(growing) < about.rows:
        (count,) = _HEAD.unpack(reader.read(_HEAD.size))
        row_ids = np.frombuffer(reader.read(8 * count), dtype="<i8").astype(np.int64)
        vectors = np.frombuffer(reader.read(4 * count * about.dim), dtype="<f4").reshape(count, about.dim)
        growing.add(row_ids, vectors.astype(np.float32, copy=False))


def _count(connection: apsw.Connection) -> int:
    rows: int = connection.execute("SELECT count(*) FROM images").get
    return rows


def _same_past(connection: apsw.Connection, about: SnapshotAbout) -> bool:
    """Whether the row that the snapshot names is there as it was, or was removed since."""
    if about.witness is None:
        return True
    row_id, ingested_at = about.witness
    now = image_rows.newest(connection, up_to=row_id)
    if now is not None and now[0] == row_id:
        return now[1] == ingested_at
    return row_id in image_rows.removed_since(connection, about.change)
