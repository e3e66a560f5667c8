"""Ctrl-C waits for the end of what must not be cut."""

import signal

import pytest

from model_export.training.interruption import Interruption


def press(times: int, done: list[str], *, held: bool) -> None:
    """Ctrl-C so many times, and what is done before and after what is held back ends."""
    with Interruption() as interruption:
        if held:
            with interruption.held_back():
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
                done.append("inside")
        else:
            signal.raise_signal(signal.SIGINT)
        done.append("after")


@pytest.mark.parametrize(("times", "held", "expected"), [(1, True, ["inside"]), (2, True, []), (1, False, [])])
def test_it_waits_for_the_end_once(times: int, held: bool, expected: list[str]) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press(times, done, held=held)
    assert done == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_one_nothing_is_raised_and_a_handler_of_somebody_else_stays() -> None:
    done: list[str] = []
    press(0, done, held=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        press(1, done, held=True)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert done == ["inside", "after"] * 2
