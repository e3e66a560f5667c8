"""The model at work for many clients: a bounded queue in front of as many workers as there are cores.

A worker takes one piece of work from beginning to end (decode, embed, search), because decoder and model both release
the interpreter lock; the event loop only waits. Each worker runs the model on one core, so nothing is held back to
fill a batch and all cores are busy as soon as there are as many pictures as cores.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.crops import Box, cut, model_crop, read_picture, stored_crop
from index.embedder import Embedder
from index.errors import EmbeddingNotFinite, PictureError, PictureTooLarge, VehicleSearchError
from service.loaded_models import LoadedModels
from service.metrics import Metrics
from service.problems import NotReady, QueueFull

CHUNK = 8  # pictures of a batch that one worker takes at a time
FRESH_SECONDS = 10.0  # an answer of the model this old still proves that it answers
PATIENCE_SECONDS = 5.0  # for an answer of the model, when somebody asks whether it answers
SPARE_PATIENCE_SECONDS = 1.0  # that spare work waits for a moment without requests, so that it goes on at all
QUIET_SECONDS = 2.0  # without requests, after which spare work may take the last worker too

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


Looked = Seen | PictureError | EmbeddingNotFinite


def _hear(proof: asyncio.Task[tuple[None, float]]) -> None:
    """Take the exception of a proof that nobody waits for any more."""
    if not proof.cancelled():
        proof.exception()


class Engine:
    """Workers and their queue. Every exception of a piece of work reaches whoever waits for it."""

    def __init__(
        self, models: LoadedModels, metrics: Metrics, *, workers: int, queue_size: int, max_pixels: int
    ) -> None:
        self._models, self.workers = models, workers
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._places = workers + queue_size
        self._taken = 0
        self._answered = time.monotonic()  # when the model last did; it was warmed up on opening
        self._proof: asyncio.Task[tuple[None, float]] | None = None
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._closed = False
        self._turn = threading.Condition()
        self._asked = self._spare = 0  # pieces of work of requests, and spare ones, that are waiting or at work
        self._last_asked = -QUIET_SECONDS

    @property
    def embedder(self) -> Embedder:
        """The model that answers where no other is named."""
        return self._models.present

    async def check(self) -> None:
        """Return where work is taken and the model answers; else raise NotReady with the reason.

        Workers that are dead, stuck or fail give no answers, so the proof is an answer: one of the last seconds, or
        else that of a grey crop which takes its turn in the queue like any work.
        """
        if self._closed:
            raise NotReady("the service is stopping")
        if time.monotonic() - self._answered < FRESH_SECONDS:
            return
        if self._proof is None or self._proof.done():
            self._proof = asyncio.create_task(self.run(self._answer_once))
            self._proof.add_done_callback(_hear)
        try:
            await asyncio.wait_for(asyncio.shield(self._proof), PATIENCE_SECONDS)
        except TimeoutError as error:
            raise NotReady(f"the model has not answered for {time.monotonic() - self._answered:.0f} s") from error
        except VehicleSearchError as error:
            raise NotReady(f"the model fails: {error}") from error

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

        with self._turn:
            self._asked += 1
        try:
            future = self._pool.submit(timed)
        except BaseException:
            self._answered_one()
            raise
        future.add_done_callback(self._answered_one)
        return await asyncio.wrap_future(future)

    def spare(self, work: Callable[[], T]) -> "Future[T]":
        """Do ``work`` on a worker that requests leave; waits, in the caller's thread, until there is one.

        While there are requests, one worker at least is left to them (where there is more than one), and work begins
        when none of them is waiting or at work, or after a second. It should be small: who comes then waits for it.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._closed or not self._asked, timeout=SPARE_PATIENCE_SECONDS)
            while not self._closed and self._spare >= self._left():
                self._turn.wait(timeout=QUIET_SECONDS)
            if self._closed:
                raise NotReady("the service is stopping")
            self._spare += 1
            try:
                future = self._pool.submit(work)
            except BaseException:
                self._spare -= 1
                raise
        future.add_done_callback(self._spared_one)
        return future

    def _left(self) -> int:
        """How many workers spare work may have now."""
        quiet = not self._asked and time.monotonic() - self._last_asked >= QUIET_SECONDS
        return self.workers if quiet else max(1, self.workers - 1)

    def _answered_one(self, _: object = None) -> None:
        with self._turn:
            self._asked -= 1
            self._last_asked = time.monotonic()
            self._turn.notify_all()

    def _spared_one(self, _: object) -> None:
        with self._turn:
            self._spare -= 1
            self._turn.notify_all()

    async def look_at_all(
        self, pictures: Sequence[tuple[bytes, Box | None]], *, keep: bool, embedder: Embedder | None = None
    ) -> tuple[list[Looked], float]:
        """Decode and embed pictures in order, a chunk a worker; a bad one is an error in its place.

        Also returns the seconds that chunks waited for a worker, added up.
        """
        parts, waited = await self.in_chunks(pictures, lambda part: self.look_at(part, keep=keep, embedder=embedder))
        return [seen for part in parts for seen in part], waited

    async def in_chunks(self, batch: "Sequence[Any] | NDArray[Any]", work: Callable[[Any], T]) -> tuple[list[T], float]:
        """What ``work`` makes of each chunk of a batch, in order, a chunk a worker; and the seconds that chunks waited.

        A batch never holds more workers than there are, so that single searches get their turn between its chunks.
        """
        gate = asyncio.Semaphore(self.workers)

        async def chunk(start: int) -> tuple[T, float]:
            async with gate:
                return await self.run(lambda: work(batch[start : start + size]))

        size = max(1, min(CHUNK, -(-len(batch) // self.workers)))
        done = await asyncio.gather(*(chunk(start) for start in range(0, len(batch), size)))
        return [made for made, _ in done], sum(waited for _, waited in done)

    def look_at(
        self, pictures: Sequence[tuple[bytes, Box | None]], *, keep: bool, embedder: Embedder | None = None
    ) -> list[Looked]:
        """Decode pictures one by one and embed them together; ``keep`` also makes the form that is stored.

        Runs on a worker.
        """
        embedder = embedder or self.embedder
        resize = embedder.contract.resize
        results: dict[int, Looked] = {}
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
                results[number] = self._with_setting(error)
                continue
            kept.append(None if stored is None else stored.data)
            rows.append(number)
            seconds.append(time.perf_counter() - start)
            self._metrics.stage("decode", seconds[-1])
        if crops:
            start = time.perf_counter()
            embedded = embedder.embed(np.stack(crops))
            each = (time.perf_counter() - start) / len(crops)
            if embedder is self.embedder:
                self._answered = time.monotonic()
            for at, number in enumerate(rows):
                self._metrics.stage("embed", each)
                vector = embedded.embedding[at]
                viewpoint = None if embedded.viewpoint is None else embedded.viewpoint[at]
                if not np.isfinite(vector).all() or (viewpoint is not None and not np.isfinite(viewpoint).all()):
                    results[number] = EmbeddingNotFinite("the model's answer to this picture is not finite")
                    continue
                results[number] = Seen(
                    crop=crops[at], embedding=vector, viewpoint=viewpoint, stored=kept[at], decode=seconds[at],
                    embed=each,
                )  # fmt: skip
        return [results[number] for number in range(len(pictures))]

    def _with_setting(self, error: PictureError) -> PictureError:
        """The error with the setting that decides, where one does."""
        if type(error) is PictureTooLarge:
            return PictureTooLarge(f"{error}, set by max_pixels")
        return error

    def _answer_once(self) -> None:
        embedder = self.embedder
        embedder.embed(np.full((1, *embedder.contract.input_size, 3), 128, dtype=np.uint8))
        self._answered = time.monotonic()

    def close(self) -> None:
        """Take no more work and wait for what runs."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
