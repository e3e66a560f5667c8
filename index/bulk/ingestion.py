"""Pictures into a gallery: decoded by threads, embedded in batches, written in larger ones, all three at a time."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.bulk.picture_source import PictureSource
from index.contract import Resize
from index.crops import model_crop, stored_crop
from index.embedder import Embedder
from index.errors import PictureError
from index.gallery import Gallery, NewImage
from index.machine.cpu_quota import usable_cpus

EMBEDDED_AT_ONCE: Final = 16  # crops; larger batches are no faster on a CPU and keep the threads waiting
WRITTEN_AT_ONCE: Final = 256  # images; a write costs a flush of the disk whatever its size
WRITTEN_EVERY: Final = 2.0  # seconds; with a slow model, so that little is lost and progress is seen
MAX_PIXELS: Final = 100_000_000

_AHEAD = 4 * EMBEDDED_AT_ONCE  # pictures that are decoded before somebody embeds them; they are held in memory


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What became of some pictures: how many were created and updated, and why each of the others was not."""

    created: int = 0
    updated: int = 0
    failed: Sequence[tuple[PictureSource, str]] = ()

    @property
    def pictures(self) -> int:
        """How many pictures this is about."""
        return self.created + self.updated + len(self.failed)


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    source: PictureSource
    data: bytes  # of the stored crop
    crop: NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, kw_only=True)
class _Failed:
    source: PictureSource
    reason: str


def ingest(sources: Sequence[PictureSource], gallery: Gallery, embedder: Embedder) -> Generator[Progress, None, None]:
    """Embed and write pictures whose ids differ; says what is done as it is done. One bad picture fails no other.

    Raises what ``Gallery.add`` raises; what was reported before stays written.
    """
    gallery.spec.require_space(embedder.contract, gallery.name)
    with ThreadPoolExecutor(usable_cpus()) as decoders, ThreadPoolExecutor(1) as writer:
        try:
            writing: Future[Progress] | None = None
            waiting: list[NewImage] = []
            due = time.monotonic() + WRITTEN_EVERY
            for batch in _decoded(decoders, sources, embedder.contract.resize):
                failed = [each for each in batch if isinstance(each, _Failed)]
                images, refused = _embedded([each for each in batch if isinstance(each, _Decoded)], embedder)
                if failed or refused:
                    yield Progress(failed=[(each.source, each.reason) for each in (*failed, *refused)])
                waiting += images
                if waiting and (len(waiting) >= WRITTEN_AT_ONCE or time.monotonic() >= due):
                    if writing is not None:
                        yield writing.result()
                    writing, waiting = writer.submit(_write, gallery, waiting), []
                    due = time.monotonic() + WRITTEN_EVERY
            if writing is not None:
                yield writing.result()
            if waiting:
                yield writer.submit(_write, gallery, waiting).result()
        finally:
            decoders.shutdown(wait=False, cancel_futures=True)


def _decoded(
    pool: ThreadPoolExecutor, sources: Iterable[PictureSource], resize: Resize
) -> Iterator[list[_Decoded | _Failed]]:
    """Batches in order; decoding runs ahead of whoever embeds them."""
    remaining = iter(sources)
    ahead = [pool.submit(_decode, source, resize) for source in islice(remaining, _AHEAD)]
    while ahead:
        batch, ahead = ahead[:EMBEDDED_AT_ONCE], ahead[EMBEDDED_AT_ONCE:]
        ahead += [pool.submit(_decode, source, resize) for source in islice(remaining, len(batch))]
        yield [decoded.result() for decoded in batch]


def _decode(source: PictureSource, resize: Resize) -> _Decoded | _Failed:
    try:
        data = source.path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        return _Failed(source=source, reason=getattr(error, "strerror", None) or str(error))
    try:
        stored = stored_crop(data, box=source.box, max_pixels=MAX_PIXELS)
    except PictureError as error:
        return _Failed(source=source, reason=str(error))
    return _Decoded(source=source, data=stored.data, crop=model_crop(stored.image, resize))


def _embedded(decoded: Sequence[_Decoded], embedder: Embedder) -> tuple[list[NewImage], list[_Failed]]:
    """Images that can be written, and those for which the model has no finite answer."""
    if not decoded:
        return [], []
    result = embedder.embed(np.stack([each.crop for each in decoded]))
    images, refused = [], []
    for n, each in enumerate(decoded):
        viewpoint = None if result.viewpoint is None else result.viewpoint[n]
        if not np.isfinite(result.embedding[n]).all() or (viewpoint is not None and not np.isfinite(viewpoint).all()):
            refused.append(_Failed(source=each.source, reason="the model's answer holds a value that is not finite"))
            continue
        source = each.source
        images.append(
            NewImage(
                image_id=source.image_id,
                metadata=source.metadata,
                crop=each.data,
                embedding=result.embedding[n],
                viewpoint=viewpoint,
            )
        )
    return images, refused


def _write(gallery: Gallery, images: Sequence[NewImage]) -> Progress:
    statuses = gallery.add(images)
    return Progress(created=statuses.count("created"), updated=statuses.count("updated"))
