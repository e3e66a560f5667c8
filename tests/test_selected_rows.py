"""Remembered filters against filters asked anew."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from numpy.typing import NDArray

from index.gallery import Filters, GallerySpec, Metadata, NewImage
from index.storage import image_rows
from index.storage.gallery_database import GalleryDatabase
from index.storage.row_filter import passing
from index.storage.selected_rows import SelectedRows

SPEC = GallerySpec(embedding_space="space", embedding_dim=2, viewpoints=("front", "rear"))
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
FILTERS = [
    Filters(camera_id=("c1", "c2")),
    Filters(exclude_camera_id=("c1",), captured_after=NOON + timedelta(seconds=3)),
    Filters(viewpoint=("rear",), attributes={"colour": ("red",)}),
    Filters(vehicle_id=("v3",)),
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[GalleryDatabase]:
    GalleryDatabase.create(tmp_path / "gallery.sqlite", "yard", SPEC)
    opened = GalleryDatabase(tmp_path / "gallery.sqlite")
    yield opened
    opened.close()


def metadata(random: np.random.Generator) -> Metadata:
    camera, vehicle, second, colour = random.integers(0, 6, 4).tolist()
    return Metadata(
        camera_id=f"c{camera}" if camera else None,
        vehicle_id=f"v{vehicle}",
        captured_at=NOON + timedelta(seconds=second),
        attributes={"colour": "red" if colour % 2 else "blue"},
    )


def insert(connection: apsw.Connection, first: int, count: int, random: np.random.Generator) -> None:
    images = [
        NewImage(
            image_id=f"i{first + n}",
            metadata=metadata(random),
            crop=b"",
            embedding=np.zeros(2, dtype=np.float32),
            viewpoint=random.dirichlet((1, 1)).astype(np.float32),
        )
        for n in range(count)
    ]
    image_rows.insert(
        connection, images, crop_names=[None] * count, ingested_at=[5] * count, space_id=1, viewpoints=SPEC.viewpoints
    )


def anew(connection: apsw.Connection, filters: Filters) -> list[int]:
    found: list[int] = image_rows.row_ids(connection, passing(filters, space_id=1, since=None)).tolist()
    return found


def remembered(selected: SelectedRows, connection: apsw.Connection, filters: Filters, limit: int = 10**6) -> list[int]:
    found = selected.few(connection, filters, limit)
    assert found is not None
    assert found.dtype == np.int64
    rows: list[int] = found.tolist()
    return rows


@pytest.mark.parametrize("room", [0, 1200, 1 << 20])  # nothing fits, one does, all do
def test_rows_are_kept_up_with_every_kind_of_change(database: GalleryDatabase, room: int) -> None:
    random, selected = np.random.default_rng(0), SelectedRows(1, room=room)
    for step in range(30):
        with database.transaction() as connection:
            if step % 3 == 0 or step == 20:
                insert(connection, 1000 * step, 700 if step == 20 else 40, random)
            rows: NDArray[np.int64] = random.permutation(anew(connection, Filters()))
            if step % 3 == 1:
                image_rows.remove(connection, rows[:9].tolist())
            if step % 3 == 2:
                said = [(row_id, metadata(random)) for row_id in rows[:12].tolist()]
                image_rows.replace_metadata(connection, said)
        for filters in FILTERS[step % 2 :]:
            with database.snapshot() as connection:
                assert remembered(selected, connection, filters) == anew(connection, filters) != []


def test_after_very_many_changes(database: GalleryDatabase) -> None:
    random, selected = np.random.default_rng(0), SelectedRows(1)
    for first in (0, 10_000):
        with database.transaction() as connection:
            insert(connection, first, 3000, random)
        with database.snapshot() as connection:
            for filters in FILTERS:
                assert remembered(selected, connection, filters) == anew(connection, filters)


def test_every_reader_gets_what_is_in_its_own_view(database: GalleryDatabase) -> None:
    random, selected = np.random.default_rng(0), SelectedRows(1)
    with ExitStack() as stack:
        views = []
        for first in (0, 100, 200):
            with database.transaction() as connection:
                insert(connection, first, 50, random)
            views.append(stack.enter_context(database.snapshot()))
        for view in (views[1], views[2], views[0], views[2], views[1]):
            assert remembered(selected, view, FILTERS[0]) == anew(view, FILTERS[0])


def test_many_rows_are_not_listed_and_not_counted_again(database: GalleryDatabase) -> None:
    random, selected = np.random.default_rng(0), SelectedRows(1)
    with database.transaction() as connection:
        insert(connection, 0, 600, random)
    filters, seen = FILTERS[0], list[str]()
    with database.snapshot() as connection:
        passed = len(anew(connection, filters))
        assert passed > 150
        assert selected.few(connection, filters, 100) is None

        def trace(_: object, sql: str, bindings: Any) -> bool:
            seen.append(sql)
            return True

        connection.exec_trace = trace
        assert selected.few(connection, filters, 100) is None
        connection.exec_trace = None
    assert len(seen) == 1  # the last change
    with database.transaction() as connection:
        image_rows.remove(connection, anew(connection, filters)[80:])
    with database.snapshot() as connection:
        assert remembered(selected, connection, filters, 100) == anew(connection, filters)


def test_a_known_filter_that_more_and_more_pass(database: GalleryDatabase) -> None:
    random, selected = np.random.default_rng(0), SelectedRows(1)
    for first in range(0, 1000, 100):
        with database.transaction() as connection:
            insert(connection, first, 100, random)
        with database.snapshot() as connection:
            found, own = selected.few(connection, FILTERS[0], 100), anew(connection, FILTERS[0])
            assert (found is None) == (len(own) > 125)
            assert found is None or found.tolist() == own


@pytest.mark.parametrize(("room", "again"), [(1 << 20, 1), (0, 2)])
def test_what_does_not_fit_is_forgotten(database: GalleryDatabase, room: int, again: int) -> None:
    selected, seen = SelectedRows(1, room=room), list[str]()
    with database.transaction() as connection:
        insert(connection, 0, 50, np.random.default_rng(0))
    with database.snapshot() as connection:
        selected.few(connection, FILTERS[0], 100)

        def trace(_: object, sql: str, bindings: Any) -> bool:
            seen.append(sql)
            return True

        connection.exec_trace = trace
        selected.few(connection, FILTERS[0], 100)
        connection.exec_trace = None
    assert len(seen) == again  # the last change, and the rows
