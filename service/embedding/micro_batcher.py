"""Calls of the model that are shared: pictures that wait for it at the same time go through it together.

Nothing waits for company. A call that finds the model free begins at once; what comes while all turns are taken is one
batch when the next turn is free. So batches grow with the load by themselves, and an idle service adds no delay.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index.embedder import Embedded, Embedder
from index.errors import VehicleSearchError


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the model says of one caller's crops; the seconds they waited, the call's, and their share of these."""

    embedded: Embedded
    waited: float
    seconds: float
    share: float


@dataclass(eq=False)
class _Call:
    embedder: Embedder
    crops: NDArray[np.uint8]  # (N, H, W, 3)
    began: float = field(default_factory=time.perf_counter)
    woken: threading.Event = field(default_factory=threading.Event)
    lot: "Sequence[_Call]" = ()  # where it leads
    shared: Shared | None = None
    error: BaseException | None = None

    def outcome(self) -> Shared:
        if self.error is not None:
            raise self.error
        assert self.shared is not None  # noqa: S101  # one of both is there when it is woken
        return self.shared


class MicroBatcher:
    """At most ``turns`` calls of the model at a time, each of at most ``most`` crops, or of one caller's.

    ``on_batch`` hears the number of crops of each.
    """

    def __init__(self, *, turns: int, most: int, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._most, self._on_batch = most, on_batch
        self._lock = threading.Lock()
        self._free = turns
        self._waiting: deque[_Call] = deque()

    def embed(self, embedder: Embedder, crops: NDArray[np.uint8], *, alone: bool = False) -> Shared:
        """Embed crops, uint8 (N, H, W, 3), with others' that wait for the same model; for any number of threads.

        ``alone``: nobody else is at work, so this call may have all cores. Raises what ``Embedder.embed`` raises; a
        batch that fails is done once more one by one, so that one caller's crops do not fail another's.
        """
        call = _Call(embedder, crops)
        with self._lock:
            if self._free:
                self._free -= 1
                call.lot = (call,)
            else:
                self._waiting.append(call)
        if not call.lot:
            call.woken.wait()
        if call.lot:
            lot, call.lot = call.lot, ()  # which it is in itself
            try:
                self._run(lot, alone=alone)
            finally:
                self._pass_on()
        return call.outcome()

    def _pass_on(self) -> None:
        """Give the turn to what waits longest, and to what fits in beside it."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            first = self._waiting.popleft()
            lot, size, others = [first], len(first.crops), []
            while self._waiting and size < self._most:
                call = self._waiting.popleft()
                if call.embedder is first.embedder and size + len(call.crops) <= self._most:
                    lot.append(call)
                    size += len(call.crops)
                else:
                    others.append(call)
            self._waiting.extendleft(reversed(others))
            first.lot = lot
        first.woken.set()

    def _run(self, lot: Sequence[_Call], *, alone: bool) -> None:
        try:
            self._embed(lot, alone=alone)
        except VehicleSearchError as error:
            if len(lot) == 1:
                lot[0].error = error
            else:
                for call in lot:
                    self._run((call,), alone=False)
        except BaseException as error:
            for call in lot:
                call.error = error
        finally:
            for call in lot[1:]:
                call.woken.set()

    def _embed(self, lot: Sequence[_Call], *, alone: bool) -> None:
        began = time.perf_counter()
        crops = lot[0].crops if len(lot) == 1 else np.concatenate([call.crops for call in lot])
        embedded = lot[0].embedder.embed(crops, alone=alone and len(lot) == 1)
        seconds = time.perf_counter() - began
        self._on_batch(len(crops))
        start = 0
        for call in lot:
            end = start + len(call.crops)
            viewpoint = None if embedded.viewpoint is None else embedded.viewpoint[start:end]
            call.shared = Shared(
                embedded=Embedded(embedding=embedded.embedding[start:end], viewpoint=viewpoint),
                waited=began - call.began, seconds=seconds, share=seconds * len(call.crops) / max(1, len(crops)),
            )  # fmt: skip
            start = end
