"""What failed, as a manifest that can be imported again."""

from pathlib import Path

from index.bulk.failure_file import ENCODING, ERRORS, failure_lines
from index.bulk.import_plan import Failure, ImportPlan, Place
from index.bulk.import_source import plan_sources
from tests.archives import pack


def test_every_cell_is_kept_and_the_reason_stands_behind(tmp_path: Path) -> None:
    failures = [
        Failure(
            place=Place(path=str(tmp_path / "a.jpg")), image_id="a", reason="damaged, alas", cells={"speed": "5.0"}
        ),
        Failure(place=Place(path=""), image_id=None, reason="column path: is empty", cells={"image_id": "/x"}),
    ]
    assert (
        "".join(failure_lines(failures, ["image_id", "speed", "path"], tmp_path))
        == 'path,image_id,speed,import_failure\na.jpg,a,5.0,"damaged, alas"\n,/x,,column path: is empty\n'
    )


def test_it_can_be_read_as_it_was_written(tmp_path: Path) -> None:
    """Rows of a manifest, of an archive, and a name that is not UTF-8."""
    (tmp_path / "sub").mkdir()
    rows = b'path,speed,box\nnone.jpg,5.0,"1,2,3,4"\n\xfc.jpg,6,\na.jpg,7,"x"\n'
    (tmp_path / "sub/manifest.csv").write_bytes(rows)
    plan = ImportPlan()
    list(plan_sources(plan, [tmp_path / "sub", pack(tmp_path / "x.zip", {"a/b.jpg": b"1"})]))
    pictures = [each for archive in plan.archives() for each in plan.pictures(archive)]
    plan.finish([], failed=[(image.number, "damaged") for each in pictures for image in each.images])
    with (tmp_path / "failed.csv").open("w", encoding=ENCODING, errors=ERRORS, newline="") as file:
        file.writelines(failure_lines(plan.failures(), plan.columns(), tmp_path))
    plan.close()
    again = ImportPlan()
    list(plan_sources(again, [tmp_path / "failed.csv"]))
    found = [each for archive in again.archives() for each in again.pictures(archive)]
    assert [each.place for each in found] == [each.place for each in pictures]
    assert [[(i.image_id, i.metadata, i.box) for i in each.images] for each in found] == [
        [(i.image_id, i.metadata, i.box) for i in each.images] for each in pictures
    ]
    (still,) = again.failures()
    assert "column box: 'x' is not" in still.reason
    assert still.cells == {"speed": "7", "box": "x"}
    again.close()


def test_a_name_that_leads_out_of_an_archive_stays_one_that_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"../evil.jpg": b"1", "a.jpg": b"1"})
    plan = ImportPlan()
    list(plan_sources(plan, [path]))
    for folder, named in ((tmp_path, "x.zip/../evil.jpg"), (path, "../evil.jpg")):
        _, line = failure_lines(plan.failures(), plan.columns(), folder)
        assert line.startswith(f"{named},")
    plan.close()
    again = ImportPlan()
    list(
        plan_sources(again, [pack(tmp_path / "again.zip", {"manifest.csv": b"path\n../evil.jpg\n", "evil.jpg": b"1"})])
    )
    assert [each for archive in again.archives() for each in again.pictures(archive)] == []
    again.close()
