"""The frames of a log, held against what SQLite makes of them: damage is told from torn writes, and read past."""

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from index.errors import LogDamaged
from index.storage.write_ahead_log import LogFrames, fold_log, log_of, log_problem, read_frames, require_whole_log

PAGE = 512
FRAME = 24 + PAGE
COMMITS = 6  # of the log, numbered from 1; each adds rows of its number
ROWS = 4  # of each commit
FIELDS = {"page": 3, "size": 4, "salt": 9, "checksum": 17, "first byte": 24, "content": 300, "last byte": FRAME - 1}
EVERY_COMMIT = list(range(1, COMMITS + 1))


def killed(folder: Path, last: Callable[[apsw.Connection], object] = lambda _: None) -> Path:
    """A database whose owner was killed: its log holds six commits, and frames of an earlier round behind them."""
    opened, file = folder / "open.sqlite", folder / "some.sqlite"
    with closing(apsw.Connection(str(opened))) as writer:
        writer.execute(
            f"PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;"
            "PRAGMA cache_size = 8"  # pages: a large transaction goes to the log before it ends
        ).fetchall()
        writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, number INTEGER, padding BLOB)")
        for _ in range(3):
            insert(writer, 0, 40)
        writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        for number in EVERY_COMMIT:
            insert(writer, number)
        last(writer)
        shutil.copy(opened, file)
        shutil.copy(log_of(opened), log_of(file))
    return file


def insert(writer: apsw.Connection, number: int, count: int = ROWS) -> None:
    with writer:
        for _ in range(count):
            writer.execute("INSERT INTO t (number, padding) VALUES (?, randomblob(200))", (number,))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return killed(tmp_path)


def frames_of(file: Path) -> LogFrames:
    frames = read_frames(log_of(file), page=PAGE)
    assert frames is not None
    return frames


def numbers(file: Path) -> list[int]:
    """Of the commits that SQLite sees in a database and its log, told without touching them."""
    copy = file.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for source in (file, log_of(file)):
        if source.exists():
            shutil.copy(source, copy)
    with closing(apsw.Connection(str(copy / file.name))) as connection:
        found = connection.execute("SELECT number FROM t WHERE number > 0 GROUP BY number HAVING count(*) = ?", (ROWS,))
        return sorted(number for (number,) in found)


def folded(file: Path) -> list[int]:
    """Numbers of the commits that are whole in the folded file."""
    target = file.with_name("folded.sqlite")
    fold_log(file, target, page=PAGE)
    return numbers(target)


def change(file: Path, at: int, data: bytes) -> None:
    with log_of(file).open("r+b") as log:
        log.seek(at)
        log.write(data)


def flip(file: Path, at: int) -> None:
    byte = log_of(file).read_bytes()[at]
    change(file, at, bytes([byte ^ 4]))


def commits(file: Path) -> list[int]:
    """The last frame of each commit of this round, from 0."""
    frames = frames_of(file)
    return [int(frame) for frame in frames.commits() if frame < frames.seen]


