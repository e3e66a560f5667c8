"""A trail: where a vehicle was seen, in the order of time, and whether it can have come from one place to the next."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.camera import Camera
from index.crops import Box
from index.embedder import Embedder
from index.errors import ImageNotFound
from index.gallery import DISTANCE_DECIMALS, Gallery, StoredImage
from service.trails.trail_wish import TrailWish
from service.wire.documents import image_document, time_text

_KMH: Final = 3.6  # of a metre a second
_EXACT: Final = 1 + 1e-9  # what is computed of round figures may be a little more than it is


@dataclass(frozen=True, kw_only=True)
class TrailQuery:
    """A picture of the vehicle that was looked for: a kept one (``query_id``), or the part ``box`` of it, or an image.

    ``sha256`` is that of the picture as it was sent, or of the image's stored crop; None where none is kept.
    """

    query_id: str | None = None
    box: Box | None = None
    image_id: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Its id, with the box where there is one."""
        own = self.query_id or self.image_id or ""
        return own if self.box is None else f"{own} {list(self.box)}"


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One image of a trail, numbered from 1; ``camera`` is what is known of its camera, ``distance`` to the query."""

    number: int
    image: StoredImage
    camera: Camera | None
    distance: float | None

    @property
    def time(self) -> datetime | None:
        """When it was captured, UTC."""
        return self.image.metadata.captured_at

    @property
    def sha256(self) -> str | None:
        """Of the stored crop; None where none is kept."""
        return _sha256(self.image)

    @property
    def viewpoint(self) -> str | None:
        """The most probable one; None where the model knows none."""
        return max(self.image.viewpoint, key=self.image.viewpoint.__getitem__, default=None)

    @property
    def place(self) -> str:
        """What people call where it was; empty where nothing is known of it."""
        named = None if self.camera is None else self.camera.name
        return named or self.image.metadata.camera_id or ""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """From one sighting to the next, by their numbers. ``impossible`` is the reason why nobody can have driven it.

    ``metres`` are straight, so that the speed is the least that it can have been; None where positions are missing.
    """

    start: int
    end: int
    seconds: float
    metres: float | None
    kmh: float | None
    impossible: str | None


@dataclass(frozen=True, kw_only=True)
class TrailModel:
    """The model whose vectors the distances are of."""

    name: str
    fingerprint: str
    embedding_space: str


@dataclass(frozen=True, kw_only=True)
class TrailRequest:
    """Who asked, when, and how logs call it; ``key_id`` and ``key_name`` are None where no key was asked for."""

    key_id: str | None
    key_name: str | None
    made_at: datetime
    request_id: str


@dataclass(frozen=True, kw_only=True)
class Trail:
    """Sightings with a time in its order, those without one after them, and ids that the gallery has no image of."""

    gallery: str
    wish: TrailWish
    model: TrailModel
    request: TrailRequest
    queries: tuple[TrailQuery, ...]
    sightings: tuple[Sighting, ...]
    untimed: tuple[Sighting, ...]
    legs: tuple[Leg, ...]
    missing: tuple[str, ...]

    def every(self) -> Iterator[Sighting]:
        """All sightings, in the order of their numbers."""
        yield from self.sightings
        yield from self.untimed


def stored_query(gallery: Gallery, image_id: str) -> TrailQuery:
    """An image of the gallery as what is looked for; raises ImageNotFound."""
    return TrailQuery(image_id=image_id, sha256=_sha256(gallery.get(image_id)))


def follow(
    gallery: Gallery, wish: TrailWish, *, queries: Sequence[TrailQuery], query: NDArray[np.float32] | None,
    cameras: Mapping[str, Camera], embedder: Embedder, request: TrailRequest,
) -> Trail:  # fmt: skip
    """A trail by what is stored, with distances to ``query``, float32 (D,), which is what is known of ``queries``.

    Raises ImageNotFound where every sighting is gone, and EmbeddingSpaceMismatch where the gallery moved to another
    model meanwhile.
    """
    there = gallery.find(wish.image_ids)
    if not there:
        raise ImageNotFound(f"gallery {gallery.name} has none of the {len(wish.image_ids)} images")
    distances = {} if query is None else _distances(gallery, list(there), query)
    gallery.spec.require_space(embedder.contract, gallery.name)
    found = [(image, distances.get(image_id)) for image_id, image in there.items()]
    timed = sorted((one for one in found if one[0].metadata.captured_at is not None), key=_moment)
    untimed = sorted((one for one in found if one[0].metadata.captured_at is None), key=lambda one: one[0].image_id)
    every = [
        Sighting(number=number, image=image, camera=cameras.get(image.metadata.camera_id or ""), distance=distance)
        for number, (image, distance) in enumerate([*timed, *untimed], start=1)
    ]
    contract = embedder.contract
    return Trail(
        gallery=gallery.name, wish=wish, request=request, queries=tuple(queries), sightings=tuple(every[: len(timed)]),
        model=TrailModel(
            name=contract.name, fingerprint=embedder.fingerprint, embedding_space=contract.embedding_space
        ),
        untimed=tuple(every[len(timed) :]),
        legs=tuple(leg_between(start, end, wish.max_speed) for start, end in pairwise(every[: len(timed)])),
        missing=tuple(image_id for image_id in wish.image_ids if image_id not in there),
    )  # fmt: skip


def trail_document(trail: Trail) -> dict[str, Any]:
    """A trail as clients see it."""
    request, wish = trail.request, trail.wish
    return {
        "gallery": trail.gallery, "title": wish.title, "note": wish.note, "asked_by": wish.asked_by,
        "key": None if request.key_id is None else {"key_id": request.key_id, "name": request.key_name},
        "made_at": time_text(request.made_at), "request_id": request.request_id,
        "model": trail.model.fingerprint, "model_name": trail.model.name,
        "embedding_space": trail.model.embedding_space, "max_speed_kmh": wish.max_speed,
        "queries": [
            {**vars(query), "box": None if query.box is None else list(query.box)} for query in trail.queries
        ],
        "sightings": [_sighting_document(each, trail.gallery) for each in trail.sightings],
        "untimed": [_sighting_document(each, trail.gallery) for each in trail.untimed],
        "legs": [_leg_document(leg) for leg in trail.legs],
        "missing": list(trail.missing),
    }  # fmt: skip


def leg_between(start: Sighting, end: Sighting, max_speed: float) -> Leg:
    """The way from a sighting with a time to the next; ``max_speed`` in km/h is what is thought possible."""
    assert start.time is not None and end.time is not None  # noqa: S101, PT018  # legs join those that have one
    seconds = (end.time - start.time).total_seconds()
    metres = _metres(start, end)
    kmh = None if metres is None or not seconds else metres / seconds * _KMH
    impossible = None
    if metres and not seconds:
        impossible = f"at two places, {length_text(metres)} apart, at the same moment"
    elif metres and kmh is not None and kmh > max_speed * _EXACT:
        impossible = (
            f"{length_text(metres)} in {duration_text(seconds)} would be {kmh:,.0f} km/h, more than {max_speed:g} km/h"
        )
    return Leg(
        start=start.number, end=end.number, seconds=seconds, metres=None if metres is None else round(metres, 1),
        kmh=None if kmh is None else round(kmh, 1), impossible=impossible,
    )  # fmt: skip


def duration_text(seconds: float) -> str:
    """A time that passed, for people: its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s" if 0 < seconds < 10 and seconds != whole else f"{whole} s"
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    raise AssertionError


