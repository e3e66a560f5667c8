"""Rows of images in a gallery's database: write, change, erase, select.

Every function works inside the transaction or the snapshot of the connection that it is given.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw
import numpy as np
from numpy.typing import NDArray

from index.gallery import Attribute, Metadata, NewImage, StoredImage
from index.storage.row_checksum import OF_EMBEDDING, OF_IMAGE, row_checksum
from index.storage.row_filter import Condition, SqlValue
from index.storage.stored_time import microseconds, moment
from index.storage.vector_block import stacked

_COLUMNS = "row_id, image_id, vehicle_id, camera_id, captured_at, ingested_at, crop, attributes, probabilities"
_AMONG = (  # CROSS JOIN: SQLite would rather go through all images of a camera than through these
    "FROM (SELECT value AS row_id FROM json_each(?)) CROSS JOIN images USING (row_id)"
)
_as_json = json.JSONEncoder(ensure_ascii=False).encode

EVERY: Final = Condition("TRUE")


@dataclass(frozen=True)
class Row:
    """What ranking needs to know of a row."""

    image_id: str
    vehicle_id: str | None


@dataclass(frozen=True)
class WholeRow:
    """A row with its vector, float32 (D,), and whether both are what was written."""

    row_id: int
    image: StoredImage
    vector: NDArray[np.float32]
    intact: bool


def insert(
    connection: apsw.Connection,
    images: Sequence[NewImage],
    *,
    crop_names: Sequence[str | None],
    ingested_at: Sequence[int],
    space_id: int,
    viewpoints: Sequence[str],
) -> range:
    """Write images, their embeddings and their crops' names; the new row ids, in order.

    Every image_id is there once, and no row has it yet; ``ingested_at`` is each one's, microseconds since 1970. A
    statement is run for all images at a time, which takes half the time of running it for each.
    """
    crops = [(name, len(image.crop)) for image, name in zip(images, crop_names, strict=True) if name is not None]
    connection.executemany("INSERT OR IGNORE INTO crops VALUES (?, ?)", crops)
    connection.executemany("DELETE FROM discarded WHERE name = ?", [(name,) for name, _ in crops])
    first = last_row(connection) + 1
    row_ids = range(first, first + len(images))
    connection.executemany(
        "INSERT INTO images (row_id, image_id, vehicle_id, camera_id, captured_at, ingested_at, crop, attributes,"
        " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (row_id, *(said := _said(image, crop_name, time)), row_checksum(*said))
            for row_id, image, crop_name, time in zip(row_ids, images, crop_names, ingested_at, strict=True)
        ],
    )
    insert_embeddings(
        connection,
        [(row_id, image.embedding, image.viewpoint) for row_id, image in zip(row_ids, images, strict=True)],
        space_id=space_id, viewpoints=viewpoints,
    )  # fmt: skip
    insert_attributes(
        connection, {row_id: image.metadata.attributes for row_id, image in zip(row_ids, images, strict=True)}
    )
    _note(connection, row_ids, "added")
    return row_ids


def insert_embeddings(
    connection: apsw.Connection,
    seen: Iterable[tuple[int, NDArray[np.float32], NDArray[np.float32] | None]],
    *,
    space_id: int,
    viewpoints: Sequence[str],
) -> None:
    """Write what a model says of rows that have nothing of that space yet: row id, float32 (D,), and (V,) or None."""
    connection.executemany(
        "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?)",
        [(*(columns := _seen(*each, space_id, viewpoints)), row_checksum(*columns)) for each in seen],
    )


def metadata_of(connection: apsw.Connection, condition: Condition) -> Iterator[tuple[int, str, Metadata]]:
    """Row ids, image ids and what a client said of the rows that pass."""
    rows = connection.execute(
        f"SELECT row_id, image_id, vehicle_id, camera_id, captured_at, attributes FROM images WHERE {condition.sql}",  # noqa: S608
        condition.bindings,
    )
    for row_id, image_id, *said in rows:
        yield row_id, image_id, _metadata(*said)


def replace_metadata(connection: apsw.Connection, said: Sequence[tuple[int, Metadata]]) -> None:
    """Replace what a client said about images, each there once, by their row ids."""
    row_ids = [row_id for row_id, _ in said]
    these = "row_id IN (SELECT value FROM json_each(?))"
    before = dict(connection.execute(f"SELECT row_id, attributes FROM images WHERE {these}", (json.dumps(row_ids),)))  # noqa: S608
    others = {row_id: each.attributes for row_id, each in said if _as_json(dict(each.attributes)) != before.get(row_id)}
    connection.executemany(
        "UPDATE images SET vehicle_id = ?, camera_id = ?, captured_at = ?, attributes = ? WHERE row_id = ?",
        [(*_columns(metadata), row_id) for row_id, metadata in said],
    )
    connection.execute(f"UPDATE images SET checksum = {OF_IMAGE} WHERE {these}", (json.dumps(row_ids),))  # noqa: S608
    connection.execute(f"DELETE FROM attributes WHERE {these}", (json.dumps(list(others)),))  # noqa: S608
    insert_attributes(connection, others)
    _note(connection, row_ids, "changed")


def remove(connection: apsw.Connection, row_ids: Sequence[int]) -> list[str]:
    """Erase rows with everything that hangs on them; the crops that no row names any more, now ``discarded``."""
    if not row_ids:
        return []
    listed = json.dumps(list(row_ids))
    crops = [
        crop
        for (crop,) in connection.execute(
            "SELECT DISTINCT crop FROM images WHERE row_id IN (SELECT value FROM json_each(?)) AND crop IS NOT NULL",
            (listed,),
        )
    ]
    connection.execute("DELETE FROM images WHERE row_id IN (SELECT value FROM json_each(?))", (listed,))
    _note(connection, row_ids, "removed")
    discarded = [
        name
        for (name,) in connection.execute(
            "DELETE FROM crops WHERE name IN (SELECT value FROM json_each(?))"
            " AND NOT EXISTS (SELECT 1 FROM images WHERE crop = name) RETURNING name",
            (json.dumps(crops),),
        )
    ]
    connection.executemany("INSERT OR IGNORE INTO discarded VALUES (?)", [(name,) for name in discarded])
    return discarded


def find(connection: apsw.Connection, image_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Row id and ingestion time of those of some images that exist, whether or not their time is over."""
    found = connection.execute(
        "SELECT image_id, row_id, ingested_at FROM json_each(?) AS wanted CROSS JOIN images"
        " ON images.image_id = wanted.value",
        (json.dumps(image_ids),),
    )
    return {image_id: (row_id, ingested_at) for image_id, row_id, ingested_at in found}


