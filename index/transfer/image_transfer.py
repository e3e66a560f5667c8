"""The images of one gallery written to another, vectors and times as they are: nothing is embedded.

What is there already as the first has it is left alone, so that a transfer which was stopped is gone on
with by doing it again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.errors import EmbeddingSpaceMismatch, GalleryConflict, ImageNotFound, StorageError
from index.gallery import Filters, Gallery, GallerySpec, NewImage, StoredImage

Progress = Callable[[int], object]

_WRITTEN_AT_ONCE: Final = 1024  # images; their crops are in memory


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
    for images in source.whole():
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


def _bring(
    source: Gallery, target: Gallery, images: Sequence[tuple[StoredImage, NDArray[np.float32]]], done: Transferred
) -> None:
    there = target.find([image.image_id for image, _ in images])
    missing = [(image, vector) for image, vector in images if there.get(image.image_id) != image]
    done.same += len(images) - len(missing)
    for start in range(0, len(missing), _WRITTEN_AT_ONCE):
        some = missing[start : start + _WRITTEN_AT_ONCE]
        crops = source.pictures(list({image.crop_name: None for image, _ in some if image.crop_name is not None}))
        new = []
        for image, vector in some:
            crop = b"" if image.crop_name is None else crops.get(image.crop_name)
            if crop is None:
                if (problem := _problem(source, image)) is not None:
                    done.lost[image.image_id] = problem
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
        done.created += statuses.count("created")
        done.updated += statuses.count("updated")


def _problem(source: Gallery, image: StoredImage) -> str | None:
    """Why the crop of an image cannot be read; None where the image was erased or replaced since it was read."""
    try:
        name, _ = source.crop(image.image_id)
    except StorageError as error:
        return str(error)
    except ImageNotFound:
        return None
    return None if name != image.crop_name else f"the crop of {image.image_id} could not be read: copy again"


def _probabilities(image: StoredImage, spec: GallerySpec) -> NDArray[np.float32] | None:
    """V-Net's, float32 (V,), None where there are none."""
    if not image.viewpoint:
        return None
    return np.array([image.viewpoint[name] for name in spec.viewpoints], dtype=np.float32)


def _erase_others(source: Gallery, target: Gallery, done: Transferred) -> None:
    for images in target.whole():
        ids = [image.image_id for image, _ in images]
        kept = source.find(ids)
        others = tuple(image_id for image_id in ids if image_id not in kept)
        if others:
            done.erased += target.delete_where(Filters(image_id=others))
