"""Who writes an image keeps others from it, and from no other."""

import threading
from concurrent.futures import ThreadPoolExecutor

from index.milvus.held_ids import HeldIds


def test_others_wait_for_an_id_and_for_nothing_else() -> None:
    held, entered = HeldIds(), threading.Event()

    def enter() -> None:
        with held.some(["b", "c"]):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with held.some(["a", "b"]):
            waiting = pool.submit(enter)
            assert not entered.wait(0.05)
            with held.some(["d"]):
                pass
        waiting.result(5)
        assert entered.is_set()


def test_whoever_holds_all_is_alone() -> None:
    held, inside, most = HeldIds(), [0], [0]

    def work(number: int) -> None:
        for _ in range(50):
            if number % 3:
                with held.some([str(number)]):
                    most[0] = max(most[0], inside[0])
            else:
                with held.every():
                    inside[0] += 1
                    inside[0] -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert most == [0]
