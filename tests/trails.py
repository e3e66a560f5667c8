"""A trail that nobody has stored, for tests of what is made of one."""

from datetime import UTC, datetime, timedelta

from index.camera import Camera
from index.gallery import Metadata, StoredImage
from service.trails.trail import Sighting, Trail, TrailModel, TrailQuery, TrailRequest, leg_between
from service.trails.trail_wish import TrailWish

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def a_sighting(number: int, image_id: str, camera: Camera | None, seconds: float | None) -> Sighting:
    """A sighting so many seconds after noon."""
    time = None if seconds is None else NOON + timedelta(seconds=seconds)
    metadata = Metadata(
        vehicle_id="v17", camera_id=None if camera is None else camera.camera_id, captured_at=time,
        attributes={"colour": "red"},
    )  # fmt: skip
    image = StoredImage(
        image_id=image_id, metadata=metadata, ingested_at=NOON, viewpoint={"front": 0.1, "rear": 0.9},
        crop_name="a" * 64 + ".jpg",
    )  # fmt: skip
    return Sighting(number=number, image=image, camera=camera, distance=0.1234 * number)


def a_trail() -> Trail:
    """Two sightings with a time, an impossible way between them, one without a time, one that is gone."""
    gate = Camera(camera_id="gate", name="Überführung 北京", latitude=48.0, longitude=-11.0)
    bridge = Camera(camera_id="bridge", latitude=48.01, longitude=-11.0)
    one, two = a_sighting(1, "one", gate, 0), a_sighting(2, "two", bridge, 5)
    return Trail(
        gallery="default",
        wish=TrailWish(
            image_ids=("one", "two", "three", "gone"), title="Red car", note="first\nsecond",
            asked_by="Officer Łukasik",
        ),
        model=TrailModel(name="tiny", fingerprint="f" * 64, embedding_space="tiny-space"),
        request=TrailRequest(key_id="k1", key_name="desk", made_at=NOON, request_id="r1"),
        queries=(TrailQuery(query_id="b" * 32, box=(1, 2, 30, 40), sha256="c" * 64),),
        sightings=(one, two), untimed=(a_sighting(3, "three", None, None),), legs=(leg_between(one, two, 150),),
        missing=("gone",),
    )  # fmt: skip
