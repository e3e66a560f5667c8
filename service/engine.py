"""The model at work for many clients: a bounded queue in front of as many workers as there are cores.

A worker takes one piece of work from beginning to end (decode, embed, search), because decoder and model both release
the interpreter lock; the event loop only waits. Each worker runs the model on one core, so nothing is held back to
fill a batch and all cores are busy as soon as there are as many pictures as cores.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from index.crops import Box, cut, model_crop, read_picture, stored_crop
from index.embedder import Embedder
from index.errors import EmbeddingNotFinite, PictureError
from service.metrics import Metrics
from service.problems import NotReady, QueueFull

CHUNK = 8  # pictures of a batch that one worker takes at a time

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One picture after the model: ``crop`` uint8 (H, W, 3), ``embedding`` float32 (D,), ``viewpoint`` (V,) or None.

    ``stored`` is the bytes that a gallery keeps, where they were asked for; the decoded picture is let go, because a
    batch of photographs would not fit in memory. Times are in seconds.
    """

    crop: NDArray[np.uint8]
    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None
    stored: bytes | None
    decode: float
    embed: float


class Engine:
    """Workers and their queue. Every exception of a piece of work reaches whoever waits for it."""

    def __init__(self, embedder: Embedder, metrics: Metrics, *, workers: int, queue_size: int, max_pixels: int) -> None:
        self.embedder, self.workers = embedder, workers
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._places = workers + queue_size
        self._taken = 0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether work is taken."""
        return not self._closed

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue for one request; raises QueueFull at once when there is none."""
        if self._closed:
            raise NotReady("the service is stopping")
        if self._taken >= self._places:
            raise QueueFull(
                f"{self._taken} requests are waiting or at work, the limit set by queue_size; try again later"
            )
        self._taken += 1
        self._metrics.queue.set(self._taken)
        try:
            yield
        finally:
            self._taken -= 1
            self._metrics.queue.set(self._taken)

    async def run(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do ``work`` on a worker; its result and the seconds it waited for one."""
        asked = time.perf_counter()

        def timed() -> tuple[T, float]:
            waited = time.perf_counter() - asked
            self._metrics.stage("queue", waited)
            return work(), waited

        return await asyncio.get_running_loop().run_in_executor(self._pool, timed)

    def look(self, data: bytes, box: Box | None) -> Seen:
        """Decode and embed one query picture; raises PictureError or EmbeddingNotFinite. Runs on a worker."""
        (seen,) = self.look_at([(data, box)], keep=False)
        if isinstance(seen, Exception):
            raise seen
        return seen

    async def look_at_all(
        self, pictures: Sequence[tuple[bytes, Box | None]], *, keep: bool
    ) -> list[Seen | PictureError | EmbeddingNotFinite]:
        """Decode and embed pictures in order, a chunk a worker; a bad one is an error in its place.

        A batch never holds more workers than there are, so that single searches get their turn between its chunks.
        """
        gate = asyncio.Semaphore(self.workers)

        async def chunk(part: Sequence[tuple[bytes, Box | None]]) -> list[Seen | PictureError | EmbeddingNotFinite]:
            async with gate:
                return (await self.run(lambda: self.look_at(part, keep=keep)))[0]

        size = max(1, min(CHUNK, -(-len(pictures) // self.workers)))
        parts = [chunk(pictures[start : start + size]) for start in range(0, len(pictures), size)]
        return [seen for part in await asyncio.gather(*parts) for seen in part]

    def look_at(
        self, pictures: Sequence[tuple[bytes, Box | None]], *, keep: bool
    ) -> list[Seen | PictureError | EmbeddingNotFinite]:
        """Decode pictures one by one and embed them together; ``keep`` also makes the form that is stored."""
        resize = self.embedder.contract.resize
        results: dict[int, Seen | PictureError | EmbeddingNotFinite] = {}
        crops, kept, seconds, rows = [], [], [], []
        for number, (data, box) in enumerate(pictures):
            start = time.perf_counter()
            try:
                stored = stored_crop(data, box=box, max_pixels=self._max_pixels) if keep else None
                if stored is None:
                    image = read_picture(data, max_pixels=self._max_pixels)
                    image = image if box is None else cut(image, box)
                else:
                    image = stored.image
                crops.append(model_crop(image, resize))
            except PictureError as error:
                results[number] = error
                continue
            kept.append(None if stored is None else stored.data)
            rows.append(number)
            seconds.append(time.perf_counter() - start)
            self._metrics.stage("decode", seconds[-1])
        if crops:
            start = time.perf_counter()
            embedded = self.embedder.embed(np.stack(crops))
            each = (time.perf_counter() - start) / len(crops)
            for at, number in enumerate(rows):
                self._metrics.stage("embed", each)
                vector = embedded.embedding[at]
                if not np.isfinite(vector).all():
                    results[number] = EmbeddingNotFinite(
                        "the model gave an embedding that is not finite for this picture"
                    )
                    continue
                results[number] = Seen(
                    crop=crops[at], embedding=vector, stored=kept[at], decode=seconds[at], embed=each,
                    viewpoint=None if embedded.viewpoint is None else embedded.viewpoint[at],
                )  # fmt: skip
        return [results[number] for number in range(len(pictures))]

    def close(self) -> None:
        """Take no more work and wait for what runs."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
