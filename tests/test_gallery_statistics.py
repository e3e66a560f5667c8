"""What a gallery holds: counts and distances against those made by hand."""

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import combinations
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from index.gallery import GallerySpec, Metadata, NewImage
from index.local_gallery import LocalGallery
from index.overview.gallery_statistics import GalleryStatistics, _Sample, gather
from index.storage.gallery_view import open_view
from tests.test_local_gallery import SPEC, image, vector

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
FRONT, SIDE = (np.array(p, dtype=np.float32) for p in ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)))


def seen(n: int, vehicle: str | None, camera: str | None, hour: float | None, *, front: bool = True) -> NewImage:
    metadata = Metadata(
        vehicle_id=vehicle, camera_id=camera,
        captured_at=None if hour is None else datetime(2026, 1, 5, tzinfo=UTC) + timedelta(hours=hour),
    )  # fmt: skip
    return replace(image(n), metadata=metadata, viewpoint=FRONT if front else SIDE)


IMAGES = [
    seen(0, "a", "c1", 8.2), seen(1, "a", "c2", 8.9, front=False), seen(2, "a", "c1", 23.99), seen(3, "b", "c1", 8.5),
    seen(4, "b", None, 9), seen(5, "c", "c1", None), seen(6, None, "c1", 32.5),
]  # fmt: skip


def statistics(
    tmp_path: Path, images: Sequence[NewImage] = IMAGES, *, spec: GallerySpec = SPEC, zone: tzinfo = UTC, seed: int = 0,
    now: datetime = NOW,
) -> GalleryStatistics:  # fmt: skip
    folder = tmp_path / "gallery"
    if not folder.exists():
        folder.mkdir()
        LocalGallery.create(folder, "yard", spec)
        with closing(LocalGallery(folder, clock=lambda: NOW)) as gallery:
            gallery.add(images)
    with open_view(folder / "gallery.sqlite", now=now) as view:
        return gather(view, zone=zone, zone_name=str(zone), seed=seed)


def test_counts_by_camera_hour_and_viewpoint(tmp_path: Path) -> None:
    found = statistics(tmp_path)
    assert (found.images, found.vehicles) == (7, 3)
    assert (found.without_vehicle, found.without_camera, found.without_time, found.without_viewpoint) == (1, 1, 1, 0)
    assert (found.first, found.last) == (IMAGES[0].metadata.captured_at, IMAGES[6].metadata.captured_at)
    assert [(each.camera_id, each.images) for each in found.cameras] == [("c1", 5), ("c2", 1), (None, 1)]
    hours = {each.camera_id: {int(n): int(each.hours[n]) for n in np.flatnonzero(each.hours)} for each in found.cameras}
    assert hours == {"c1": {8: 3, 23: 1}, "c2": {8: 1}, None: {9: 1}}
    assert found.cameras[1].viewpoints == {"front": 0, "rear": 0, "side": 1}
    assert found.cameras[0].viewpoints == {"front": 5, "rear": 0, "side": 0}


def test_hours_of_a_place_with_half_an_hour(tmp_path: Path) -> None:
    found = statistics(tmp_path, zone=ZoneInfo("Asia/Kolkata"))
    (camera, *_) = found.cameras
    assert {int(n): int(camera.hours[n]) for n in np.flatnonzero(camera.hours)} == {13: 1, 14: 2, 5: 1}


def test_distances_within_and_between(tmp_path: Path) -> None:
    found = statistics(tmp_path)
    assert found.within is not None
    assert found.between is not None
    within = [np.linalg.norm(vector(a) - vector(b)) for a, b in [*combinations((0, 1, 2), 2), (3, 4)]]
    assert np.allclose(found.within.values, np.sort(within))
    assert (found.within.vehicles, found.between.vehicles, len(found.between.values)) == (2, 3, 3)
    possible = [np.linalg.norm(vector(a) - vector(b)) for a, b in combinations(range(6), 2)]
    assert all(np.isclose(possible, value).any() for value in found.between.values)
    edges, shares = found.bins()
    assert len(edges) == 61
    assert all(each.sum() == pytest.approx(1) for each in shares.values())


def test_the_seed_draws_the_sample_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.overview.gallery_statistics._VEHICLES", 5)
    monkeypatch.setattr("index.overview.gallery_statistics._OF_A_VEHICLE", 2)
    images = [seen(n, f"v{n % 20}", None, None) for n in range(80)]
    found = [statistics(tmp_path, images, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (each.within for each in found)
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.vehicles, len(first.values)) == (5, 5)
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_a_sample_is_fair(tmp_path: Path) -> None:
    """Each of eight vehicles stands in about half of the samples of four."""
    times = np.zeros(8)
    for seed in range(400):
        sample = _Sample[int](4, random.Random(seed))
        for n in range(8):
            sample.offer(n)
        times[sample.drawn] += 1
    assert times.sum() == 1600
    assert times.min() > 150
    assert times.max() < 250


def test_where_two_distributions_cross(tmp_path: Path) -> None:
    spread = np.zeros((40, 8), dtype=np.float32)
    spread[:, 0] = np.repeat(np.arange(20) * 10, 2) + np.tile([0, 1], 20)
    images = [replace(seen(n, f"v{n // 2}", None, None), embedding=spread[n]) for n in range(40)]
    found = statistics(tmp_path, images)
    crossing = found.crossing()
    assert crossing is not None
    assert 1 <= crossing[0] <= 9
    assert crossing[1] == pytest.approx(0, abs=0.03)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    told = statistics(tmp_path).missing
    assert told == [
        "1 of 7 images have no camera_id: they are counted as one camera without a name.",
        "1 of 7 images have no captured_at: they are in no hour.",
        "1 of 7 images have no vehicle_id: they are in no distance.",
    ]


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([], ["The gallery is empty."]),
        (
            [replace(seen(0, None, None, None), viewpoint=None)],
            [
                "No image has a camera_id: they are counted as one camera without a name.",
                "No image has a captured_at: they are in no hour.",
                "No image has a vehicle_id: they are in no distance.",
                "No image has a viewpoint.",
            ],
        ),
        (
            [seen(n, "a", "c", 1) for n in range(3)],
            ["All images are of one vehicle: there is no distance between two."],
        ),
        (
            [seen(n, f"v{n}", "c", 1) for n in range(3)],
            ["No vehicle has two images: there is no distance within a vehicle."],
        ),
    ],
)
def test_galleries_that_lack_something(images: list[NewImage], told: list[str], tmp_path: Path) -> None:
    assert statistics(tmp_path, images).missing == told


def test_a_model_without_viewpoints(tmp_path: Path) -> None:
    spec = replace(SPEC, viewpoints=("any",))
    images = [replace(seen(n, f"v{n // 2}", "c", 1), viewpoint=None) for n in range(4)]
    assert statistics(tmp_path, images, spec=spec).missing == ["The gallery's model tells no viewpoints."]


def test_what_retention_no_longer_returns_is_not_counted(tmp_path: Path) -> None:
    spec = replace(SPEC, retention_days=1)
    assert statistics(tmp_path, spec=spec).images == 7
    assert statistics(tmp_path, spec=spec, now=NOW + timedelta(days=2)).missing == ["The gallery is empty."]
