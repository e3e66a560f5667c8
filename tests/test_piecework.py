"""Pieces of work carried out by others, some at a time."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from index.piecework import Piecework


def test_all_are_done_and_never_more_at_once_than_allowed() -> None:
    out, most = 0, 0
    guard = threading.Lock()

    def piece(n: int) -> int:
        nonlocal out, most
        with guard:
            out += 1
            most = max(most, out)
        with guard:
            out -= 1
        return n

    with ThreadPoolExecutor(8) as pool:
        assert sorted(Piecework(pool.submit, at_once=3)(partial(piece, n) for n in range(100))) == list(range(100))
    assert 1 <= most <= 3


def test_no_piece_is_handed_out_after_the_last_turn() -> None:
    turns = iter([True, True, False])
    with ThreadPoolExecutor(1) as pool:
        pieces = (partial(int, n) for n in range(100))
        assert list(Piecework(pool.submit, at_once=2, turn=lambda: next(turns))(pieces)) == [0, 1]


def test_an_error_comes_out_and_takes_back_what_nobody_began() -> None:
    begun: list[Future[object]] = []

    def submit(_: object) -> "Future[object]":
        begun.append(Future())
        if len(begun) == 3:
            begun[0].set_exception(KeyError("own"))
        return begun[-1]

    with pytest.raises(KeyError, match="own"):
        next(Piecework(submit, at_once=3)((lambda: None) for _ in range(9)))
    assert [future.cancelled() for future in begun[1:]] == [True, True]
