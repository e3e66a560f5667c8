"""Erase what a gallery holds twice; what only an erased image knew, the kept one knows first."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from index.duplicates.duplicate_search import DuplicateGroup
from index.gallery import Metadata
from index.local_gallery import LocalGallery

Progress = Callable[[int], object]


def remove_duplicates(
    gallery: LocalGallery, groups: Iterable[DuplicateGroup], *, progress: Progress = lambda _: None
) -> int:
    """Erase the others of each group, but for groups that disagree; how many images that were.

    The kept image is not written again, only told what it lacked (vehicle, camera, time, attributes), before anything
    is erased. An interruption leaves some others, which another run finds.
    """
    erased = 0
    for group in groups:
        if group.disagreement is None:
            known = _together([group.kept.metadata, *(each.image.metadata for each in group.others)])
            if known != group.kept.metadata:
                gallery.change_metadata(group.kept.image_id, partial(_completed, known))
            for each in group.others:
                gallery.delete(each.image.image_id)
                erased += 1
        progress(len(group.others))
    return erased


def _completed(known: Metadata, current: Metadata) -> Metadata:
    return _together([current, known])


def _together(said: list[Metadata]) -> Metadata:
    """What the first says, and where it says nothing what the next does."""
    first, *others = said
    for other in others:
        first = replace(
            first,
            vehicle_id=first.vehicle_id if first.vehicle_id is not None else other.vehicle_id,
            camera_id=first.camera_id if first.camera_id is not None else other.camera_id,
            captured_at=first.captured_at if first.captured_at is not None else other.captured_at,
            attributes={**other.attributes, **first.attributes},
        )
    return first
