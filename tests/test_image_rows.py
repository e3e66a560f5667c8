"""Rows of images inside one transaction."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import numpy as np
import pytest

from index.gallery import GallerySpec, Metadata, NewImage
from index.storage import image_rows
from index.storage.gallery_database import GalleryDatabase
from index.storage.row_filter import Condition

SPEC = GallerySpec(embedding_space="space", embedding_dim=2, viewpoints=("front", "rear"))
ALL = Condition("TRUE")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    GalleryDatabase.create(tmp_path / "gallery.sqlite", "yard", SPEC)
    database = GalleryDatabase(tmp_path / "gallery.sqlite")
    with database.transaction() as opened:
        yield opened
    database.close()


def insert(connection: apsw.Connection, image_id: str, *, crop: str | None = None, vehicle: str | None = None) -> int:
    image = NewImage(
        image_id=image_id,
        metadata=Metadata(vehicle_id=vehicle, attributes={"a": 1, "b": "1"}),
        crop=b"crop",
        embedding=np.array([1, 2], dtype=np.float32),
        viewpoint=np.array([0.25, 0.75], dtype=np.float32),
    )
    (row_id,) = image_rows.insert(
        connection, [image], crop_names=[crop], ingested_at=[5], space_id=1, viewpoints=SPEC.viewpoints
    )
    return row_id


def number(connection: apsw.Connection, table: str) -> int:
    found: int = connection.execute(f"SELECT count(*) FROM {table}").get
    return found


def test_what_is_inserted_is_found_and_selected(connection: apsw.Connection) -> None:
    row_id = insert(connection, "x", crop="c.jpg", vehicle="v")
    assert image_rows.find(connection, ["y", "x"]) == {"x": (row_id, 5)}
    ((selected, image),) = image_rows.select(connection, ALL, space_id=1, viewpoints=SPEC.viewpoints)
    assert (selected, image.image_id, image.crop_name) == (row_id, "x", "c.jpg")
    assert image.viewpoint == {"front": 0.25, "rear": 0.75}
    assert list(image_rows.select(connection, ALL, space_id=2, viewpoints=SPEC.viewpoints)) == []
    expected = {row_id: image_rows.Row("x", "v")}
    assert image_rows.rows_among(connection, np.array([row_id, 99]), ALL) == expected
    rows, vectors = image_rows.rows_and_vectors(connection, np.array([99, row_id]), ALL, space_id=1, dim=2)
    assert (rows, vectors.tolist()) == (expected, [[1, 2]])
    rows, vectors = image_rows.rows_and_vectors(connection, np.array([row_id]), ALL, space_id=2, dim=2)
    assert (rows, vectors.shape) == ({}, (0, 2))


def test_ids_and_counts(connection: apsw.Connection) -> None:
    rows = [insert(connection, f"i{n}", vehicle=str(n % 2)) for n in range(10)]
    even = Condition("vehicle_id = ?", ("0",))
    assert image_rows.row_ids(connection, even).tolist() == rows[::2]
    assert len(image_rows.row_ids(connection, ALL, limit=3)) == 3
    assert image_rows.row_ids(connection, Condition("FALSE")).dtype == np.int64
    assert image_rows.count(connection, even) == 5
    assert image_rows.count(connection, image_rows.listed(np.array(rows[:3])) & even) == 2


def test_only_crops_that_nobody_names_are_discarded(connection: apsw.Connection) -> None:
    rows = [insert(connection, f"i{n}", crop=crop) for n, crop in enumerate(("a", "a", "b", None))]
    assert image_rows.remove(connection, rows[:1]) == []
    assert sorted(image_rows.remove(connection, rows[1:])) == ["a", "b"]
    assert [number(connection, table) for table in ("images", "embeddings", "attributes", "crops")] == [0, 0, 0, 0]
    assert number(connection, "discarded") == 2
    insert(connection, "again", crop="a")
    assert [name for (name,) in connection.execute("SELECT name FROM discarded")] == ["b"]


def test_every_write_is_noted(connection: apsw.Connection) -> None:
    row_id = insert(connection, "x")
    image_rows.replace_metadata(connection, [(row_id, Metadata())])
    image_rows.remove(connection, [row_id])
    noted = list(connection.execute("SELECT row_id, kind FROM changes ORDER BY change"))
    assert noted == [(row_id, "added"), (row_id, "changed"), (row_id, "removed")]


def test_nothing_to_remove(connection: apsw.Connection) -> None:
    assert image_rows.remove(connection, []) == []
    assert number(connection, "changes") == 0
