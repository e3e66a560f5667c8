"""The database that a file names: its URL has a password, so it stands in no setting."""

from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import StorageError
from index.secret_file import read_secret

if TYPE_CHECKING:
    from index.postgres.postgres_database import PostgresDatabase


def open_database(file: Path) -> "PostgresDatabase":
    """Raises InvalidValue where the file holds no URL, and what ``PostgresDatabase`` raises."""
    url = read_secret(file, setting="database_url_file")
    try:
        from index.postgres.postgres_database import PostgresDatabase
    except ImportError as error:
        raise StorageError(
            f"database_url_file {file} needs the extra postgres: pip install 'vehicle-search[postgres]'"
        ) from error
    return PostgresDatabase(url)
