"""Batches made ready in the background, so that decoding and augmentation never hold the model up."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from index.manifest import ManifestRow


@dataclass(frozen=True)
class Batch:
    """Augmented crops float (N, 3, H, W), 0–255, channels last; labels int64 (N,); the rows they came from."""

    crops: Tensor
    labels: Tensor
    rows: list[ManifestRow]

    def to(self, device: torch.device) -> Self:
        """The same on a device, where the crops may be already."""
        return type(self)(self.crops.to(device), self.labels.to(device, non_blocking=True), self.rows)


class Loader:
    """Yields ``make(number)`` for the numbers given, in order; up to ``ahead`` batches are made before their turn.

    ``workers`` 0 makes each batch when it is asked for. An exception of ``make`` is raised where its batch would be.
    """

    def __init__(
        self, make: Callable[[int], Batch], numbers: Iterable[int], *, workers: int, ahead: int | None = None
    ) -> None:
        self._make, self._numbers = make, iter(numbers)
        self._ahead = 2 * workers if ahead is None else ahead
        # a thread computes on one core: more would be taken from the model
        self._pool = ThreadPoolExecutor(workers, "loader", torch.set_num_threads, (1,)) if workers else None
        self._waiting: deque[Future[Batch]] = deque()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._pool is None:
            return self._make(next(self._numbers))
        while len(self._waiting) <= self._ahead and (number := next(self._numbers, None)) is not None:
            self._waiting.append(self._pool.submit(self._make, number))
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft().result()

    def close(self) -> None:
        """Forget what nobody will ask for."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
