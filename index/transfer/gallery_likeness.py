"""Whether two galleries hold the same, and answer the same: counted, summed up, and tried with searches."""

import hashlib
import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.gallery import DISTANCE_DECIMALS, Gallery, Match, SearchOptions, StoredImage
from index.storage.stored_time import microseconds

Progress = Callable[[int], object]

SEARCHES: Final = 100
_OPTIONS = SearchOptions(top_k=10)
_BITS = 256
_NEAR = 10.0**-DISTANCE_DECIMALS * 2  # apart at most; distances are rounded


@dataclass(frozen=True, kw_only=True)
class GalleryDigest:
    """How many images there are, and a sum over the SHA-256 of each (metadata, times, p, vector, crop's name).

    ``sample``: ids of some, those with the least SHA-256, which is as good as drawing them.
    """

    images: int
    checksum: str
    sample: tuple[str, ...]

    def agrees(self, other: "GalleryDigest") -> bool:
        """Whether the other gallery holds the same."""
        return (self.images, self.checksum) == (other.images, other.checksum)


@dataclass(frozen=True, kw_only=True)
class SearchAgreement:
    """Of ``searches`` for the vectors of stored images: the share of one gallery's matches that the other has, too.

    A match counts where the other has its image, or at its rank another one as far away. ``crops``: pictures that were
    read of both; ``other_crops`` are the images where they differ.
    """

    searches: int
    share: float
    crops: int
    other_crops: tuple[str, ...]


def digest(gallery: Gallery, *, sample: int = SEARCHES, progress: Progress = lambda _: None) -> GalleryDigest:
    """Read all there is but the crops, which are named by their content. The order of images plays no part."""
    images = total = 0
    least: list[tuple[int, str]] = []  # a heap of the negated numbers
    for some in gallery.whole():
        for image, vector in some:
            number = _number(image, vector)
            images += 1
            total += number
            heapq.heappush(least, (-number, image.image_id))
            if len(least) > sample:
                heapq.heappop(least)
        progress(len(some))
    return GalleryDigest(
        images=images, checksum=f"{total % 2**_BITS:064x}", sample=tuple(image_id for _, image_id in least)
    )


def agreement(source: Gallery, target: Gallery, image_ids: Sequence[str]) -> SearchAgreement:
    """Search both for the vectors of images of ``source``, and look at their crops in both.

    Images that were erased meanwhile are passed over.
    """
    vectors = source.embeddings(image_ids)
    queries = np.array(list(vectors.values()), dtype=np.float32).reshape(len(vectors), source.spec.embedding_dim)
    own, theirs = (each.search(queries, _OPTIONS) for each in (source, target))
    found = sum(len(matches) for matches in own)
    shared = sum(_shared(mine, others) for mine, others in zip(own, theirs, strict=True))
    names = {image_id: image.crop_name for image_id, image in source.find(image_ids).items() if image.crop_name}
    here, there = (each.pictures(list(dict.fromkeys(names.values()))) for each in (source, target))
    other = [each for each, name in names.items() if here.get(name) is None or here[name] != there.get(name)]
    return SearchAgreement(
        searches=len(vectors), share=shared / found if found else 1.0, crops=len(names),
        other_crops=tuple(other),
    )  # fmt: skip


def _number(image: StoredImage, vector: NDArray[np.float32]) -> int:
    said = image.metadata
    captured = None if said.captured_at is None else microseconds(said.captured_at)
    document = [
        image.image_id, said.vehicle_id, said.camera_id, captured, microseconds(image.ingested_at),
        list(said.attributes.items()), list(image.viewpoint.items()), image.crop_name,
    ]  # fmt: skip
    told = json.dumps(document).encode() + b"\n" + vector.astype("<f4").tobytes()
    return int.from_bytes(hashlib.sha256(told).digest(), "big")


def _shared(own: list[Match], theirs: list[Match]) -> int:
    """How many of our matches they have, or one as far away in its place."""
    ids = {match.image.image_id for match in theirs}
    return sum(
        match.image.image_id in ids
        or any(abs(match.distance - each.distance) <= _NEAR for each in theirs if each.rank == match.rank)
        for match in own
    )
