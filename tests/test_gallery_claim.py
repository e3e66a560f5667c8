"""Services whose galleries are not the same do not carry out each other's imports."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from index.errors import DataFolderLocked
from index.objects.folder_objects import FolderObjects
from index.postgres.gallery_claim import GalleryClaim
from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_imports import PostgresImports
from tests.test_import_home import accepted


def claimed(database: PostgresDatabase, *, shared: bool) -> "closing[GalleryClaim]":
    """Whoever asks is told at once."""
    return closing(GalleryClaim(database, shared=shared, patience=0))


@pytest.mark.parametrize("first", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("second", [False, True], ids=["own", "shared"])
def test_only_services_that_share_galleries_are_there_at_once(
    shared_database: PostgresDatabase, first: bool, second: bool
) -> None:
    with claimed(shared_database, shared=first):
        if first and second:
            with claimed(shared_database, shared=second):
                pass
        else:
            with pytest.raises(DataFolderLocked, match=r"127\.0\.0\.1.*galleries.*database_url_file"):
                claimed(shared_database, shared=second)
    with claimed(shared_database, shared=second):
        pass


def test_it_waits_for_one_that_is_about_to_go(shared_database: PostgresDatabase) -> None:
    claim = GalleryClaim(shared_database, shared=False)
    leaving = threading.Timer(0.2, claim.close)
    leaving.start()
    GalleryClaim(shared_database, shared=False).close()
    leaving.join()


def test_whoever_lost_it_takes_no_job(shared_database: PostgresDatabase, tmp_path: Path) -> None:
    with claimed(shared_database, shared=False) as claim:
        imports = PostgresImports(shared_database, FolderObjects(tmp_path / "objects"), tmp_path, claim=claim)
        job = accepted(imports)
        ended(shared_database)
        with claimed(shared_database, shared=False), pytest.raises(DataFolderLocked):
            imports.take([job])
        assert imports.take([job]) == job


def ended(database: PostgresDatabase) -> None:
    """The server lets go of whoever has the claim, as when it was started anew."""
    with closing(database.connection()) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
