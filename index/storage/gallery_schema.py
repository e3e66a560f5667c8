"""Tables of a gallery's database, and the steps to them from earlier layouts.

Layout 2. ``images`` has a row an image; row ids are never reused, a replacement is a new row. ``embeddings`` keeps what
a model says by (row, space), so that a migration can write beside the old ones and switch ``about.space``. ``changes``
counts every write, so that a derived index can tell what it has missed. ``crops`` lists the stored files, ``discarded``
those that no row needs any more and that are still to be removed. What a client gave or a model said carries a
checksum (``index.storage.row_checksum``); a file of layout 1, which had none, gets them on opening, and the time in the
cameras' index.
"""

from contextlib import closing
from typing import Final

import apsw

from index.storage.row_checksum import OF_EMBEDDING, OF_IMAGE

LAYOUT: Final = 2

SCHEMA: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE crops (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE discarded (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE images (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id TEXT NOT NULL UNIQUE,
    vehicle_id TEXT,
    camera_id TEXT,
    captured_at INTEGER,            -- microseconds since 1970, UTC
    ingested_at INTEGER NOT NULL,   -- the same
    crop TEXT REFERENCES crops,
    attributes TEXT NOT NULL,       -- JSON object, as it is given back
    checksum INTEGER                -- of all that but row_id
) STRICT;
CREATE INDEX images_vehicle ON images (vehicle_id) WHERE vehicle_id IS NOT NULL;
CREATE INDEX images_camera ON images (camera_id, captured_at) WHERE camera_id IS NOT NULL;
CREATE INDEX images_captured ON images (captured_at) WHERE captured_at IS NOT NULL;
CREATE INDEX images_ingested ON images (ingested_at);
CREATE INDEX images_crop ON images (crop);
CREATE TABLE attributes (           -- the same again, one by one, for filters; a value keeps its type
    row_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    name TEXT NOT NULL,
    value ANY NOT NULL,
    PRIMARY KEY (name, value, row_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX attributes_row ON attributes (row_id);
CREATE TABLE spaces (
    space_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dim INTEGER NOT NULL,           -- D
    viewpoints TEXT NOT NULL        -- JSON array of V names
) STRICT;
CREATE TABLE embeddings (
    row_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    space_id INTEGER NOT NULL REFERENCES spaces,
    viewpoint TEXT,                 -- the most probable one
    probabilities BLOB,             -- of the viewpoints, float32 (V,), little-endian
    vector BLOB NOT NULL,           -- float32 (D,), little-endian
    checksum INTEGER,               -- of all that
    UNIQUE (row_id, space_id)
) STRICT;
CREATE INDEX embeddings_viewpoint ON embeddings (space_id, viewpoint, row_id) WHERE viewpoint IS NOT NULL;
CREATE TABLE changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    row_id INTEGER NOT NULL,
    kind TEXT NOT NULL              -- added, changed, removed; lost: to damage, row 0 where nobody knows which
) STRICT;
"""
STEPS: Final = {  # from a layout to the next; each runs in one transaction with the new number
    1: f"""
        ALTER TABLE images ADD COLUMN checksum INTEGER;
        ALTER TABLE embeddings ADD COLUMN checksum INTEGER;
        UPDATE images SET checksum = {OF_IMAGE};
        UPDATE embeddings SET checksum = {OF_EMBEDDING};
        DROP INDEX images_camera;
        CREATE INDEX images_camera ON images (camera_id, captured_at) WHERE camera_id IS NOT NULL;
    """  # noqa: S608
}


def lacking(connection: apsw.Connection) -> list[str]:
    """Tables and indexes of this layout that a file has not, or not with these columns; of an older one the former."""
    whole = connection.execute("PRAGMA user_version").get >= LAYOUT
    with closing(apsw.Connection(":memory:")) as new:
        new.execute(SCHEMA).fetchall()
        expected = _shape(new)
    own = _shape(connection)
    return sorted(name for name in expected if name not in own or (whole and own[name] != expected[name]))


def _shape(connection: apsw.Connection) -> dict[str, str]:
    """Columns of each table and index by its name."""
    return dict(
        connection.execute(
            "SELECT name, coalesce("
            " (SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(entry.name) ORDER BY cid)),"
            " (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(entry.name) ORDER BY seqno)))"
            " FROM sqlite_schema AS entry"
        )
    )
