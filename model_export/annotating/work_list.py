"""The pictures that a person is asked about: each once, under an id that survives restarts, in a stated order."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.annotating.label_file import OWN_COLUMNS, Place, relative_cell, true_path
from model_export.annotating.uncertainty import most_uncertain_first

Order = Literal["uncertain", "random", "manifest"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture, or the part of one that a box names. ``guess`` is V-Net's p, (V,), None where it was not asked."""

    id: str  # made from path and box, so a page that is still open names the same picture after a restart
    row: ManifestRow
    place: Place
    shown_path: str  # relative to the labels file
    carried: dict[str, str]  # cells that its label takes along
    guess: tuple[float, ...] | None = None


def pictures_of(rows: Iterable[ManifestRow], labels: Path) -> list[Picture]:
    """The pictures of a manifest, each once, for a labels file; InvalidValue for a path that a CSV cannot name."""
    folder = Path(true_path(labels)).parent
    found: dict[Place, Picture] = {}
    for row in rows:
        place = Place(true_path(row.path), row.box)
        if place in found:
            continue
        shown = relative_cell(place.path, folder)
        name = hashlib.sha256(f"{shown}\n{row.box}".encode()).hexdigest()[:20]
        found[place] = Picture(id=name, row=row, place=place, shown_path=shown, carried=_carried(row))
    return list(found.values())


def columns_of(pictures: Sequence[Picture]) -> list[str]:
    """Every column that some picture's label takes along, in the order of appearance."""
    names: dict[str, None] = {}
    for picture in pictures:
        names.update(dict.fromkeys(picture.carried))
    return list(names)


def sample(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """``count`` of the pictures, the same ones whenever the pictures are the same, in their order."""
    if count < 1:
        raise InvalidValue(f"--sample {count}: at least one picture is needed")
    chosen = {picture.id for picture in sorted(pictures, key=lambda picture: picture.id)[:count]}
    return [picture for picture in pictures if picture.id in chosen]


def guessed(pictures: Sequence[Picture], probabilities: NDArray[np.float32]) -> list[Picture]:
    """The pictures with V-Net's float32 (N, V); rows of NaN are those that it was not asked about."""
    return [
        picture if np.isnan(p).any() else replace(picture, guess=tuple(float(value) for value in p))
        for picture, p in zip(pictures, probabilities, strict=True)
    ]


def ordered(pictures: Sequence[Picture], order: Order) -> list[Picture]:
    """Most uncertain first (those without a guess at the end), at random but always alike, or as they stand."""
    if order == "manifest":
        return list(pictures)
    if order == "random":
        return sorted(pictures, key=lambda picture: picture.id)  # ids are hashes
    asked = [picture for picture in pictures if picture.guess is not None]
    rest = [picture for picture in pictures if picture.guess is None]
    if not asked:
        return rest
    places = most_uncertain_first(np.array([picture.guess for picture in asked], dtype=np.float32))
    return [*(asked[place] for place in places), *rest]


def _carried(row: ManifestRow) -> dict[str, str]:
    """What training may want to know of a picture: identity, box and attributes, as cells.

    A viewpoint that the manifest states is left behind. An attribute called like one of the label file's own columns
    is carried as ``picture_NAME``.
    """
    cells = {"vehicle_id": row.vehicle_id, "camera_id": row.camera_id, "image_id": row.image_id}
    carried = {name: text for name, text in cells.items() if text is not None}
    if row.captured_at is not None:
        carried["captured_at"] = row.captured_at.isoformat()
    if row.box is not None:
        carried["box"] = ",".join(map(str, row.box))
    for name, value in row.attributes.items():
        carried[f"picture_{name}" if name in OWN_COLUMNS else name] = str(value)
    return carried
