"""A gallery's database as the first releases wrote it, without checksums and with a smaller index of cameras."""

import json
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np

SCHEMA = """
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
    attributes TEXT NOT NULL        -- JSON object, as it is given back
) STRICT;
CREATE INDEX images_vehicle ON images (vehicle_id) WHERE vehicle_id IS NOT NULL;
CREATE INDEX images_camera ON images (camera_id) WHERE camera_id IS NOT NULL;
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
    UNIQUE (row_id, space_id)
) STRICT;
CREATE INDEX embeddings_viewpoint ON embeddings (space_id, viewpoint, row_id) WHERE viewpoint IS NOT NULL;
CREATE TABLE changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    row_id INTEGER NOT NULL,
    kind TEXT NOT NULL              -- added, changed, removed
) STRICT;
"""


def write_layout_1(path: Path, *, name: str = "yard", rows: int = 3) -> None:
    """A file with rows 1 to ``rows``: images i1, i2, … of vehicles v1, v2, …, whose vectors are float32 (2,): (n, 1)."""
    spec = {"kind": "flat", "retention_days": None, "keep_crops": False}
    about = {
        "name": name, "space": "1", "created_at": "5", "secret": "00" * 16,
        "spec": json.dumps({**spec, "embedding_space": None, "embedding_dim": None, "viewpoints": None}),
    }  # fmt: skip
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA page_size = 16384; PRAGMA journal_mode = WAL").fetchall()
        with connection:
            connection.execute(SCHEMA)
            connection.execute("INSERT INTO spaces VALUES (1, 'space', 2, '[]')")
            connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            for n in range(1, rows + 1):
                image = (n, f"i{n}", f"v{n}", "camera", n, 5, None, json.dumps({"number": n}))
                connection.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", image)
                connection.execute("INSERT INTO attributes VALUES (?, 'number', ?)", (n, n))
                vector = np.array([n, 1], dtype="<f4").tobytes()
                connection.execute("INSERT INTO embeddings VALUES (?, 1, NULL, NULL, ?)", (n, vector))
                connection.execute("INSERT INTO changes (row_id, kind) VALUES (?, 'added')", (n,))
            connection.execute("PRAGMA user_version = 1")
