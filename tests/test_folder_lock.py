"""One owner of a folder, also against another process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from index.errors import DataFolderLocked, DataFolderUnusable
from index.storage.folder_lock import FolderLock, SharedLock

HOLD = """
import sys
from pathlib import Path
from index.storage.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_is_told_who_holds_it_until_the_first_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataFolderLocked, match=rf"in use by process {other.pid} \(-c {tmp_path}\)") as refused:
            FolderLock(tmp_path)
        assert "\n" not in str(refused.value)
        assert "/images" in str(refused.value)
        other.kill()
    FolderLock(tmp_path).close()


def test_the_same_process_cannot_own_it_twice(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(DataFolderLocked, match=f"process {os.getpid()} "):
        FolderLock(tmp_path)
    lock.close()
    FolderLock(tmp_path).close()


@pytest.mark.parametrize("kind", [FolderLock, SharedLock])
def test_what_lies_in_its_place_is_named(tmp_path: Path, kind: type[FolderLock] | type[SharedLock]) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(DataFolderUnusable, match=f"{tmp_path}/lock is no file: remove what lies there"):
        kind(tmp_path)
