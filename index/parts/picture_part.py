"""A plan cut into parts: the same sources give the same parts, whoever looks at them, and whenever."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any, Self

from index.bulk.import_plan import Failure, ImportPlan, ListedImage, Place


@dataclass(frozen=True, kw_only=True)
class PicturePart:
    """Images that are embedded by one worker and written to one table."""

    number: int
    images: tuple[ListedImage, ...]


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What became of a part: ``images`` are in its table, the others failed."""

    number: int
    images: int
    failures: tuple[Failure, ...]

    def said(self) -> dict[str, Any]:
        """As JSON; see ``heard``."""
        return {
            "part": self.number, "images": self.images,
            "failures": [
                {
                    "archive": each.place.archive, "path": each.place.path, "image_id": each.image_id,
                    "reason": each.reason, "cells": dict(each.cells),
                }
                for each in self.failures
            ],
        }  # fmt: skip

    @classmethod
    def heard(cls, said: Mapping[str, Any]) -> Self:
        """What ``said`` gave; raises KeyError, TypeError where something else is said."""
        failures = tuple(
            Failure(
                place=Place(archive=each["archive"], path=each["path"]), image_id=each["image_id"],
                reason=each["reason"], cells=each["cells"],
            )
            for each in said["failures"]
        )  # fmt: skip
        return cls(number=said["part"], images=said["images"], failures=failures)


def cut_parts(plan: ImportPlan, size: int) -> Iterator[PicturePart]:
    """The images of a plan in parts of ``size``, numbered from 0, in the plan's order."""
    listing = plan.listing()
    number = 0
    while images := tuple(islice(listing, size)):
        yield PicturePart(number=number, images=images)
        number += 1


def listing_hash(plan: ImportPlan) -> str:
    """SHA-256 in hex of what is to be made of what: another one means other parts."""
    digest = hashlib.sha256()
    for image in plan.listing():
        for value in astuple(image):
            field = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
            digest.update(len(field).to_bytes(8, "big") + field)
    return digest.hexdigest()
