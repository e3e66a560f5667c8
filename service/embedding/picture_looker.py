"""Pictures decoded, and embedded in the model's turn; what the workers of the engine do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.contract import Resize
from index.crops import Box, cut, model_crop, read_picture, stored_crop
from index.embedder import Embedder
from index.errors import EmbeddingNotFinite, ModelError, PictureError, PictureTooLarge
from service.embedding.micro_batcher import MicroBatcher, Shared
from service.watching.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One picture after the model: ``crop`` uint8 (H, W, 3), ``embedding`` float32 (D,), ``viewpoint`` (V,) or None.

    ``stored`` is the bytes that a gallery keeps, where they were asked for; the decoded picture is let go, because a
    batch of photographs would not fit in memory. Times are in seconds: of its own decoding, of the call of the model
    that it was part of, and of waiting for that.
    """

    crop: NDArray[np.uint8]
    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None
    stored: bytes | None
    decode: float
    embed: float
    share: float  # of ``embed``, which others had, too
    queue: float


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One picture before the model; see ``Seen``."""

    crop: NDArray[np.uint8]
    stored: bytes | None
    seconds: float


Looked = Seen | PictureError | EmbeddingNotFinite | ModelError


class PictureLooker:
    """Looks at pictures with any loaded model, ``turns`` calls at a time of up to ``batch`` crops of different callers.

    ``on_answer`` hears which model answered and the seconds it took a crop. For any number of threads.
    """

    def __init__(
        self, metrics: Metrics, *, turns: int, batch: int, max_pixels: int,
        on_answer: Callable[[Embedder, float], None],
    ) -> None:  # fmt: skip
        self._metrics, self._max_pixels, self._on_answer = metrics, max_pixels, on_answer
        self._turns, self._batch = turns, batch
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the calls that are under way, which have turns that may never come back."""
        self._batcher = MicroBatcher(turns=self._turns, most=self._batch, on_batch=self._metrics.batch)

    def decode(
        self, pictures: Sequence[tuple[bytes, Box | None]], resize: Resize, *, keep: bool
    ) -> list[Decoded | PictureError]:
        """Pictures ready for the model, one by one; ``keep`` also makes the form that is stored."""
        decoded: list[Decoded | PictureError] = []
        for data, box in pictures:
            try:
                decoded.append(self._decode_one(data, box, resize, keep=keep))
            except PictureError as error:
                decoded.append(with_setting(error))
        return decoded

    def look_on(self, embedder: Embedder, decoded: Sequence[Decoded | PictureError], *, alone: bool) -> list[Looked]:
        """Embed what could be decoded, together; ``alone``: see ``Embedder.embed``. ModelError where all fail."""
        seen = iter(self._seen(embedder, [one for one in decoded if isinstance(one, Decoded)], alone))
        return [next(seen) if isinstance(one, Decoded) else one for one in decoded]

    def embed(self, embedder: Embedder, crops: NDArray[np.uint8], *, alone: bool) -> Shared:
        """Embed crops, uint8 (N, H, W, 3), in the model's turn; raises what ``Embedder.embed`` raises."""
        shared = self._batcher.embed(embedder, crops, alone=alone)
        self._metrics.embedded(shared.share, len(crops), seconds=shared.seconds, waited=shared.waited)
        self._on_answer(embedder, shared.share / max(1, len(crops)))
        return shared

    def _decode_one(self, data: bytes, box: Box | None, resize: Resize, *, keep: bool) -> Decoded:
        start = time.perf_counter()
        stored = stored_crop(data, box=box, max_pixels=self._max_pixels) if keep else None
        if stored is None:
            image = read_picture(data, max_pixels=self._max_pixels)
            image = image if box is None else cut(image, box)
        else:
            image = stored.image
        crop = model_crop(image, resize)
        seconds = time.perf_counter() - start
        self._metrics.stage("decode", seconds)
        return Decoded(crop=crop, stored=None if stored is None else stored.data, seconds=seconds)

    def _seen(self, embedder: Embedder, decoded: Sequence[Decoded], alone: bool) -> list[Looked]:
        if not decoded:
            return []
        try:
            shared = self.embed(embedder, np.stack([one.crop for one in decoded]), alone=alone)
        except ModelError as error:
            if len(decoded) == 1:
                raise
            return self._one_by_one(embedder, decoded, str(error))
        viewpoints = shared.embedded.viewpoint
        return [
            _seen_of(one, shared, at, None if viewpoints is None else viewpoints[at], len(decoded))
            for at, one in enumerate(decoded)
        ]

    def _one_by_one(self, embedder: Embedder, decoded: Sequence[Decoded], failure: str) -> list[Looked]:
        """What fails together may be one picture's fault; ModelError where it fails with each."""
        results: list[Looked] = []
        for one in decoded:
            try:
                results += self._seen(embedder, [one], alone=False)
            except ModelError as error:
                results.append(error)
        if all(isinstance(one, ModelError) for one in results):
            raise ModelError(failure)
        return results


def with_setting(error: PictureError) -> PictureError:
    """The error of reading a picture with the setting that decides, where one does."""
    if type(error) is PictureTooLarge:
        return PictureTooLarge(f"{error}, set by max_pixels")
    return error


def _seen_of(
    one: Decoded, shared: Shared, at: int, viewpoint: NDArray[np.float32] | None, together: int
) -> Seen | EmbeddingNotFinite:
    vector = shared.embedded.embedding[at]
    if not np.isfinite(vector).all() or (viewpoint is not None and not np.isfinite(viewpoint).all()):
        return EmbeddingNotFinite("the model's answer to this picture is not finite")
    return Seen(
        crop=one.crop, embedding=vector, viewpoint=viewpoint, stored=one.stored, decode=one.seconds,
        embed=shared.seconds, queue=shared.waited, share=shared.share / together,
    )  # fmt: skip
