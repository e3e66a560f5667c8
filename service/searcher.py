"""One search as a worker carries it out: from bytes or a stored image to the encoded answer.

Everything that takes time happens here and not on the event loop, building and encoding the answer included: a
thousand matches with their vectors are megabytes of JSON.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.crops import Box, model_crop, read_picture
from index.embedder import Embedder
from index.errors import VehicleSearchError
from index.gallery import Gallery, Match, SearchOptions
from service.context import Context
from service.documents import encode, match_document, viewpoint_document
from service.engine import Looked, Seen
from service.problems import BadPicture, pointer_of, problem_of


@dataclass(frozen=True, kw_only=True)
class Found:
    """An answer, encoded but for its timing, how many matches are in it, and the seconds that its making took."""

    body: bytes
    matches: int
    decode: float = 0.0
    queue: float = 0.0  # for the model; that for a worker is not in it
    embed: float = 0.0
    search: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Searcher:
    """A gallery, and how it is to be searched. The methods run on a worker."""

    context: Context
    embedder: Embedder  # the gallery's
    gallery: Gallery
    options: SearchOptions
    attention: bool  # whether answers have the maps of their pictures

    def vehicle(self, pictures: Sequence[bytes], box: Box | None) -> Found:
        """Search for one vehicle by one picture, or by the mean of several; raises BadPicture."""
        looked = self.context.engine.look_at([(data, box) for data in pictures], keep=False, embedder=self.embedder)
        seen = []
        for number, one in enumerate(looked):
            if isinstance(one, Seen):
                seen.append(one)
            elif len(looked) == 1:
                raise BadPicture(problem_of(one, pointer=pointer_of(one, "/image", "/query/box")))
            else:
                at = pointer_of(one, f"/image/{number}", "/query/box")
                raise BadPicture(problem_of(type(one)(f"image {number}: {one}"), pointer=at))
        query = _mean([one.embedding for one in seen], normalized=self.embedder.contract.normalized)
        (matches,), search = self._find(query[None])
        rows = [one.viewpoint for one in seen if one.viewpoint is not None]  # none where the model has one viewpoint
        viewpoint: NDArray[np.float32] | None = np.mean(rows, axis=0, dtype=np.float32) if rows else None  # (V,)
        document = self._head(len(seen)) | self._answer(query, self._named(viewpoint), matches)
        if self.attention:
            document["attention"] = self._attention(seen[0].crop)
        return Found(
            body=encode(document), matches=len(matches), decode=sum(one.decode for one in seen),
            queue=sum(one.queue for one in seen), embed=sum(one.embed for one in seen), search=search,
        )  # fmt: skip

    def stored(self, image_id: str) -> Found:
        """Search with a stored image; raises ImageNotFound."""
        image, query = self.gallery.get(image_id), self.gallery.embedding(image_id)
        (matches,), search = self._find(query[None])
        viewpoint = {name: round(p, 4) for name, p in image.viewpoint.items()}
        document = self._head(1) | self._answer(query, viewpoint, matches)
        if self.attention:
            _, data = self.gallery.crop(image_id)
            picture = read_picture(data, max_pixels=self.context.settings.max_pixels)
            document["attention"] = self._attention(model_crop(picture, self.embedder.contract.resize))
        return Found(body=encode(document), matches=len(matches), search=search)

    def each(self, looked: Sequence[Looked]) -> Found:
        """Search for a vehicle a picture; what was wrong with a picture stands in its place."""
        seen = [one for one in looked if isinstance(one, Seen)]
        found, search = self._find(np.stack([one.embedding for one in seen])) if seen else ([], 0.0)
        matches = iter(found)
        results = []
        for number, one in enumerate(looked):
            if isinstance(one, VehicleSearchError):
                results.append({"problem": problem_of(one, pointer=f"/image/{number}")})
                continue
            result = self._answer(one.embedding, self._named(one.viewpoint), next(matches))
            if self.attention:
                result["attention"] = self._attention(one.crop)
            results.append(result)
        head = {"gallery": self.gallery.name, "model": self.embedder.fingerprint}
        # one result at a time: the encoder holds the interpreter, and other requests, up while it is at work
        body = encode(head)[:-1] + b',"results":[' + b",".join(map(encode, results)) + b"]}"
        return Found(
            body=body, matches=sum(map(len, found)), decode=sum(one.decode for one in seen),
            queue=sum(one.queue for one in seen), embed=sum(one.embed for one in seen), search=search,
        )  # fmt: skip

    def _find(self, queries: NDArray[np.float32]) -> tuple[list[list[Match]], float]:
        """Matches of each query, float32 (Q, D), and the seconds they took."""
        start = time.perf_counter()
        found = self.gallery.search(queries, self.options)
        seconds = time.perf_counter() - start
        self.context.metrics.stage("search", seconds)
        return found, seconds

    def _head(self, queries: int) -> dict[str, Any]:
        return {"gallery": self.gallery.name, "model": self.embedder.fingerprint, "queries": queries}

    def _answer(
        self, query: NDArray[np.float32], viewpoint: dict[str, float], matches: Sequence[Match]
    ) -> dict[str, Any]:
        return {
            "viewpoint": viewpoint,
            "matches": [match_document(match, self.gallery.name) for match in matches],
            **({"embedding": query.tolist()} if self.options.embeddings else {}),
        }

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
