"""The snapshot's file: what was written comes back, what was altered does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from index.searching.index_snapshot import (
    SnapshotAbout,
    SnapshotUnusable,
    discard_part,
    open_snapshot,
    remove_snapshot,
    snapshot_problem,
    write_snapshot,
)
from index.storage.gallery_files import SNAPSHOT

ABOUT = SnapshotAbout(
    space="space", dim=3, kind="hnsw", vectors="sq8", built=True, change=7, up_to=9, rows=5, error=0.1, witness=(9, 2**50)
)  # fmt: skip
PIECES = [b"abc", b"", bytes(range(150)), b"z"]


def write(folder: Path, pieces: list[bytes] = PIECES, about: SnapshotAbout = ABOUT) -> bytes:
    def save(take: Callable[[bytes], None]) -> None:
        for piece in pieces:
            take(piece)

    write_snapshot(folder, about, save)
    return (folder / SNAPSHOT).read_bytes()


def read(folder: Path, length: int = len(b"".join(PIECES))) -> tuple[SnapshotAbout, bytes]:
    with open_snapshot(folder) as opened:
        assert opened is not None
        about, reader = opened
        data = b"".join(reader.read(min(100, length - start)) for start in range(0, length, 100))
        reader.finish()
        return about, data


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write(tmp_path)
    assert read(tmp_path) == (ABOUT, b"".join(PIECES))
    assert [path.name for path in tmp_path.iterdir()] == [SNAPSHOT]
    large = [bytes([n % 251]) * 700_001 for n in range(5)]  # over the ends of blocks
    write(tmp_path, large, replace(ABOUT, witness=None))
    assert read(tmp_path, 5 * 700_001) == (replace(ABOUT, witness=None), b"".join(large))


def test_what_is_wrong_is_told_without_reading_it_all_in(tmp_path: Path) -> None:
    assert snapshot_problem(tmp_path) is None
    whole = write(tmp_path, [bytes(700_001)] * 5)
    assert snapshot_problem(tmp_path) is None
    for altered, problem in (
        (whole[:-1], "it is cut"), (whole + b"x", "it goes on behind its end"), (b"x" + whole[1:], "it does not begin"),
        (whole[:-50] + b"x" + whole[-49:], "block 4 is damaged"),
    ):  # fmt: skip
        (tmp_path / SNAPSHOT).write_bytes(altered)
        assert str(snapshot_problem(tmp_path)).startswith(problem)
    (tmp_path / SNAPSHOT).unlink()
    (tmp_path / SNAPSHOT).mkdir()
    assert "Is a directory" in str(snapshot_problem(tmp_path))


def test_what_a_crash_left_of_one_goes(tmp_path: Path) -> None:
    discard_part(tmp_path)
    write(tmp_path)
    (tmp_path / f"{SNAPSHOT}.part").touch()
    discard_part(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [SNAPSHOT]


def test_none_is_none(tmp_path: Path) -> None:
    with open_snapshot(tmp_path) as opened:
        assert opened is None
    write(tmp_path)
    (tmp_path / f"{SNAPSHOT}.part").touch()
    remove_snapshot(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_byte_that_is_altered_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path)
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        (tmp_path / SNAPSHOT).write_bytes(altered)
        with pytest.raises(SnapshotUnusable):
            read(tmp_path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path)
    for length in range(len(whole)):
        (tmp_path / SNAPSHOT).write_bytes(whole[:length])
        with pytest.raises(SnapshotUnusable):
            read(tmp_path)
    (tmp_path / SNAPSHOT).write_bytes(whole + b"\0")
    with pytest.raises(SnapshotUnusable, match="behind its end"):
        read(tmp_path)


def test_blocks_in_another_order_are_noticed(tmp_path: Path) -> None:
    half = 2**20
    whole = write(tmp_path, [b"a" * half, b"b" * half])
    first, second = whole.index(b"a" * half) - 8, whole.index(b"b" * half) - 8
    swapped = whole[:first] + whole[second : second + half + 8] + whole[first:second] + whole[second + half + 8 :]
    assert len(swapped) == len(whole)
    (tmp_path / SNAPSHOT).write_bytes(swapped)
    with pytest.raises(SnapshotUnusable, match="block 1 is damaged"):
        read(tmp_path, 2 * half)


def test_more_is_asked_for_than_there_is(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(SnapshotUnusable, match="ends too early"):
        read(tmp_path, 10_000)
    with pytest.raises(SnapshotUnusable, match="behind its end"):
        read(tmp_path, 10)


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    write(tmp_path)

    def fail(take: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_snapshot(tmp_path, replace(ABOUT, change=8), fail)
    assert read(tmp_path)[0] == ABOUT
    assert [path.name for path in tmp_path.iterdir()] == [SNAPSHOT]
