"""What a gallery holds: where and when its images were taken, from which side, and how far apart vehicles are.

Everything is counted by the database, so a gallery of any size takes little memory; distances are measured between the
images of a sample of vehicles, drawn by a seed.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.storage import image_rows
from index.storage.gallery_view import GalleryView
from index.storage.stored_time import moment

HOURS: Final = 24

_QUARTER = 900 * 1_000_000  # microseconds; every time zone's hours begin with one
_VEHICLES = 1000  # in a sample
_OF_A_VEHICLE = 8  # images
_BINS = 60

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class CameraCounts:
    """Images of one camera (of those without one: None): all, by hour of the day int64 (24,), and by viewpoint."""

    camera_id: str | None
    images: int
    hours: NDArray[np.int64]
    viewpoints: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Distances float64 (n,), ascending, between the images of ``vehicles`` that were drawn."""

    vehicles: int
    values: NDArray[np.float64]

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.values, share))

    def nearer(self, distance: float) -> float:
        """The share of pairs that are nearer than ``distance``."""
        return float(np.searchsorted(self.values, distance) / len(self.values))


@dataclass(frozen=True, kw_only=True)
class GalleryStatistics:
    """A gallery at one moment.

    ``without_*`` count images that lack something; ``first`` and ``last`` are UTC; ``zone`` is whose hours are meant.
    ``within`` is between two images of one vehicle, ``between`` of two; None where there is no such pair.
    """

    gallery: str
    images: int
    vehicles: int
    without_vehicle: int
    without_camera: int
    without_time: int
    without_viewpoint: int
    viewpoints: tuple[str, ...]
    first: datetime | None
    last: datetime | None
    zone: str
    cameras: tuple[CameraCounts, ...]
    within: Distances | None
    between: Distances | None
    seed: int

    @property
    def missing(self) -> list[str]:
        """What cannot be told, and what it takes, a sentence each."""
        if not self.images:
            return ["The gallery is empty."]
        lacks = [
            (self.without_camera, "camera_id", "they are counted as one camera without a name"),
            (self.without_time, "captured_at", "they are in no hour"),
            (self.without_vehicle, "vehicle_id", "they are in no distance"),
        ]
        told = [f"{self._whose(count)} {name}: {so}." for count, name, so in lacks if count]
        if len(self.viewpoints) < 2:
            told.append("The gallery's model tells no viewpoints.")
        elif self.without_viewpoint:
            told.append(f"{self._whose(self.without_viewpoint)} viewpoint.")
        if self.without_vehicle < self.images:
            if self.within is None:
                told.append("No vehicle has two images: there is no distance within a vehicle.")
            if self.between is None:
                told.append("All images are of one vehicle: there is no distance between two.")
        return told

    def _whose(self, without: int) -> str:
        return "No image has a" if without == self.images else f"{without:,} of {self.images:,} images have no"

    def bins(self) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Edges (61,) of bins of distance, and the share of pairs (60,) in each, ``within`` and ``between``."""
        known = {name: each for name, each in (("within", self.within), ("between", self.between)) if each is not None}
        largest = max((float(each.values[-1]) for each in known.values()), default=1.0) or 1.0
        edges = np.linspace(0, largest, _BINS + 1)
        return edges, {
            name: np.histogram(each.values, edges)[0] / len(each.values) for name, each in known.items()
        }  # fmt: skip

    def crossing(self) -> tuple[float, float] | None:
        """Where as large a share of pairs within is farther as of pairs between is nearer, and that share."""
        if self.within is None or self.between is None:
            return None
        tried = np.unique(np.concatenate([self.within.values, self.between.values]))
        farther = 1 - np.searchsorted(self.within.values, tried) / len(self.within.values)
        nearer = np.searchsorted(self.between.values, tried) / len(self.between.values)
        at = int(np.argmin(np.abs(farther - nearer)))
        return float(tried[at]), float(farther[at] + nearer[at]) / 2


def gather(view: GalleryView, *, zone: tzinfo, zone_name: str, seed: int) -> GalleryStatistics:
    """Count and measure. Raises apsw's errors."""
    lacking = (f"count(*) - count({name})" for name in ("vehicle_id", "camera_id", "captured_at"))
    images, vehicles, first, last, *without = view.connection.execute(
        f"SELECT count(*), count(DISTINCT vehicle_id), min(captured_at), max(captured_at), {', '.join(lacking)}"  # noqa: S608
        f" FROM images WHERE {view.passing.sql}",
        view.passing.bindings,
    ).get
    cameras = _cameras(view, zone)
    seen = sum(sum(camera.viewpoints.values()) for camera in cameras)
    within, between = _distances(view, seed)
    return GalleryStatistics(
        gallery=view.name, images=images, vehicles=vehicles, without_vehicle=without[0], without_camera=without[1],
        without_time=without[2], without_viewpoint=images - seen, viewpoints=view.spec.viewpoints,
        first=None if first is None else moment(first), last=None if last is None else moment(last), zone=zone_name,
        cameras=cameras, within=within, between=between, seed=seed,
    )  # fmt: skip


