"""Filters as SQL, and the way that SQLite goes for them; what they select is tested with the gallery."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.gallery import Filters, GallerySpec
from index.storage import image_rows
from index.storage.gallery_database import GalleryDatabase
from index.storage.row_filter import Condition, passing

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_no_filter_passes_all() -> None:
    assert passing(Filters(), space_id=1, since=None) == Condition("TRUE")


@pytest.mark.parametrize("listing", [True, False])
def test_values_are_bound_and_never_written_into_the_sql(listing: bool) -> None:
    hostile = "'); DROP TABLE images; --"
    condition = passing(
        Filters(
            image_id=(hostile,),
            camera_id=(hostile,),
            exclude_camera_id=(hostile, hostile),
            vehicle_id=(hostile,),
            viewpoint=(hostile,),
            captured_after=NOON,
            captured_before=NOON,
            attributes={hostile: (hostile, 1, 2.5)},
        ),
        space_id=7,
        since=5,
        listing=lambda _: listing,
    )
    assert "DROP" not in condition.sql
    assert condition.sql.count("?") == len(condition.bindings) == 14
    assert condition.bindings[-1] == 5


def test_both_must_hold() -> None:
    assert Condition("a = ?", (1,)) & Condition("b = ?", (2,)) == Condition("a = ? AND b = ?", (1, 2))


HOUR = Filters(captured_after=NOON, captured_before=NOON + timedelta(hours=1))
PLANS = [
    (Filters(image_id=("a", "b")), "sqlite_autoindex_images_1 (image_id=?)"),
    (Filters(camera_id=("c1", "c2")), "images_camera (camera_id=?)"),
    (replace(HOUR, camera_id=("c",)), "images_camera (camera_id=? AND captured_at>? AND captured_at<?)"),
    (Filters(vehicle_id=("v",)), "images_vehicle (vehicle_id=?)"),
    (Filters(vehicle_id=("v",), exclude_camera_id=("c",)), "images_vehicle (vehicle_id=?)"),
    (Filters(captured_after=NOON), "images_captured (captured_at>?)"),
    (HOUR, "images_captured (captured_at>? AND captured_at<?)"),
    (Filters(viewpoint=("rear",)), "embeddings_viewpoint (space_id=? AND viewpoint=?)"),
    (Filters(attributes={"colour": ("red", 1)}), "attributes USING PRIMARY KEY (name=? AND value=?)"),
]


@pytest.mark.parametrize(("filters", "way"), PLANS)
@pytest.mark.parametrize("since", [None, 5])
def test_every_filter_has_an_index_to_be_found_by(
    tmp_path: Path, filters: Filters, way: str, since: int | None
) -> None:
    spec = GallerySpec(embedding_space="space", embedding_dim=2, viewpoints=("front", "rear"))
    GalleryDatabase.create(tmp_path / "gallery.sqlite", "yard", spec)
    database = GalleryDatabase(tmp_path / "gallery.sqlite")
    with database.snapshot() as connection:
        seen: list[tuple[str, Any]] = []

        def plan_of_last() -> str:
            connection.exec_trace = None
            sql, bindings = seen[-1]
            return " | ".join(str(step) for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings))

        def trace(_: object, sql: str, bindings: Any) -> bool:
            seen.append((sql, bindings))
            return True

        connection.exec_trace = trace
        image_rows.row_ids(connection, passing(filters, space_id=1, since=since))
        finding = plan_of_last()
        assert way in finding
        assert "SCAN images" not in finding

        asked = passing(filters, space_id=1, since=since, listing=lambda _: False)
        some = np.array([1, 2], dtype=np.int64)
        ways: list[Callable[..., object]] = [
            image_rows.rows_among,
            partial(image_rows.rows_and_vectors, space_id=1, dim=2),
        ]
        for ask in ways:
            connection.exec_trace = trace
            ask(connection, some, asked)
            asking = plan_of_last()
            assert asking.startswith("SCAN json_each VIRTUAL TABLE")
            assert "SEARCH images USING INTEGER PRIMARY KEY (rowid=?)" in asking
            assert "LIST SUBQUERY" not in asking  # nothing is gathered but what was asked for
    database.close()
