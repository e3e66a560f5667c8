"""What is left of a damaged database, written into a sound one.

The leaves of the file are read without SQLite, so that damage costs no more than the pages that it hit. A row counts
where its checksum agrees, only together with its vector, and never where it was erased.
"""

import json
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from index.errors import StorageError
from index.maintenance.verification import vector_problem
from index.storage.about_rows import CHECKSUM, MIGRATIONS, agrees, turned_back
from index.storage.database_file import create_file, open_immutable, translated
from index.storage.image_rows import insert_attributes
from index.storage.migration_records import forget_erased
from index.storage.row_checksum import OF_IMAGE, row_checksum
from index.storage.sqlite_pages import Record, records

_ABOUT = {b"name", b"space", b"spec", b"created_at", b"secret"}
_OTHERS = {MIGRATIONS.encode(), CHECKSUM.encode()}  # entries of the same table that need not be there
_KINDS = {b"added", b"changed", b"removed", b"lost"}
_SEQUENCES = {b"images", b"changes"}
_PAIR, _CHANGE, _SPACE, _EMBEDDING, _IMAGE = 2, 3, 4, 6, 9  # columns, by which a record's table is known


@dataclass(frozen=True, kw_only=True)
class Salvage:
    """What was saved and what was not: ``lost`` image ids by row, or the rows' numbers where those cannot be read.

    ``complete``: everything that was ever written or erased could be read, so that ``lost`` is all.
    ``about_turned_back``: a flipped bit of what the gallery was created with is as it was.
    ``doubtful`` rows are gone with no word of what became of them; they count as erased from now on.
    """

    images: int
    lost: dict[int, str]
    complete: bool
    about_turned_back: bool
    doubtful: tuple[int, ...]


@dataclass
class _Found:
    """What lies in the file, but for the vectors, which are many."""

    about_rows: dict[bytes, bytes] = field(default_factory=dict)
    spaces: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    images: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    embedded_in: dict[int, set[int]] = field(default_factory=dict)  # by space, rows that have a vector
    changes: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    sequences: dict[bytes, int] = field(default_factory=dict)  # the last number that SQLite gave

    def take(self, record: Record) -> None:
        """Keep a record of one of our tables; what is none is garbage, or an entry of an index."""
        row_id, values = record.row_id, record.values
        if row_id is None:
            if len(values) == _PAIR and values[0] in _ABOUT | _OTHERS and isinstance(values[1], bytes):
                self.about_rows[values[0]] = values[1]
        elif len(values) == _IMAGE and values[8] == row_checksum(*values[1:8]):
            self.images[row_id] = values[1:]
        elif len(values) == _EMBEDDING and values[5] == row_checksum(*values[:5]):
            self.embedded_in.setdefault(values[1], set()).add(values[0])
        elif len(values) == _CHANGE and isinstance(values[1], int) and values[2] in _KINDS:
            self.changes[row_id] = values[1], values[2]
        elif len(values) == _SPACE and isinstance(values[2], int):
            self.spaces[row_id] = values[1:]
        elif len(values) == _PAIR and values[0] in _SEQUENCES and isinstance(values[1], int):
            self.sequences[values[0]] = values[1]

    @property
    def about(self) -> dict[str, str]:
        """What the gallery was created with, and its migrations."""
        rows = ((key.decode(), value.decode(errors="replace")) for key, value in self.about_rows.items())
        return {key: value for key, value in rows if key != CHECKSUM}

    @property
    def embedded(self) -> set[int]:
        """Rows that have a vector of the space that is searched."""
        return self.embedded_in.get(int(self.about["space"]), set())

    def rows_of(self, kind: bytes) -> set[int]:
        """Rows to which this was done."""
        return {row_id for row_id, done in self.changes.values() if done == kind}

    def last(self, table: bytes, known: Iterable[int]) -> int:
        """The highest number that a table's rows ever had, as far as it can be known."""
        return max(self.sequences.get(table, 0), *known, 0)

    @property
    def whole_sequence(self) -> bool:
        """Whether no change is missing."""
        return b"changes" in self.sequences and len(self.changes) == self.last(b"changes", self.changes)

    def called(self, row_id: int) -> str:
        """A row's image id, or its number."""
        return str(self.images[row_id][0], "utf-8") if row_id in self.images else f"row {row_id}"


def salvage(damaged: Path, target: Path, *, of: Path) -> Salvage:
    """Write what can be read of a damaged file (a copy of ``of`` with its log folded in) to a new one.

    Crops are listed as their rows name them, with no size: whether they are there is for a verification to say. Raises
    StorageError where it cannot be read what the gallery was created with.
    """
    if _layout(damaged) == 1:
        raise StorageError(f"{of} is of layout 1, whose rows have no checksums: they cannot be told from noise")
    found = _Found()
    for record in records(damaged):
        found.take(record)
    turned = not agrees(found.about_rows)
    _require_about(found, of)
    doubtful = _settle(damaged, found)
    gone = found.rows_of(b"removed") | found.rows_of(b"lost") | doubtful
    latest = {found.images[row_id][0]: row_id for row_id in sorted(found.images.keys() - gone)}  # by image_id
    replaced = found.images.keys() - set(latest.values())
    kept = set(latest.values()) & found.embedded
    with translated(target), closing(create_file(target, found.about, _spaces(found))) as connection, connection:
        kept -= _write_rows(connection, damaged, found, kept)
        _keep_migrations(connection)
        lost = (found.rows_of(b"added") | found.images.keys() | found.embedded) - gone - replaced - kept
        _write_changes(connection, found, kept, lost, erased=doubtful)
    return Salvage(
        images=len(kept),
        lost={row_id: found.called(row_id) for row_id in sorted(lost)},
        complete=found.whole_sequence,
        about_turned_back=turned,
        doubtful=tuple(sorted(doubtful)),
    )


