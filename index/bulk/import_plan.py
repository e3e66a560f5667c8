"""What an import has to do, and what became of it: a SQLite file, so that any number of rows takes the same memory.

Planning writes an image a row, below the picture that it is cut from, below the archive (or no archive) that the
picture lies in. Importing takes pictures out in that order and strikes out images as they are stored or have failed;
what is left is what is to be done. Kept as a file, a plan outlives the process; what is struck out leaves no byte.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from index.crops import Box
from index.errors import StorageError, StorageFull
from index.gallery import Metadata

IMAGES_AT_ONCE: Final = 64  # of one picture; a frame with more boxes is decoded again for the rest
COUNTS: Final = ("created", "updated", "unchanged", "failed")

_BUSY = 10_000  # milliseconds; somebody reads failures while they are written
_READ_AT_ONCE = 256
_PRAGMAS = """
PRAGMA journal_mode = TRUNCATE;
PRAGMA secure_delete = ON;
PRAGMA foreign_keys = ON;
PRAGMA cache_size = -16384;         -- KiB; ids come in no order
"""
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE columns (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE containers (
    container INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE       -- of an archive; empty: no archive
) STRICT;
CREATE TABLE pictures (
    picture INTEGER PRIMARY KEY,
    container INTEGER NOT NULL REFERENCES containers,
    path BLOB NOT NULL,             -- on the disk or in the archive
    problem TEXT,                   -- why it cannot be read, where that is known
    UNIQUE (container, path)
) STRICT;
CREATE TABLE images (
    image INTEGER PRIMARY KEY,
    picture INTEGER NOT NULL REFERENCES pictures,
    image_id TEXT NOT NULL UNIQUE,
    source INTEGER NOT NULL,        -- which of those that were given
    said TEXT NOT NULL,             -- JSON: metadata and box
    cells TEXT NOT NULL             -- JSON: the manifest's line
) STRICT;
CREATE INDEX images_picture ON images (picture, image);
CREATE TABLE failures (
    failure INTEGER PRIMARY KEY,
    container BLOB NOT NULL,        -- path of the archive; empty: no archive
    path BLOB NOT NULL,
    image_id TEXT,
    reason TEXT NOT NULL,
    cells TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a picture lies: a file, or ``path`` inside ``archive``."""

    archive: str = ""
    path: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.path}" if self.archive else self.path

    def below(self, folder: Path) -> str:
        """As a manifest in ``folder`` names it: relative where it lies below that, which may be an archive itself."""
        if not self.path:
            return ""
        whole, base = _absolute(self.archive or self.path), _absolute(folder)
        if self.archive:
            whole += f"/{self.path}"  # as the archive has it: one that leads out of it must not become another's
        return whole.removeprefix(f"{base}/") if whole.startswith(f"{base}/") else whole


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  # links stay as they are


@dataclass(frozen=True, kw_only=True)
class Clash:
    """The picture, and the number of its source, whose image has an id already."""

    place: Place
    source: int


@dataclass(frozen=True, kw_only=True)
class PlannedImage:
    """An image that is to be made of a picture. ``number`` names it within the plan."""

    number: int
    image_id: str
    metadata: Metadata
    box: Box | None


@dataclass(frozen=True, kw_only=True)
class PlannedPicture:
    """A picture and images that are to be made of it, at most ``IMAGES_AT_ONCE``."""

    place: Place
    images: tuple[PlannedImage, ...]


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """An image of a plan as another plan takes it over: ``said`` and ``cells`` are JSON, paths a file system's bytes.

    ``archive`` is empty where the picture lies in none.
    """

    archive: bytes
    path: bytes
    image_id: str
    said: str
    cells: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be stored, and why. ``cells`` is the manifest's line, by column."""

    place: Place
    image_id: str | None
    reason: str
    cells: Mapping[str, str]


