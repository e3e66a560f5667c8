"""SQLite's errors as ours, with a way out."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from index.errors import StorageError
from index.storage.database_file import translated


def test_a_file_that_another_process_holds_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite"
    with closing(apsw.Connection(str(file))) as holder, closing(apsw.Connection(str(file))) as other:
        holder.execute("BEGIN EXCLUSIVE")
        told = f"{file} cannot be used: .*locked; another process holds it: end that"
        with pytest.raises(StorageError, match=told), translated(file):
            other.execute("BEGIN IMMEDIATE")


def test_a_file_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "none/gallery.sqlite"
    told = f"{file} cannot be used: unable to open .*; bring it back or mend the rights"
    with pytest.raises(StorageError, match=told), translated(file):
        apsw.Connection(str(file))