def select(
    connection: apsw.Connection, condition: Condition, *, space_id: int, viewpoints: Sequence[str], tail: str = ""
) -> Iterator[tuple[int, StoredImage]]:
    """Row ids and images of the rows that pass; ``tail`` orders and limits."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM images JOIN (SELECT row_id, space_id, probabilities FROM embeddings) USING (row_id)"  # noqa: S608
        f" WHERE space_id = ? AND {condition.sql} {tail}",
        (space_id, *condition.bindings),
    )
    for row in rows:
        yield row[0], _image(row, viewpoints)


def select_whole(
    connection: apsw.Connection, condition: Condition, *, space_id: int, viewpoints: Sequence[str]
) -> Iterator[WholeRow]:
    """The rows that pass with all that is stored of them, in the order of their ids."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, vector, checksum IS {OF_IMAGE} AND seen IS {OF_EMBEDDING} FROM images"  # noqa: S608
        " JOIN (SELECT row_id, space_id, viewpoint, probabilities, vector, checksum AS seen FROM embeddings)"
        f" USING (row_id) WHERE space_id = ? AND {condition.sql} ORDER BY row_id",
        (space_id, *condition.bindings),
    )
    for *row, vector, intact in rows:
        yield WholeRow(row[0], _image(row, viewpoints), np.frombuffer(vector, dtype="<f4"), bool(intact))


