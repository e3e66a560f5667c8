"""SQLite's write-ahead log as it lies on the disk, and commits in it that SQLite would not see.

https://sqlite.org/fileformat2.html#walformat. Opening a log that nobody has open, SQLite reads it up to the first frame
whose checksum fails: behind a torn write there is nothing that was acknowledged. Damage to an older frame looks the
same to it and hides every commit that follows: what was acknowledged is gone, what was erased is back.

A frame's checksum goes on from the one that stands in the frame before it. So each frame is held against its
predecessor alone, whatever became of the others, and all of them at once. Two things tell damage from a torn write: a
commit is flushed before it is acknowledged, and a frame whose checksum goes on from a commit's was written after that.
A frame that was left by an earlier round of the log has other salts; one that was left by a transaction that was rolled
back has these, but does not go on from what was written over the others of that transaction.
"""

import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.errors import LogDamaged

_HEADER, _FRAME_HEADER = 32, 24  # bytes
_SALT = slice(8, 16)  # of a frame; in the log's header it begins at 16
_BLOCK = 256  # frames that are read at a time
_ORDERS: Final = {0x377F0682: "little", 0x377F0683: "big"}  # of bytes in checksums' words, by magic number
_SEEN = slice(16, 20)  # of the log's shared memory: how many frames SQLite reads


@dataclass(frozen=True, kw_only=True)
class LogFrames:
    """Every frame of a log, an entry a frame in each array.

    ``pages`` are numbers of pages, ``sizes`` the pages of the file after a commit at its last frame and else 0, int64
    (n,). ``salted``: of this round of the log, ``chained``: its checksum goes on from the one before it, bool (n,).
    Where the log's own header is damaged, ``whole_header`` is False and the first frame stands for it.
    """

    salt: bytes
    whole_header: bool
    pages: NDArray[np.int64]
    sizes: NDArray[np.int64]
    salted: NDArray[np.bool_]
    chained: NDArray[np.bool_]

    @property
    def seen(self) -> int:
        """How many frames SQLite believes when it opens the log."""
        sound = self.salted & self.chained
        return 0 if not self.whole_header else len(sound) if sound.all() else int(sound.argmin())

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which frames were written in this round, whole or damaged. Left ones are chained to each other, too."""
        own = self.salted.copy()
        own[1:] |= self.chained[1:] & self.salted[:-1]
        own[0] |= self.chained[0]
        return own

    def commits(self, *, behind: int = 0) -> NDArray[np.int64]:
        """The last frames of commits, from one on."""
        return np.flatnonzero(self.own & (self.sizes > 0) & (np.arange(len(self.sizes)) >= behind))

    @property
    def hidden(self) -> bool:
        """Whether SQLite would not see a commit that was flushed."""
        unseen = self.commits(behind=self.seen)
        if not self.whole_header:  # it is flushed before there are frames
            return len(unseen) > 0
        return len(unseen) > 1 or any(map(self._followed, unseen))

    @property
    def end(self) -> int:
        """How many frames there are up to the last commit that can be believed."""
        if not self.hidden:
            commits = self.commits()
            return int(commits[commits < self.seen].max(initial=-1)) + 1
        commits = self.commits()
        if self._followed(commits[-1]):
            return int(commits[-1]) + 1
        before = int(commits[-2]) + 1 if len(commits) > 1 else 0
        whole = (self.salted & self.chained)[before : commits[-1] + 1].all()  # else it may be torn
        return int(commits[-1]) + 1 if whole else before

    def _followed(self, commit: np.int64) -> bool:
        """Whether anything was written once a commit was flushed."""
        return bool(self.chained[commit + 1 : commit + 2].any())


def log_of(file: Path) -> Path:
    """The write-ahead log of a database."""
    return file.with_name(file.name + "-wal")


def read_frames(log: Path, *, page: int) -> LogFrames | None:
    """The whole frames of a log with pages of so many bytes; None where there are none. Raises OSError."""
    try:
        with log.open("rb") as file:
            header = file.read(_HEADER)
            blocks = []
            while whole := len(block := file.read(_BLOCK * (_FRAME_HEADER + page))) // (_FRAME_HEADER + page):
                blocks.append(_read_block(header, block[: whole * (_FRAME_HEADER + page)], page))
    except FileNotFoundError:
        return None
    if not blocks:
        return None
    heads, inner = np.concatenate([head for head, _ in blocks]), np.concatenate([each for _, each in blocks])
    whole_header = _whole(header, page)
    salt = header[16:24] if whole_header else heads[0, _SALT].tobytes()
    numbers = heads.view(">u4")
    before = np.concatenate([np.frombuffer(header[24:], ">u4")[None], numbers[:-1, 4:]]).astype(np.uint32)
    step = _steps((2 * 4 + page) // 8)[0]
    sums = _product(before, step) + inner
    chained = (sums == numbers[:, 4:]).all(axis=1)
    chained[1:] |= (_product(sums[:-1], step) + inner[1:] == numbers[1:, 4:]).all(
        axis=1
    )  # the one before was hit itself
    salted = (heads[:, _SALT] == np.frombuffer(salt, np.uint8)).all(axis=1)
    if not whole_header:
        chained[0] = True  # there is nothing to hold it against
    return LogFrames(
        salt=salt, whole_header=whole_header, pages=numbers[:, 0].astype(np.int64),
        sizes=numbers[:, 1].astype(np.int64), salted=salted, chained=chained,
    )  # fmt: skip


def require_whole_log(file: Path, *, page: int, shared: bool = False) -> None:
    """Raise LogDamaged where SQLite would not see a flushed commit in the log of a database that nobody has open.

    ``shared``: others may have it open, and write to it; it was opened and read by us before. Who has had it open since
    before the damage sees everything, and so do we then.
    """
    frames = _hiding(file, page, shared=shared)
    if frames is not None and not (shared and _seen_by_sqlite(file) > frames.seen):
        raise LogDamaged(
            f"the log {log_of(file)} is damaged {_place(frames)}: opened by SQLite it would lose all that follows, "
            "and what was erased would be back; nothing was changed; `vehicle-index repair` reads what follows, too, "
            "and tells what is lost"
        )


def log_problem(file: Path, *, page: int) -> str | None:
    """Where the log of a database is damaged, that others may have open and see whole for as long as they do."""
    frames = _hiding(file, page, shared=True)
    return None if frames is None else f"{log_of(file).name}: {_place(frames)}"


def fold_log(file: Path, target: Path, *, page: int) -> bool:
    """Copy a database to ``target`` with every commit that its log holds, those that damage hides included.

    A frame that is damaged is copied, too: what is wrong in it is for its rows' checksums to tell. False where one
    could not be, because nothing tells which page it was. Raises OSError.
    """
    shutil.copyfile(file, target)
    log = log_of(file)
    frames = read_frames(log, page=page)
    if frames is None or not frames.end:
        return True
    pages = _pages_after(frames)
    known = (frames.own & (frames.pages > 0) & (frames.pages <= pages))[: frames.end]
    with target.open("r+b") as copy, log.open("rb") as source:
        for number in np.flatnonzero(known):
            source.seek(_HEADER + int(number) * (_FRAME_HEADER + page) + _FRAME_HEADER)
            copy.seek((int(frames.pages[number]) - 1) * page)
            copy.write(source.read(page))
        copy.truncate(pages * page)
    sound = (frames.own & frames.chained)[: frames.end]  # of a page that a later commit did without
    return bool((known | sound).all())


def _pages_after(frames: LogFrames) -> int:
    """The file's pages after the last commit that is folded in, which may be damaged itself."""
    sound = frames.chained[: frames.end]
    told = np.flatnonzero(sound & (frames.sizes[: frames.end] > 0))
    last = int(told[-1]) if len(told) else -1
    written = frames.pages[last + 1 : frames.end][sound[last + 1 :]]
    size = frames.sizes[last] if last >= 0 else frames.sizes[frames.end - 1]
    return int(max(size, written.max(initial=0)))


