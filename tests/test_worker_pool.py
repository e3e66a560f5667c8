"""Work by its urgency, and workers that are lost. Order is proved with events."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import pytest

from service.capacity.worker_pool import Company, Loss, Urgency, WorkerPool
from service.wire.problems import NotReady

SINGLE, BATCH, SPARE = Urgency


@pytest.fixture
def losses() -> list[Loss]:
    return []


Maker = Callable[..., WorkerPool]


@pytest.fixture
def pool_of(losses: list[Loss], monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    monkeypatch.setattr("service.capacity.worker_pool.CLOSED_WITHIN", 5)
    made: list[WorkerPool] = []

    def make(count: int = 1, *, stuck: float = 60, at_once: dict[Urgency, int] | None = None) -> WorkerPool:
        made.append(WorkerPool(count, at_once=at_once or {}, stuck_seconds=stuck, on_loss=losses.append))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


class Gate:
    """Work that is begun, and does not end before it may."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.go_on.wait(30)


def test_results_and_errors_come_back(pool_of: Maker) -> None:
    pool = pool_of()
    assert pool.submit(lambda: 3, SINGLE).result(30) == 3
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0, BATCH).result(30)
    assert pool.submit(lambda: 4, SPARE).result(30) == 4


def test_what_is_urgent_goes_first_and_the_rest_is_never_left(pool_of: Maker) -> None:
    pool, gate = pool_of(), Gate()
    pool.submit(gate, SINGLE)
    assert gate.begun.wait(30)
    order: list[Urgency] = []
    futures = [pool.submit(partial(order.append, own), own) for own in [SPARE] * 2 + [BATCH] * 2 + [SINGLE] * 12]
    assert pool.depths() == {SINGLE: (12, 1), BATCH: (2, 0), SPARE: (2, 0)}
    gate.go_on.set()
    for future in futures:
        future.result(30)
    assert order[:4] == [SINGLE] * 4
    assert {BATCH, SPARE} <= set(order[:7])  # though more urgent work waits all the time
    assert order[-1] is not SPARE or order.count(SINGLE) == 12
    assert order.index(SPARE) < 12


def test_large_requests_leave_workers_to_single_ones(pool_of: Maker) -> None:
    pool, gates = pool_of(3, at_once={BATCH: 2}), [Gate(), Gate(), Gate()]
    futures = [pool.submit(gate, BATCH) for gate in gates]
    assert gates[0].begun.wait(30)
    assert gates[1].begun.wait(30)
    assert pool.submit(lambda: 5, SINGLE).result(30) == 5
    assert not gates[2].begun.is_set()
    gates[0].go_on.set()
    assert gates[2].begun.wait(30)
    for gate in gates:
        gate.go_on.set()
    for future in futures:
        future.result(30)


def test_what_is_cancelled_before_its_turn_is_let_go(pool_of: Maker) -> None:
    pool, gate = pool_of(), Gate()
    running = pool.submit(gate, SINGLE)
    assert gate.begun.wait(30)
    done: list[int] = []
    waiting = pool.submit(lambda: done.append(1), SINGLE)
    assert waiting.cancel()
    assert pool.depths()[SINGLE] == (0, 1)  # it holds no memory while the worker is busy
    assert not running.cancel()
    gate.go_on.set()
    assert pool.submit(lambda: 6, SINGLE).result(30) == 6
    assert done == []


