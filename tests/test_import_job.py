"""Jobs on the disk: what was accepted is there, what was not leaves nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from index.bulk.import_job import ImportFolder, ImportJob, archive_in
from index.errors import StorageError, StorageFull
from tests.small_disk import fill, small_disk

JOB = ImportJob(
    job_id="one", gallery="default", path=None, name="x.zip", state="queued", created_at="2026-05-04T10:11:12Z"
)


def accepted(folder: ImportFolder, job: ImportJob = JOB) -> None:
    receiving = folder.receive()
    archive_in(receiving).write_bytes(b"PK")
    folder.accept(receiving, job)


def test_what_was_not_accepted_leaves_nothing(tmp_path: Path) -> None:
    folder = ImportFolder(tmp_path)
    archive_in(folder.receive()).write_bytes(b"PK")  # the process is killed here
    folder.refuse(folder.receive())
    again = ImportFolder(tmp_path)
    assert again.jobs() == []
    assert list((tmp_path / "imports").iterdir()) == []


def test_the_archive_of_a_job_that_has_ended_goes(tmp_path: Path) -> None:
    folder = ImportFolder(tmp_path)
    accepted(folder)
    ended = replace(JOB, state="done")
    folder.save(ended)  # the process is killed here
    assert ImportFolder(tmp_path).jobs() == [ended]
    assert not folder.archive(ended).exists()
    folder.remove(ended)
    assert ImportFolder(tmp_path).jobs() == []
    assert list((tmp_path / "imports").iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"job_id": "one"})])
def test_a_job_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    folder = ImportFolder(tmp_path)
    accepted(folder)
    (tmp_path / "imports/one/job.json").write_text(content)
    with pytest.raises(StorageError, match=r"imports/one/job\.json cannot be read"):
        folder.jobs()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        folder = ImportFolder(disk)
        receiving = folder.receive()
        fill(disk)
        with pytest.raises(StorageFull, match="imports cannot be kept"):
            folder.accept(receiving, JOB)
        folder.refuse(receiving)
        assert folder.jobs() == []
