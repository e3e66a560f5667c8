"""A plan keeps what is to be done, and what became of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.bulk import import_plan
from index.bulk.import_plan import IMAGES_AT_ONCE, Clash, ImportPlan, Place, read_columns, read_failures
from index.errors import StorageError, StorageFull
from index.gallery import Metadata
from tests.small_disk import fill, small_disk

SAID = Metadata(
    vehicle_id="v1", camera_id="c1", captured_at=datetime(2026, 5, 4, 10, 11, 12, 5, tzinfo=UTC),
    attributes={"speed": 5, "weight": 1.5, "note": "ü"},
)  # fmt: skip


def filled(file: Path | None, count: int = 600) -> ImportPlan:
    """A plan of as many pictures, every third in an archive."""
    plan = ImportPlan(file)
    plan.take_columns(["path", "speed"])
    for n in range(count):
        place = Place(archive="/x.zip" if n % 3 == 0 else "", path=f"{n}.jpg")
        assert plan.add_image(place, f"i{n}", SAID, (1, 2, 3, n), cells={"speed": str(n)}) is None
    plan.end_planning()
    return plan


def left(plan: ImportPlan) -> list[str]:
    return [image.image_id for name in plan.archives() for each in plan.pictures(name) for image in each.images]


def test_pictures_come_in_order_archive_by_archive_and_once() -> None:
    plan = filled(None)
    assert plan.archives() == ["", "/x.zip"]
    first = next(plan.pictures(""))
    assert (first.place, first.images[0].metadata, first.images[0].box) == (Place(path="1.jpg"), SAID, (1, 2, 3, 1))
    taken = plan.take(Place(archive="/x.zip", path="3.jpg"))
    assert [image.image_id for picture in taken for image in picture.images] == ["i3"]
    assert plan.take(Place(archive="/x.zip", path="3.jpg")) == plan.take(Place(path="none")) == []
    rest = left(plan)
    assert len(rest) == 598
    assert rest[:3] == ["i2", "i4", "i5"]
    assert rest[400 - 1 : 402] == ["i0", "i6", "i9"]
    assert left(plan) == []
    plan.close()


def test_what_is_left_outlives_the_plan(tmp_path: Path) -> None:
    plan = filled(tmp_path / "plan", 9)
    numbers = {
        image.image_id: image.number
        for name in plan.archives()
        for each in plan.pictures(name)
        for image in each.images
    }
    failures = plan.finish(
        [numbers["i1"], numbers["i2"]], created=1, unchanged=1, failed=[(numbers["i3"], "damaged")], seconds=1.5
    )
    assert [(each.place, each.image_id, each.reason) for each in failures] == [
        (Place(archive="/x.zip", path="3.jpg"), "i3", "damaged")
    ]
    plan.close()
    plan = ImportPlan(tmp_path / "plan")
    assert plan.complete
    assert (plan.total, plan.seconds) == (9, 1.5)
    assert plan.counts() == {"created": 1, "updated": 0, "unchanged": 1, "failed": 1}
    assert left(plan) == ["i4", "i5", "i7", "i8", "i0", "i6"]
    assert [(each.image_id, each.cells) for each in plan.failures()] == [("i3", {"speed": "3"})]
    assert list(read_failures(tmp_path / "plan")) == list(plan.failures())
    assert read_columns(tmp_path / "plan") == plan.columns() == ["path", "speed"]
    plan.close()


def test_what_is_not_finished_is_done_again(tmp_path: Path) -> None:
    plan = filled(tmp_path / "plan", 9)
    assert len(left(plan)) == 9
    plan.close()
    again = ImportPlan(tmp_path / "plan")
    assert len(left(again)) == 9
    again.close()


def test_a_plan_that_nobody_ended_says_so(tmp_path: Path) -> None:
    plan = ImportPlan(tmp_path / "plan")
    plan.add_image(Place(path="a"), "a", SAID)
    plan.close()
    again = ImportPlan(tmp_path / "plan")
    assert (again.complete, again.total) == (False, 0)
    again.close()


def test_an_id_is_planned_once() -> None:
    plan = ImportPlan()
    assert plan.add_image(Place(path="a"), "x", SAID, source=4) is None
    assert plan.add_image(Place(archive="/z", path="b"), "x", SAID, source=5) == Clash(place=Place(path="a"), source=4)
    assert plan.total == 1
    plan.close()


def test_a_frame_of_many_boxes_comes_in_pieces() -> None:
    plan = ImportPlan()
    for n in range(IMAGES_AT_ONCE + 3):
        plan.add_image(Place(path="frame"), f"i{n}", Metadata(), (n, 0, 1, 1))
    plan.end_planning()
    assert [len(picture.images) for picture in plan.pictures("")] == [IMAGES_AT_ONCE, 3]
    plan.close()


def test_what_is_struck_out_leaves_no_trace(tmp_path: Path) -> None:
    """An operator who erases an image finds it in no file afterwards."""
    plan = ImportPlan(tmp_path / "plan")
    for n in range(500):
        plan.add_image(Place(path=f"/secret-{n}.jpg"), f"secret-{n}", Metadata(vehicle_id=f"secret-{n}"))
    plan.end_planning()
    assert b"secret-7" in (tmp_path / "plan").read_bytes()
    numbers = [image.number for each in plan.pictures("") for image in each.images]
    plan.finish(numbers[:400], created=400)
    plan.abandon()
    plan.close()
    assert not [path for path in tmp_path.iterdir() if b"secret" in path.read_bytes()]


def test_names_that_are_not_utf_8_are_kept() -> None:
    plan = ImportPlan()
    plan.add_image(Place(path="/\udcff.jpg"), "x", Metadata())
    plan.add_failure(Place(path="/\udcfe.jpg"), "because of \udcfe", cells={"note": "\udcfe"})
    plan.end_planning()
    (picture,) = plan.pictures("")
    assert picture.place.path == "/\udcff.jpg"
    (failure,) = plan.failures()
    assert (failure.place.path, failure.cells["note"]) == ("/\udcfe.jpg", "\udcfe")
    plan.close()


def test_what_is_no_plan_is_told(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"x" * 10_000)
    with pytest.raises(StorageError, match=r"the plan of the import in .*plan cannot be used"):
        ImportPlan(tmp_path / "plan")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        plan = ImportPlan(disk / "plan")
        fill(disk)
        places = (Place(path=str(n)) for n in range(200_000))
        with pytest.raises(StorageFull, match="no space left for the plan"):
            any(plan.add_image(place, place.path, SAID) for place in places)
        plan.close()


def test_blocks_end_where_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_plan, "_READ_AT_ONCE", 4)
    plan = filled(None, 12)
    assert left(plan) == ["i1", "i2", "i4", "i5", "i7", "i8", "i10", "i11", "i0", "i3", "i6", "i9"]
    for n in range(8):
        plan.add_failure(Place(path=str(n)), "x")
    assert len(list(plan.failures())) == 8
    plan.close()


def test_a_place_is_named_as_a_manifest_beside_it_does(tmp_path: Path) -> None:
    inside = Place(archive=str(tmp_path / "x.zip"), path="cam1/a.jpg")
    assert Place(path=str(tmp_path / "a.jpg")).below(tmp_path) == "a.jpg"
    assert inside.below(tmp_path) == "x.zip/cam1/a.jpg"
    assert inside.below(tmp_path / "x.zip") == "cam1/a.jpg"
    assert inside.below(tmp_path / "other") == str(tmp_path / "x.zip/cam1/a.jpg")
    assert Place(path="").below(tmp_path) == ""