def test_a_log_is_read_as_sqlite_reads_it(file: Path) -> None:
    frames = frames_of(file)
    assert len(commits(file)) == COMMITS
    assert frames.end == frames.seen == commits(file)[-1] + 1 < len(frames.pages)  # what follows is of an earlier round
    assert not frames.hidden
    assert numbers(file) == folded(file) == EVERY_COMMIT
    whole = log_of(file).read_bytes()
    for cut in range(32, 32 + frames.seen * FRAME, FRAME // 2):
        log_of(file).write_bytes(whole[:cut])
        assert numbers(file) == folded(file)
    log_of(file).unlink()
    assert read_frames(log_of(file), page=PAGE) is None
    assert folded(file) == []


def test_checksums_of_either_byte_order_are_read(file: Path) -> None:
    """SQLite writes the machine's own order and reads both; held against a sum that is made word by word."""
    log = bytearray(log_of(file).read_bytes())
    assert int.from_bytes(log[:4]) == 0x377F0682
    log[:4] = (0x377F0683).to_bytes(4)
    total = naive_sum(bytes(log[:24]), (0, 0))
    log[24:32] = b"".join(part.to_bytes(4) for part in total)
    for start in range(32, 32 + frames_of(file).seen * FRAME, FRAME):
        total = naive_sum(bytes(log[start : start + 8] + log[start + 24 : start + FRAME]), total)
        log[start + 16 : start + 24] = b"".join(part.to_bytes(4) for part in total)
    seen = frames_of(file).seen
    log_of(file).write_bytes(log)
    assert numbers(file) == EVERY_COMMIT
    assert frames_of(file).seen == seen


def naive_sum(data: bytes, total: tuple[int, int]) -> tuple[int, int]:
    first, second = total
    for at in range(0, len(data), 8):
        first = (first + int.from_bytes(data[at : at + 4]) + second) % 2**32
        second = (second + int.from_bytes(data[at + 4 : at + 8]) + first) % 2**32
    return first, second


@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_bit_before_the_last_commit_is_told_wherever_it_is(file: Path, field: str) -> None:
    ends = commits(file)
    whole = log_of(file).read_bytes()
    for frame in range(ends[-2] + 1):
        if frame == ends[-2] and field == "size":
            continue  # the last two commits look as one that is torn
        flip(file, 32 + frame * FRAME + FIELDS[field])
        before = [number for number, end in enumerate(ends, start=1) if end < frame]
        assert numbers(file) == before  # what SQLite would make of it
        with pytest.raises(LogDamaged, match=f"some.sqlite-wal is damaged at frame {frame + 1} of .*repair"):
            require_whole_log(file, page=PAGE)
        with pytest.raises(LogDamaged):
            require_whole_log(file, page=PAGE, shared=True)  # nobody has it open
        assert log_problem(file, page=PAGE) is not None
        assert frames_of(file).end == ends[-1] + 1
        if field in ("salt", "checksum"):
            assert folded(file) == EVERY_COMMIT
        log_of(file).write_bytes(whole)


def test_a_damaged_header_of_the_log_is_told(file: Path) -> None:
    whole = log_of(file).read_bytes()
    for at in range(0, 32, 3):
        flip(file, at)
        with pytest.raises(LogDamaged, match="damaged in its header"):
            require_whole_log(file, page=PAGE)
        assert folded(file) == EVERY_COMMIT
        log_of(file).write_bytes(whole)
    change(file, 0, bytes(32))
    assert folded(file) == EVERY_COMMIT


def test_noise_in_the_log_costs_what_it_hit(file: Path) -> None:
    ends, pages = commits(file), frames_of(file).pages
    whole = log_of(file).read_bytes()
    for frame in range(ends[-2] + 1):
        change(file, 32 + frame * FRAME, random.Random(frame).randbytes(FRAME))
        hidden = frame < ends[-2]  # else it cannot be told which of two commits it ended
        assert frames_of(file).hidden or not hidden
        if hidden:
            assert frames_of(file).end == ends[-1] + 1
            assert not fold_log(file, file.with_name("folded.sqlite"), page=PAGE)  # which page was it?
            if (frames_of(file).pages[frame + 1 : ends[-1] + 1] == pages[frame]).any():
                assert folded(file) == EVERY_COMMIT
        log_of(file).write_bytes(whole)


def test_a_torn_last_commit_is_no_damage(file: Path) -> None:
    """After a loss of power each of its frames may be there, not be there, or be there in part."""
    rng = random.Random(7)
    ends = commits(file)
    whole = log_of(file).read_bytes()
    for first in (ends[-2] + 1, 0):  # behind other commits, and the first of a log
        log = whole if first else whole[: 32 + (ends[0] + 1) * FRAME] + bytes(4 * FRAME)
        last = ends[-1] if first else ends[0]
        for _ in range(200):
            log_of(file).write_bytes(log)
            for frame in range(first, last + 1):
                start = 32 + frame * FRAME
                stale = whole[-FRAME:]  # of the earlier round
                left = rng.choice((0, 24, 300, FRAME, FRAME))
                change(file, start + left, rng.choice((bytes(FRAME), stale))[left:])
            assert not frames_of(file).hidden
            require_whole_log(file, page=PAGE)
            assert numbers(file) == folded(file)


def test_what_was_rolled_back_behind_a_torn_commit_is_no_damage(tmp_path: Path) -> None:
    """A large transaction goes to the log before it ends; undone, it is written over, and frames of it stay behind."""
    ended = 0

    def undo_and_commit(writer: apsw.Connection) -> None:
        nonlocal ended
        writer.execute("BEGIN")
        writer.execute("INSERT INTO t (number, padding) SELECT 9, randomblob(200) FROM t, t LIMIT 300")
        shutil.copy(log_of(Path(writer.filename)), tmp_path / "undone")
        writer.execute("ROLLBACK")
        ended = frames_of(Path(writer.filename)).seen
        insert(writer, 9)

    file = killed(tmp_path, undo_and_commit)
    undone = (tmp_path / "undone").read_bytes()
    frames = frames_of(file)
    last = commits(file)[-1]
    assert frames.salted[last + 1]  # what was rolled back is of the same round
    assert not frames.hidden
    assert numbers(file) == folded(file) == [*EVERY_COMMIT, 9]
    first = commits(file)[-2] + 1
    for frame in range(first, last):  # of the last commit, this frame had not come to the disk
        start = 32 + frame * FRAME
        whole = log_of(file).read_bytes()
        change(file, start, undone[start : start + FRAME])
        assert not frames_of(file).hidden
        require_whole_log(file, page=PAGE)
        assert numbers(file) == folded(file) == EVERY_COMMIT
        log_of(file).write_bytes(whole)


def test_who_has_it_open_since_before_the_damage_sees_all_and_is_not_refused(tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "some.sqlite"))) as writer:
        writer.execute(f"PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL").fetchall()
        writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, number INTEGER, padding BLOB)")
        for number in EVERY_COMMIT:
            insert(writer, number)
        file = Path(writer.filename)
        flip(file, 32 + 3 * FRAME + FIELDS["checksum"])
        require_whole_log(file, page=PAGE, shared=True)
        problem = log_problem(file, page=PAGE)
        assert problem is not None
        assert problem.startswith("some.sqlite-wal: at frame 4 of")
        with pytest.raises(LogDamaged):
            require_whole_log(file, page=PAGE)
