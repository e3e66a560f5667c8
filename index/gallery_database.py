"""The truth about a gallery: one SQLite file, written in transactions that reach the disk before they return.

Layout 1. ``images`` has a row an image; ids are never reused, a replacement is a new row. ``embeddings`` keeps a
vector by (row, space), so that a migration can write beside the old ones. ``changes`` counts every write, so that a
derived index knows what it has missed. ``discarded`` names crop files that no row needs and that are still to go.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from index.errors import DataFolderUnusable, StorageError, StorageFull
from index.gallery import Attribute, Filters, GallerySpec, Metadata, StoredImage

LAYOUT = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BUSY_MILLISECONDS = 10_000
_ROWS_A_READ = 8192
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE images (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id TEXT NOT NULL UNIQUE,
    vehicle_id TEXT, camera_id TEXT,
    captured_at INTEGER,            -- microseconds since 1970, UTC
    ingested_at INTEGER NOT NULL,
    viewpoint BLOB,                 -- float32 (V,)
    top_viewpoint TEXT,
    crop TEXT,                      -- content name
    attributes TEXT NOT NULL        -- JSON object, as it is given back
) STRICT;
CREATE INDEX images_vehicle ON images (vehicle_id);
CREATE INDEX images_camera ON images (camera_id);
CREATE INDEX images_captured ON images (captured_at);
CREATE INDEX images_ingested ON images (ingested_at);
CREATE INDEX images_viewpoint ON images (top_viewpoint);
CREATE INDEX images_crop ON images (crop);
CREATE TABLE attributes (
    row_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    name TEXT NOT NULL, value ANY NOT NULL, PRIMARY KEY (name, value, row_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX attributes_row ON attributes (row_id);
CREATE TABLE spaces (space_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE embeddings (
    row_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    space_id INTEGER NOT NULL REFERENCES spaces, vector BLOB NOT NULL, UNIQUE (row_id, space_id)
) STRICT;
CREATE TABLE changes (change INTEGER PRIMARY KEY AUTOINCREMENT, row_id INTEGER NOT NULL, kind TEXT NOT NULL) STRICT;
CREATE TABLE discarded (crop TEXT PRIMARY KEY) STRICT;
"""
_COLUMNS = "row_id, image_id, vehicle_id, camera_id, captured_at, ingested_at, viewpoint, crop, attributes"


class GalleryDatabase:
    """Connections to one file: one for writing, one a reading thread. Raises StorageFull and StorageError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = _connect(path)
        self._local = threading.local()
        self._readers: list[apsw.Connection] = []
        self._guard = threading.Lock()
        layout = int(next(self._writer.execute("PRAGMA user_version"))[0])
        if layout > LAYOUT:
            self._writer.close()
            raise DataFolderUnusable(
                f"{path} has layout {layout}, this release reads up to {LAYOUT}: use the newer release"
            )
        self.spec, self.name, self.created_at = self._about()

    @staticmethod
    def create(path: Path, name: str, spec: GallerySpec) -> None:
        """Write an empty database."""
        with _translated(path):
            connection = _connect(path)
            with connection:
                connection.execute(_SCHEMA)
                connection.execute("INSERT INTO spaces VALUES (1, ?)", (spec.embedding_space,))
                about = {
                    "name": name,
                    "spec": json.dumps(asdict(spec)),
                    "created_at": str(microseconds(datetime.now(UTC))),
                }
                connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                connection.execute(f"PRAGMA user_version = {LAYOUT}")
            connection.close()

    def _about(self) -> tuple[GallerySpec, str, datetime]:
        about: dict[str, Any] = dict(self._writer.execute("SELECT key, value FROM about"))
        spec = json.loads(about["spec"])
        return (
            GallerySpec(**{**spec, "viewpoints": tuple(spec["viewpoints"])}),
            about["name"],
            moment(int(about["created_at"])),
        )

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """The writing connection inside a transaction; callers take turns outside."""
        with _translated(self.path), self._writer:
            yield self._writer

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """A reading connection of this thread that sees one state throughout."""
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
            with self._guard:
                self._readers.append(connection)
        with _translated(self.path):
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    def vectors(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every row id and vector of the gallery's space, in blocks: int64 (n,), float32 (n, D)."""
        with self.snapshot() as connection:
            cursor = connection.execute(
                "SELECT row_id, vector FROM embeddings WHERE space_id = (SELECT space_id FROM spaces WHERE name = ?)",
                (self.spec.embedding_space,),
            )
            while block := [row for _, row in zip(range(_ROWS_A_READ), cursor, strict=False)]:
                joined = b"".join(row[1] for row in block)
                vectors = np.frombuffer(joined, dtype="<f4").reshape(len(block), self.spec.embedding_dim)
                yield np.array([row[0] for row in block], dtype=np.int64), vectors.astype(np.float32, copy=False)

    def close(self) -> None:
        """Close every connection; no other thread may be using one."""
        for connection in (*self._readers, self._writer):
            connection.close()

    def disk_bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())


def insert(
    connection: apsw.Connection, image_id: str, metadata: Metadata, ingested_at: int, crop: str | None,
    viewpoint: NDArray[np.float32] | None, viewpoints: Sequence[str], vector: NDArray[np.float32],
) -> int:  # fmt: skip
    """A new image with its vector; returns its row id."""
    top = None if viewpoint is None else viewpoints[int(np.argmax(viewpoint))]
    connection.execute(
        "INSERT INTO images (image_id, vehicle_id, camera_id, captured_at, ingested_at, viewpoint, top_viewpoint, crop,"
        " attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            image_id, metadata.vehicle_id, metadata.camera_id,
            None if metadata.captured_at is None else microseconds(metadata.captured_at), ingested_at,
            None if viewpoint is None else viewpoint.astype("<f4").tobytes(), top, crop,
            json.dumps(dict(metadata.attributes), ensure_ascii=False),
        ),
    )  # fmt: skip
    row_id = connection.last_insert_rowid()
    _insert_attributes(connection, row_id, metadata)
    connection.execute("INSERT INTO embeddings VALUES (?, 1, ?)", (row_id, vector.astype("<f4").tobytes()))
    _note(connection, row_id, "added")
    return row_id