def row_ids(connection: apsw.Connection, condition: Condition, *, limit: int = -1) -> NDArray[np.int64]:
    """Ids, int64 (n,), ascending, of at most ``limit`` rows that pass; of all where it is negative."""
    found: str | None = connection.execute(  # one text, because a row of Python's for each takes four times as long
        f"SELECT group_concat(row_id) FROM (SELECT row_id FROM images WHERE {condition.sql} LIMIT ?)",  # noqa: S608
        (*condition.bindings, limit),
    ).get
    return np.sort(np.fromstring(found or "", dtype=np.int64, sep=","))


def at_most(connection: apsw.Connection, select: Condition, limit: int) -> bool:
    """Whether a select gives at most ``limit`` rows; it is read no further than that."""
    number: int = connection.execute(
        f"SELECT count(*) FROM ({select.sql} LIMIT ?)",  # noqa: S608
        (*select.bindings, limit + 1),
    ).get
    return number <= limit


def rows_among(connection: apsw.Connection, among: NDArray[np.int64], condition: Condition) -> dict[int, Row]:
    """Those of some rows that pass, by row id."""
    found = connection.execute(
        f"SELECT row_id, image_id, vehicle_id {_AMONG} WHERE {condition.sql}",
        (json.dumps(among.tolist()), *condition.bindings),
    )
    return {row_id: Row(image_id, vehicle_id) for row_id, image_id, vehicle_id in found}


def rows_and_vectors(
    connection: apsw.Connection, among: NDArray[np.int64], condition: Condition, *, space_id: int, dim: int
) -> tuple[dict[int, Row], NDArray[np.float32]]:
    """As :func:`rows_among`, and the exact vectors, float32 (n, D), of those that it gives, in its order."""
    found: list[Any] = connection.execute(
        f"SELECT row_id, image_id, vehicle_id, vector {_AMONG} CROSS JOIN"  # noqa: S608
        f" (SELECT row_id, space_id, vector FROM embeddings) USING (row_id) WHERE space_id = ? AND {condition.sql}",
        (json.dumps(among.tolist()), space_id, *condition.bindings),
    ).fetchall()
    rows = {row_id: Row(image_id, vehicle_id) for row_id, image_id, vehicle_id, _ in found}
    return rows, stacked([vector for *_, vector in found], dim)


