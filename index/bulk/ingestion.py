"""What a plan says into a gallery: workers read, decode and embed, a thread writes, both all the time.

A worker takes a few pictures from their bytes to their vectors, because decoder and model both release the interpreter
lock: all cores are busy and nobody waits for somebody else's stage. What the gallery holds already, of the same picture
and with the same metadata, is left as it is; so an import that was cut off goes on where it was.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.bulk.import_plan import Failure, ImportPlan, PlannedImage
from index.bulk.picture_reader import ReadablePicture, read_planned
from index.crops import Box, Frame, StoredCrop, content_name, model_crop
from index.embedder import Embedder
from index.errors import InvalidValue, PictureError, VehicleSearchError
from index.gallery import GallerySpec, NewImage, StoredImage
from index.machine.cpu_quota import usable_cpus
from index.piecework import Piecework

EMBEDDED_AT_ONCE: Final = 8  # images; larger batches are no faster on a CPU
WRITTEN_AT_ONCE: Final = 256  # images; a write costs a flush of the disk whatever its size
WRITTEN_EVERY: Final = 2.0  # seconds; with a slow model, so that little is lost and progress is seen
MAX_PIXELS: Final = 100_000_000

_AHEAD = 2  # pieces of work a worker that are begun or wait for it
_HELD = 16 << 20  # bytes of pictures from archives in one of them

T = TypeVar("T")


class Workers(Protocol):
    """Whoever embeds. ``count`` pieces of work are done at a time; ``submit`` may wait for its turn."""

    count: int

    def submit(self, work: Callable[[], T]) -> Future[T]: ...


class Receiver(Protocol):
    """Who gets the images: a gallery, or whoever does this much of what one does."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> GallerySpec: ...

    def find(self, image_ids: Sequence[str]) -> Mapping[str, StoredImage]: ...

    def add(self, images: Sequence[NewImage]) -> list[Literal["created", "updated"]]: ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What became of some images: created, updated, unchanged because they are stored already, or failed."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: Sequence[Failure] = ()

    @property
    def images(self) -> int:
        """How many images this is about."""
        return self.created + self.updated + self.unchanged + len(self.failed)


