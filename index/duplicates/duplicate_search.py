"""Images of a gallery that show one picture: the same one (equal crops), and nearly the same one.

Near-same pictures are looked for among the nearest by embedding, which the gallery's index finds, and must be alike in
their pixels: two vehicles of one model are near, but their pictures are not alike. Each image of a group is like the
one that is kept, so that no chain of small steps joins what differs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.crops import read_picture
from index.duplicates.picture_likeness import SAME_MOMENT, SAME_PICTURE, likeness, thumbprint
from index.errors import ImageNotFound, InvalidValue, PictureError, StorageError
from index.gallery import Filters, SearchOptions, StoredImage
from index.local_gallery import LocalGallery

Kind = Literal["same", "near"]
Progress = Callable[[int], object]

MAX_DISTANCE: Final = 0.5
WITHIN: Final = 1.0  # seconds

_AT_ONCE = 64  # queries
_NEAREST, _WIDER, _MOST = 16, 8, 1000  # neighbours that are asked for, and more where all of them are near
_REMEMBERED = 10_000  # thumbprints, 4 KB each
_MAX_PIXELS = 2**32  # a stored crop was let in before


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """An image that shows what the kept one shows; ``distance`` of embeddings, ``likeness`` of pixels."""

    image: StoredImage
    kind: Kind
    size: tuple[int, int]
    distance: float
    likeness: float


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """One picture. ``kept`` has the most pixels, then came first, then has the lowest image_id."""

    kept: StoredImage
    size: tuple[int, int]
    others: tuple[Duplicate, ...]

    @property
    def disagreement(self) -> str | None:
        """What the images say differently of vehicle or camera, which nobody but a person can decide."""
        images = [self.kept, *(each.image for each in self.others)]
        for name in ("vehicle_id", "camera_id"):
            said = {value for image in images if (value := getattr(image.metadata, name)) is not None}
            if len(said) > 1:
                return f"{name}: {', '.join(sorted(said))}"
        return None


@dataclass
class DuplicateReport:
    """``unseen``: images whose picture could not be looked at, those that have none among them."""

    images: int = 0
    groups: list[DuplicateGroup] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


def find_duplicates(
    gallery: LocalGallery, *, max_distance: float = MAX_DISTANCE, within: float = WITHIN,
    progress: Progress = lambda _: None,
) -> DuplicateReport:  # fmt: skip
    """Groups of images that show one picture, the largest first; ``progress`` counts images.

    ``within``: seconds between two pictures of one camera that are one moment. Raises InvalidValue for a gallery that
    keeps no crops.
    """
    if not gallery.spec.keep_crops:
        raise InvalidValue(f"gallery {gallery.name} keeps no crops: its pictures cannot be compared")
    return _Search(gallery, max_distance, within, progress).run()


class _Search:
    def __init__(self, gallery: LocalGallery, max_distance: float, within: float, progress: Progress) -> None:
        self._gallery, self._max_distance, self._within, self._progress = gallery, max_distance, within, progress
        self._report = DuplicateReport()
        self._copies: dict[str, list[str]] = {}  # of the first image that has a crop, the others
        self._first: dict[str, str] = {}
        self._alike: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)  # distance and likeness
        self._print = lru_cache(_REMEMBERED)(self._thumbprint)

    def run(self) -> DuplicateReport:
        for image_ids in self._gallery.sharing_crops():
            first, *others = image_ids
            self._copies[first] = others
            self._first |= dict.fromkeys(others, first)
        for images in _pages(self._gallery):
            self._report.images += len(images)
            self._look([image for image in images if image.image_id not in self._first])
            self._progress(len(images))
        self._report.groups = sorted(self._groups(), key=lambda each: (-len(each.others), each.kept.image_id))
        return self._report

    def _look(self, images: Sequence[StoredImage]) -> None:
        """Find what is like each of some images."""
        waiting = [image for image in images if self._print(image.image_id) is not None]
        self._report.unseen += [image.image_id for image in images if self._print(image.image_id) is None]
        count = _NEAREST
        while waiting:
            queries = np.stack([self._gallery.embedding(image.image_id) for image in waiting])
            found = self._gallery.search(queries, SearchOptions(top_k=count, max_distance=self._max_distance))
            more = []
            for image, matches in zip(waiting, found, strict=True):
                if len(matches) == count < _MOST:
                    more.append(image)
                    continue
                for match in matches:
                    self._compare(image, match.image, match.distance)
            waiting, count = more, min(count * _WIDER, _MOST)

    def _compare(self, image: StoredImage, other: StoredImage, distance: float) -> None:
        one, two = image.image_id, self._first.get(other.image_id, other.image_id)
        if one == two or two in self._alike[one]:
            return
        ours, theirs = self._print(one), self._print(two)
        if ours is None or theirs is None:
            return
        alike = likeness(ours, theirs)
        if alike >= (SAME_MOMENT if self._one_moment(image, other) else SAME_PICTURE):
            self._alike[one][two] = self._alike[two][one] = (distance, alike)

    def _one_moment(self, image: StoredImage, other: StoredImage) -> bool:
        one, two = image.metadata, other.metadata
        if one.camera_id is None or one.camera_id != two.camera_id or not one.captured_at or not two.captured_at:
            return False
        return abs((one.captured_at - two.captured_at).total_seconds()) <= self._within

    def _groups(self) -> Iterator[DuplicateGroup]:
        """The best image takes what is like it, then the best of the others."""
        involved = [*{*self._copies, *(one for one, others in self._alike.items() if others)}]
        images = self._found([*involved, *self._first])
        sizes = {image_id: self._size(image_id) for image_id in involved}
        taken: set[str] = set()
        for image_id in sorted(involved, key=lambda each: _rank(images[each], sizes[each])):
            if image_id in taken:
                continue
            near = {other: found for other, found in self._alike[image_id].items() if other not in taken}
            taken |= {image_id, *near}
            others = [_duplicate(images[copy], "same", sizes[image_id], (0.0, 1.0)) for copy in self._own(image_id)]
            for other, found in sorted(near.items()):
                others += [_duplicate(images[each], "near", sizes[other], found) for each in (other, *self._own(other))]
            if others:
                yield DuplicateGroup(kept=images[image_id], size=sizes[image_id], others=tuple(others))

    def _own(self, image_id: str) -> list[str]:
        return self._copies.get(image_id, [])

    def _found(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        found: dict[str, StoredImage] = {}
        for start in range(0, len(image_ids), _MOST):
            found |= self._gallery.find(image_ids[start : start + _MOST])
        return found

    def _size(self, image_id: str) -> tuple[int, int]:
        picture = open_crop(self._gallery, image_id)
        return (0, 0) if picture is None else picture.size

    def _thumbprint(self, image_id: str) -> NDArray[np.float32] | None:
        picture = open_crop(self._gallery, image_id)
        return None if picture is None else thumbprint(picture)


def open_crop(gallery: LocalGallery, image_id: str) -> Image.Image | None:
    """The picture of an image, None where there is none or it cannot be read."""
    try:
        return read_picture(gallery.crop(image_id)[1], max_pixels=_MAX_PIXELS)
    except (ImageNotFound, StorageError, PictureError):
        return None


def _rank(image: StoredImage, size: tuple[int, int]) -> tuple[object, ...]:
    """Most pixels first, then who came first."""
    return -size[0] * size[1], image.ingested_at, image.image_id


def _duplicate(image: StoredImage, kind: Kind, size: tuple[int, int], found: tuple[float, float]) -> Duplicate:
    return Duplicate(image=image, kind=kind, size=size, distance=found[0], likeness=found[1])


def _pages(gallery: LocalGallery) -> Iterable[Sequence[StoredImage]]:
    cursor = None
    while True:
        page = gallery.page(Filters(), limit=_AT_ONCE, cursor=cursor)
        if page.images:
            yield page.images
        cursor = page.cursor
        if cursor is None:
            return
