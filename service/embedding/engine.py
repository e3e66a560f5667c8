"""The model at work for many clients: a bounded queue, workers that take from it by urgency, and the model's turns.

A worker takes one piece of work from beginning to end (decode, embed, search), because decoder and model both release
the interpreter lock; the event loop only waits. On a CPU there is a worker a core, each runs the model on one core and
nobody waits for company; a lone picture has all cores. On a GPU there are more workers than the model takes at a time:
they decode meanwhile, and what waits for the model together goes through it together.
"""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.crops import Box
from index.embedder import Embedder
from service.capacity.worker_pool import Company, Loss, Urgency, WorkerPool
from service.embedding.loaded_models import LoadedModels
from service.embedding.micro_batcher import Shared
from service.embedding.picture_looker import Looked, PictureLooker, Seen
from service.watching.metrics import WAITED, Metrics, PieceOfWork
from service.watching.request_trace import carried, record
from service.wire.problems import NotReady, QueueFull

FRESH_SECONDS = 10.0  # an answer of the model this old still proves that it answers
PATIENCE_SECONDS = 5.0  # for an answer of the model, when somebody asks whether it answers
SPARE_PATIENCE_SECONDS = 1.0  # that spare work waits for a moment without requests, so that it goes on at all
QUIET_SECONDS = 2.0  # without requests, after which spare work may take the last worker too
STUCK_SECONDS = 60.0  # after which a piece of work is thought to hang

_ON_CPU: Final = "CPUExecutionProvider"
_TURNS_ELSEWHERE: Final = 2  # one computes while the other's crops are on their way
_BATCH_ON_CPU: Final = 1  # crops; two take 0.92 of the time of one each, and cores that wait for them cost more
_BATCH_ELSEWHERE: Final = 32
_CHUNK_SECONDS: Final = 0.06  # of the model for a part of a large request, so that single ones get their turn soon
_CHUNK: Final = 8  # pictures in it, at most; on a CPU more of them go no faster
_LOT_SECONDS: Final = 0.13  # of the model for the requests that a worker of a CPU takes at a time
_LOT: Final = 8  # of them, at most
_REMEMBERED: Final = 0.9  # of what was known of the model's time, when a new one comes

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Asked(Generic[T]):
    """A request with few pictures: ``at`` is the reading of ``time.perf_counter`` when it came."""

    pictures: Sequence[tuple[bytes, Box | None]]
    then: Callable[[list[Looked]], T]
    piece: PieceOfWork
    at: float = field(default_factory=time.perf_counter)
    context: Context = field(default_factory=copy_context)  # which knows the request's id

    def carry_on(self, looked: list[Looked], embedded: float, others: float) -> T:
        """Note in the request's own context when the model's call ended and how long it waited for others."""
        seen = [one for one in looked if isinstance(one, Seen)]
        if seen:
            record("embed", seen[0].embed, len(seen), ago=time.perf_counter() - embedded)
        if others >= WAITED:
            record("queue", others, len(looked))
        return self.then(looked)


def _hear(proof: asyncio.Task[tuple[None, float]]) -> None:
    """Take the exception of a proof that nobody waits for any more."""
    if not proof.cancelled():
        proof.exception()


def _seconds_of(looked: Sequence[Looked]) -> float:
    """That pictures of one call of the model took."""
    seen = [one for one in looked if isinstance(one, Seen)]
    return sum(one.decode for one in seen) + max((one.embed + one.queue for one in seen), default=0.0)


