"""Cameras on the disk: durable, whole, and damage is told."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.camera import Camera, Cameras
from index.crops import content_name
from index.errors import PlanNotFound, ReadOnly, StorageError, StorageFull
from index.storage.camera_folder import CameraFolder
from tests.pictures import png
from tests.small_disk import fill, small_disk

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
GATE = Camera(camera_id="c1", name="Überführung 北", latitude=48.5, longitude=11)
YARD = Camera(camera_id="c2", x=3.5, y=7)


@pytest.fixture
def cameras(tmp_path: Path) -> CameraFolder:
    return CameraFolder(tmp_path, clock=lambda: NOON)


def files(data: Path) -> set[str]:
    return {path.name for path in (data / "cameras").iterdir()}


def test_nothing_is_there_before_somebody_says_something(cameras: CameraFolder, tmp_path: Path) -> None:
    assert cameras.read() == Cameras()
    assert cameras.whole() == (Cameras(), None)
    with pytest.raises(PlanNotFound, match=r"PUT /v1/cameras/plan\?width=METRES"):
        cameras.picture()
    with pytest.raises(PlanNotFound):
        cameras.erase_plan()
    assert not (tmp_path / "cameras").exists()


def test_what_was_said_is_there_for_whoever_opens_it(cameras: CameraFolder, tmp_path: Path, flushed: list[str]) -> None:
    placed = cameras.place((GATE, YARD))
    assert placed == Cameras(cameras=(GATE, YARD), updated_at=NOON)
    assert flushed[-2:] == ["cameras.json.part", "cameras"]
    drawn, new = cameras.draw(png(1), pixels=(96, 72), width=120.5)
    assert (new, drawn.cameras, drawn.plan is not None) == (True, (GATE, YARD), True)
    reopened = CameraFolder(tmp_path)
    assert reopened.read() == drawn
    plan, picture = reopened.picture()
    assert (picture, plan.width, plan.height, plan.name) == (png(1), 120.5, 120.5 * 0.75, content_name(png(1)))
    assert cameras.place(()).plan == plan
    assert files(tmp_path) == {"cameras.json", plan.name}


def test_a_plan_takes_the_place_of_another_and_goes(cameras: CameraFolder, tmp_path: Path) -> None:
    cameras.draw(png(1), pixels=(96, 72), width=120)
    drawn, new = cameras.draw(png(2), pixels=(96, 72), width=80)
    assert (new, cameras.picture()) == (False, (drawn.plan, png(2)))
    assert files(tmp_path) == {"cameras.json", content_name(png(2))}
    cameras.erase_plan()
    assert cameras.whole() == (Cameras(updated_at=NOON), None)
    assert files(tmp_path) == {"cameras.json"}


def test_what_a_crash_left_goes_with_the_next_write(cameras: CameraFolder, tmp_path: Path) -> None:
    cameras.place((GATE,))
    for name in ("cameras.json.part", content_name(png(3)), f"{content_name(png(3))}.part"):
        (tmp_path / "cameras" / name).write_bytes(b"half")
    assert cameras.read().cameras == (GATE,)
    cameras.place((YARD,))
    assert files(tmp_path) == {"cameras.json"}


@pytest.mark.parametrize(
    ("old", "new"), [(b"48.5", b"48.6"), (b"{", b"["), (b"checksum", b"checksun"), (b'"plan"', b'"plam"')]
)
def test_a_note_that_is_not_what_was_written_is_told(
    cameras: CameraFolder, tmp_path: Path, old: bytes, new: bytes
) -> None:
    cameras.place((GATE,))
    note = tmp_path / "cameras/cameras.json"
    note.write_bytes(note.read_bytes().replace(old, new, 1))
    with pytest.raises(StorageError, match=r"cameras\.json is not what was written .*\(a backup has one\)"):
        cameras.read()
    damaged = note.read_bytes()
    with pytest.raises(StorageError, match="not what was written"):
        cameras.place((YARD,))
    assert note.read_bytes() == damaged


def test_a_note_of_the_right_checksum_is_checked_all_the_same(cameras: CameraFolder, tmp_path: Path) -> None:
    cameras.place((GATE,))
    note = tmp_path / "cameras/cameras.json"
    for data in (b"", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000, json.dumps({"checksum": 7}).encode()):
        note.write_bytes(data)
        with pytest.raises(StorageError, match="not what was written"):
            cameras.read()


def test_a_plan_that_is_gone_or_another_is_told(cameras: CameraFolder, tmp_path: Path) -> None:
    drawn, _ = cameras.draw(png(1), pixels=(96, 72), width=120)
    assert drawn.plan is not None
    for other in (png(2), b"no picture", b""):
        (tmp_path / "cameras" / drawn.plan.name).write_bytes(other)
        with pytest.raises(StorageError, match="another plan than was written"):
            cameras.picture()
    (tmp_path / "cameras" / drawn.plan.name).unlink()
    with pytest.raises(StorageError, match="the plan, is missing"):
        cameras.picture()
    cameras.draw(png(3), pixels=(96, 72), width=120)
    assert cameras.picture()[1] == png(3)


def test_nothing_is_changed_where_only_reading_is_allowed(cameras: CameraFolder, tmp_path: Path) -> None:
    reader = CameraFolder(tmp_path, read_only=True)
    for write in (lambda: reader.place((GATE,)), lambda: reader.draw(png(1), pixels=(96, 72), width=1)):
        with pytest.raises(ReadOnly, match="read_only"):
            write()
    assert not (tmp_path / "cameras").exists()
    cameras.draw(png(1), pixels=(96, 72), width=120)
    assert reader.picture()[1] == png(1)
    with pytest.raises(ReadOnly):
        reader.erase_plan()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        cameras = CameraFolder(disk, clock=lambda: NOON)
        before, _ = cameras.draw(png(1), pixels=(96, 72), width=120)
        filler = fill(disk)
        with pytest.raises(StorageFull, match="No space left"):
            cameras.place((GATE,))
        with pytest.raises(StorageFull):
            cameras.draw(png(2), pixels=(96, 72), width=120)
        assert cameras.whole() == (before, png(1))
        filler.unlink()
        assert cameras.place((GATE,)).cameras == (GATE,)


def test_whoever_reads_meanwhile_sees_a_plan_that_belongs_to_its_note(cameras: CameraFolder, tmp_path: Path) -> None:
    cameras.draw(png(0), pixels=(96, 72), width=1)
    reader, stop, seen = CameraFolder(tmp_path, read_only=True), threading.Event(), set()
    problems: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                plan, picture = reader.picture()
                assert png(int(plan.width) - 1) == picture
                seen.add(plan.width)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for turn in range(60):
        cameras.draw(png(turn % 3), pixels=(96, 72), width=1 + turn % 3)
    stop.set()
    thread.join()
    assert not problems
    assert seen


def test_another_folder_becomes_what_this_one_is(cameras: CameraFolder, tmp_path: Path) -> None:
    cameras.place((GATE,))
    cameras.draw(png(1), pixels=(96, 72), width=120)
    copy = CameraFolder(tmp_path / "copy", clock=lambda: datetime.now(UTC))
    copy.take(*cameras.whole())
    assert copy.whole() == cameras.whole()
    copy.take(Cameras(), None)
    assert copy.read() == Cameras()
    assert not (tmp_path / "copy/cameras").exists()
    copy.take(Cameras(), None)
