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
from index.transfer.image_transfer import listed

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
    for some in listed(gallery):
        vectors = gallery.embeddings([image.image_id for image in some])
        for image in some:
            vector = vectors.get(image.image_id)
            if vector is None:
                continue  # it was erased since it was listed
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
    """Search both for the vectors of images that both have, and look at their crops in both.

    Raises ImageNotFound where one of them has not.
    """
    found = shared = crops = 0
    other = []
    for image_id in image_ids:
        query = source.embedding(image_id)[None]  # (1, D)
        own, theirs = (each.search(query, _OPTIONS)[0] for each in (source, target))
        found += len(own)
        shared += _shared(own, theirs)
        if source.get(image_id).crop_name is not None:
            crops += 1
            other += [] if source.crop(image_id) == target.crop(image_id) else [image_id]
    return SearchAgreement(
        searches=len(image_ids), share=shared / found if found else 1.0, crops=crops, other_crops=tuple(other)
    )


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
