"""All galleries of one Milvus server whose collections begin with one prefix."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from index.data_folder import DEFAULT, unusable
from index.errors import (
    GalleryNotFound,
    ReadOnly,
    StorageError,
)
from index.feedback.answer_home import FeedbackHome
from index.gallery import GallerySpec
from index.gallery_rules import make_default, no_gallery, require_number, require_same, unavailable, utc_now
from index.metadata import check_gallery_name
from index.milvus.change_counts import ChangeCounts
from index.milvus.collection_name import PREFIX, GalleryDescription, changes_name, check_prefix, gallery_of, new_name
from index.milvus.crop_home import CropHome
from index.milvus.image_row import add_fields
from index.milvus.index_settings import index_of
from index.milvus.milvus_gallery import MilvusGallery
from index.milvus.milvus_server import MilvusServer
from index.milvus.row_clock import RowClock
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
        self._galleries: dict[str, MilvusGallery] = {}
        self._problems: dict[str, str] = {}
        self._looked = -_KNOWN_SECONDS
        self._server = MilvusServer(uri, token_file=token_file)
        self._row_clock = RowClock()
        self._changes = ChangeCounts(self._server, changes_name(prefix), self._row_clock)
        self._lock: FolderLock | None = None
        try:
            self._lock = None if own_folder is None or read_only else _locked(own_folder)
            if not read_only:
                self._changes.create()
            self._look()
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

    def get(self, name: str) -> MilvusGallery:
        gallery = self._known().get(name)
        if gallery is None and name not in self._problems:
            gallery = self._known(now=True).get(name)  # somebody else may have created it just now
        if name in self._problems:
            raise unavailable(name, self._problems[name])
        if gallery is None:
            raise no_gallery(name)
        return gallery

    def create(self, name: str, spec: GallerySpec) -> tuple[MilvusGallery, bool]:
        check_gallery_name(name)
        index = index_of(spec)
        self._require_writable()
        known = self._known(now=True)
        if name in known or name in self._problems:
            existing = self.get(name)
            require_same(existing.spec, spec, name)
            return existing, False
        require_number(len(known) + len(self._problems), self._most)
        collection = new_name(self._prefix, name)
        schema = self._schema(GalleryDescription.new(name, spec))
        self._server.create(collection, schema, "embedding", index)
        gallery = self._known(now=True)[name]
        if gallery.collection == collection:
            return gallery, True
        self._server.call("drop_collection", collection)  # somebody else was first
        require_same(gallery.spec, spec, name)
        return gallery, False

    def drop(self, name: str) -> None:
        self._require_writable()
        gallery = self.get(name)
        collections = self._server.call("list_collections")
        gallery.feedback.close()
        self._feedback.drop(gallery.identity)  # first, as afterwards nobody knows whose it was
        for collection in collections:
            if gallery_of(collection, self._prefix) == name:
                self._server.call("drop_collection", collection)
        gallery.close()
        self._known(now=True)
        self._changes.forget(gallery.collection)
        self._crops.drop(gallery.collection)

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

    def _schema(self, description: GalleryDescription) -> Any:
        from pymilvus import MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description.text)
        add_fields(schema, description.spec.embedding_dim)
        return schema

    def _known(self, *, now: bool = False) -> dict[str, MilvusGallery]:
        """The galleries, as they were a second ago at most."""
        if now or time.monotonic() - self._looked > _KNOWN_SECONDS:
            self._look()
        return self._galleries

    def _look(self) -> None:
        with self._guard:
            began = time.monotonic()
            there: dict[str, list[str]] = {}
            for collection in self._server.call("list_collections"):
                if (name := gallery_of(collection, self._prefix)) is not None:
                    there.setdefault(name, []).append(collection)
            known, problems = dict[str, MilvusGallery](), dict[str, str]()
            for name, collections in there.items():
                gallery = self._galleries.get(name)
                if gallery is not None and collections == [gallery.collection]:
                    known[name] = gallery
                    continue
                try:
                    known[name] = self._opened(name, collections)
                except GalleryNotFound:
                    continue  # dropped just now
                except StorageError as error:
                    problems[name] = str(error)
            for name, gallery in self._galleries.items():
                if known.get(name) is not gallery:
                    gallery.close()
            self._galleries, self._problems, self._looked = known, problems, began

    def _opened(self, name: str, collections: list[str]) -> MilvusGallery:
        """The gallery of a name; where two services created it at once, that of who was first."""
        described = [(collection, self._server.call("describe_collection", collection)) for collection in collections]
        collection, said = min(described, key=lambda each: (each[1]["created_timestamp"], each[0]))
        before = self._galleries.get(name)
        if before is not None and before.collection == collection:
            return before
        description = GalleryDescription.read(said["description"], collection)
        return MilvusGallery(
            self._server, collection, description, changes=self._changes, row_clock=self._row_clock, crops=self._crops,
            answers=self._feedback.answers(description.identity), clock=self._clock, erasing_clock=self._erasing_clock,
            read_only=self._read_only,
        )  # fmt: skip


def _locked(folder: Path) -> FolderLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FolderLock(folder)
    except OSError as error:
        raise unusable(folder, error) from error
