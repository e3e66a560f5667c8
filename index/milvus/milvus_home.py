"""All galleries of one Milvus server whose collections begin with one prefix."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from index.data_folder import DEFAULT, unusable
from index.errors import (
    GalleryNotFound,
    ReadOnly,
    StorageError,
)
from index.feedback.answer_book import AnswerBook
from index.feedback.answer_home import FeedbackHome
from index.gallery import GallerySpec
from index.gallery_rules import make_default, no_gallery, require_number, require_same, unavailable, utc_now
from index.metadata import check_gallery_name
from index.milvus.change_counts import ChangeCounts
from index.milvus.collection_list import CollectionList, standing_of
from index.milvus.collection_name import (
    PREFIX,
    CollectionName,
    GalleryDescription,
    changes_name,
    check_prefix,
    migrations_name,
)
from index.milvus.image_row import schema_of
from index.milvus.index_settings import index_of
from index.milvus.kept_migrations import KeptMigrations
from index.milvus.milvus_gallery import MilvusGallery, Places
from index.milvus.milvus_migration import MilvusMigration
from index.milvus.milvus_server import MilvusServer
from index.milvus.moving_gallery import MovingGallery
from index.milvus.row_clock import RowClock
from index.objects.crop_home import CropHome
from index.storage.folder_lock import FolderLock

_KNOWN_SECONDS: Final = 1.0  # what others created or dropped is seen after that


class MilvusHome:
    """See ``index.gallery.GalleryHome``. Any number of them may have one server and ``prefix`` at the same time.

    The gallery ``default`` is created with ``default_spec`` where it is missing. ``crops`` keeps the crops,
    ``feedback`` what is said of matches: one place for all. ``own_folder``, of this process's other files, is locked as
    a data folder is. Raises DataFolderLocked, DataFolderUnusable, GalleryServerUnavailable, and InvalidValue for a
    prefix or a token file that cannot be used.
    """

    def __init__(
        self,
        uri: str,
        *,
        crops: CropHome,
        feedback: FeedbackHome,
        own_folder: Path | None = None,
        token_file: Path | None = None,
        prefix: str = PREFIX,
        default_spec: GallerySpec | None = None,
        clock: Callable[[], datetime] = utc_now,
        erasing_clock: Callable[[], datetime] | None = None,
        read_only: bool = False,
        max_galleries: int | None = None,
    ) -> None:
        self._prefix, self._crops, self._most, self._read_only = check_prefix(prefix), crops, max_galleries, read_only
        self._clock, self._erasing_clock, self._feedback = clock, erasing_clock, feedback
        self._guard = threading.Lock()
        self._galleries: dict[str, MovingGallery] = {}
        self._problems: dict[str, str] = {}
        self._looked: Sequence[CollectionName] = ()
        self._server = MilvusServer(uri, token_file=token_file)
        self._row_clock = RowClock()
        self._collections = CollectionList(self._server, prefix)
        self._changes = ChangeCounts(self._server, changes_name(prefix), self._row_clock)
        self._migrations = KeptMigrations(self._server, migrations_name(prefix), self._row_clock)
        self._lock: FolderLock | None = None
        try:
            self._lock = None if own_folder is None or read_only else _locked(own_folder)
            if not read_only:
                self._changes.create()
            self._known(now=True)
            if default_spec is not None and not read_only:
                make_default(self, DEFAULT, default_spec)
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        return sorted(self._known())

    def problems(self) -> dict[str, str]:
        self._known()
        return dict(self._problems)

    def get(self, name: str) -> MovingGallery:
        gallery = self._known().get(name)
        if gallery is None and name not in self._problems:
            gallery = self._known(now=True).get(name)  # somebody else may have created it just now
        if name in self._problems:
            raise unavailable(name, self._problems[name])
        if gallery is None:
            raise no_gallery(name)
        return gallery

    def create(self, name: str, spec: GallerySpec) -> tuple[MovingGallery, bool]:
        check_gallery_name(name)
        index = index_of(spec)
        self._require_writable()
        known = self._known(now=True)
        if name in known or name in self._problems:
            existing = self.get(name)
            require_same(existing.spec, spec, name)
            return existing, False
        require_number(len(known) + len(self._problems), self._most)
        collection = CollectionName.new(self._prefix, name).text
        schema = schema_of(GalleryDescription.new(name, spec).text, spec.embedding_dim)
        self._server.create(collection, schema, "embedding", index)
        gallery = self._known(now=True)[name]
        if gallery.key == collection:
            return gallery, True
        self._server.call("drop_collection", collection)  # somebody else was first
        require_same(gallery.spec, spec, name)
        return gallery, False

    def drop(self, name: str) -> None:
        self._require_writable()
        gallery = self.get(name)
        gallery.feedback.close()
        self._feedback.drop(gallery.identity)  # first, as afterwards nobody knows whose it was
        own = [each for each in self._collections.names() if each.gallery == name]
        keys = {each.gallery_key for each in own}
        while own:  # whoever migrates it gives other names meanwhile
            for collection in sorted(own, key=lambda each: each.state == "serving"):  # first what may begin to answer
                self._server.call("drop_collection", collection.text)
            own = [each for each in self._collections.names() if each.gallery_key in keys]
        gallery.close()
        self._known(now=True)
        self._changes.forget(gallery.key)
        self._migrations.forget(gallery.key)
        self._crops.drop(gallery.key)

    def close(self) -> None:
        for gallery in self._galleries.values():
            gallery.close()
        self._server.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _require_writable(self) -> None:
        if self._read_only:
            raise ReadOnly("this service only reads (read_only): galleries are neither made nor dropped by it")

    def _known(self, *, now: bool = False) -> dict[str, MovingGallery]:
        """The galleries, as they were a second ago at most."""
        with self._guard:
            names = self._collections.names(age=0.0 if now else _KNOWN_SECONDS)
            if names is not self._looked:
                self._take_in(names)
            return self._galleries

    def _take_in(self, names: Sequence[CollectionName]) -> None:
        there: dict[str, dict[str, list[CollectionName]]] = {}
        for name in names:
            there.setdefault(name.gallery, {}).setdefault(name.gallery_key, []).append(name)
        known, problems = dict[str, MovingGallery](), dict[str, str]()
        for gallery, by_key in there.items():
            standings = [each for own in by_key.values() if (each := standing_of(own)) is not None]
            try:
                serving = self._first([each.serving for each in standings])
                if serving is not None:
                    known[gallery] = self._opened(serving)
            except GalleryNotFound:
                continue  # dropped just now
            except StorageError as error:
                problems[gallery] = str(error)
        for name_of, before in self._galleries.items():
            if known.get(name_of) is not before:
                before.close()
        self._galleries, self._problems, self._looked = known, problems, names

    def _first(self, collections: Sequence[CollectionName]) -> CollectionName | None:
        """Where services created galleries of one name at once, that of who was first; one that moved always is."""
        if len(collections) < 2:
            return next(iter(collections), None)
        return min(collections, key=lambda each: (each.generation == 0, self._created(each), each.text))

    def _created(self, collection: CollectionName) -> int:
        return int(self._server.call("describe_collection", collection.text)["created_timestamp"])

    def _opened(self, serving: CollectionName) -> MovingGallery:
        gallery = self._galleries.get(serving.gallery)
        if gallery is None or gallery.key != serving.gallery_key:
            gallery = MovingGallery(
                serving, self._collections, open_in=self._open_in,
                migration_of=lambda moving: MilvusMigration(
                    moving, self._server, changes=self._changes, kept=self._migrations, crops=self._crops,
                    row_clock=self._row_clock, clock=self._clock, read_only=self._read_only,
                ),
                feedback_of=self._feedback_of,
            )  # fmt: skip
        gallery.at(serving)
        return gallery

    def _feedback_of(self, gallery: MovingGallery, description: GalleryDescription) -> AnswerBook:
        def changes() -> object:
            """What differs after every change of an image, and each hour: a service may die before its last counts."""
            return self._changes.last(gallery.key), self._clock().replace(minute=0, second=0, microsecond=0)

        return AnswerBook(
            gallery, self._feedback.answers(description.identity), secret=description.secret, changes=changes,
            require_writable=gallery.require_writable, clock=self._clock,
        )  # fmt: skip

    def _open_in(self, collection: CollectionName, places: Places) -> MilvusGallery:
        said = self._server.call("describe_collection", collection.text)["description"]
        return MilvusGallery(
            self._server, collection.gallery_key, GalleryDescription.read(said, collection.text),
            rows_in=collection.text, places=places, changes=self._changes, row_clock=self._row_clock,
            crops=self._crops, clock=self._clock, erasing_clock=self._erasing_clock, read_only=self._read_only,
        )  # fmt: skip


def _locked(folder: Path) -> FolderLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FolderLock(folder)
    except OSError as error:
        raise unusable(folder, error) from error
