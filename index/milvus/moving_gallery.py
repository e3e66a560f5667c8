"""A gallery on a Milvus server, wherever it is: it moves to another collection with another model.

Every service sees the move at once, because each question and each write begins with a look at the names of
collections, and ends with one. What was asked of a collection that no longer answers is asked of the next; a write that
may have come too late for one is done again in the next.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.contract import Contract
from index.errors import GalleryConflict, GalleryNotFound, VehicleSearchError
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
from index.milvus.collection_list import CollectionList, Standing
from index.milvus.collection_name import CollectionName, GalleryDescription
from index.milvus.milvus_gallery import MilvusGallery, Moved, Places
from index.milvus.milvus_migration import CLOSED_SECONDS, MilvusMigration

T = TypeVar("T")
_LOOK_SECONDS: Final = 0.05  # between two looks of a writer that waits


class MovingGallery:
    """See ``index.gallery.Gallery``; ``first`` is the collection that it was created in.

    ``key`` is what its crops and changes are kept under, wherever it is. ``open_in`` gives the gallery in one of its
    collections, ``migration_of`` what moves it, ``feedback_of`` what was said of its matches.
    """

    name: str

    def __init__(
        self, first: CollectionName, collections: CollectionList, *,
        open_in: Callable[[CollectionName, Places], MilvusGallery],
        migration_of: Callable[["MovingGallery"], MilvusMigration],
        feedback_of: Callable[["MovingGallery", GalleryDescription], AnswerBook],
    ) -> None:  # fmt: skip
        self.name, self.key = first.gallery, first.gallery_key
        self._collections, self._open_in = collections, open_in
        self._guard = threading.Lock()
        self._here: tuple[CollectionName, MilvusGallery] | None = None
        self._closed = False
        self._migration = migration_of(self)
        description = self.at(first).description
        self.identity = description.identity
        self.feedback = feedback_of(self, description)

    @property
    def spec(self) -> GallerySpec:
        """As of the last look at where it is."""
        return self._last().spec

    def close(self) -> None:
        """From now on it is a gallery that does not exist."""
        self._closed = True
        self.feedback.close()

    # Where it is

    def standing(self) -> Standing:
        """Its collections at this moment; GalleryNotFound."""
        standing = None if self._closed else self._collections.standing(self.key)
        if standing is None:
            raise GalleryNotFound(f"there is no gallery {self.name} any more")
        return standing

    def at(self, collection: CollectionName) -> MilvusGallery:
        """The gallery in a collection that answers."""
        with self._guard:
            here = self._here
            if here is not None and here[0].generation >= collection.generation:
                return here[1]  # of two who looked one may come late
            opened = self._open_in(collection, self)
            self._here = collection, opened
            return opened

    def serving(self) -> MilvusGallery:
        return self.at(self.standing().serving)

    def settled(self) -> MilvusGallery:
        waiting_for: CollectionName | None = None
        since = 0.0
        while (closing := (standing := self.standing()).closing) is not None:
            if closing != waiting_for:
                waiting_for, since = closing, time.monotonic()
            elif time.monotonic() > since + CLOSED_SECONDS:
                self._migration.reopen(closing)  # who made us wait has died
            time.sleep(_LOOK_SECONDS)
        return self.at(standing.serving)

    def asked(self, ask: Callable[[MilvusGallery], T]) -> T:
        while True:
            serving = self.serving()
            try:
                answer = ask(serving)
            except VehicleSearchError:
                if self.serving() is serving:
                    raise
                continue
            if self.serving() is serving:  # else it may be gone in part
                return answer

    def require_writable(self) -> None:
        """Raise ReadOnly where this service only reads."""
        self.serving().require_writable()

    def _last(self) -> MilvusGallery:
        here = self._here
        return self.serving() if here is None else here[1]

    def _done(self, work: Callable[[MilvusGallery], T]) -> T:
        """What comes of a write, done where the gallery is when it is told."""
        while True:
            settled = self.settled()
            try:
                return work(settled)
            except Moved:
                continue
            except VehicleSearchError:
                if self.serving() is settled:
                    raise

    # Questions

    def info(self) -> GalleryInfo:
        return self.asked(lambda here: here.info())

    def index_state(self) -> IndexState:
        return self.asked(lambda here: here.index_state())

    def count(self) -> int:
        return self.asked(lambda here: here.count())

    def log_bytes(self) -> int:
        return 0

    def get(self, image_id: str) -> StoredImage:
        return self.asked(lambda here: here.get(image_id))

    def find(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        return self.asked(lambda here: here.find(image_ids))

    def embedding(self, image_id: str) -> NDArray[np.float32]:
        return self.asked(lambda here: here.embedding(image_id))

    def embeddings(self, image_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return self.asked(lambda here: here.embeddings(image_ids))

    def whole(self) -> Iterator[Sequence[tuple[StoredImage, NDArray[np.float32]]]]:
        serving = self.serving()
        pages = serving.whole()
        while True:
            try:
                page = next(pages, None)
            except GalleryNotFound:
                if self.serving() is serving:
                    raise
            if self.serving() is not serving:
                raise GalleryConflict(
                    f"gallery {self.name} was migrated to another model while it was read: begin again"
                )
            if page is None:
                return
            yield page

    def pictures(self, crop_names: Sequence[str]) -> dict[str, bytes]:
        return self._last().pictures(crop_names)

    def crop(self, image_id: str) -> tuple[str, bytes]:
        return self.asked(lambda here: here.crop(image_id))

    def page(
        self, filters: Filters, *, limit: int, cursor: str | None = None, offset: int = 0, order: Order = "image_id",
        total: bool = False,
    ) -> Page:  # fmt: skip
        return self.asked(
            lambda here: here.page(filters, limit=limit, cursor=cursor, offset=offset, order=order, total=total)
        )

    def facets(self) -> Facets:
        return self.asked(lambda here: here.facets())

    def search(self, queries: NDArray[np.float32], options: SearchOptions) -> list[list[Match]]:
        return self.asked(lambda here: here.search(queries, options))

    # Writes

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]:
        return self._done(lambda here: here.add(images))

    def change_metadata(self, image_id: str, change: Callable[[Metadata], Metadata]) -> StoredImage:
        return self._done(lambda here: here.change_metadata(image_id, change))

    def change_metadata_where(self, filters: Filters, change: Callable[[Metadata], Metadata]) -> int:
        return self._done(lambda here: here.change_metadata_where(filters, change))

    def delete(self, image_id: str) -> None:
        self._done(lambda here: here.delete(image_id))

    def delete_where(self, filters: Filters) -> int:
        return self._done(lambda here: here.delete_where(filters))

    def sweep(self) -> int:
        swept = self._done(lambda here: here.sweep())
        if not self._last().read_only:
            self.feedback.sweep()
        return swept

    def compact(self) -> None:
        """See ``MilvusGallery.compact``."""
        self._done(lambda here: here.compact())
        self._migration.forget_erased()
        self.feedback.sweep()
        self.feedback.compact()

    # Migrations

    def migrations(self) -> list[Migration]:
        return self._migration.known()

    def begin_migration(self, contract: Contract, fingerprint: str) -> tuple[Migration, bool]:
        return self._migration.begin(contract, fingerprint)

    def migrate(self, contract: Contract, look: Look, spread: Spread, stop: threading.Event) -> Migration:
        return self._migration.migrate(contract, look, spread, stop)

    def cancel_migration(self, migration_id: str) -> Migration:
        return self._migration.cancel(migration_id)