class Engine:
    """Workers and their queue. Every exception of a piece of work reaches whoever waits for it."""

    def __init__(
        self, models: LoadedModels, metrics: Metrics, *, workers: int, queue_size: int, max_pixels: int, batch: int = 0,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:  # fmt: skip
        """``workers``: pictures worked on at a time, a core each; ``batch``: crops in one call, 0: by the device."""
        self._models, self.workers = models, workers
        self._metrics = metrics
        self.places = workers + queue_size  # requests that may wait or be at work
        self._taken = 0
        self._answered = time.monotonic()  # when the model last did; it was warmed up on opening
        self._proof: asyncio.Task[tuple[None, float]] | None = None
        on_cpu = models.present.provider == _ON_CPU
        self._batch = batch or (_BATCH_ON_CPU if on_cpu else _BATCH_ELSEWHERE)
        self._turns = workers if on_cpu else _TURNS_ELSEWHERE
        self._chunk_most = max(_CHUNK, self._batch)
        self._crop_seconds = 0.0  # of the model for a crop, lately
        self._looker = PictureLooker(
            metrics, turns=self._turns, batch=self._batch, max_pixels=max_pixels, on_answer=self._heard_of
        )
        self.threads = workers if self._batch == 1 else workers + self._turns * self._batch
        self._pool = WorkerPool(
            self.threads, at_once={Urgency.BATCH: workers if on_cpu else workers + self._turns},
            stuck_seconds=stuck_seconds, on_loss=self._lost,
        )  # fmt: skip
        self._companies: weakref.WeakKeyDictionary[Embedder, Company] = weakref.WeakKeyDictionary()
        self._closed = False
        self._turn = threading.Condition()
        self._asked = self._spare = 0  # pieces of work of requests, and spare ones, that are waiting or at work
        self._last_asked = -QUIET_SECONDS

    @property
    def embedder(self) -> Embedder:
        """The model that answers where no other is named."""
        return self._models.present

    @property
    def taken(self) -> int:
        """Requests that wait or are at work."""
        return self._taken

    async def check(self) -> None:
        """Return where work is taken and the model answers; else raise NotReady with the reason.

        Workers that are dead, stuck or fail give no answers, so the proof is an answer: one of the last seconds, or
        else that of a grey crop which takes its turn in the queue like any work.
        """
        if self._closed:
            raise NotReady("the service is stopping")
        if missing := self._pool.missing:
            raise NotReady(f"{missing} of {self.threads} workers are lost and not replaced yet; the log says more")
        if time.monotonic() - self._answered < FRESH_SECONDS:
            return
        if self._proof is None or self._proof.done():
            self._proof = asyncio.create_task(self.run(self._answer_once))
            self._proof.add_done_callback(_hear)
        try:
            await asyncio.wait_for(asyncio.shield(self._proof), PATIENCE_SECONDS)
        except TimeoutError as error:
            raise NotReady(f"the model has not answered for {time.monotonic() - self._answered:.0f} s") from error
        except Exception as error:  # whatever it is, the model has not answered
            raise NotReady(f"the model fails: {error or type(error).__name__}") from error

    def require_room(self) -> None:
        """Raise QueueFull where there is no place for one more request, NotReady where the service stops."""
        if self._closed:
            raise NotReady("the service is stopping")
        if self._taken >= self.places:
            raise QueueFull(
                f"{self._taken} requests are waiting or at work, the limit set by queue_size; try again later"
            )

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue for one request; raises what ``require_room`` raises."""
        self.require_room()
        self._taken += 1
        self._metrics.queue.set(self._taken)
        try:
            yield
        finally:
            self._taken -= 1
            self._metrics.queue.set(self._taken)

    async def run(self, work: Callable[[], T], *, urgency: Urgency = Urgency.SINGLE) -> tuple[T, float]:
        """Do ``work`` on a worker; its result and the seconds it waited for one.

        Work whose request ends before its turn, at a deadline or because the client leaves, is not done.
        """
        asked = time.perf_counter()
        piece = self._metrics.piece(urgency.name.lower())

        def timed() -> tuple[T, float]:
            piece.began()
            waited = self._waited(asked)
            return work(), waited

        return await self._ask(piece, lambda: self._pool.submit(carried(timed), urgency))

    async def look(
        self, pictures: Sequence[tuple[bytes, Box | None]], embedder: Embedder, then: Callable[[list[Looked]], T]
    ) -> tuple[T, float]:
        """What ``then`` makes, on the same worker, of a request's few pictures; and the seconds it waited for one.

        Pictures of requests that wait for a worker together go through the model together.
        """
        piece = self._metrics.piece(Urgency.SINGLE.name.lower())
        asked = _Asked(pictures=pictures, then=then, piece=piece)
        with self._turn:
            company = self._companies.setdefault(embedder, Company(self._together, partial(self._look, embedder)))
        return await self._ask(piece, lambda: self._pool.join(company, asked, Urgency.SINGLE))

    async def _ask(self, piece: PieceOfWork, submit: Callable[[], "Future[T]"]) -> T:
        with self._turn:
            self._asked += 1
        try:
            future = submit()
        except BaseException:
            piece.ended()
            self._answered_one()
            raise
        future.add_done_callback(piece.ended)
        future.add_done_callback(self._answered_one)
        return await asyncio.wrap_future(future)

    def _waited(self, since: float) -> float:
        waited = time.perf_counter() - since
        self._metrics.stage("queue", waited)
        return waited

    def _together(self) -> int:
        """Requests with few pictures that a worker takes at a time."""
        if self._batch != 1:
            return 1  # calls of the model are shared between workers
        return max(1, min(_LOT, int(_LOT_SECONDS / self._crop_seconds))) if self._crop_seconds else 1

    def _look(self, embedder: Embedder, asked: "Sequence[_Asked[Any]]") -> Iterator[Any]:
        """What comes of each request: what it makes of its pictures and the seconds it waited, or an error."""
        waited = [one.context.run(self._waited, one.at) for one in asked]
        began = time.perf_counter()
        for one in asked:
            one.piece.began()
        resize = embedder.contract.resize
        decoded = [one.context.run(self._looker.decode, one.pictures, resize, keep=False) for one in asked]
        flat = [each for pictures in decoded for each in pictures]
        looked = iter(self._looker.look_on(embedder, flat, alone=self._alone))
        embedded = time.perf_counter()
        for one, seconds in zip(asked, waited, strict=True):
            own = [next(looked) for _ in one.pictures]
            others = max(0.0, time.perf_counter() - began - _seconds_of(own))  # it waited for them, too
            try:
                outcome: Any = one.context.run(one.carry_on, own, embedded, others), seconds + others
            except Exception as error:
                outcome = error
            yield outcome

    def spare(self, work: Callable[[], T]) -> "Future[T]":
        """Do ``work`` on a worker that requests leave; waits, in the caller's thread, until there is one.

        While there are requests, one worker at least is left to them (where there is more than one), and work begins
        when none of them is waiting or at work, or after a second. It should be small: who comes then waits for it.
        """
        piece = self._metrics.piece(Urgency.SPARE.name.lower())

        def begun() -> T:
            piece.began()
            return work()

        with self._turn:
            self._turn.wait_for(lambda: self._closed or not self._asked, timeout=SPARE_PATIENCE_SECONDS)
            while not self._closed and self._spare >= self._left():
                self._turn.wait(timeout=QUIET_SECONDS)
            if self._closed:
                piece.ended()
                raise NotReady("the service is stopping")
            self._spare += 1
            try:
                future = self._pool.submit(begun, Urgency.SPARE)
            except BaseException:
                piece.ended()
                self._spare -= 1
                raise
        future.add_done_callback(piece.ended)
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
                return await self.run(lambda: work(batch[start : start + size]), urgency=Urgency.BATCH)

        size = self._chunk(len(batch))
        chunks = [asyncio.create_task(chunk(start)) for start in range(0, len(batch), size)]
        try:
            done = await asyncio.gather(*chunks)
        finally:  # one that fails ends the request: nobody waits for the others
            for each in chunks:
                each.cancel()
        return [made for made, _ in done], sum(waited for _, waited in done)

    def _chunk(self, count: int) -> int:
        """Pictures of a request with so many that go through the model together."""
        quick = self._chunk_most if not self._crop_seconds else int(_CHUNK_SECONDS / self._crop_seconds)
        return max(1, min(self._chunk_most, quick, -(-count // self.workers)))

    def look_at(
        self, pictures: Sequence[tuple[bytes, Box | None]], *, keep: bool, embedder: Embedder | None = None
    ) -> list[Looked]:
        """Decode pictures one by one and embed them together; ``keep`` also makes the form that is stored.

        A picture that cannot be decoded, or with which the model fails, is an error in its place. ModelError where
        it fails with all. Runs on a worker.
        """
        embedder = embedder or self.embedder
        decoded = self._looker.decode(pictures, embedder.contract.resize, keep=keep)
        return self._looker.look_on(embedder, decoded, alone=self._alone)

    def embed(self, embedder: Embedder, crops: NDArray[np.uint8]) -> Shared:
        """Embed crops, uint8 (N, H, W, 3), in the model's turn; raises what ``Embedder.embed`` raises.

        Runs on a worker.
        """
        return self._looker.embed(embedder, crops, alone=self._alone)

    def _answer_once(self) -> None:
        self.embedder.answer_grey()
        self._answered = time.monotonic()

    @property
    def _alone(self) -> bool:
        """Whether the caller's work is all there is."""
        return self._asked == 1 and not self._spare

    def _heard_of(self, embedder: Embedder, seconds: float) -> None:
        """A model answered, in so many seconds a crop."""
        if embedder is self.embedder:
            self._answered = time.monotonic()
            known = self._crop_seconds or seconds
            self._crop_seconds = _REMEMBERED * known + (1 - _REMEMBERED) * seconds

    def _lost(self, how: Loss) -> None:
        """A worker hangs or died, and may have had a turn of the model: readiness waits for a new answer."""
        self._metrics.lost_workers.labels(how).inc()
        self._looker.begin_anew()
        self._answered = time.monotonic() - FRESH_SECONDS

    def close(self) -> None:
        """Take no more work and wait for what runs."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._pool.close()
