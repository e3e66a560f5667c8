"""The same promises of cameras in a folder and in a database that replicas share."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.camera import CameraHome, Cameras
from index.errors import PlanNotFound, ReadOnly, StorageError
from index.storage.camera_folder import CameraFolder
from tests.pictures import png
from tests.test_camera_folder import GATE, YARD

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
Opened = Callable[..., CameraHome]


@pytest.fixture(params=["folder", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the cameras, any number of times."""
    if request.param == "folder":
        return lambda **options: CameraFolder(tmp_path, clock=lambda: NOON, **options)
    database = request.getfixturevalue("shared_database")
    from index.postgres.postgres_cameras import PostgresCameras

    return lambda **options: PostgresCameras(database, clock=lambda: NOON, **options)


def test_what_was_said_is_there_for_whoever_opens_it(opened: Opened) -> None:
    home, elsewhere = opened(), opened(read_only=True)
    assert elsewhere.read() == Cameras()
    for look in (home.picture, home.erase_plan):
        with pytest.raises(PlanNotFound, match="PUT /v1/cameras/plan"):
            look()
    assert home.place((GATE, YARD)) == elsewhere.read() == Cameras(cameras=(GATE, YARD), updated_at=NOON)
    drawn, new = home.draw(png(1), pixels=(96, 72), width=120.5)
    assert (new, drawn.cameras, elsewhere.read()) == (True, (GATE, YARD), drawn)
    again, new = home.draw(png(2), pixels=(96, 72), width=80)
    assert (new, elsewhere.picture()) == (False, (again.plan, png(2)))
    assert home.place(()).plan == again.plan
    home.erase_plan()
    assert elsewhere.read() == Cameras(updated_at=NOON)


def test_who_only_reads_changes_nothing(opened: Opened) -> None:
    opened().place((GATE,))
    with pytest.raises(ReadOnly):
        opened(read_only=True).place(())
    assert opened().read().cameras == (GATE,)


def test_cameras_and_plan_are_said_at_once(opened: Opened) -> None:
    home = opened()
    with ThreadPoolExecutor(4) as pool:
        placed, drawn = pool.submit(home.place, (GATE,)), pool.submit(home.draw, png(1), pixels=(9, 9), width=3.0)
        placed.result()
        drawn.result()
    known = home.read()
    assert (known.cameras, known.plan is not None) == ((GATE,), True)


def test_a_row_that_is_damaged_is_told(request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue("shared_database")
    from index.postgres.postgres_cameras import PostgresCameras

    home = PostgresCameras(database)
    home.draw(png(1), pixels=(9, 9), width=3.0)
    with database.transaction() as connection:
        connection.execute("UPDATE vehicle_search.cameras SET picture = %s", (png(2),))
    with pytest.raises(StorageError, match="another plan"):
        home.picture()
    with database.transaction() as connection:
        connection.execute("UPDATE vehicle_search.cameras SET note = replace(note, '3.0', '4.0')")
    with pytest.raises(StorageError, match="not what was written"):
        home.read()