def _cameras(view: GalleryView, zone: tzinfo) -> tuple[CameraCounts, ...]:
    """Those with most images first."""
    images: dict[str | None, int] = defaultdict(int)
    viewpoints: dict[str | None, dict[str, int]] = defaultdict(dict)
    hours: dict[str | None, NDArray[np.int64]] = defaultdict(lambda: np.zeros(HOURS, dtype=np.int64))
    for camera, viewpoint, count in view.connection.execute(
        "SELECT camera_id, viewpoint, count(*) FROM images"  # noqa: S608
        " JOIN (SELECT row_id, space_id, viewpoint FROM embeddings) USING (row_id)"
        f" WHERE space_id = ? AND {view.passing.sql} GROUP BY camera_id, viewpoint",
        (view.space_id, *view.passing.bindings),
    ):
        images[camera] += count
        if viewpoint is not None:
            viewpoints[camera][viewpoint] = count
    for camera, hour, count in _times(view, zone):
        hours[camera][hour] += count
    named = (
        CameraCounts(
            camera_id=camera, images=count, hours=hours[camera],
            viewpoints={name: viewpoints[camera].get(name, 0) for name in view.spec.viewpoints},
        )
        for camera, count in images.items()
    )  # fmt: skip
    return tuple(sorted(named, key=lambda each: (-each.images, each.camera_id is None, each.camera_id or "")))


def _times(view: GalleryView, zone: tzinfo) -> Iterator[tuple[str | None, int, int]]:
    """Camera, hour of the day, and how many images, quarter hour by quarter hour."""
    found = view.connection.execute(
        f"SELECT camera_id, captured_at / {_QUARTER} AS quarter, count(*) FROM images"  # noqa: S608
        f" WHERE captured_at IS NOT NULL AND {view.passing.sql} GROUP BY camera_id, quarter",
        view.passing.bindings,
    )
    for camera, quarter, count in found:
        yield camera, moment(quarter * _QUARTER).astimezone(zone).hour, count


def _distances(view: GalleryView, seed: int) -> tuple[Distances | None, Distances | None]:
    rng = random.Random(seed)  # noqa: S311
    counts = "SELECT vehicle_id, count(*) FROM images WHERE vehicle_id IS NOT NULL AND"
    vehicles = view.connection.execute(
        f"{counts} {view.passing.sql} GROUP BY vehicle_id ORDER BY vehicle_id", view.passing.bindings
    )
    any_, several = _Sample[str](_VEHICLES, rng), _Sample[str](_VEHICLES, rng)
    for vehicle, count in vehicles:
        any_.offer(vehicle)
        if count > 1:
            several.offer(vehicle)
    within = [_pairs(_vectors(view, vehicle, rng, _OF_A_VEHICLE)) for vehicle in several.drawn]
    one_each = [_vectors(view, vehicle, rng, 1) for vehicle in any_.drawn]
    between = _pairs(np.concatenate(one_each)) if one_each else np.empty(0)
    return (
        _sorted(np.concatenate(within) if within else np.empty(0), len(within)),
        _sorted(between, len(one_each)),
    )  # fmt: skip


def _sorted(values: NDArray[np.float64], vehicles: int) -> Distances | None:
    return Distances(vehicles=vehicles, values=np.sort(values)) if len(values) else None


def _vectors(view: GalleryView, vehicle: str, rng: random.Random, count: int) -> NDArray[np.float64]:
    """Vectors of at most ``count`` images of a vehicle, float64 (n, D)."""
    found = view.connection.execute(
        f"SELECT row_id FROM images WHERE vehicle_id = ? AND {view.passing.sql} ORDER BY row_id",  # noqa: S608
        (vehicle, *view.passing.bindings),
    )
    sample = _Sample[int](count, rng)
    for (row_id,) in found:
        sample.offer(row_id)
    drawn = np.array(sorted(sample.drawn), dtype=np.int64)
    row_ids, vectors = image_rows.vectors(view.connection, drawn, space_id=view.space_id, dim=view.spec.embedding_dim)
    return vectors[np.argsort(row_ids)].astype(np.float64)


def _pairs(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances of all pairs, (n (n − 1) / 2,)."""
    return np.concatenate([
        np.empty(0), *(np.linalg.norm(vectors[n + 1 :] - each, axis=1) for n, each in enumerate(vectors[:-1]))
    ])  # fmt: skip


class _Sample(Generic[_T]):
    """So many of the things that are offered, each of them as likely as any other."""

    def __init__(self, size: int, rng: random.Random) -> None:
        self.drawn: list[_T] = []
        self._size, self._rng = size, rng
        self._offered = 0

    def offer(self, thing: _T) -> None:
        self._offered += 1
        if len(self.drawn) < self._size:
            self.drawn.append(thing)
        elif (place := self._rng.randrange(self._offered)) < self._size:
            self.drawn[place] = thing
