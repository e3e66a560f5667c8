"""The files of a trail that is handed over."""

import csv
import io
import zipfile

from index.errors import QueryNotFound, StorageError
from service.trails.trail_archive import Picture, trail_archive
from tests.trails import a_trail

OWN = "a" * 64  # as the trail's sightings have it


def giving(name: str, data: bytes) -> Picture:
    return lambda: (name, data)


def failing(error: Exception) -> Picture:
    def picture() -> tuple[str, bytes]:
        raise error

    return picture


def test_a_picture_that_is_another_by_now_or_cannot_be_read_is_left_out() -> None:
    sightings = [giving(f"{OWN}.png", b"one"), giving(f"{'b' * 64}.jpg", b"replaced"), failing(StorageError("torn"))]
    data = b"".join(trail_archive(a_trail(), [failing(QueryNotFound("gone"))], sightings))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["pictures/001.png", "trail.csv"]
        assert archive.read("pictures/001.png") == b"one"
        table = archive.read("trail.csv").decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["picture"] for row in rows] == ["pictures/001.png", "", "", ""]
    assert {row["query_pictures"] for row in rows} == {""}