def test_a_worker_that_hangs_is_replaced(pool_of: Maker, losses: list[Loss], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.capacity.worker_pool.FIRST_REST", 0.05)
    pool, gate = pool_of(stuck=0.2), Gate()
    hung = pool.submit(gate, SINGLE)
    waiting = pool.submit(lambda: "served", SINGLE)
    with pytest.raises(NotReady, match=r"not come back for 0\.2 s \(stuck_seconds\)"):
        hung.result(30)
    assert losses == ["hung"]
    assert waiting.result(30) == "served"  # by another worker: the first hangs still
    assert pool.missing == 0
    gate.go_on.set()  # it comes back after all, and its place is taken
    assert [pool.submit(partial(int, n), SINGLE).result(30) for n in range(5)] == list(range(5))
    assert pool.depths()[SINGLE] == (0, 0)
    assert losses == ["hung"]


def test_rests_grow_with_losses_and_end_with_a_result(pool_of: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.capacity.worker_pool.FIRST_REST", 3600)
    monkeypatch.setattr("service.capacity.worker_pool.LONGEST_REST", 5 * 3600)
    pool = pool_of(4, stuck=0.1)
    gates = [Gate() for _ in range(3)]
    for gate in gates:
        with pytest.raises(NotReady):
            pool.submit(gate, SINGLE).result(30)
    rests = sorted(pool._due)
    assert pool.missing == 3
    assert [round((rest - rests[0]) / 3600) for rest in rests] == [0, 1, 3]  # 1, 2 and 4 hours
    assert pool.submit(lambda: 7, SINGLE).result(30) == 7  # by the one that is left
    assert pool._losses == 0
    for gate in gates:
        gate.go_on.set()


def test_a_worker_that_dies_is_replaced(pool_of: Maker, losses: list[Loss], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.capacity.worker_pool.FIRST_REST", 0.01)
    pool = pool_of(stuck=0.4)

    def end() -> None:
        raise SystemExit(3)

    with pytest.raises(NotReady, match="SystemExit: 3"):
        pool.submit(end, SINGLE).result(30)
    assert pool.submit(lambda: 8, SINGLE).result(30) == 8
    assert losses == ["dead"]


def test_closing_drops_what_waits_and_waits_for_what_runs(pool_of: Maker) -> None:
    pool, gate = pool_of(), Gate()
    running, waiting = pool.submit(gate, SINGLE), pool.submit(lambda: 9, SINGLE)
    assert gate.begun.wait(30)
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(30)
    assert closing.is_alive()
    gate.go_on.set()
    closing.join(30)
    assert running.result(0) is None
    with pytest.raises(NotReady, match="stopping"):
        pool.submit(lambda: 10, SINGLE)


def test_closing_does_not_wait_for_ever(pool_of: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.capacity.worker_pool.CLOSED_WITHIN", 0.05)
    pool, gate = pool_of(), Gate()
    pool.submit(gate, SINGLE)
    assert gate.begun.wait(30)
    pool.close()
    gate.go_on.set()


def test_work_that_likes_company_is_shared_out(pool_of: Maker) -> None:
    pool, gates = pool_of(2), [Gate(), Gate()]
    for gate in gates:
        pool.submit(gate, SINGLE)
        assert gate.begun.wait(30)
    lots: list[list[int]] = []

    def together(numbers: Sequence[int]) -> list[object]:
        lots.append(list(numbers))
        return [ValueError(f"{number}") if number == 3 else number * 10 for number in numbers]

    company, other = Company(lambda: 4, together), Company(lambda: 1, together)
    futures = [pool.join(company, number, SINGLE) for number in range(12)]
    stranger, gone = pool.join(other, 100, SINGLE), pool.join(company, 12, SINGLE)
    assert gone.cancel()
    gates[0].go_on.set()
    results = [future.result(30) for future in futures if future is not futures[3]]
    assert results == [number * 10 for number in range(12) if number != 3]
    with pytest.raises(ValueError, match="3"):
        futures[3].result(30)
    assert stranger.result(30) == 1000
    # of twelve that wait, six are its share of two workers, and three the half of it
    assert lots == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9], [10], [11], [100]]
    assert pool.depths()[SINGLE] == (0, 1)
    gates[1].go_on.set()


@pytest.mark.parametrize(
    ("together", "says"),
    [(lambda _: 1 // 0, "division"), (lambda _: [], "0 results came of 2"), (lambda _: sys.exit(4), "SystemExit: 4")],
)
def test_company_that_fails_fails_all_of_it(
    pool_of: Maker, together: Callable[[Sequence[int]], Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.capacity.worker_pool.FIRST_REST", 0.01)
    pool, gate = pool_of(stuck=0.4), Gate()
    pool.submit(gate, SINGLE)
    assert gate.begun.wait(30)
    company = Company(lambda: 2, together)
    futures = [pool.join(company, number, SINGLE) for number in range(3)]  # two, then one
    gate.go_on.set()
    for future in futures[:2]:
        with pytest.raises((ZeroDivisionError, RuntimeError, NotReady), match=says):
            future.result(30)
    assert pool.submit(lambda: 11, SINGLE).result(30) == 11


def test_company_that_hangs_is_given_up_together(pool_of: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.capacity.worker_pool.FIRST_REST", 0.01)
    pool, gate, held = pool_of(stuck=0.4), Gate(), Gate()
    pool.submit(gate, SINGLE)
    assert gate.begun.wait(30)

    def together(numbers: Sequence[int]) -> Sequence[int]:
        held()
        return numbers

    company = Company(lambda: 2, together)
    futures = [pool.join(company, number, SINGLE) for number in range(3)]  # two, then one
    gate.go_on.set()
    for future in futures:
        with pytest.raises(NotReady, match="stuck_seconds"):
            future.result(30)
    assert pool.submit(lambda: 12, SINGLE).result(30) == 12
    held.go_on.set()  # what comes after all is dropped


class Load:
    """What a piece of work holds: pictures, a model."""


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_work_that_is_over_holds_nothing(pool_of: Maker, end: str) -> None:
    """At once, and not when the interpreter next looks for cycles: a model that was replaced is to be freed."""
    pool = pool_of()
    load, gate = Load(), Gate()
    held = weakref.ref(load)

    def work(load: Load) -> None:
        assert load
        if end == "failed":
            raise ValueError(end)

    gc.disable()
    try:
        first = pool.submit(gate, SINGLE)
        assert gate.begun.wait(30)
        future = pool.submit(partial(work, load), SINGLE)
        if end == "cancelled":
            assert future.cancel()
        gate.go_on.set()
        first.result(30)
        if end == "done":
            future.result(30)
        elif end == "failed":
            assert isinstance(future.exception(30), ValueError)
        pool.submit(lambda: None, SINGLE).result(30)
        del load, future
        assert held() is None
    finally:
        gc.enable()


def test_what_is_cancelled_while_it_is_taken_as_company_costs_no_worker(
    pool_of: Maker, losses: list[Loss], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, gate, later = pool_of(), Gate(), threading.Event()
    forget = pool._forget

    def forget_later(future: "Future[Any]") -> None:
        """As where the worker gets the lock again before whoever cancels does."""
        assert not future.cancelled() or later.wait(30)
        forget(future)

    monkeypatch.setattr(pool, "_forget", forget_later)
    pool.submit(gate, SINGLE)
    assert gate.begun.wait(30)
    cancelling: list[threading.Thread] = []

    def cancel_meanwhile() -> int:
        """Asked with the pool's lock held."""
        if not cancelling:
            cancelling.append(threading.Thread(target=second.cancel))
            cancelling[0].start()
            while not second.cancelled():
                cancelling[0].join(0.001)
        return 2

    company = Company(cancel_meanwhile, lambda asked: list(asked))
    first, second = (pool.join(company, number, SINGLE) for number in range(2))
    gate.go_on.set()
    assert first.result(30) == 0
    assert pool.submit(lambda: 9, SINGLE).result(30) == 9  # by the same worker
    later.set()
    cancelling[0].join(30)
    assert pool.depths()[SINGLE] == (0, 0)
    assert losses == []