def vectors(
    connection: apsw.Connection, among: NDArray[np.int64], *, space_id: int, dim: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids int64 (n,) and exact vectors float32 (n, D) of those of some rows that exist, in no order."""
    condition = listed(among)
    found = connection.execute(
        f"SELECT row_id, vector FROM embeddings WHERE space_id = ? AND {condition.sql}",  # noqa: S608
        (space_id, *condition.bindings),
    ).fetchall()
    return np.array([row_id for row_id, _ in found], dtype=np.int64), stacked([vector for _, vector in found], dim)


def last_change(connection: apsw.Connection) -> int:
    """The end of the change sequence, 0 before the first."""
    number: int = connection.execute("SELECT coalesce(max(change), 0) FROM changes").get
    return number


def last_row(connection: apsw.Connection) -> int:
    """The highest row id that was ever used; every later one is higher."""
    number: int = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'images'").get
    return number


def newest(connection: apsw.Connection, *, up_to: int) -> tuple[int, int] | None:
    """The last row with an id up to ``up_to``, and its ingestion time in microseconds since 1970."""
    found: tuple[int, int] | None = connection.execute(
        "SELECT row_id, ingested_at FROM images WHERE row_id <= ? ORDER BY row_id DESC LIMIT 1", (up_to,)
    ).fetchone()
    return found


def lost_since(connection: apsw.Connection, change: int) -> bool:
    """Whether rows were lost to damage, known ones or not, after a change."""
    return bool(
        connection.execute("SELECT EXISTS (SELECT 1 FROM changes WHERE change > ? AND kind = 'lost')", (change,)).get
    )


def removed_since(connection: apsw.Connection, change: int) -> NDArray[np.int64]:
    """Rows, int64 (n,), whose removal was noted after a change."""
    found = connection.execute("SELECT row_id FROM changes WHERE change > ? AND kind = 'removed'", (change,))
    return np.fromiter((row_id for (row_id,) in found), dtype=np.int64)


def changed_since(connection: apsw.Connection, change: int) -> NDArray[np.int64]:
    """Rows, int64 (n,), each once, ascending, of which anything was noted after a change."""
    found = connection.execute("SELECT DISTINCT row_id FROM changes WHERE change > ?", (change,))
    return np.sort(np.fromiter((row_id for (row_id,) in found), dtype=np.int64))


def listed(row_ids: NDArray[np.int64]) -> Condition:
    """That a row is one of these."""
    return Condition("row_id IN (SELECT value FROM json_each(?))", (json.dumps(row_ids.tolist()),))


def beside(known: Iterable[tuple[int, str | None]]) -> Condition:
    """That a row is none of some, and of none of their vehicles: row ids and, where a row has one, its vehicle_id."""
    vehicles, alone = set[str](), list[int]()
    for row_id, vehicle_id in known:
        if vehicle_id is None:
            alone.append(row_id)
        else:
            vehicles.add(vehicle_id)
    return Condition(
        "(vehicle_id IS NULL OR vehicle_id NOT IN (SELECT value FROM json_each(?)))"
        " AND row_id NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(vehicles)), json.dumps(alone)),
    )


def count(connection: apsw.Connection, condition: Condition) -> int:
    """How many rows pass."""
    number: int = connection.execute(
        f"SELECT count(*) FROM images WHERE {condition.sql}",  # noqa: S608
        condition.bindings,
    ).get
    return number


def _columns(metadata: Metadata) -> tuple[str | None, str | None, int | None, str]:
    captured_at = None if metadata.captured_at is None else microseconds(metadata.captured_at)
    return metadata.vehicle_id, metadata.camera_id, captured_at, _as_json(dict(metadata.attributes))


def _metadata(vehicle_id: str | None, camera_id: str | None, captured_at: int | None, attributes: str) -> Metadata:
    return Metadata(
        vehicle_id=vehicle_id,
        camera_id=camera_id,
        captured_at=None if captured_at is None else moment(captured_at),
        attributes={} if attributes == "{}" else json.loads(attributes),
    )


def _said(image: NewImage, crop_name: str | None, ingested_at: int) -> tuple[SqlValue, ...]:
    """What a client gave, as the checksum of ``images`` covers it."""
    vehicle_id, camera_id, captured_at, attributes = _columns(image.metadata)
    return image.image_id, vehicle_id, camera_id, captured_at, ingested_at, crop_name, attributes


def _seen(
    row_id: int,
    vector: NDArray[np.float32],
    probabilities: NDArray[np.float32] | None,
    space_id: int,
    viewpoints: Sequence[str],
) -> tuple[SqlValue, ...]:
    """What a model says, as the checksum of ``embeddings`` covers it."""
    numbers = vector.astype("<f4").tobytes()
    if probabilities is None:
        return row_id, space_id, None, None, numbers
    name = viewpoints[int(np.argmax(probabilities))]
    return row_id, space_id, name, probabilities.astype("<f4").tobytes(), numbers


def _image(row: Sequence[Any], viewpoints: Sequence[str]) -> StoredImage:
    _, image_id, vehicle_id, camera_id, captured_at, ingested_at, crop, attributes, probabilities = row
    values = [] if probabilities is None else np.frombuffer(probabilities, dtype="<f4").tolist()
    return StoredImage(
        image_id=image_id,
        metadata=_metadata(vehicle_id, camera_id, captured_at, attributes),
        ingested_at=moment(ingested_at),
        viewpoint=dict(zip(viewpoints, values, strict=False)),  # nothing where the model names one viewpoint only
        crop_name=crop,
    )


def insert_attributes(connection: apsw.Connection, attributes: Mapping[int, Mapping[str, Attribute]]) -> None:
    """Write the copy of images' attributes that filters look at, by their row ids."""
    rows = [(row_id, name, value) for row_id, each in attributes.items() for name, value in each.items()]
    connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", rows)


def _note(connection: apsw.Connection, row_ids: Sequence[int], kind: str) -> None:
    connection.executemany("INSERT INTO changes (row_id, kind) VALUES (?, ?)", [(row_id, kind) for row_id in row_ids])
