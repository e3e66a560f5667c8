"""Order between readers and writers, proved with events."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from index.searching.read_write_lock import ReadWriteLock

SOON = 10  # seconds; only a failure takes that long


def test_readers_share() -> None:
    lock = ReadWriteLock()
    together = threading.Barrier(3)

    def read() -> None:
        with lock.read():
            together.wait(SOON)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(read) for _ in range(3)]:
            done.result()


def test_a_writer_is_alone_and_goes_before_later_readers() -> None:
    lock = ReadWriteLock()
    order: list[str] = []
    reading, release = threading.Event(), threading.Event()

    def first_reader() -> None:
        with lock.read():
            reading.set()
            assert release.wait(SOON)
            order.append("first reader")

    def writer() -> None:
        with lock.write():
            order.append("writer")

    def second_reader() -> None:
        with lock.read():
            order.append("second reader")

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(first_reader)]
        assert reading.wait(SOON)
        done.append(pool.submit(writer))
        while lock.waiting_writers == 0:
            threading.Event().wait(0.001)
        done.append(pool.submit(second_reader))
        release.set()
        for each in done:
            each.result()
    assert order == ["first reader", "writer", "second reader"]


@pytest.mark.parametrize("enter", [ReadWriteLock.read, ReadWriteLock.write])
def test_an_error_inside_lets_go(enter: Callable[[ReadWriteLock], object]) -> None:
    lock = ReadWriteLock()
    with pytest.raises(KeyError), enter(lock):  # type: ignore[attr-defined]
        raise KeyError
    with lock.write():
        pass


def test_writes_never_overlap() -> None:
    lock = ReadWriteLock()
    state = {"inside": 0, "writes": 0}

    def write() -> None:
        for _ in range(200):
            with lock.write():
                state["inside"] += 1
                assert state["inside"] == 1
                state["writes"] += 1
                state["inside"] -= 1

    def read() -> None:
        for _ in range(200):
            with lock.read():
                assert state["inside"] == 0

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for work in (write, read, write, read)]:
            done.result()
    assert state["writes"] == 400