def _hiding(file: Path, page: int, *, shared: bool) -> LogFrames | None:
    """The frames of a database's log, where flushed commits are hidden in it."""
    try:
        frames = read_frames(log_of(file), page=page)
    except OSError:  # SQLite will not be able to read it either, and say so
        return None
    if frames is None or not frames.hidden:
        return None
    if shared:
        again = _hiding(file, page, shared=False)
        if again is None or (again.salt, again.seen) != (frames.salt, frames.seen):
            return None  # it was being written while we read it
    return frames


def _place(frames: LogFrames) -> str:
    return f"at frame {frames.seen + 1:,} of {len(frames.pages):,}" if frames.whole_header else "in its header"


def _seen_by_sqlite(file: Path) -> int:
    """How many frames whoever has a database open reads, by the memory that they share; 0 where there is none."""
    try:
        with file.with_name(file.name + "-shm").open("rb") as shared:
            return int.from_bytes(shared.read(_SEEN.stop)[_SEEN], sys.byteorder)
    except OSError:
        return 0


def _read_block(header: bytes, block: bytes, page: int) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Headers of frames, bytes (n, 24), and what each frame adds to a checksum, uint32 (n, 2)."""
    frames = np.frombuffer(block, np.uint8).reshape(-1, _FRAME_HEADER + page)
    words = frames.view(">u4" if _order(header) == "big" else "<u4").astype(np.uint32, copy=False)
    weights = _steps((2 * 4 + page) // 8)[1]
    added = _product(words[:, :2], weights[:2]) + _product(words[:, _FRAME_HEADER // 4 :], weights[2:])
    return frames[:, :_FRAME_HEADER].copy(), added


def _whole(header: bytes, page: int) -> bool:
    """Whether a log's header is what was written."""
    words = np.frombuffer(header[:24], ">u4" if _order(header) == "big" else "<u4").astype(np.uint32)
    own = np.frombuffer(header[24:], ">u4")
    return (
        int.from_bytes(header[:4]) in _ORDERS
        and int.from_bytes(header[8:12]) == page
        and bool((_product(words[None], _steps(3)[1]) == own).all())
    )


def _order(header: bytes) -> str:
    return _ORDERS.get(int.from_bytes(header[:4]), sys.byteorder)


def _product(words: NDArray[np.uint32], weights: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Words (n, w) by weights (w, 2), modulo 2³²."""
    return np.stack([words @ weights[:, 0], words @ weights[:, 1]], axis=1)


@cache
def _steps(pairs: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What a checksum becomes over so many pairs of words, and what each word adds to it: (2, 2) and (2 · pairs, 2).

    A pair (x, y) makes s' = s + t + x and t' = t + s' + y of a checksum (s, t): linear, modulo 2³². So both come
    from powers of [[1, 1], [1, 2]], whose entries are Fibonacci numbers.
    """
    count = 2 * pairs
    numbers = [0, 1]
    while len(numbers) < count + 2:
        numbers.append((numbers[-1] + numbers[-2]) % 2**32)
    fibonacci = np.array(numbers, np.uint32)
    over = np.array([fibonacci[count - 1 : count + 1], fibonacci[count : count + 2]])
    return over, np.stack([fibonacci[count - 1 :: -1], fibonacci[count:0:-1]], axis=1)