class OwnWorkers:
    """A thread a core and one more, from construction to ``close``.

    A thread waits now and then for the interpreter's lock, which the one that writes has; its core has the other then.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = usable_cpus() + 1 if count is None else count
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="import")

    def submit(self, work: Callable[[], T]) -> Future[T]:
        return self._pool.submit(work)

    def close(self) -> None:
        """Begin no further work and wait for what runs."""
        self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class Ingestion:
    """How a plan is carried out. ``root``: see ``read_planned``; ``anew`` also embeds what is stored already.

    The embedder should have one thread of its own: the workers are what keeps the cores busy. ``heard`` is told how
    many pictures each call of the model got.
    """

    gallery: Receiver
    embedder: Embedder
    workers: Workers
    root: Path | None = None
    max_pixels: int = MAX_PIXELS
    embedded_at_once: int = EMBEDDED_AT_ONCE
    anew: bool = False
    heard: Callable[[int], None] = lambda _: None

    def run(self, plan: ImportPlan) -> Generator[Progress, None, None]:
        """Import what is left of a plan; says what is done as it is done and durable. One bad image fails no other.

        Raises EmbeddingSpaceMismatch and what ``Gallery.add`` and ``read_planned`` raise; what was reported before
        stays done.
        """
        self.gallery.spec.require_space(self.embedder.contract, self.gallery.name)
        began = time.monotonic()
        writing: tuple[_Piece, Future[Progress]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="import-writer") as writer:
            try:
                for piece in self._to_write(plan):
                    before, writing = writing, None
                    if before is not None:
                        yield _finished(plan, *before, since=began)
                        began = time.monotonic()
                    writing = piece, writer.submit(_write, self.gallery, piece.images)
            except BaseException:  # somebody stops, or the workers do: what is written is struck out all the same
                if writing is not None:
                    with contextlib.suppress(VehicleSearchError):
                        _finished(plan, *writing, since=began)
                raise
            if writing is not None:
                yield _finished(plan, *writing, since=began)

    def _to_write(self, plan: ImportPlan) -> Iterator["_Piece"]:
        """Pieces as they are written: many images, or what there is after some time."""
        waiting, due = _Piece(), time.monotonic() + WRITTEN_EVERY
        for piece in self._seen(plan):
            waiting.extend(piece)
            if len(waiting) >= WRITTEN_AT_ONCE or time.monotonic() >= due:
                yield waiting
                waiting, due = _Piece(), time.monotonic() + WRITTEN_EVERY
        if len(waiting):
            yield waiting

    def _seen(self, plan: ImportPlan) -> Iterator["_Piece"]:
        """Pieces in order; workers run ahead of whoever takes them."""
        spread = Piecework(self.workers.submit, at_once=_AHEAD * self.workers.count)
        return spread(partial(self._see, pictures) for pictures in self._pieces(read_planned(plan, root=self.root)))

    def _pieces(self, pictures: Iterable[ReadablePicture]) -> Iterator[list[ReadablePicture]]:
        piece: list[ReadablePicture] = []
        for picture in pictures:
            piece.append(picture)
            images = sum(len(each.picture.images) for each in piece)
            if images >= self.embedded_at_once or sum(each.held for each in piece) >= _HELD:
                yield piece
                piece = []
        if piece:
            yield piece

    def _see(self, pictures: Sequence[ReadablePicture]) -> "_Piece":
        """Read, decode and embed; runs on a worker."""
        piece = _Piece()
        decoded: list[_Decoded] = []
        known = self._known_crops([image for readable in pictures for image in readable.picture.images])
        for readable in pictures:
            decoded += self._decoded(readable, known, piece)
            while len(decoded) >= self.embedded_at_once:
                self._embed(decoded[: self.embedded_at_once], piece)
                del decoded[: self.embedded_at_once]
        self._embed(decoded, piece)
        return piece

    def _decoded(self, readable: ReadablePicture, known: Mapping[int, str], piece: "_Piece") -> Iterator["_Decoded"]:
        """Crops of one picture that are to be embedded; what became of the others is noted."""
        images = readable.picture.images
        try:
            frame = Frame(readable.read(), max_pixels=self.max_pixels)
        except (InvalidValue, PictureError) as error:
            piece.failed += [(image.number, str(error)) for image in images]
            return
        for image in images:
            try:
                stored = _new_crop(frame, image.box, known.get(image.number))
            except PictureError as error:
                piece.failed.append((image.number, str(error)))
                continue
            if stored is None:
                piece.unchanged.append(image.number)
            else:
                crop = model_crop(stored.image, self.embedder.contract.resize)
                yield _Decoded(image=image, data=stored.data, crop=crop)

    def _known_crops(self, images: Sequence[PlannedImage]) -> dict[int, str]:
        """Content names of the crops that the gallery has of images with this very metadata, by their numbers.

        The gallery is asked once for all of them: asking for each takes a hundredth of what a light model takes.
        """
        if self.anew:
            return {}
        found = self.gallery.find([image.image_id for image in images])
        return {
            image.number: stored.crop_name
            for image in images
            if (stored := found.get(image.image_id)) is not None
            and stored.crop_name is not None
            and stored.metadata == image.metadata
        }

    def _embed(self, decoded: Sequence["_Decoded"], piece: "_Piece") -> None:
        if not decoded:
            return
        result = self.embedder.embed(np.stack([each.crop for each in decoded]))
        self.heard(len(decoded))
        for n, each in enumerate(decoded):
            vector = result.embedding[n]
            viewpoint = None if result.viewpoint is None else result.viewpoint[n]
            if not np.isfinite(vector).all() or (viewpoint is not None and not np.isfinite(viewpoint).all()):
                reason = "the model's answer holds a value that is not finite"
                piece.failed.append((each.image.number, reason))
                continue
            piece.new.append(each.image.number)
            piece.images.append(
                NewImage(
                    image_id=each.image.image_id, metadata=each.image.metadata, crop=each.data, embedding=vector,
                    viewpoint=viewpoint, embedding_space=self.embedder.contract.embedding_space,
                )
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    image: PlannedImage
    data: bytes  # of the stored crop
    crop: NDArray[np.uint8]  # (H, W, 3)


@dataclass
class _Piece:
    """What became of some images, by their numbers in the plan: ``new`` ones are to be written."""

    new: list[int] = field(default_factory=list)
    images: list[NewImage] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)

    def extend(self, other: "_Piece") -> None:
        self.new += other.new
        self.images += other.images
        self.unchanged += other.unchanged
        self.failed += other.failed

    def __len__(self) -> int:
        return len(self.new) + len(self.unchanged) + len(self.failed)


def _new_crop(frame: Frame, box: Box | None, known: str | None) -> StoredCrop | None:
    """The crop that ``box`` cuts, None where ``known`` is its content name."""
    coded = None if known is None else frame.coded_crop(box)
    if coded is not None and content_name(coded) == known:
        return None
    stored = frame.stored_crop(box)
    return None if known is not None and coded is None and content_name(stored.data) == known else stored


def _write(gallery: Receiver, images: Sequence[NewImage]) -> Progress:
    statuses = gallery.add(images) if images else []
    return Progress(created=statuses.count("created"), updated=statuses.count("updated"))


def _finished(plan: ImportPlan, piece: _Piece, writing: Future[Progress], *, since: float) -> Progress:
    """Wait for a piece to be written and strike it out."""
    written = writing.result()
    failures = plan.finish(
        [*piece.new, *piece.unchanged], created=written.created, updated=written.updated,
        unchanged=len(piece.unchanged), failed=piece.failed, seconds=time.monotonic() - since,
    )  # fmt: skip
    return Progress(
        created=written.created, updated=written.updated, unchanged=len(piece.unchanged), failed=failures
    )  # fmt: skip
