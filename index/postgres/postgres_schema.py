"""The tables of the database, in a schema of their own, made by the first replica that starts, or one of the first."""

from typing import Any, Final

import psycopg

from index.errors import DataFolderUnusable

LAYOUT: Final = 1
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


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Make what is missing, by a connection of its own. Raises DataFolderUnusable for a layout of a newer release."""
    if _layout(connection) is None:
        # held to the end of the connection; within a transaction nobody would see what another one has made meanwhile
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if _layout(connection) is None:
            with connection.transaction():
                connection.execute(_TABLES)
    layout = _layout(connection)
    if layout is None or layout > LAYOUT:
        raise DataFolderUnusable(
            f"the database's schema {SCHEMA} has layout {layout}, this release reads up to {LAYOUT}: use the newer "
            "release"
        )


def _layout(connection: psycopg.Connection[Any]) -> int | None:
    found = connection.execute("SELECT to_regclass('vehicle_search.about')").fetchone()
    if found is None or found[0] is None:
        return None
    layout = connection.execute("SELECT layout FROM vehicle_search.about").fetchone()
    return None if layout is None else int(layout[0])
