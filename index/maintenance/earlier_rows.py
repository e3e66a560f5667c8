"""Rows that are damaged in a database and whole in an earlier copy of it, put back.

A row's number is never given twice and its vectors never change, so that what an earlier copy has of it is what was
written, unless the change sequence names the row after that copy was taken. A row that is gone stays gone, whatever the
change sequence says: it may have been erased, and the entry that said so be damaged.
"""

import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw

from index.storage.database_file import open_immutable
from index.storage.image_rows import insert_attributes
from index.storage.row_checksum import OF_EMBEDDING, OF_IMAGE, teach

_AT_ONCE: Final = 500  # rows
_WHOSE: Final = "SELECT value FROM about WHERE key = 'secret'"
_IMAGE: Final = f"""
SELECT row_id, image_id, vehicle_id, camera_id, captured_at, ingested_at, crop, attributes, checksum FROM images
WHERE row_id IN (SELECT value FROM json_each(?)) AND checksum IS {OF_IMAGE}
"""  # noqa: S608
_CROP: Final = "SELECT name, bytes FROM crops WHERE name = ?"
_EMBEDDING: Final = f"""
SELECT row_id, space_id, viewpoint, probabilities, vector, checksum FROM embeddings
WHERE row_id IN (SELECT value FROM json_each(?)) AND checksum IS {OF_EMBEDDING}
"""  # noqa: S608
_BAD_EMBEDDINGS: Final = f"""
SELECT row_id FROM embeddings WHERE checksum IS NOT {OF_EMBEDDING}
UNION SELECT row_id FROM images WHERE row_id NOT IN (
    SELECT row_id FROM embeddings WHERE space_id = (SELECT CAST(value AS INTEGER) FROM about WHERE key = 'space')
)
"""  # noqa: S608
_OWN_ROW: Final = "NOT EXISTS (SELECT 1 FROM images WHERE image_id = ? AND row_id <> ?)"


def put_back(damaged: Path, earlier: Path) -> list[str]:
    """Write rows of an earlier copy of a database over those that are damaged; their image ids.

    Nobody else has either file open, and neither has a log. Raises apsw's errors.
    """
    with (
        closing(apsw.Connection(str(damaged), flags=apsw.SQLITE_OPEN_READWRITE)) as connection,
        closing(open_immutable(earlier)) as source,
    ):
        teach(connection)
        if connection.execute(_WHOSE).get != source.execute(_WHOSE).get:
            return []  # another gallery of that name
        last: int = source.execute("SELECT coalesce(max(change), 0) FROM changes").get
        with connection:
            images = _put_back_images(connection, source, last)
            vectors = _put_back_vectors(connection, source)
        listed = json.dumps(sorted(images | vectors))
        named = connection.execute(
            "SELECT image_id FROM images WHERE row_id IN (SELECT value FROM json_each(?)) ORDER BY row_id", (listed,)
        )
        return [image_id for (image_id,) in named]


def _put_back_images(connection: apsw.Connection, source: apsw.Connection, last: int) -> set[int]:
    """Rows of images as they were, where they were not written since the change ``last``."""
    bad = _ids(connection, f"SELECT row_id FROM images WHERE checksum IS NOT {OF_IMAGE}")  # noqa: S608
    since = {row_id for (row_id,) in connection.execute("SELECT row_id FROM changes WHERE change > ?", (last,))}
    done: set[int] = set()
    for block in _blocks(bad - since):
        rows: list[tuple[Any, ...]] = source.execute(_IMAGE, (block,)).fetchall()
        for row in rows:
            row_id, image_id, crop, attributes = row[0], row[1], row[6], row[7]
            if not connection.execute(f"SELECT {_OWN_ROW}", (image_id, row_id)).get:
                continue
            connection.execute("DELETE FROM attributes WHERE row_id = ?", (row_id,))
            connection.executemany("INSERT OR IGNORE INTO crops VALUES (?, ?)", source.execute(_CROP, (crop,)))
            connection.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            insert_attributes(connection, {row_id: json.loads(attributes)})
            done.add(row_id)
    return done


def _put_back_vectors(connection: apsw.Connection, source: apsw.Connection) -> set[int]:
    """Vectors of images that are there, of the spaces that both files know by one number."""
    spaces = "SELECT space_id, name FROM spaces"
    known = {space_id for space_id, _ in set(connection.execute(spaces)) & set(source.execute(spaces))}
    bad = _ids(connection, _BAD_EMBEDDINGS)
    sound = f"SELECT 1 FROM embeddings WHERE row_id = ? AND space_id = ? AND checksum IS {OF_EMBEDDING}"  # noqa: S608
    done: set[int] = set()
    for block in _blocks(bad & _ids(connection, "SELECT row_id FROM images")):
        rows: list[tuple[Any, ...]] = source.execute(_EMBEDDING, (block,)).fetchall()
        for row in rows:
            if row[1] in known and connection.execute(sound, row[:2]).fetchone() is None:
                connection.execute("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?, ?)", row)
                done.add(row[0])
    return done


def _blocks(row_ids: set[int]) -> list[str]:
    """Lists of some rows each, as JSON."""
    ordered = sorted(row_ids)
    return [json.dumps(ordered[start : start + _AT_ONCE]) for start in range(0, len(ordered), _AT_ONCE)]


def _ids(connection: apsw.Connection, sql: str) -> set[int]:
    rows: Iterable[tuple[Any]] = connection.execute(sql)
    return {row_id for (row_id,) in rows}