def update_metadata(connection: apsw.Connection, row_id: int, metadata: Metadata) -> None:
    """Replace what a client said about a row."""
    connection.execute(
        "UPDATE images SET vehicle_id = ?, camera_id = ?, captured_at = ?, attributes = ? WHERE row_id = ?",
        (
            metadata.vehicle_id,
            metadata.camera_id,
            None if metadata.captured_at is None else microseconds(metadata.captured_at),
            json.dumps(dict(metadata.attributes), ensure_ascii=False),
            row_id,
        ),
    )
    connection.execute("DELETE FROM attributes WHERE row_id = ?", (row_id,))
    _insert_attributes(connection, row_id, metadata)
    _note(connection, row_id, "changed")


def remove(connection: apsw.Connection, row_ids: Sequence[int]) -> list[str]:
    """Erase rows; returns the crop files that no row names any more, also noted in ``discarded``."""
    gone: list[str] = []
    for row_id in row_ids:
        (crop,) = next(connection.execute("SELECT crop FROM images WHERE row_id = ?", (row_id,)))
        connection.execute("DELETE FROM images WHERE row_id = ?", (row_id,))
        _note(connection, row_id, "removed")
        if crop and not list(connection.execute("SELECT 1 FROM images WHERE crop = ? LIMIT 1", (crop,))):
            connection.execute("INSERT OR IGNORE INTO discarded VALUES (?)", (crop,))
            gone.append(crop)
    return gone


def condition(filters: Filters, *, since: int | None) -> tuple[str, list[Any]]:
    """SQL condition on ``images`` and its bindings; ``since`` is the oldest ingestion time that counts."""
    clauses: list[str] = []
    bindings: list[Any] = []

    def add(clause: str, *values: object) -> None:
        clauses.append(clause)
        bindings.extend(values)

    for column, values in (
        ("camera_id", filters.camera_id), ("vehicle_id", filters.vehicle_id), ("top_viewpoint", filters.viewpoint),
    ):  # fmt: skip
        if values:
            add(f"{column} IN ({_marks(values)})", *values)
    if filters.exclude_camera_id:
        add(
            f"(camera_id IS NULL OR camera_id NOT IN ({_marks(filters.exclude_camera_id)}))", *filters.exclude_camera_id
        )
    if filters.captured_after is not None:
        add("captured_at >= ?", microseconds(filters.captured_after))
    if filters.captured_before is not None:
        add("captured_at < ?", microseconds(filters.captured_before))
    for name, attributes in filters.attributes.items():
        add(
            f"row_id IN (SELECT row_id FROM attributes WHERE name = ? AND value IN ({_marks(attributes)}))",  # noqa: S608
            name, *attributes,
        )  # fmt: skip
    if since is not None:
        add("ingested_at >= ?", since)
    return " AND ".join(clauses) or "TRUE", bindings


def select(connection: apsw.Connection, where: str, bindings: Sequence[Any]) -> Iterator[tuple[int, StoredImage]]:
    """Rows and what is stored of them; ``where`` may go on with ORDER BY and LIMIT."""
    viewpoints = json.loads(next(connection.execute("SELECT value FROM about WHERE key = 'spec'"))[0])["viewpoints"]
    for row in connection.execute(f"SELECT {_COLUMNS} FROM images WHERE {where}", bindings):  # noqa: S608
        yield row[0], _image(row, viewpoints)


def row_ids(connection: apsw.Connection, where: str, bindings: Sequence[Any]) -> NDArray[np.int64]:
    """Ids of the rows that pass."""
    found = connection.execute(f"SELECT row_id FROM images WHERE {where}", bindings)  # noqa: S608
    return np.fromiter((row[0] for row in found), dtype=np.int64)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """UTC time of microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def _image(row: Sequence[Any], viewpoints: Sequence[str]) -> StoredImage:
    _, image_id, vehicle_id, camera_id, captured_at, ingested_at, viewpoint, crop, attributes = row
    parsed: dict[str, Attribute] = json.loads(attributes)
    probabilities = [] if viewpoint is None else np.frombuffer(viewpoint, dtype="<f4").tolist()
    return StoredImage(
        image_id=image_id, ingested_at=moment(ingested_at), crop_name=crop,
        viewpoint=dict(zip(viewpoints, probabilities, strict=False)),
        metadata=Metadata(
            vehicle_id=vehicle_id, camera_id=camera_id, attributes=parsed,
            captured_at=None if captured_at is None else moment(captured_at),
        ),
    )  # fmt: skip


def _insert_attributes(connection: apsw.Connection, row_id: int, metadata: Metadata) -> None:
    for name, value in metadata.attributes.items():
        connection.execute("INSERT INTO attributes VALUES (?, ?, ?)", (row_id, name, value))


def _note(connection: apsw.Connection, row_id: int, kind: str) -> None:
    connection.execute("INSERT INTO changes (row_id, kind) VALUES (?, ?)", (row_id, kind))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    connection.execute("PRAGMA page_size = 16384")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except apsw.FullError as error:
        raise StorageFull(f"no space left for {path}; free some, then send it again") from error
    except apsw.Error as error:
        raise StorageError(f"{path}: {error}") from error