def _settle(damaged: Path, found: _Found) -> set[int]:
    """Hold the changes against the images, where their table is sound; rows of which nobody can tell whether they live.

    No row outlives its erasure, so that an entry is damaged that says so of one that is there: it is dropped. A row
    that is not there may be the one that it was meant for, and stays erased, whatever an old page has of it.
    """
    rows = _rows_by_sqlite(damaged)
    if rows is None:
        return set()
    wrong = [change for change, (row_id, kind) in found.changes.items() if kind == b"removed" and rows.get(row_id)]
    for change in wrong:
        del found.changes[change]
    known = found.rows_of(b"added") | found.images.keys() | found.embedded
    return known - rows.keys() - found.rows_of(b"removed") - found.rows_of(b"lost")


def _rows_by_sqlite(damaged: Path) -> dict[int, bool] | None:
    """Rows of images, and whether their checksums agree; None where the table's pages are damaged."""
    try:
        with closing(open_immutable(damaged)) as connection:
            if connection.execute("PRAGMA quick_check('images')").get != "ok":
                return None
            agreeing = f"SELECT row_id, checksum IS {OF_IMAGE} FROM images NOT INDEXED"  # noqa: S608
            return {row_id: bool(agrees) for row_id, agrees in connection.execute(agreeing)}
    except apsw.Error:
        return None


def _layout(file: Path) -> int:
    """What the file's header says, which may be damaged, too."""
    with file.open("rb") as opened:
        return int.from_bytes(opened.read(64)[60:])


def _require_about(found: _Found, of: Path) -> None:
    missing = sorted(name.decode() for name in _ABOUT - found.about_rows.keys())
    if not missing and not agrees(found.about_rows):
        found.about_rows = turned_back(found.about_rows) or {}
        missing = [] if found.about_rows else ["more than one bit of it is not what was written"]
    if missing or not any(found.about["space"] == str(space_id) for space_id in found.spaces):
        raise StorageError(
            f"{of} cannot be salvaged: what its gallery was created with cannot be read "
            f"({', '.join(missing) or 'embedding space'}); `vehicle-index restore` brings back a backup"
        )


def _spaces(found: _Found) -> list[tuple[int, str, int, str]]:
    return [
        (space_id, name.decode(errors="replace"), dim, viewpoints.decode(errors="replace"))
        for space_id, (name, dim, viewpoints) in sorted(found.spaces.items())
    ]


def _write_rows(connection: apsw.Connection, damaged: Path, found: _Found, kept: Collection[int]) -> set[int]:
    """Write images and vectors; rows that were left out because their vector is of no use."""
    for row_id in sorted(kept):
        _write_image(connection, row_id, found.images[row_id])
    useless: set[int] = set()
    for record in records(damaged):
        values = record.values
        if record.row_id is None or len(values) != _EMBEDDING or values[0] not in kept:
            continue
        if values[5] != row_checksum(*values[:5]) or values[1] not in found.spaces:
            continue
        _, dim, viewpoints = found.spaces[values[1]]
        if vector_problem(values[4], values[3], dim=dim, viewpoints=len(json.loads(viewpoints))):
            if values[1] == int(found.about["space"]):
                useless.add(values[0])
            continue
        connection.execute("INSERT OR REPLACE INTO embeddings VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?)", values)
    listed = json.dumps(sorted(useless))
    connection.execute("DELETE FROM images WHERE row_id IN (SELECT value FROM json_each(?))", (listed,))
    connection.execute("DELETE FROM crops WHERE name NOT IN (SELECT crop FROM images WHERE crop IS NOT NULL)")
    return useless


def _keep_migrations(connection: apsw.Connection) -> None:
    """What is known of migrations, where it can be read: one that has begun goes on. No name of a lost image stays."""
    try:
        forget_erased(connection)
    except (ValueError, TypeError, KeyError):
        connection.execute("DELETE FROM about WHERE key = ?", (MIGRATIONS,))


def _write_image(connection: apsw.Connection, row_id: int, values: tuple[Any, ...]) -> None:
    image_id, vehicle_id, camera_id, captured_at, ingested_at, crop, attributes, checksum = values
    if crop is not None:
        connection.execute("INSERT OR IGNORE INTO crops VALUES (CAST(? AS TEXT), 0)", (crop,))
    connection.execute(
        "INSERT INTO images VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, CAST(? AS TEXT),"
        " CAST(? AS TEXT), ?)",
        (row_id, image_id, vehicle_id, camera_id, captured_at, ingested_at, crop, attributes, checksum),
    )
    insert_attributes(connection, {row_id: json.loads(attributes)})


def _write_changes(
    connection: apsw.Connection, found: _Found, kept: set[int], lost: set[int], *, erased: set[int]
) -> None:
    """The sequence as it was, with no gap, and what became of the rows; no number that was given is given again."""
    last = found.last(b"changes", found.changes)
    insert = "INSERT INTO changes VALUES (?, ?, CAST(? AS TEXT))"
    connection.executemany(
        insert, ((change, *found.changes.get(change, (0, b"lost"))) for change in range(1, last + 1))
    )
    new = [
        *((row_id, b"added") for row_id in sorted(kept - found.rows_of(b"added"))),
        *((row_id, b"lost") for row_id in sorted(lost)),
        *((row_id, b"removed") for row_id in sorted(erased)),
    ]
    connection.executemany(insert, ((last + n, *change) for n, change in enumerate(new, start=1)))
    last_row = found.last(b"images", [*found.images, *found.embedded, *found.rows_of(b"added")])
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'images'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('images', ?)", (last_row,))
