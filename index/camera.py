"""Cameras: what people call them and where they stand, on the globe or on a plan.

One ``camera_id`` is one camera, whichever galleries its pictures are in. Documents are JSON as ``json.loads`` gives it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from index.errors import InvalidValue
from index.metadata import check_label, refuse_unknown, refused_value

MAX_CAMERAS: Final = 5000
FARTHEST: Final = 1_000_000  # metres from the upper left corner of a plan
WIDEST: Final = 1_000_000  # metres that a plan may show
POSITIONS: Final[Mapping[str, tuple[float, float]]] = {
    "latitude": (-90.0, 90.0), "longitude": (-180.0, 180.0), "x": (-FARTHEST, FARTHEST), "y": (-FARTHEST, FARTHEST),
}  # fmt: skip

_EARTH: Final = 6_371_008.8  # metres; the mean radius of WGS 84 (IUGG): within 0.6 % of an ellipsoid's distances
_KINDS: Final = ({"latitude", "longitude"}, {"x", "y"})


@dataclass(frozen=True, kw_only=True)
class Camera:
    """``latitude`` and ``longitude`` in degrees (WGS 84), or ``x`` and ``y`` in metres on the plan, or neither.

    ``x`` counts from the plan's left side, ``y`` from its upper side downwards.
    """

    camera_id: str
    name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    x: float | None = None
    y: float | None = None

    def metres_to(self, other: "Camera") -> float | None:
        """The straight distance to another camera; None where the positions are not of one kind, or one has none."""
        if self.camera_id == other.camera_id:
            return 0.0
        if None not in (self.x, self.y, other.x, other.y):
            return math.dist((self.x or 0.0, self.y or 0.0), (other.x or 0.0, other.y or 0.0))
        if self.latitude is None or self.longitude is None or other.latitude is None or other.longitude is None:
            return None
        return _over_ground(self.latitude, self.longitude, other.latitude, other.longitude)

    def document(self) -> dict[str, str | float | None]:
        """As JSON has it; ``check_cameras`` takes it back."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A picture of where cameras stand: its content name, its ``pixels`` (width, height), and the metres it shows."""

    name: str
    pixels: tuple[int, int]
    width: float

    @property
    def height(self) -> float:
        """Metres from its upper to its lower side."""
        return self.width * self.pixels[1] / self.pixels[0]


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """All that is known of cameras; ``updated_at`` is None where nobody has said anything yet."""

    cameras: tuple[Camera, ...] = ()
    plan: Plan | None = None
    updated_at: datetime | None = None

    def by_id(self) -> dict[str, Camera]:
        """Each camera by its id."""
        return {camera.camera_id: camera for camera in self.cameras}


class CameraHome(Protocol):
    """Where cameras are kept. Safe to call from any thread. Raises StorageFull, StorageError, and ReadOnly."""

    def read(self) -> Cameras:
        """All that is known; nothing where nobody has said anything yet."""
        ...

    def place(self, cameras: tuple[Camera, ...]) -> Cameras:
        """Put these in the place of all that are there; the plan stays."""
        ...

    def draw(self, picture: bytes, *, pixels: tuple[int, int], width: float) -> tuple[Cameras, bool]:
        """Keep a stored crop's bytes as the plan, ``width`` metres wide; and whether there was none before."""
        ...

    def erase_plan(self) -> None:
        """Remove the plan; raises PlanNotFound."""
        ...

    def picture(self) -> tuple[Plan, bytes]:
        """The plan and its picture; raises PlanNotFound."""
        ...


def check_cameras(document: object, *, pointer: str = "") -> tuple[Camera, ...]:
    """Cameras from a JSON array; raises InvalidValue for anything unknown, out of its rule, or there twice."""
    if not isinstance(document, list):
        raise refused_value(document, "must be a JSON array, one object a camera", "cameras", pointer)
    if len(document) > MAX_CAMERAS:
        raise InvalidValue(f"cameras has {len(document):,} entries; the limit is {MAX_CAMERAS:,}", pointer=pointer)
    cameras = tuple(_camera(each, f"{pointer}/{number}") for number, each in enumerate(document))
    first: dict[str, int] = {}
    for number, camera in enumerate(cameras):
        if (earlier := first.setdefault(camera.camera_id, number)) != number:
            raise InvalidValue(
                f"camera_id {camera.camera_id[:60]!a} stands in entries {earlier} and {number}; each may stand once",
                pointer=f"{pointer}/{number}/camera_id",
            )
    return cameras


def check_plan_width(value: object, *, pointer: str = "") -> float:
    """Metres that a plan shows from its left to its right side; raises InvalidValue."""
    number = _number(value)
    if number is None or not 0 < number <= WIDEST:
        raise refused_value(value, f"must be a number of metres above 0 and up to {WIDEST:,}", "width", pointer)
    return number


def _camera(document: object, pointer: str) -> Camera:
    if not isinstance(document, Mapping):
        raise refused_value(document, "must be a JSON object", "a camera", pointer)
    refuse_unknown(document, ("camera_id", "name", *POSITIONS), pointer)
    camera_id = check_label(document.get("camera_id"), name="camera_id", pointer=f"{pointer}/camera_id")
    name = document.get("name")
    if name is not None:
        name = check_label(name, name="name", pointer=f"{pointer}/name")
    place = {each: _coordinate(document, each, pointer) for each in POSITIONS if document.get(each) is not None}
    _require_one_kind(set(place), camera_id, pointer)
    return Camera(camera_id=camera_id, name=name, **place)


def _coordinate(document: Mapping[str, object], name: str, pointer: str) -> float:
    low, high = POSITIONS[name]
    number = _number(document[name])
    if number is None or not low <= number <= high:
        rule = f"must be a number from {low:,.0f} to {high:,.0f}"
        raise refused_value(document[name], rule, name, f"{pointer}/{name}")
    return number


def _require_one_kind(names: set[str], camera_id: str, pointer: str) -> None:
    """That a position is whole and of one kind."""
    if names and names not in _KINDS:
        raise InvalidValue(
            f"camera {camera_id[:60]!a} has {', '.join(sorted(names))}: give latitude and longitude, or x and y, or "
            "none of them",
            pointer=pointer,
        )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _over_ground(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Metres along a great circle (the haversine formula, which is exact for points that are near, too)."""
    low, high = math.radians(latitude), math.radians(other_latitude)
    across = math.radians(other_longitude - longitude)
    half = math.sin((high - low) / 2) ** 2 + math.cos(low) * math.cos(high) * math.sin(across / 2) ** 2
    return 2 * _EARTH * math.asin(min(1.0, math.sqrt(half)))
