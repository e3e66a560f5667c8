"""The tables of the database, in a schema of their own, made by the first replica that starts, or one of the first."""

from typing import Any, Final

import psycopg

from index.errors import DataFolderUnusable

SCHEMA: Final = "vehicle_search"

_LOCK: Final = 0x7665_6869_636C_65  # "vehicle"; whoever makes the tables holds it
_TABLES = """
CREATE SCHEMA IF NOT EXISTS vehicle_search;
CREATE TABLE vehicle_search.about (
    layout integer NOT NULL,
    key_changes bigint NOT NULL DEFAULT 0   -- counts what changes a key
);
CREATE TABLE vehicle_search.keys (
    key_id text PRIMARY KEY,
    name text NOT NULL,
    digest bytea NOT NULL,                  -- SHA-256 of the token
    scopes text[] NOT NULL,
    galleries text[],                       -- NULL: all
    rate double precision,                  -- requests a second; NULL: any
    burst integer NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE TABLE vehicle_search.imports (
    job_id text PRIMARY KEY,
    created_at text NOT NULL,               -- RFC 3339 in UTC
    ended boolean NOT NULL,
    job text NOT NULL,                      -- JSON: index.bulk.import_job.ImportJob
    owner text,                             -- the replica that carries it out
    lease_until timestamptz,                -- by this server's clock; afterwards anybody may take the job
    cancel_wanted boolean NOT NULL DEFAULT false
);
CREATE INDEX imports_open ON vehicle_search.imports (created_at, job_id) WHERE NOT ended;
CREATE TABLE vehicle_search.imported (      -- of jobs that have not ended: what a new owner leaves out
    job_id text NOT NULL REFERENCES vehicle_search.imports ON DELETE CASCADE,
    image_id text NOT NULL,
    PRIMARY KEY (job_id, image_id)
);
CREATE TABLE vehicle_search.import_failures (
    job_id text NOT NULL REFERENCES vehicle_search.imports ON DELETE CASCADE,
    number integer NOT NULL,                -- 0: the heading
    line bytea NOT NULL,                    -- of the manifest.csv of what failed
    PRIMARY KEY (job_id, number)
);
CREATE TABLE vehicle_search.cameras (
    single boolean PRIMARY KEY CHECK (single),  -- one row at most
    note text NOT NULL,                     -- index.storage.camera_note
    picture bytea                           -- the plan's
);
CREATE TABLE vehicle_search.queries (
    query_id text PRIMARY KEY,
    created_at timestamptz NOT NULL,        -- by the clock of the replica that was sent it
    width integer NOT NULL,
    height integer NOT NULL,
    digest text NOT NULL,                   -- SHA-256 of what was sent, as hexadecimal digits
    extension text NOT NULL,
    size bigint NOT NULL                    -- bytes in the object store
);
CREATE INDEX queries_created ON vehicle_search.queries (created_at, query_id);
CREATE TABLE vehicle_search.audit (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT now(),
    entry text NOT NULL                     -- JSON
);
CREATE INDEX audit_written ON vehicle_search.audit USING brin (written_at);
INSERT INTO vehicle_search.about (layout) VALUES (1);
"""
_FEEDBACK = """
CREATE TABLE vehicle_search.feedback_galleries (
    gallery text PRIMARY KEY,               -- no other ever had it; its row is locked by who changes what is said of it
    dropped boolean NOT NULL DEFAULT false  -- so that nobody who knows it not yet leaves anything behind
);
CREATE TABLE vehicle_search.feedback (      -- as index.storage.feedback_database tells of its table
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gallery text NOT NULL REFERENCES vehicle_search.feedback_galleries,
    pair text NOT NULL, answer_id text NOT NULL, same integer NOT NULL, image_id text NOT NULL,
    image_crop text NOT NULL, query_image_id text, query_id text, query_box text, query_crop text NOT NULL,
    distance text, given_at bigint NOT NULL,
    UNIQUE (gallery, pair),
    UNIQUE (gallery, answer_id)
);
CREATE INDEX feedback_listed ON vehicle_search.feedback (gallery, place);
CREATE INDEX feedback_own ON vehicle_search.feedback (gallery, query_crop) WHERE query_image_id IS NULL;
CREATE TABLE vehicle_search.feedback_pictures (
    object text PRIMARY KEY,                -- in the object store
    gallery text NOT NULL,
    name text NOT NULL,                     -- by its content
    size bigint NOT NULL,                   -- bytes
    remove_at timestamptz                   -- by this server's clock; NULL: an answer has it
);
CREATE UNIQUE INDEX feedback_pictures_kept ON vehicle_search.feedback_pictures (gallery, name) WHERE remove_at IS NULL;
CREATE INDEX feedback_pictures_due ON vehicle_search.feedback_pictures (remove_at) WHERE remove_at IS NOT NULL;
UPDATE vehicle_search.about SET layout = 2;
"""
_STEPS = (_TABLES, _FEEDBACK)  # from no layout to the first, from that to the next
LAYOUT: Final = len(_STEPS)


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Make what is missing, by a connection of its own. Raises DataFolderUnusable for a layout of a newer release."""
    if _layout(connection) < LAYOUT:
        # held to the end of the connection; within a transaction nobody would see what another one has made meanwhile
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        for step in _STEPS[_layout(connection) :]:
            with connection.transaction():
                connection.execute(step)
    layout = _layout(connection)
    if layout > LAYOUT:
        raise DataFolderUnusable(
            f"the database's schema {SCHEMA} has layout {layout}, this release reads up to {LAYOUT}: use the newer "
            "release"
        )


def _layout(connection: psycopg.Connection[Any]) -> int:
    """0 where there are no tables."""
    found = connection.execute("SELECT to_regclass('vehicle_search.about')").fetchone()
    if found is None or found[0] is None:
        return 0
    layout = connection.execute("SELECT layout FROM vehicle_search.about").fetchone()
    return 0 if layout is None else int(layout[0])
