"""Callers that share calls of a real model."""

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.embedder import Embedded, Embedder
from index.errors import ModelError
from service.embedding.micro_batcher import MicroBatcher, Shared


class Gated(Embedder):
    """A model whose first call waits; it fails with crops whose first number is ``poison``."""

    def __init__(self, model: Path, poison: int | None = None) -> None:
        super().__init__(model, device="cpu", threads=1)
        self.poison = poison
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.lots: list[int] = []

    def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
        if not hasattr(self, "lots"):
            return super().embed(crops)  # warming up
        self.lots.append(len(crops))
        if len(self.lots) == 1:
            self.begun.set()
            assert self.go_on.wait(30)
        if self.poison is not None and (crops[:, 0, 0, 0] == self.poison).any():
            raise ModelError("poisoned")
        return super().embed(crops, alone=alone)


@pytest.fixture
def model(tiny_model: Path) -> Gated:
    return Gated(tiny_model)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def crops_of(embedder: Embedder, *firsts: int) -> NDArray[np.uint8]:
    crops = np.stack([np.full((*embedder.contract.input_size, 3), first, dtype=np.uint8) for first in firsts])
    crops[:, ::3, ::2] = 99
    crops[:, 0, 0, 0] = firsts
    return crops


def behind(
    batcher: MicroBatcher, threads: ThreadPoolExecutor, model: Gated, *callers: tuple[int, ...]
) -> list["Future[Shared]"]:
    """Callers that wait, in this order, while one is at work; then all go on."""
    futures = [threads.submit(batcher.embed, model, crops_of(model, 1))]
    assert model.begun.wait(30)
    for number, firsts in enumerate(callers, 1):
        futures.append(threads.submit(batcher.embed, model, crops_of(model, *firsts)))
        while len(batcher._waiting) < number:
            threading.Event().wait(0.001)
    model.go_on.set()
    return futures


def test_what_waits_together_goes_together_and_answers_are_those_of_each_alone(
    model: Gated, threads: ThreadPoolExecutor, tiny_model: Path
) -> None:
    heard: list[int] = []
    batcher = MicroBatcher(turns=1, most=4, on_batch=heard.append)
    callers = ((2,), (3, 4), (5,), (6, 7, 8), (9,))
    futures = behind(batcher, threads, model, *callers)
    plain = Embedder(tiny_model, device="cpu", threads=1)
    for firsts, future in zip(((1,), *callers), futures, strict=True):
        shared = future.result(30)
        alone = plain.embed(crops_of(plain, *firsts))
        np.testing.assert_allclose(shared.embedded.embedding, alone.embedding, atol=1e-5)
        assert alone.viewpoint is not None
        assert shared.embedded.viewpoint is not None
        np.testing.assert_allclose(shared.embedded.viewpoint, alone.viewpoint, atol=1e-5)
        assert shared.seconds >= shared.share > 0
    assert model.lots == heard == [1, 4, 4]  # 2, 3 and 4, 5; then 6, 7, 8 and 9
    assert futures[1].result().waited > 0
    assert futures[0].result().waited < futures[1].result().waited


def test_a_call_larger_than_a_batch_goes_alone(model: Gated, threads: ThreadPoolExecutor) -> None:
    futures = behind(MicroBatcher(turns=1, most=2), threads, model, (2, 3, 4), (5,))
    assert [len(future.result(30).embedded.embedding) for future in futures] == [1, 3, 1]
    assert model.lots == [1, 3, 1]


def test_a_poisoned_picture_fails_its_own_caller_only(tiny_model: Path, threads: ThreadPoolExecutor) -> None:
    model = Gated(tiny_model, poison=3)
    batcher = MicroBatcher(turns=1, most=8)
    _, good, bad, fine = behind(batcher, threads, model, (2,), (3,), (4,))
    assert len(good.result(30).embedded.embedding) == 1
    with pytest.raises(ModelError, match="poisoned"):
        bad.result(30)
    assert len(fine.result(30).embedded.embedding) == 1
    assert model.lots == [1, 3, 1, 1, 1]
    assert len(batcher.embed(model, crops_of(model, 5)).embedded.embedding) == 1  # the turn was given back


def test_models_are_not_mixed(model: Gated, tiny_model: Path, threads: ThreadPoolExecutor) -> None:
    other = Gated(tiny_model)
    other.go_on.set()
    batcher = MicroBatcher(turns=1, most=8)
    first = threads.submit(batcher.embed, model, crops_of(model, 1))
    assert model.begun.wait(30)
    waiting = []
    for number, embedder in enumerate((model, other, model, other), 1):
        waiting.append(threads.submit(batcher.embed, embedder, crops_of(model, number)))
        while len(batcher._waiting) < number:
            threading.Event().wait(0.001)
    model.go_on.set()
    for future in (first, *waiting):
        future.result(30)
    assert (model.lots, other.lots) == ([1, 2], [2])


def test_turns_are_had_at_the_same_time(tiny_model: Path, threads: ThreadPoolExecutor) -> None:
    both = threading.Barrier(2, timeout=30)

    class Meeting(Embedder):
        def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
            if crops[0, 0, 0, 0] == 7:
                both.wait()
            return super().embed(crops, alone=alone)

    model = Meeting(tiny_model, device="cpu", threads=1)
    batcher = MicroBatcher(turns=2, most=1)
    for future in [threads.submit(batcher.embed, model, crops_of(model, 7)) for _ in range(2)]:
        future.result(30)


def test_a_call_that_is_over_holds_neither_model_nor_crops(tiny_model: Path) -> None:
    """At once, and not when the interpreter next looks for cycles: a model that was replaced is to be freed."""
    batcher, embedder = MicroBatcher(turns=1, most=1), Embedder(tiny_model, device="cpu", threads=1)
    model = weakref.ref(embedder)
    gc.disable()
    try:
        batcher.embed(embedder, crops_of(embedder, 1))
        del embedder
        assert model() is None
    finally:
        gc.enable()
