"""What every home of galleries refuses, and the times that retention runs by: said once for all of them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.errors import (
    EmbeddingNotFinite,
    EmbeddingSpaceMismatch,
    GalleryConflict,
    GalleryNotFound,
    GalleryUnavailable,
    InvalidValue,
)
from index.gallery import GalleryHome, GallerySpec, Metadata, NewImage

DAY: Final = 86_400 * 1_000_000  # microseconds
_LONGEST = np.finfo(np.float32).max / 4  # squared length; the squared distance of two such vectors is still a float32


def utc_now() -> datetime:
    """The clock that retention runs on."""
    return datetime.now(UTC)


def make_default(home: GalleryHome, name: str, spec: GallerySpec) -> None:
    """Create the gallery that always exists; where it is there, empty, and of another model's space, make it anew."""
    if name in home.problems():
        return
    existing = home.get(name) if name in home.names() else None
    if existing is not None and existing.spec.embedding_space != spec.embedding_space and not existing.count():
        home.drop(name)
        existing = None
    if existing is None:
        home.create(name, spec)


def require_number(galleries: int, most: int | None) -> None:
    """Raise GalleryConflict where there is no place for one more gallery."""
    if most is not None and galleries >= most:
        raise GalleryConflict(f"there are {most:,} galleries, the limit set by max_galleries: drop one, or raise it")


def no_gallery(name: str) -> GalleryNotFound:
    """What to raise for a gallery that is not there."""
    return GalleryNotFound(f"there is no gallery {name}; PUT /v1/galleries/{name} creates it")


def unavailable(name: str, problem: str) -> GalleryUnavailable:
    """What to raise for a gallery that could not be opened."""
    return GalleryUnavailable(f"gallery {name} cannot be used, others can: {problem}")


def require_space(spec: GallerySpec, gallery: str, space: str | None) -> None:
    """Raise EmbeddingSpaceMismatch where vectors are of another space than the one that is searched."""
    if space is not None and space != spec.embedding_space:
        raise EmbeddingSpaceMismatch(
            f"gallery {gallery} holds vectors of embedding space {spec.embedding_space}, these are of "
            f"{space}: it was migrated meanwhile; embed them with the present model"
        )


def require_same(existing: GallerySpec, wanted: GallerySpec, gallery: str) -> None:
    """Raise GalleryConflict where a gallery that is to be created exists with other properties."""
    names = [name for name in vars(existing) if getattr(existing, name) != getattr(wanted, name)]
    if names:
        difference = (f"{name} is {getattr(existing, name)!r}, not {getattr(wanted, name)!r}" for name in names)
        raise GalleryConflict(f"gallery {gallery} exists with other properties: {', '.join(difference)}")


def check_vectors(
    spec: GallerySpec, gallery: str, vectors: Sequence[NDArray[np.float32]], what: Callable[[int], str]
) -> None:
    """Raise where a vector cannot be one of this gallery's; ``what`` names it by its number."""
    for number, vector in enumerate(vectors):
        if vector.shape != (spec.embedding_dim,):
            raise InvalidValue(
                f"the embedding of {what(number)} has the shape {vector.shape}; those of gallery {gallery} have "
                f"({spec.embedding_dim},)"
            )
    with np.errstate(all="ignore"):
        squares = [np.dot(vector, vector) for vector in vectors]
    for number, square in enumerate(squares):
        if not square < _LONGEST:  # nor is NaN
            raise EmbeddingNotFinite(f"the embedding of {what(number)} holds a value that is not finite")


def check_images(spec: GallerySpec, gallery: str, images: Sequence[NewImage]) -> None:
    """Raise where one of some new images cannot be one of this gallery's."""
    for image in images:
        require_space(spec, gallery, image.embedding_space)
    check_vectors(spec, gallery, [image.embedding for image in images], lambda n: f"the image {images[n].image_id}")
    for image in images:
        _check_viewpoint(spec, gallery, image)


def changed(image_id: str, metadata: Metadata, change: Callable[[Metadata], Metadata]) -> Metadata:
    """What a change of many images makes of one; an InvalidValue names the image."""
    try:
        return change(metadata)
    except InvalidValue as error:
        raise InvalidValue(f"nothing was changed, because of {image_id}: {error}", pointer=error.pointer) from error


def _check_viewpoint(spec: GallerySpec, gallery: str, image: NewImage) -> None:
    if image.viewpoint is not None and image.viewpoint.shape != (len(spec.viewpoints),):
        raise InvalidValue(
            f"the viewpoint of the image {image.image_id} has the shape {image.viewpoint.shape}; gallery "
            f"{gallery} knows {', '.join(spec.viewpoints)}"
        )
    if image.viewpoint is not None and not np.isfinite(image.viewpoint).all():
        raise EmbeddingNotFinite(f"the viewpoint of the image {image.image_id} holds a value that is not finite")
