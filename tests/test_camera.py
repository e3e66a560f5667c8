"""Cameras: distances between them, and what clients may say of them."""

import json
import math
from typing import Any

import pytest

from index.camera import MAX_CAMERAS, Camera, Plan, check_cameras, check_plan_width
from index.errors import InvalidValue


def globe(camera_id: str, latitude: float, longitude: float) -> Camera:
    return Camera(camera_id=camera_id, latitude=latitude, longitude=longitude)


@pytest.mark.parametrize(
    ("start", "end", "metres"),
    [
        ((0, 0), (0, 1), 111_195.08),  # a degree of the equator of a sphere with IUGG's mean radius
        ((48.8566, 2.3522), (51.5074, -0.1278), 343_556),  # Paris, London
        ((52.5163, 13.3777), (52.5163, 13.3778), 6.7666),  # some steps in Berlin: no digits are cancelled
        ((0, 179.9), (0, -179.9), 22_239.0),  # over the date line
        ((90, 0), (-90, 77), math.pi * 6_371_008.8),
    ],
)
def test_metres_over_ground(start: tuple[float, float], end: tuple[float, float], metres: float) -> None:
    there, back = globe("a", *start).metres_to(globe("b", *end)), globe("b", *end).metres_to(globe("a", *start))
    assert there == pytest.approx(metres, rel=1e-4)
    assert there == back


def test_metres_on_a_plan_and_between_what_cannot_be_measured() -> None:
    here, there = Camera(camera_id="a", x=3, y=0), Camera(camera_id="b", x=0, y=-4)
    assert here.metres_to(there) == 5
    assert here.metres_to(globe("c", 1, 1)) is None
    assert here.metres_to(Camera(camera_id="d")) is None
    assert Camera(camera_id="d").metres_to(Camera(camera_id="e")) is None
    assert Camera(camera_id="d").metres_to(Camera(camera_id="d")) == 0  # one place, wherever it is
    assert Camera(camera_id="a", x=0, y=0).metres_to(Camera(camera_id="b", x=0, y=0)) == 0
    assert globe("a", 0, 0).metres_to(globe("b", 0, 0)) == 0


def test_the_height_of_a_plan_follows_from_its_width() -> None:
    assert Plan(name="x.png", pixels=(800, 600), width=120).height == 90


def test_what_is_told_is_taken_back() -> None:
    cameras = (
        globe("c1", 48.5, 11),
        Camera(camera_id="c2", name="Überführung 北", x=0, y=-7.25),
        Camera(camera_id="c3"),
    )
    documents = json.loads(json.dumps([camera.document() for camera in cameras]))
    assert check_cameras(documents) == cameras
    assert check_cameras([]) == ()


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({"camera_id": "c"}, "", "JSON array"),
        ([7], "/0", "a camera must be a JSON object, not 7"),
        ([{}], "/0/camera_id", "camera_id must be a string of 1–256 characters"),
        ([{"camera_id": ""}], "/0/camera_id", "camera_id must be"),
        ([{"camera_id": "c", "name": 4}], "/0/name", "name must be"),
        ([{"camera_id": "c", "lat": 4}], "/0/lat", "'lat' is not a known field"),
        ([{"camera_id": "c", "latitude": 91, "longitude": 0}], "/0/latitude", "from -90 to 90, not 91"),
        ([{"camera_id": "c", "latitude": 9, "longitude": "1"}], "/0/longitude", "from -180 to 180, not '1'"),
        ([{"camera_id": "c", "x": True, "y": 0}], "/0/x", "from -1,000,000 to 1,000,000, not true"),
        ([{"camera_id": "c", "x": 10**400, "y": 0}], "/0/x", "an integer of more than 64 bits"),
        ([{"camera_id": "c", "x": float("nan"), "y": 0}], "/0/x", "nan"),
        ([{"camera_id": "c", "x": 1}], "/0", "has x: give latitude and longitude, or x and y"),
        ([{"camera_id": "c", "x": 1, "y": 2, "latitude": 1, "longitude": 2}], "/0", "latitude, longitude, x, y"),
        ([{"camera_id": "c", "x": 1, "longitude": 2}], "/0", "longitude, x"),
        ([{"camera_id": "c"}, {"camera_id": "d"}, {"camera_id": "c"}], "/2/camera_id", "entries 0 and 2"),
        ([{"camera_id": f"c{n}"} for n in range(MAX_CAMERAS + 1)], "", "5,001 entries; the limit is 5,000"),
    ],
)
def test_what_is_wrong_is_named(document: Any, pointer: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_cameras(document, pointer="/cameras")
    assert caught.value.pointer == f"/cameras{pointer}"
    assert words in str(caught.value)


@pytest.mark.parametrize("width", [0, -1, 1_000_001, "7", None, True, float("inf")])
def test_a_plan_has_a_width(width: object) -> None:
    with pytest.raises(InvalidValue, match="above 0 and up to 1,000,000"):
        check_plan_width(width)
    assert check_plan_width(0.5) == 0.5