def length_text(metres: float) -> str:
    """A distance on the ground, for people."""
    return f"{metres:,.0f} m" if metres < 1000 else f"{metres / 1000:,.2f} km"


def _distances(gallery: Gallery, image_ids: Sequence[str], query: NDArray[np.float32]) -> dict[str, float]:
    """Of each image, as a search tells them."""
    exact = query.astype(np.float64)
    return {
        image_id: round(float(np.linalg.norm(gallery.embedding(image_id) - exact)), DISTANCE_DECIMALS)
        for image_id in image_ids
    }


def _moment(found: tuple[StoredImage, float | None]) -> tuple[datetime, str]:
    image = found[0]
    assert image.metadata.captured_at is not None  # noqa: S101  # only such are sorted by it
    return image.metadata.captured_at, image.image_id


def _sha256(image: StoredImage) -> str | None:
    return None if image.crop_name is None else image.crop_name.partition(".")[0]


def _metres(start: Sighting, end: Sighting) -> float | None:
    camera_id = start.image.metadata.camera_id
    if camera_id is not None and camera_id == end.image.metadata.camera_id:
        return 0.0
    return None if start.camera is None or end.camera is None else start.camera.metres_to(end.camera)


def _sighting_document(sighting: Sighting, gallery: str) -> dict[str, Any]:
    camera = sighting.camera
    return {
        "number": sighting.number, **image_document(sighting.image, gallery), "distance": sighting.distance,
        "sha256": sighting.sha256, "camera": None if camera is None else camera.document(),
    }  # fmt: skip


def _leg_document(leg: Leg) -> dict[str, Any]:
    return {
        "from": leg.start, "to": leg.end, "seconds": leg.seconds, "metres": leg.metres, "kmh": leg.kmh,
        "impossible": leg.impossible is not None, "reason": leg.impossible,
    }  # fmt: skip
