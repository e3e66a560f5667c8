"""The images of one gallery written to another, vectors and times as they are: nothing is embedded.

What is there already as the first has it is left alone, so that a transfer which was stopped is gone on
with by doing it again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.crops import content_name
from index.errors import EmbeddingSpaceMismatch, GalleryConflict, ImageNotFound, StorageError
from index.gallery import Filters, Gallery, GallerySpec, NewImage, StoredImage

Progress = Callable[[int], object]

_AT_ONCE: Final = 256  # images; their crops and vectors are in memory


@dataclass
class Transferred:
    """What became of the images. ``lost``: why those could not be read that are not in the other gallery now.

    ``erased`` were in the other gallery alone.
    """

    created: int = 0
    updated: int = 0
    same: int = 0
    erased: int = 0
    lost: dict[str, str] = field(default_factory=dict)


def transfer(
    source: Gallery, target: Gallery, *, mirror: bool = False, progress: Progress = lambda _: None
) -> Transferred:
    """Bring every image of ``source`` to ``target``; with ``mirror`` what only ``target`` has is erased there.

    Raises EmbeddingSpaceMismatch and GalleryConflict where ``target`` cannot hold such images, and what it raises.
    """
    require_alike(source.spec, target.spec, target.name)
    done = Transferred()
    for images in listed(source):
        _bring(source, target, images, done)
        progress(len(images))
    if mirror:
        _erase_others(source, target, done)
    return done


def require_alike(own: GallerySpec, other: GallerySpec, name: str) -> None:
    """Raise where a gallery ``name`` with the spec ``other`` cannot hold what one with ``own`` holds."""
    if own.embedding_space != other.embedding_space:
        raise EmbeddingSpaceMismatch(
            f"gallery {name} is for vectors of embedding space {other.embedding_space}, these are of "
            f"{own.embedding_space}: copy to a gallery that does not exist yet (--as), or migrate one of them first"
        )
    if own.keep_crops and not other.keep_crops:
        raise GalleryConflict(f"gallery {name} keeps no crops: copy to one that does (--as), or they would be lost")


def listed(gallery: Gallery) -> Iterator[Sequence[StoredImage]]:
    """All images by image_id, some at a time."""
    cursor: str | None = None
    while True:
        page = gallery.page(Filters(), limit=_AT_ONCE, cursor=cursor)
        if page.images:
            yield page.images
        cursor = page.cursor
        if cursor is None:
            return


def _bring(source: Gallery, target: Gallery, images: Sequence[StoredImage], done: Transferred) -> None:
    there = target.find([image.image_id for image in images])
    missing = [image for image in images if there.get(image.image_id) != image]
    vectors = source.embeddings([image.image_id for image in missing])
    new = []
    for image in missing:
        vector = vectors.get(image.image_id)
        try:
            crop = b"" if image.crop_name is None else _crop(source, image)
        except StorageError as error:
            done.lost[image.image_id] = str(error)
            continue
        except ImageNotFound:
            continue  # it was erased since it was listed
        if vector is None:
            continue
        new.append(
            NewImage(
                image_id=image.image_id,
                metadata=image.metadata,
                crop=crop,
                embedding=vector,
                viewpoint=_probabilities(image, source.spec),
                ingested_at=image.ingested_at,
                embedding_space=source.spec.embedding_space,
            )
        )
    statuses = target.add(new) if new else []
    done.same += len(images) - len(missing)
    done.created += statuses.count("created")
    done.updated += statuses.count("updated")


def _crop(source: Gallery, image: StoredImage) -> bytes:
    name, data = source.crop(image.image_id)
    if content_name(data) != name:
        raise StorageError(f"the crop of {image.image_id} is not the picture that was written")
    return data


def _probabilities(image: StoredImage, spec: GallerySpec) -> NDArray[np.float32] | None:
    """V-Net's, float32 (V,), None where there are none."""
    if not image.viewpoint:
        return None
    return np.array([image.viewpoint[name] for name in spec.viewpoints], dtype=np.float32)


def _erase_others(source: Gallery, target: Gallery, done: Transferred) -> None:
    for images in listed(target):
        ids = [image.image_id for image in images]
        kept = source.find(ids)
        others = tuple(image_id for image_id in ids if image_id not in kept)
        if others:
            done.erased += target.delete_where(Filters(image_id=others))
