"""A gallery on this machine: SQLite is the truth, FAISS finds, crops lie beside.

A write commits before it returns. Its vectors are in the index before the commit and the old ones leave after it, and
every hit is joined to the database, so a search sees each acknowledged image once: the old vector or the new one.
"""

import base64
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import apsw
import numpy as np
from numpy.typing import NDArray

from index import gallery_database as database
from index.crop_store import CropStore
from index.crops import content_name
from index.errors import EmbeddingNotFinite, ImageNotFound, InvalidValue
from index.flat_index import FlatIndex, Nearest
from index.gallery import (
    Filters,
    GalleryInfo,
    GallerySpec,
    Match,
    Metadata,
    NewImage,
    Page,
    SearchOptions,
    StoredImage,
)
from index.gallery_database import GalleryDatabase

_DATABASE, _CROPS = "gallery.sqlite", "crops"
_DAY = 86_400 * 1_000_000  # microseconds
_RETRIES = 8  # searches that meet a row which has just been replaced
_IDS_A_QUERY = 10_000


class LocalGallery:
    """One gallery's folder. See :class:`index.gallery.Gallery`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = GalleryDatabase(folder / _DATABASE)
        self.name, self.spec = self._database.name, self._database.spec
        self._crops = CropStore(folder / _CROPS)
        self._index = FlatIndex(self.spec.embedding_dim)
        self._writing = threading.Lock()
        self._recover()
        for row_ids, vectors in self._database.vectors():
            self._index.add(row_ids, vectors)

    @staticmethod
    def create(folder: Path, name: str, spec: GallerySpec) -> None:
        """Make an empty gallery in a folder that exists."""
        CropStore(folder / _CROPS).create()
        GalleryDatabase.create(folder / _DATABASE, name, spec)

    def info(self) -> GalleryInfo:
        with self._database.snapshot() as connection:
            (last_change,) = next(connection.execute("SELECT coalesce(max(change), 0) FROM changes"))
        return GalleryInfo(
            name=self.name, spec=self.spec, images=self.count(), last_change=last_change,
            created_at=self._database.created_at, disk_bytes=self._database.disk_bytes() + self._crops.size(),
        )  # fmt: skip

    def count(self) -> int:
        where, bindings = database.condition(Filters(), since=self._since())
        with self._database.snapshot() as connection:
            return int(next(connection.execute(f"SELECT count(*) FROM images WHERE {where}", bindings))[0])  # noqa: S608

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]:
        for image in images:
            self._check_vector(image.embedding, image.image_id)
        if len({image.image_id for image in images}) != len(images):
            raise InvalidValue("an image_id stands twice in one write")
        names = [content_name(image.crop) if self.spec.keep_crops else None for image in images]
        with self._writing:
            crops = {name: image.crop for name, image in zip(names, images, strict=True) if name is not None}
            self._crops.write(crops)
            try:
                statuses, old, gone = self._commit(images, names)
            except BaseException:
                self._forget_uncommitted(crops)
                raise
            self._index.remove(np.array(old, dtype=np.int64))
            self._crops.settle(crops)
            self._discard(gone)
        return statuses

    def _commit(
        self, images: Sequence[NewImage], names: Sequence[str | None]
    ) -> tuple[list[Literal["created", "updated"]], list[int], list[str]]:
        statuses: list[Literal["created", "updated"]] = []
        old: list[int] = []
        new: list[int] = []
        gone: list[str] = []
        now, since = database.microseconds(datetime.now(UTC)), self._since()
        try:
            with self._database.transaction() as connection:
                for image, name in zip(images, names, strict=True):
                    found = list(
                        connection.execute(
                            "SELECT row_id, ingested_at FROM images WHERE image_id = ?", (image.image_id,)
                        )
                    )
                    alive = bool(found) and (since is None or found[0][1] >= since)
                    statuses.append("updated" if alive else "created")
                    if found:
                        old.append(found[0][0])
                        gone += database.remove(connection, [found[0][0]])
                    new.append(
                        database.insert(
                            connection, image.image_id, image.metadata, now, name, image.viewpoint,
                            self.spec.viewpoints, image.embedding,
                        )
                    )  # fmt: skip
                kept = {name for name in names if name}
                gone = [name for name in gone if name not in kept]
                connection.executemany("DELETE FROM discarded WHERE crop = ?", [(name,) for name in kept])
                self._index.add(np.array(new, dtype=np.int64), np.stack([image.embedding for image in images]))
        except BaseException:
            self._index.remove(np.array(new, dtype=np.int64))
            raise
        return statuses, old, gone

    def get(self, image_id: str) -> StoredImage:
        return self._row(image_id)[1]

    def embedding(self, image_id: str) -> NDArray[np.float32]:
        with self._database.snapshot() as connection:
            found = list(
                connection.execute(
                    "SELECT vector FROM embeddings JOIN images USING (row_id) WHERE image_id = ? AND ingested_at >= ?",
                    (image_id, self._since() or 0),
                )
            )
        if not found:
            raise self._missing(image_id)
        return np.frombuffer(found[0][0], dtype="<f4").astype(np.float32)

    def crop(self, image_id: str) -> tuple[str, bytes]:
        name = self._row(image_id)[1].crop_name
        data = self._crops.read(name) if name else None
        if name is None or data is None:
            why = "this gallery keeps no crops" if name is None else "its file is missing"
            raise ImageNotFound(f"gallery {self.name} has no crop of {image_id}: {why}")
        return name, data

    def page(self, filters: Filters, *, limit: int, cursor: str | None = None) -> Page:
        where, bindings = database.condition(filters, since=self._since())
        if cursor is not None:
            where, bindings = f"{where} AND image_id > ?", [*bindings, _cursor_id(cursor)]
        with self._database.snapshot() as connection:
            rows = list(database.select(connection, f"{where} ORDER BY image_id LIMIT ?", [*bindings, limit + 1]))
        images = [image for _, image in rows[:limit]]
        return Page(images=images, cursor=_cursor(images[-1].image_id) if len(rows) > limit else None)

    def set_metadata(self, image_id: str, metadata: Metadata) -> StoredImage:
        with self._writing:
            row_id, _ = self._row(image_id)
            with self._database.transaction() as connection:
                database.update_metadata(connection, row_id, metadata)
        return self.get(image_id)

    def delete(self, image_id: str) -> None:
        with self._writing:
            row_id, _ = self._row(image_id)
            self._remove(np.array([row_id], dtype=np.int64))

    def delete_where(self, filters: Filters) -> int:
        where, bindings = database.condition(filters, since=self._since())
        with self._writing:
            with self._database.snapshot() as connection:
                found = database.row_ids(connection, where, bindings)
            self._remove(found)
        return len(found)

    def search(self, queries: NDArray[np.float32], options: SearchOptions) -> list[list[Match]]:
        for query in queries:
            self._check_vector(query, "the query")
        return [self._search(np.asarray(query, np.float32), options) for query in queries]

    def close(self) -> None:
        """Close the database; nobody may be using the gallery."""
        self._database.close()

    def _search(self, query: NDArray[np.float32], options: SearchOptions) -> list[Match]:
        count = options.top_k + (options.exclude_image_id is not None)
        for attempt in range(_RETRIES):
            among = self._among(options.filters)
            (nearest,) = self._index.search(query[None], count, among=among)
            rows, vectors = self._join(nearest, options)
            vanished = len(nearest.row_ids) - len(rows)
            last = attempt == _RETRIES - 1
            if vanished and not last:
                continue  # a row was replaced or erased meanwhile: its successor is in the index by now
            matches = _rank(nearest, rows, vectors, options)
            if len(matches) >= options.top_k or nearest.exhausted or _beyond(nearest, options):
                return matches
            count *= 4
        return self._search_all(query, options)

    def _search_all(self, query: NDArray[np.float32], options: SearchOptions) -> list[Match]:
        """Rank everything, when rows come and go too fast or groups are too large for anything less."""
        with self._writing:
            (nearest,) = self._index.search(query[None], len(self._index), among=self._among(options.filters))
            rows, vectors = self._join(nearest, options)
        return _rank(nearest, rows, vectors, options)

    def _among(self, filters: Filters) -> NDArray[np.int64] | None:
        """Row ids that pass filters and retention; None where all do."""
        since = self._since()
        with self._database.snapshot() as connection:
            if filters.empty:
                if since is None:
                    return None
                oldest = next(connection.execute("SELECT min(ingested_at) FROM images"))[0]
                if oldest is None or oldest >= since:
                    return None
            return database.row_ids(connection, *database.condition(filters, since=since))

    def _join(
        self, nearest: Nearest, options: SearchOptions
    ) -> tuple[dict[int, StoredImage], dict[int, NDArray[np.float32]]]:
        """What the database knows of the candidates that still pass, and their vectors."""
        rows: dict[int, StoredImage] = {}
        vectors: dict[int, NDArray[np.float32]] = {}
        where, bindings = database.condition(options.filters, since=self._since())
        with self._database.snapshot() as connection:
            for start in range(0, len(nearest.row_ids), _IDS_A_QUERY):
                ids = nearest.row_ids[start : start + _IDS_A_QUERY].tolist()
                marks = ", ".join("?" * len(ids))
                rows.update(database.select(connection, f"row_id IN ({marks}) AND {where}", [*ids, *bindings]))
                found = connection.execute(f"SELECT row_id, vector FROM embeddings WHERE row_id IN ({marks})", ids)  # noqa: S608
                vectors.update((row_id, np.frombuffer(vector, dtype="<f4")) for row_id, vector in found)
        return rows, vectors

    def _row(self, image_id: str) -> tuple[int, StoredImage]:
        where, bindings = database.condition(Filters(), since=self._since())
        with self._database.snapshot() as connection:
            for row in database.select(connection, f"image_id = ? AND {where}", [image_id, *bindings]):
                return row
        raise self._missing(image_id)

    def _remove(self, row_ids: NDArray[np.int64]) -> None:
        if len(row_ids) == 0:
            return
        with self._database.transaction() as connection:
            gone = database.remove(connection, row_ids.tolist())
        self._index.remove(row_ids)
        self._discard(gone)

    def _discard(self, names: Sequence[str]) -> None:
        if names:
            self._crops.discard(names)
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM discarded WHERE crop = ?", [(name,) for name in names])

    def _forget_uncommitted(self, crops: dict[str, bytes]) -> None:
        with self._database.snapshot() as connection:
            unnamed = [name for name in crops if not _is_named(connection, name)]
        self._crops.discard(unnamed)

    def _recover(self) -> None:
        with self._database.snapshot() as connection:
            self._crops.recover(lambda name: _is_named(connection, name))
            left = [row[0] for row in connection.execute("SELECT crop FROM discarded")]
        self._discard(left)

    def _since(self) -> int | None:
        """Oldest ingestion time, in microseconds since 1970, that retention lets through."""
        days = self.spec.retention_days
        return None if days is None else database.microseconds(datetime.now(UTC)) - int(days * _DAY)

    def _check_vector(self, vector: NDArray[np.float32], what: str) -> None:
        if vector.shape != (self.spec.embedding_dim,):
            raise InvalidValue(
                f"the embedding of {what} is {vector.shape}, gallery {self.name} has {self.spec.embedding_dim}"
            )
        if not np.isfinite(vector).all():
            raise EmbeddingNotFinite(f"the embedding of {what} holds a value that is not finite")

    def _missing(self, image_id: str) -> ImageNotFound:
        return ImageNotFound(f"gallery {self.name} has no image {image_id}")


def _rank(
    nearest: Nearest, rows: dict[int, StoredImage], vectors: dict[int, NDArray[np.float32]], options: SearchOptions
) -> list[Match]:
    """Order by distance, then image_id; keep the best of each group; cut."""
    hits = sorted(
        (
            (float(distance), rows[row_id].image_id, row_id)
            for row_id, distance in zip(nearest.row_ids.tolist(), nearest.distances, strict=True)
            if row_id in rows
        ),
        key=lambda hit: hit[:2],
    )
    matches: list[Match] = []
    seen: set[str] = set()
    for distance, image_id, row_id in hits:
        image = rows[row_id]
        if image_id == options.exclude_image_id:
            continue
        if len(matches) == options.top_k or (options.max_distance is not None and distance > options.max_distance):
            break
        vehicle = image.metadata.vehicle_id
        if options.group_by and vehicle is not None:
            if vehicle in seen:
                continue
            seen.add(vehicle)
        matches.append(Match(rank=len(matches) + 1, distance=distance, image=image, embedding=vectors[row_id]))
    return matches


def _beyond(nearest: Nearest, options: SearchOptions) -> bool:
    """Whether every candidate left out is farther than anyone wants."""
    return (
        options.max_distance is not None and len(nearest.distances) > 0 and nearest.distances[-1] > options.max_distance
    )


def _is_named(connection: apsw.Connection, name: str) -> bool:
    return bool(list(connection.execute("SELECT 1 FROM images WHERE crop = ? LIMIT 1", (name,))))


def _cursor(image_id: str) -> str:
    return base64.urlsafe_b64encode(image_id.encode()).decode().rstrip("=")


def _cursor_id(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise InvalidValue(
            f"{cursor[:60]!a} is not a cursor that this gallery gave", pointer="/query/cursor"
        ) from error