class ImportPlan:
    """One import. ``file`` None: as long as this object, in a file that nobody else sees.

    ``remember``: which images are struck out, for ``struck_out``. One thread at a time may use it. Raises StorageFull
    and StorageError.
    """

    def __init__(self, file: Path | None = None, *, remember: bool = False) -> None:
        self._file = file
        with self._translated():
            self._connection = apsw.Connection("" if file is None else str(file))
            self._connection.set_busy_timeout(_BUSY)
            self._connection.execute(_PRAGMAS).fetchall()
            self._connection.execute(f"PRAGMA synchronous = {'OFF' if file is None else 'FULL'}").fetchall()
            if not self._connection.execute("SELECT count(*) FROM sqlite_schema").get:
                with self._connection:
                    self._connection.execute(_SCHEMA)
                    self._connection.execute("INSERT INTO containers VALUES (0, x'')")
            self._connection.execute("CREATE TEMP TABLE taken (picture INTEGER PRIMARY KEY)")
            self._containers = {
                os.fsdecode(path): int(container)
                for container, path in self._connection.execute("SELECT container, path FROM containers")
            }
            self._counted: dict[str, float] = {}  # since the last commit
            self._struck_out: list[str] | None = [] if remember else None
            self._connection.execute("BEGIN")

    @property
    def complete(self) -> bool:
        """Whether planning has ended."""
        return bool(self._about("complete"))

    @property
    def total(self) -> int:
        """Images that were planned, and lines that cannot be."""
        return int(self._about("total"))

    @property
    def seconds(self) -> float:
        """Time that importing took so far."""
        return float(self._about("seconds"))

    def counts(self) -> dict[str, int]:
        """How many images were created, updated, unchanged, and failed."""
        return {name: self._about(name) for name in COUNTS}

    # planning

    def take_columns(self, names: Iterable[str]) -> None:
        """Remember which columns a manifest has, for the lines that fail."""
        with self._translated():
            self._run_many("INSERT OR IGNORE INTO columns (name) VALUES (?)", [(name,) for name in names])

    def note_picture(self, place: Place, problem: str | None = None) -> bool:
        """Note that a picture exists, and why it cannot be read; whether nobody did so before."""
        with self._translated():
            self._run(
                "INSERT OR IGNORE INTO pictures (container, path, problem) VALUES (?, ?, ?)",
                (self._container(place.archive), os.fsencode(place.path), problem),
            )
            return bool(self._connection.changes())

    def noted(self, archive: str) -> Iterator[tuple[Place, str | None]]:
        """The pictures of an archive that were noted, in order, each with what is wrong with it."""
        with self._translated():
            container, last = self._container(archive), 0
            while block := self._rows(
                "SELECT picture, path, problem FROM pictures WHERE container = ? AND picture > ? ORDER BY picture"
                " LIMIT ?",
                (container, last, _READ_AT_ONCE),
            ):
                yield from ((Place(archive=archive, path=os.fsdecode(path)), problem) for _, path, problem in block)
                last = block[-1][0]

    def is_noted(self, place: Place) -> bool:
        """Whether a picture is known to exist."""
        with self._translated():
            return self._picture(place) is not None

    def why_not(self, place: Place) -> str | None:
        """Why no image can be made of a place in an archive that was noted; None where one can."""
        with self._translated():
            picture = self._picture(place)
            if picture is None:
                return "the archive has no such entry"
            problem: str | None = self._run("SELECT problem FROM pictures WHERE picture = ?", (picture,)).get
        return problem

    def add_image(
        self, place: Place, image_id: str, metadata: Metadata, box: Box | None = None, *, source: int = 0,
        cells: Mapping[str, str] | None = None,
    ) -> Clash | None:  # fmt: skip
        """Plan an image of a picture; where its id is planned already, that is told and has no further effect."""
        with self._translated():
            picture = self._picture(place)
            if picture is None:
                self.note_picture(place)
                picture = self._connection.last_insert_rowid()
            self._run(
                "INSERT OR IGNORE INTO images (picture, image_id, source, said, cells) VALUES (?, ?, ?, ?, ?)",
                (picture, image_id, source, _to_json(metadata, box), json.dumps(cells or {})),
            )
            if self._connection.changes():
                self._count("total", 1)
                return None
            found: Any = self._run(
                "SELECT containers.path, pictures.path, source FROM images JOIN pictures USING (picture)"
                " JOIN containers USING (container) WHERE image_id = ?",
                (image_id,),
            ).fetchone()
        archive, path, other = found
        return Clash(place=_place(archive, path), source=other)

    def add_failure(
        self, place: Place, reason: str, *, image_id: str | None = None, cells: Mapping[str, str] | None = None
    ) -> None:
        """Note what cannot be imported as it stands."""
        with self._translated():
            self._fail([(place, image_id, reason, json.dumps(cells or {}))])
            self._count("total", 1)

    def end_planning(self) -> None:
        """All that is to be done is written down."""
        with self._translated():
            self._run("DELETE FROM pictures WHERE picture NOT IN (SELECT picture FROM images)")
            self._count("complete", 1)
            self._commit()

    def listing(self) -> Iterator[ListedImage]:
        """Every image that is to be made, picture by picture, archive by archive; the plan is not changed meanwhile."""
        with self._translated():
            for archive, path, image_id, said, cells in self._run(
                "SELECT containers.path, pictures.path, image_id, said, cells FROM images JOIN pictures USING (picture)"
                " JOIN containers USING (container) ORDER BY container, picture, image"
            ):
                yield ListedImage(
                    archive=bytes(archive), path=bytes(path), image_id=image_id, said=said, cells=cells,
                )  # fmt: skip

    def take_over(self, images: Iterable[ListedImage]) -> None:
        """Plan images of another plan, of which each image_id is there once."""
        with self._translated():
            for each in images:
                place = _place(each.archive, each.path)
                self.note_picture(place)
                self._run(
                    "INSERT INTO images (picture, image_id, source, said, cells) VALUES (?, ?, 0, ?, ?)",
                    (self._picture(place), each.image_id, each.said, each.cells),
                )
                self._count("total", 1)
            self.end_planning()

    # importing

    def archives(self) -> list[str]:
        """The archives of which something is to be done; an empty name stands for files outside of any."""
        with self._translated():
            found = self._rows(
                "SELECT path FROM containers WHERE container IN (SELECT container FROM pictures) ORDER BY container"
            )
        return [os.fsdecode(path) for (path,) in found]

    def awaited(self, archive: str) -> int:
        """How many pictures of an archive were not taken yet."""
        with self._translated():
            number: int = self._run(
                "SELECT count(*) FROM pictures WHERE container = ? AND NOT EXISTS"
                " (SELECT 1 FROM taken WHERE taken.picture = pictures.picture)",
                (self._container(archive),),
            ).get
        return number

    def pictures(self, archive: str) -> Iterator[PlannedPicture]:
        """The pictures of an archive that were not taken yet, in order, with their images; they are taken then."""
        with self._translated():
            container, last = self._container(archive), 0
            while block := self._rows(
                "SELECT picture, path FROM pictures WHERE container = ? AND picture > ? AND NOT EXISTS"
                " (SELECT 1 FROM taken WHERE taken.picture = pictures.picture) ORDER BY picture LIMIT ?",
                (container, last, _READ_AT_ONCE),
            ):
                for picture, path in block:
                    yield from self._images(picture, Place(archive=archive, path=os.fsdecode(path)))
                last = block[-1][0]

    def take(self, place: Place) -> list[PlannedPicture]:
        """A picture with its images, in pieces; nothing where none are planned or it was taken before."""
        with self._translated():
            picture = self._picture(place)
            if picture is None or self._run("SELECT 1 FROM taken WHERE picture = ?", (picture,)).fetchone():
                return []
            return list(self._images(picture, place))

    def finish(
        self, images: Sequence[int], *, created: int = 0, updated: int = 0, unchanged: int = 0,
        failed: Sequence[tuple[int, str]] = (), seconds: float = 0.0,
    ) -> list[Failure]:  # fmt: skip
        """Strike out images that are stored, or not because of a reason; the failures. Durable on return."""
        with self._translated():
            failures = [self._failure(number, reason) for number, reason in failed]
            self._fail([(each.place, each.image_id, each.reason, json.dumps(each.cells)) for each in failures])
            done = [(number,) for number in (*images, *(number for number, _ in failed))]
            if self._struck_out is not None:
                self._struck_out += [
                    self._run("SELECT image_id FROM images WHERE image = ?", number).get for number in done
                ]
            pictures = {(self._run("SELECT picture FROM images WHERE image = ?", number).get,) for number in done}
            self._run_many("DELETE FROM images WHERE image = ?", done)
            self._run_many(
                "DELETE FROM pictures WHERE picture = ?1 AND NOT EXISTS (SELECT 1 FROM images WHERE picture = ?1)",
                sorted(pictures),
            )
            for name, number in (("created", created), ("updated", updated), ("unchanged", unchanged)):
                self._count(name, number)
            self._count("seconds", seconds)
            self._commit()
        return failures

    def struck_out(self) -> list[str]:
        """The ids of images that were struck out since this was last asked, of a plan that remembers them."""
        found = list(self._struck_out or ())
        if self._struck_out is not None:
            self._struck_out.clear()
        return found

    def leave_out(self, image_ids: Iterable[str]) -> None:
        """Strike out what somebody else has dealt with, without a trace."""
        with self._translated():
            self._connection.executemany("DELETE FROM images WHERE image_id = ?", ((each,) for each in image_ids))
            self._run("DELETE FROM pictures WHERE picture NOT IN (SELECT picture FROM images)")
            self._commit()

    def failures(self, *, after: int = 0) -> Iterator[Failure]:
        """What failed so far, in order, without the first ``after``."""
        with self._translated():
            yield from _failures(self._connection, after)

    def columns(self) -> list[str]:
        """The columns that the manifests have."""
        with self._translated():
            return _columns(self._connection)

    def abandon(self) -> None:
        """Strike out everything that is still to be done, without a trace."""
        with self._translated():
            for table in ("images", "pictures"):
                self._run(f"DELETE FROM {table}")  # noqa: S608
            self._commit()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # inside

    def _images(self, picture: int, place: Place) -> Iterator[PlannedPicture]:
        self._run("INSERT INTO taken VALUES (?)", (picture,))
        found = self._rows("SELECT image, image_id, said FROM images WHERE picture = ? ORDER BY image", (picture,))
        remaining = iter(found)
        while piece := list(islice(remaining, IMAGES_AT_ONCE)):
            images = [
                PlannedImage(number=number, image_id=image_id, metadata=metadata, box=box)
                for number, image_id, said in piece
                for metadata, box in [_from_json(said)]
            ]
            yield PlannedPicture(place=place, images=tuple(images))

    def _container(self, archive: str) -> int:
        if archive not in self._containers:
            self._run("INSERT INTO containers (path) VALUES (?)", (os.fsencode(archive),))
            self._containers[archive] = self._connection.last_insert_rowid()
        return self._containers[archive]

    def _picture(self, place: Place) -> int | None:
        found = self._run(
            "SELECT picture FROM pictures WHERE container = ? AND path = ?",
            (self._container(place.archive), os.fsencode(place.path)),
        ).fetchone()
        return None if found is None else int(found[0])

    def _failure(self, number: int, reason: str) -> Failure:
        found: Any = self._run(
            "SELECT containers.path, pictures.path, image_id, cells FROM images JOIN pictures USING (picture)"
            " JOIN containers USING (container) WHERE image = ?",
            (number,),
        ).fetchone()
        archive, path, image_id, cells = found
        return Failure(place=_place(archive, path), image_id=image_id, reason=reason, cells=json.loads(cells))

    def _fail(self, failures: Iterable[tuple[Place, str | None, str, str]]) -> None:
        rows = [
            (os.fsencode(place.archive), os.fsencode(place.path), image_id, _storable(reason), cells)
            for place, image_id, reason, cells in failures
        ]
        self._run_many(
            "INSERT INTO failures (container, path, image_id, reason, cells) VALUES (?, ?, ?, ?, ?)", rows
        )  # fmt: skip
        self._count("failed", len(rows))

    def _about(self, key: str) -> Any:
        found = self._run("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return (0 if found is None else found[0]) + self._counted.get(key, 0)

    def _count(self, key: str, number: float) -> None:
        self._counted[key] = self._counted.get(key, 0) + number

    def _commit(self) -> None:
        self._run_many(
            "INSERT INTO about VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = value + ?2",
            [(key, number) for key, number in self._counted.items() if number],
        )
        self._counted = {}
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def _run(self, sql: str, bindings: tuple[Any, ...] = ()) -> apsw.Cursor:
        return self._connection.execute(sql, bindings)

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        return self._run(sql, bindings).fetchall()

    def _run_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._connection.executemany(sql, rows)

    def _translated(self) -> "_Translated":
        return _Translated("the temporary folder" if self._file is None else str(self._file))


def read_failures(file: Path) -> Iterator[Failure]:
    """The failures of a plan in a file, in order, whoever writes it meanwhile; raises StorageError."""
    with _Translated(str(file)), closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.set_busy_timeout(_BUSY)
        yield from _failures(connection)


def read_columns(file: Path) -> list[str]:
    """The columns that the manifests of a plan in a file have; raises StorageError."""
    with _Translated(str(file)), closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.set_busy_timeout(_BUSY)
        return _columns(connection)


def _failures(connection: apsw.Connection, after: int = 0) -> Iterator[Failure]:
    last = after  # they are numbered from 1, and none is ever removed
    while block := _failures_after(connection, last):
        yield from (failure for _, failure in block)
        last = block[-1][0]


def _failures_after(connection: apsw.Connection, last: int) -> list[tuple[int, Failure]]:
    rows: list[Any] = connection.execute(
        "SELECT failure, container, path, image_id, reason, cells FROM failures WHERE failure > ? LIMIT ?",
        (last, _READ_AT_ONCE),
    ).fetchall()
    return [
        (number, Failure(place=_place(archive, path), image_id=image_id, reason=reason, cells=json.loads(cells)))
        for number, archive, path, image_id, reason, cells in rows
    ]


def _columns(connection: apsw.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM columns ORDER BY number")]


class _Translated:
    """SQLite's errors as ours."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, apsw.FullError):
            raise StorageFull(f"no space left for the plan of the import in {self._where}") from error
        if isinstance(error, apsw.Error):
            raise StorageError(f"the plan of the import in {self._where} cannot be used: {error}") from error


def _place(archive: bytes, path: bytes) -> Place:
    return Place(archive=os.fsdecode(archive), path=os.fsdecode(path))


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _to_json(metadata: Metadata, box: Box | None) -> str:
    captured_at = metadata.captured_at
    said = (
        metadata.vehicle_id, metadata.camera_id, captured_at.isoformat() if captured_at else None,
        dict(metadata.attributes), box,
    )  # fmt: skip
    return json.dumps(said)


def _from_json(said: str) -> tuple[Metadata, Box | None]:
    vehicle_id, camera_id, captured_at, attributes, box = json.loads(said)
    metadata = Metadata(
        vehicle_id=vehicle_id, camera_id=camera_id, attributes=attributes,
        captured_at=datetime.fromisoformat(captured_at) if captured_at else None,
    )  # fmt: skip
    return metadata, None if box is None else (box[0], box[1], box[2], box[3])
