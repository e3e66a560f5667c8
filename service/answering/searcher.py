"""One search as a worker carries it out: from bytes or a stored image to the encoded answer.

Everything that takes time happens here and not on the event loop, building and encoding the answer included: a
thousand matches with their vectors are megabytes of JSON. So it is made part by part, and where it is large, of several
vehicles, they are searched for as far as the answer is wanted.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.crops import model_crop, read_picture
from index.embedder import Embedder
from index.errors import VehicleSearchError
from index.gallery import Gallery, Match, SearchOptions
from service.context import Context
from service.embedding.picture_looker import Looked, Seen
from service.wire.documents import encode, encode_elements, match_document, viewpoint_document
from service.wire.problems import BadPicture, pointer_of, problem_of
from service.wire.streamed_answer import Parts

MATCHES_AT_ONCE: Final = 4096  # about, that are held for one answer
ENCODED_AT_ONCE: Final = 32  # matches; a vector more is some ten kilobytes, so one then


@dataclass(kw_only=True)
class Found:
    """An answer: its first piece, what follows, how many matches are in it so far and the seconds that they took.

    ``parts`` end without the last brace, because the timing comes before it.
    """

    first: bytes = b""
    parts: Parts = field(default_factory=lambda: Parts(()))
    matches: int = 0
    decode: float = 0.0
    queue: float = 0.0  # for the model; that for a worker is not in it
    embed: float = 0.0
    search: float = 0.0

    def begun(self, parts: Iterable[bytes]) -> "Found":
        """Itself, with the first piece of these."""
        self.parts = Parts(parts)
        self.first = self.parts.piece()
        return self


@dataclass(frozen=True, kw_only=True)
class QueryPart:
    """One picture that is searched with: ``embedding`` float32 (D,), ``viewpoint`` float32 (V,) or None.

    ``crop``, uint8 (H, W, 3), is there where the answer has maps of the picture.
    """

    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None
    crop: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class Searcher:
    """A gallery, and how it is to be searched. The methods run on a worker."""

    context: Context
    embedder: Embedder  # the gallery's
    gallery: Gallery
    options: SearchOptions
    attention: bool  # whether answers have the maps of their pictures

    def vehicle(self, looked: Sequence[Looked]) -> Found:
        """Search for one vehicle by one picture that was sent, or by several; raises BadPicture."""
        seen = []
        for number, one in enumerate(looked):
            if isinstance(one, Seen):
                seen.append(one)
            elif len(looked) == 1:
                raise BadPicture(problem_of(one, pointer=pointer_of(one, "/image", "/query/box")))
            else:
                at = pointer_of(one, f"/image/{number}", "/query/box")
                raise BadPicture(problem_of(type(one)(f"image {number}: {one}"), pointer=at))
        return self.together(
            [QueryPart(embedding=one.embedding, viewpoint=one.viewpoint, crop=one.crop) for one in seen], seen
        )

    def together(self, parts: Sequence[QueryPart], seen: Sequence[Seen] = ()) -> Found:
        """Search for one vehicle by the mean of what is known of it; ``seen`` is what was looked at for that."""
        query = self.vector(parts)
        found = Found(
            decode=sum(one.decode for one in seen), queue=max((one.queue for one in seen), default=0.0),
            embed=max((one.embed for one in seen), default=0.0),
        )  # fmt: skip
        (matches,) = self._find(query[None], found)
        rows = [one.viewpoint for one in parts if one.viewpoint is not None]  # none where the model has one viewpoint
        viewpoint: NDArray[np.float32] | None = np.mean(rows, axis=0, dtype=np.float32) if rows else None  # (V,)
        crop = parts[0].crop if self.attention else None
        return found.begun(self._answer(self._head(len(parts)), query, self._named(viewpoint), matches, crop))

    def vector(self, parts: Sequence[QueryPart]) -> NDArray[np.float32]:
        """What is searched for, float32 (D,): the mean, of unit length where the model's embeddings are."""
        return _mean([one.embedding for one in parts], normalized=self.embedder.contract.normalized)

    def stored(self, image_id: str, *, mapped: bool) -> QueryPart:
        """A stored image to search with, ``mapped``: one whose maps an answer may have; raises ImageNotFound."""
        image, embedding = self.gallery.get(image_id), self.gallery.embedding(image_id)
        names = self.embedder.contract.viewpoints
        viewpoint = np.array([image.viewpoint[name] for name in names], np.float32) if image.viewpoint else None
        crop = None
        if mapped and self.attention:
            _, data = self.gallery.crop(image_id)
            picture = read_picture(data, max_pixels=self.context.settings.max_pixels)
            crop = model_crop(picture, self.embedder.contract.resize)
        return QueryPart(embedding=embedding, viewpoint=viewpoint, crop=crop)

    def each(self, looked: Sequence[Looked]) -> Found:
        """Search for a vehicle a picture; what was wrong with a picture stands in its place."""
        seen = [one for one in looked if isinstance(one, Seen)]
        found = Found(
            decode=sum(one.decode for one in seen), queue=max((one.queue for one in seen), default=0.0),
            embed=sum(one.share for one in seen),
        )  # fmt: skip
        return found.begun(self._results(looked, self._found_each(seen, found)))

    def _found_each(self, seen: Sequence[Seen], found: Found) -> Iterator[list[Match]]:
        """Matches of each picture, of few enough at a time."""
        together = max(1, MATCHES_AT_ONCE // self.options.top_k)
        for start in range(0, len(seen), together):
            yield from self._find(np.stack([one.embedding for one in seen[start : start + together]]), found)

    def _results(self, looked: Sequence[Looked], matches: Iterator[list[Match]]) -> Iterator[bytes]:
        yield encode({"gallery": self.gallery.name, "model": self.embedder.fingerprint})[:-1] + b',"results":['
        for number, one in enumerate(looked):
            comma = b"," if number else b""
            if isinstance(one, VehicleSearchError):
                yield comma + encode({"problem": problem_of(one, pointer=f"/image/{number}")})
            else:
                yield comma
                crop = one.crop if self.attention else None
                yield from self._answer({}, one.embedding, self._named(one.viewpoint), next(matches), crop)
                yield b"}"
        yield b"]"

    def _find(self, queries: NDArray[np.float32], found: Found) -> list[list[Match]]:
        """Matches of each query, float32 (Q, D)."""
        start = time.perf_counter()
        matches = self.gallery.search(queries, self.options)
        seconds = time.perf_counter() - start
        self.context.metrics.stage("search", seconds)
        found.search += seconds
        found.matches += sum(map(len, matches))
        return matches

    def _head(self, queries: int) -> dict[str, Any]:
        return {"gallery": self.gallery.name, "model": self.embedder.fingerprint, "queries": queries}

    def _answer(
        self, head: dict[str, Any], query: NDArray[np.float32], viewpoint: dict[str, float], matches: Sequence[Match],
        crop: NDArray[np.uint8] | None,
    ) -> Iterator[bytes]:  # fmt: skip
        """An object without its last brace; with the maps of ``crop`` where there is one."""
        yield encode({**head, "viewpoint": viewpoint})[:-1] + b',"matches":['
        meaning = self.embedder.contract.probability
        documents = (match_document(match, self.gallery.name, meaning) for match in matches)
        yield from encode_elements(documents, together=1 if self.options.embeddings else ENCODED_AT_ONCE)
        yield b"]"
        rest = {
            **({"embedding": query.tolist()} if self.options.embeddings else {}),
            **({} if crop is None else {"attention": self._attention(crop)}),
        }
        if rest:
            yield b"," + encode(rest)[1:-1]

    def _named(self, viewpoint: NDArray[np.float32] | None) -> dict[str, float]:
        return viewpoint_document(self.embedder.contract.viewpoints, viewpoint)

    def _attention(self, crop: NDArray[np.uint8]) -> dict[str, Any]:
        """The maps of one crop, uint8 (H, W, 3), as rows of numbers."""
        maps = self.embedder.attention(crop[None])
        return {
            "global": np.round(maps.globally[0].astype(np.float64), 5).tolist(),
            "local": np.round(maps.locally[0].astype(np.float64), 5).tolist(),
        }


def _mean(embeddings: Sequence[NDArray[np.float32]], *, normalized: bool) -> NDArray[np.float32]:
    """The mean of embeddings (D,), of unit length where the model's are; one embedding is its own mean."""
    if len(embeddings) == 1:
        return embeddings[0]
    mean: NDArray[np.float32] = np.mean(embeddings, axis=0, dtype=np.float32)
    length = float(np.linalg.norm(mean))
    return (mean / np.float32(length)).astype(np.float32) if normalized and length > 0 else mean
