"""Files over HTTP: broken off, taken up, checked."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.errors import InvalidValue, StorageError, StorageFull
from model_export.data_sets.transfer import Fetched, RemoteFile, fetch, read_json
from tests.file_server import FileServer, serving_files

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as state:
        state.files["/a.zip"] = CONTENT
        yield state


def get(server: FileServer, folder: Path, tries: int = 3, **known: Any) -> Fetched:
    file = RemoteFile(name="a.zip", url=f"{server.address}/a.zip", **known)
    return fetch(file, folder, tries=tries, pause=0)


def test_a_file_comes_whole_and_nothing_else_is_left(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    file = RemoteFile(name="b/a.zip", url=f"{server.address}/a.zip", size=len(CONTENT), sha256=SHA256)
    fetched = fetch(file, tmp_path / "new", report=lambda done, total: seen.append((done, total)))
    assert fetched == Fetched(path=tmp_path / "new/b/a.zip", size=len(CONTENT), sha256=SHA256, before=False)
    assert fetched.path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in fetched.path.parent.iterdir()] == ["a.zip"]
    assert fetch(file, tmp_path / "new").before
    assert len(server.asked) == 1


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server: FileServer, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_another_run_takes_up_what_the_first_left(server: FileServer, tmp_path: Path) -> None:
    server.cut_after = [100_000, 0, 0, 0]
    with pytest.raises(InvalidValue, match=r"broke off after 100,000 bytes \(100,000 of 300,000 bytes came\); run the"):
        get(server, tmp_path)
    assert not (tmp_path / "a.zip").exists()
    assert (tmp_path / "a.zip.part").stat().st_size == 100_000
    assert get(server, tmp_path, sha256=SHA256).path.read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=100000-"


def test_two_versions_are_never_glued_together(server: FileServer, tmp_path: Path) -> None:
    server.cut_after = [100_000, 0, 0, 0]
    with pytest.raises(InvalidValue, match="broke off"):
        get(server, tmp_path)
    server.files["/a.zip"], server.tag = CONTENT[::-1], '"two"'
    assert get(server, tmp_path).path.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("tag", "ranges", "wanted"), [(None, True, None), ('W/"one"', True, None), ('"one"', False, "bytes=100000-")]
)
def test_without_a_strong_tag_or_ranges_it_begins_again(
    server: FileServer, tmp_path: Path, tag: str | None, ranges: bool, wanted: str | None
) -> None:
    server.tag, server.ranges, server.cut_after = tag, ranges, [100_000]
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked == [("/a.zip", None), ("/a.zip", wanted)]


def test_patience_begins_anew_with_every_byte(server: FileServer, tmp_path: Path) -> None:
    server.cut_after = [0, 1_000, 0, 1_000, 0]
    assert get(server, tmp_path, tries=2).path.read_bytes() == CONTENT
    assert len(server.asked) == 6


def test_a_part_that_is_whole_already_is_taken(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    (tmp_path / "a.zip.part.tag").write_text('"one"')
    assert get(server, tmp_path).sha256 == SHA256
    assert server.asked == [("/a.zip", "bytes=300000-")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_part_that_is_too_long_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.zip.part.tag").write_text('"one"')
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"sha256": "0" * 64}, f"SHA-256 {SHA256}, published is 000"),
        ({"md5": "0" * 32}, f"MD5 {hashlib.md5(CONTENT).hexdigest()}, published is 000"),
        ({"size": 7}, "300,000 bytes, published are 7"),
    ],
)
def test_what_is_not_as_published_is_thrown_away(
    server: FileServer, tmp_path: Path, known: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidValue, match=f"{words}.*thrown away; run the command again"):
        get(server, tmp_path, **known)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with pytest.raises(InvalidValue, match=f"{words}.*; remove it"):
        get(server, tmp_path, **known)
    assert (tmp_path / "a.zip").exists()


def test_a_right_checksum_is_taken(server: FileServer, tmp_path: Path) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert get(server, tmp_path, md5=md5, sha256=SHA256, size=300_000).sha256 == SHA256


def test_a_busy_server_is_asked_again_and_a_wrong_address_is_not(server: FileServer, tmp_path: Path) -> None:
    server.refuse = [503, 429]
    assert get(server, tmp_path).sha256 == SHA256
    asked = len(server.asked)
    with pytest.raises(InvalidValue, match="HTTP 404"):
        fetch(RemoteFile(name="b", url=f"{server.address}/b"), tmp_path, pause=0)
    assert len(server.asked) == asked + 1
    with pytest.raises(InvalidValue, match="is not an http"):
        fetch(RemoteFile(name="c", url="file:///etc/hostname"), tmp_path, pause=0)


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with serving_files() as state:
        address = state.address
    with pytest.raises(InvalidValue, match=r"broke off after 0 bytes \(.*refused.*\)"):
        fetch(RemoteFile(name="a", url=f"{address}/a"), tmp_path, tries=2, pause=0)


def test_a_file_larger_than_the_disk_is_refused_before_it_is_begun(server: FileServer, tmp_path: Path) -> None:
    server.files["/a.zip"] = b"x"

    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 60

    server.files["/a.zip"] = Huge(b"x")
    with pytest.raises(StorageFull, match=r"1,152,921,504,606,846,976 bytes are needed and .* are free"):
        get(server, tmp_path)


def test_a_folder_that_cannot_be_made(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be made"):
        get(server, tmp_path / "file" / "folder")


def test_documents(server: FileServer) -> None:
    server.files["/d"] = b'{"a": 1}'
    assert read_json(f"{server.address}/d") == {"a": 1}
    with pytest.raises(InvalidValue, match="no JSON document there"):
        read_json(f"{server.address}/a.zip")
