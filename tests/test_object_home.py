"""The same promises of every home that objects can have."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index.errors import InvalidValue, StorageError, StorageFull
from index.objects.folder_objects import CUT_OFF_AFTER
from index.objects.object_home import open_objects
from index.objects.object_store import ObjectMissing, ObjectStore
from tests.object_server import object_server
from tests.small_disk import fill, small_disk

NAME = f"{'ab' * 32}.jpg"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_server() as address:
        yield address


@pytest.fixture(params=["path", "file", "memory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        address = request.getfixturevalue("s3")
        return open_objects(f"s3://cars/{uuid.uuid4().hex}", endpoint=address, access_key="a", secret_key="b")
    places = {"path": str(tmp_path / "objects"), "file": f"file://{tmp_path}/x/y", "memory": f"memory://{tmp_path}"}
    return open_objects(places[request.param])


def test_what_was_put_is_found_until_it_is_deleted(objects: ObjectStore) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)  # a store may know whole seconds only
    objects.put("yard", NAME, b"one")
    objects.put("yard", NAME, b"two")
    objects.put("yard", "other", b"")
    objects.put("gate", NAME, b"three")
    assert (objects.get("yard", NAME), objects.get("yard", "other"), objects.get("gate", NAME)) == (
        b"two", b"", b"three",
    )  # fmt: skip
    listed = dict(objects.names("yard"))
    assert set(listed) == {NAME, "other"}
    assert all(began < put < datetime.now(UTC) + timedelta(seconds=2) for put in listed.values())
    objects.delete("yard", NAME)
    objects.delete("yard", NAME)
    with pytest.raises(ObjectMissing):
        objects.get("yard", NAME)
    assert [name for name, _ in objects.names("yard")] == ["other"]
    assert objects.get("gate", NAME) == b"three"


def test_a_gallery_is_dropped_whole_and_no_other(objects: ObjectStore) -> None:
    for number in range(5):
        objects.put("yard", f"{number}{NAME[1:]}", b"x")
    objects.put("yard2", NAME, b"x")
    objects.drop("yard")
    objects.drop("yard")
    assert list(objects.names("yard")) == []
    assert [name for name, _ in objects.names("yard2")] == [NAME]
    assert list(objects.names("never")) == []


def test_files_go_there_and_come_back(objects: ObjectStore, tmp_path: Path) -> None:
    sent, fetched = tmp_path / "sent", tmp_path / "fetched"
    data = os.urandom(3 << 20)
    sent.write_bytes(data)
    objects.send("_imports", "one", sent)
    objects.fetch("_imports", "one", fetched)
    assert fetched.read_bytes() == data
    with pytest.raises(ObjectMissing):
        objects.fetch("_imports", "two", fetched)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\nb", "é", "x" * 129])
def test_a_name_never_leads_elsewhere(tmp_path: Path, name: str) -> None:
    objects = open_objects(str(tmp_path))
    for gallery, within in ((name, NAME), ("yard", name)):
        with pytest.raises(StorageError, match="cannot be the name"):
            objects.put(gallery, within, b"x")


def test_a_second_process_sees_what_the_first_has_put_even_when_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from index.objects.object_home import open_objects\n"
        "open_objects(sys.argv[1]).put('yard', 'name', b'data'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert open_objects(str(tmp_path)).get("yard", "name") == b"data"


def test_what_a_crash_cut_off_is_no_object_and_goes_after_a_day(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path))
    objects.put("yard", NAME, b"x")
    old, young = tmp_path / "yard" / "ab" / ".old.part", tmp_path / "yard" / "ab" / ".young.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (0, old.stat().st_mtime - CUT_OFF_AFTER - 1))
    assert [name for name, _ in objects.names("yard")] == [NAME]
    assert (old.exists(), young.exists()) == (False, True)


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        objects = open_objects(str(disk))
        objects.put("yard", NAME, b"whole")
        fill(disk)
        with pytest.raises(StorageFull):
            objects.put("yard", NAME, b"x" * (1 << 20))
        assert objects.get("yard", NAME) == b"whole"
        assert [path.name for path in (disk / "yard" / "ab").iterdir()] == [NAME]


@pytest.mark.parametrize("url", ["", "://x", "s3://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="names no place"):
        open_objects(url)


def test_a_scheme_that_nobody_knows_and_a_store_that_does_not_answer_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="nosuch"):
        open_objects("nosuch://x")
    monkeypatch.setattr("index.objects.fsspec_objects.ATTEMPTS", 1)
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9") as refused:
        open_objects("s3://cars", endpoint="http://127.0.0.1:9", access_key="a", secret_key="secret-b")
    assert "secret-b" not in str(refused.value)
