"""Sightings in order, the ways between them, and distances as a search tells them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from index.camera import Camera
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import EmbeddingSpaceMismatch, ImageNotFound
from index.gallery import Gallery, GallerySpec, Metadata, NewImage, SearchOptions
from service.trails.trail import Trail, TrailRequest, duration_text, follow, length_text, stored_query, trail_document
from service.trails.trail_wish import TrailWish
from tests.pictures import jpeg

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
ASKED = TrailRequest(key_id=None, key_name=None, made_at=NOON, request_id="r1")
CAMERAS = {
    "gate": Camera(camera_id="gate", name="South gate", latitude=48.0, longitude=11.0),
    "bridge": Camera(camera_id="bridge", latitude=48.01, longitude=11.0),  # 1,111.95 m further north
    "yard": Camera(camera_id="yard", x=0, y=0),
    "exit": Camera(camera_id="exit", x=30, y=40),
}


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu", threads=1)


@pytest.fixture
def gallery(embedder: Embedder, tmp_path: Path) -> Iterator[Gallery]:
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    yield home.get("default")
    home.close()


def add(gallery: Gallery, image_id: str, camera_id: str | None, seconds: float | None) -> NewImage:
    """An image of this camera, so many seconds after noon."""
    rng = np.random.default_rng(sum(map(ord, image_id)))
    vector = rng.normal(size=gallery.spec.embedding_dim).astype(np.float32)
    new = NewImage(
        image_id=image_id, crop=jpeg(len(image_id)), embedding=vector / np.linalg.norm(vector),
        viewpoint=np.array([0.2, 0.7, 0.1], dtype=np.float32),
        metadata=Metadata(
            camera_id=camera_id, captured_at=None if seconds is None else NOON + timedelta(seconds=seconds)
        ),
    )  # fmt: skip
    gallery.add([new])
    return new


def followed(
    gallery: Gallery, embedder: Embedder, *image_ids: str, queries: tuple[str, ...] = (), speed: float = 150
) -> Trail:
    wish = TrailWish(image_ids=image_ids, query_image_ids=queries, max_speed=speed)
    vectors = [gallery.embedding(each) for each in queries]
    return follow(
        gallery, wish, queries=[stored_query(gallery, each) for each in queries],
        query=np.mean(vectors, axis=0) if vectors else None, cameras=CAMERAS, embedder=embedder, request=ASKED,
    )  # fmt: skip


def test_sightings_come_in_the_order_of_time_and_those_without_one_after_them(
    gallery: Gallery, embedder: Embedder
) -> None:
    for image_id, seconds in (("late", 60.0), ("b", 0.0), ("a", 0.0), ("z", None), ("y", None)):
        add(gallery, image_id, "gate", seconds)
    trail = followed(gallery, embedder, "z", "late", "gone", "b", "y", "a", "lost")
    assert [each.image.image_id for each in trail.sightings] == ["a", "b", "late"]
    assert [each.image.image_id for each in trail.untimed] == ["y", "z"]
    assert [each.number for each in trail.every()] == [1, 2, 3, 4, 5]
    assert trail.missing == ("gone", "lost")
    assert [(leg.start, leg.end, leg.seconds) for leg in trail.legs] == [(1, 2, 0), (2, 3, 60)]
    assert trail.sightings[0].sha256 == gallery.get("a").crop_name.removesuffix(".jpg")  # type: ignore[union-attr]
    assert (trail.sightings[0].viewpoint, trail.sightings[0].place) == ("rear", "South gate")


@pytest.mark.parametrize(
    ("start", "end", "seconds", "metres", "kmh", "reason"),
    [
        ("gate", "bridge", 60, 1112.0, 66.7, None),
        ("gate", "bridge", 26, 1112.0, 154.0, "1.11 km in 26 s would be 154 km/h, more than 150 km/h"),
        ("gate", "bridge", 0, 1112.0, None, "at two places, 1.11 km apart, at the same moment"),
        ("gate", "gate", 0, 0.0, None, None),
        ("gate", "gate", 3600, 0.0, 0.0, None),
        ("yard", "exit", 1.2, 50.0, 150.0, None),
        ("yard", "exit", 1.1, 50.0, 163.6, "50 m in 1.1 s would be 164 km/h, more than 150 km/h"),
        ("gate", "exit", 1, None, None, None),  # on the globe and on the plan
        ("gate", "unknown", 1, None, None, None),
        ("gate", "unknown", 0, None, None, None),
        ("unknown", "unknown", 1, 0.0, 0.0, None),  # one camera, wherever it is
        (None, None, 1, None, None, None),
    ],
)
def test_the_way_from_one_to_the_next(
    gallery: Gallery, embedder: Embedder, start: str | None, end: str | None, seconds: float, metres: float | None,
    kmh: float | None, reason: str | None,
) -> None:  # fmt: skip
    add(gallery, "one", start, 0)
    add(gallery, "two", end, seconds)
    (leg,) = followed(gallery, embedder, "two", "one").legs
    assert (leg.metres, leg.kmh, leg.impossible) == (metres, kmh, reason)


def test_what_is_impossible_depends_on_the_speed_that_is_thought_possible(gallery: Gallery, embedder: Embedder) -> None:
    add(gallery, "one", "gate", 0)
    add(gallery, "two", "bridge", 60)
    for speed, impossible in ((66.7, True), (66.72, False), (2000, False)):
        (leg,) = followed(gallery, embedder, "one", "two", speed=speed).legs
        assert (leg.impossible is not None) is impossible, speed


def test_distances_are_those_of_a_search(gallery: Gallery, embedder: Embedder) -> None:
    ids = [f"i{n}" for n in range(6)]
    for number, image_id in enumerate(ids):
        add(gallery, image_id, "gate", number)
    queries = (ids[0], ids[1])
    query = np.mean([gallery.embedding(each) for each in queries], axis=0)
    (matches,) = gallery.search(query[None], SearchOptions(top_k=10))
    trail = followed(gallery, embedder, *ids, queries=queries)
    assert {each.image.image_id: each.distance for each in trail.sightings} == {
        match.image.image_id: match.distance for match in matches
    }
    assert [(each.image_id, each.sha256) for each in trail.queries] == [
        (each, gallery.get(each).crop_name.partition(".")[0])  # type: ignore[union-attr]
        for each in queries
    ]
    assert {each.distance for each in followed(gallery, embedder, *ids).sightings} == {None}


def test_what_is_not_there_is_told(gallery: Gallery, embedder: Embedder) -> None:
    add(gallery, "one", "gate", 0)
    with pytest.raises(ImageNotFound, match="none of the 2 images"):
        followed(gallery, embedder, "gone", "lost")
    with pytest.raises(ImageNotFound, match="gone"):
        followed(gallery, embedder, "one", queries=("gone",))


def test_a_gallery_that_has_moved_meanwhile_is_told(gallery: Gallery, next_model: Path) -> None:
    add(gallery, "one", "gate", 0)
    with pytest.raises(EmbeddingSpaceMismatch):
        followed(gallery, Embedder(next_model, device="cpu", threads=1), "one")


def test_the_document_says_who_asked_for_what(gallery: Gallery, embedder: Embedder) -> None:
    add(gallery, "one", "gate", 0)
    add(gallery, "two", "bridge", 1)
    document = trail_document(followed(gallery, embedder, "one", "two", queries=("one",)))
    assert (document["model"], document["model_name"]) == (embedder.fingerprint, embedder.contract.name)
    assert (document["made_at"], document["request_id"], document["key"]) == ("2026-05-04T12:00:00Z", "r1", None)
    assert document["sightings"][0]["camera"]["name"] == "South gate"
    assert document["sightings"][0]["captured_at"] == "2026-05-04T12:00:00Z"
    assert document["legs"][0]["impossible"] is True
    assert "km/h, more than 150 km/h" in document["legs"][0]["reason"]


def test_times_and_ways_for_people() -> None:
    texts = {0: "0 s", 1.1: "1.1 s", 9.999: "10 s", 12.34: "12 s", 59.6: "1 min", 200: "3 min 20 s", 3600: "1 h",
             7380: "2 h 3 min", 86_400: "1 d", 200_000: "2 d 7 h"}  # fmt: skip
    assert {seconds: duration_text(seconds) for seconds in texts} == texts
    assert [length_text(metres) for metres in (0.4, 999, 1234.5, 2_345_678)] == [
        "0 m",
        "999 m",
        "1.23 km",
        "2,345.68 km",
    ]
