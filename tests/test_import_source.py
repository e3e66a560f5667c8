"""What is read, and what becomes of rows that are wrong."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.bulk import import_source
from index.bulk.import_plan import Failure, ImportPlan, Place, PlannedPicture
from index.bulk.import_source import plan_sources
from index.bulk.picture_reader import read_planned
from index.errors import InvalidValue
from index.gallery import Metadata
from tests.archives import KINDS, pack


def planned(*sources: Path, root: Path | None = None) -> tuple[list[PlannedPicture], list[Failure]]:
    plan = ImportPlan()
    try:
        totals = list(plan_sources(plan, sources, root=root))
        pictures = [picture for archive in plan.archives() for picture in plan.pictures(archive)]
        failures = list(plan.failures())
        assert totals[-1] == plan.total == sum(len(picture.images) for picture in pictures) + len(failures)
        return pictures, failures
    finally:
        plan.close()


def ids(pictures: Sequence[PlannedPicture]) -> list[str]:
    return [image.image_id for picture in pictures for image in picture.images]


def reasons(failures: Sequence[Failure]) -> list[str]:
    return [failure.reason for failure in failures]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def manifest(folder: Path, text: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# Folders and pictures


def test_a_folder_is_read_with_all_below_it(tmp_path: Path) -> None:
    touch(tmp_path / "b.JPG", tmp_path / "a/c.png", tmp_path / "a/notes.txt", tmp_path / "._b.JPG")
    (tmp_path / "folder.jpg").mkdir()
    pictures, failures = planned(tmp_path)
    assert [(picture.place.path, picture.images[0].image_id) for picture in pictures] == [
        (str(tmp_path / "a/c.png"), "a:c.png"),
        (str(tmp_path / "b.JPG"), "b.JPG"),
    ]
    assert failures == []


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=f"no picture .* below {tmp_path}"):
        planned(tmp_path)


def test_a_picture_is_called_by_its_name(tmp_path: Path) -> None:
    (picture,), failures = planned(tmp_path / "none" / "car.weird")
    assert picture.place == Place(path=str(tmp_path / "none/car.weird"))
    assert (picture.images[0].image_id, picture.images[0].metadata) == ("car.weird", Metadata())
    assert failures == []


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xfc.jpg"
    Path(os.fsdecode(path)).write_bytes(b"1")
    (picture,), _ = planned(tmp_path)
    assert os.fsencode(picture.place.path) == path
    manifest(tmp_path, b"path\n\xfc.jpg\n")
    (named,), failures = planned(tmp_path)
    assert (named, failures) == (picture, [])


def test_a_folder_is_what_its_manifest_says(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    manifest(tmp_path, "path,vehicle_id\na.jpg,v1\n")
    (picture,), failures = planned(tmp_path)
    assert picture.images[0].metadata == Metadata(vehicle_id="v1")
    assert failures == []


def test_a_tree_of_veri_776_is_known_by_its_names(tmp_path: Path) -> None:
    name = "0001_c001_00016450_0.jpg"
    touch(*(tmp_path / f"image_{part}" / name for part in ("test", "query")))
    touch(tmp_path / "image_train/0002_C003_00000001_1.jpg")
    (tmp_path / "name_train.txt").write_bytes(b"\xef\xbb\xbf0002_C003_00000001_1.jpg\r\n0003_c001_00000002_0.jpg\r\n")
    pictures, failures = planned(tmp_path)
    assert [(image.image_id, image.metadata) for picture in pictures for image in picture.images] == [
        ("0001_c001_00016450_0", Metadata(vehicle_id="0001", camera_id="c001", attributes={"frame": 16450})),
        ("0002_C003_00000001_1", Metadata(vehicle_id="0002", camera_id="c003", attributes={"frame": 1})),
    ]  # the probe is the test picture
    ((place, image_id, reason),) = [(each.place.path, each.image_id, each.reason) for each in failures]
    assert place == str(tmp_path / "image_train/0003_c001_00000002_0.jpg")
    assert (image_id, "names it, and it is not there" in reason) == ("0003_c001_00000002_0", True)
    (alone,), _ = planned(tmp_path / "image_query")
    assert alone.images[0].metadata.vehicle_id == "0001"


@pytest.mark.parametrize("top", ["", "VeRi/"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tree_of_veri_776_is_known_in_an_archive_too(tmp_path: Path, kind: str, top: str) -> None:
    """Wherever its lists stand in the archive, and whatever other lists are in it."""
    name = "0001_c001_00016450_0.jpg"
    path = pack(
        tmp_path / f"veri{kind}",
        {
            f"{top}name_train.txt": b"\xef\xbb\xbf0002_C003_00000001_1.jpg\r\n0003_c001_00000002_0.jpg\r\n",
            f"{top}image_train/0002_C003_00000001_1.jpg": b"x", f"{top}image_test/{name}": b"x",
            f"{top}image_query/{name}": b"x", f"{top}name_query.txt": f"{name}\n../x.jpg\n\n".encode(),
            f"{top}deeper/name_train.txt": b"another\n",
        },
    )  # fmt: skip
    pictures, failures = planned(path)
    assert [(image.image_id, image.metadata) for picture in pictures for image in picture.images] == [
        ("0002_C003_00000001_1", Metadata(vehicle_id="0002", camera_id="c003", attributes={"frame": 1})),
        ("0001_c001_00016450_0", Metadata(vehicle_id="0001", camera_id="c001", attributes={"frame": 16450})),
    ]
    ((place, image_id, reason),) = [(each.place, each.image_id, each.reason) for each in failures]
    assert place == Place(archive=str(path), path=f"{top}image_train/0003_c001_00000002_0.jpg")
    assert (image_id, "names it, and it is not there" in reason) == ("0003_c001_00000002_0", True)


def test_a_list_whose_pictures_were_left_out_asks_for_none(tmp_path: Path) -> None:
    """Whoever packs the probes alone may leave every list in."""
    files = {"image_query/0001_c001_00000001_0.jpg": b"x", "name_train.txt": b"0002_c001_00000001_0.jpg\n"}
    assert reasons(planned(pack(tmp_path / "veri.zip", files))[1]) == []


def test_a_list_of_veri_776_is_of_a_sane_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_source, "_LONGEST_LIST", 9)
    files = {"VeRi/image_query/0001_c001_00000001_0.jpg": b"x", "VeRi/name_query.txt": b"0123456789"}
    what = "VeRi/name_query.txt, a list of VeRi-776, cannot be read: it has 10 bytes; the limit is 9"
    with pytest.raises(InvalidValue, match=what):
        planned(pack(tmp_path / "veri.zip", files))
    assert reasons(planned(pack(tmp_path / "veri.zip", files | {"manifest.csv": b"path\nx.jpg"}))[1]) != [what]


# Manifests


def test_a_manifest_says_everything(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "path,vehicle_id,camera_id,image_id,captured_at,box,viewpoint,speed,note,import_failure\n"
        'x/a.jpg,v1,c1,first,2026-05-04T12:00:00+02:00,"1,2,3,4",rear,5,"5 ",damaged\n'
        "../b.jpg,,,,,,,1.5,x,\n"
        f"{tmp_path}/x/c.jpg,,,,,,,,,\n"
        'x\\a.jpg,,,,,"5,6,7,8",,,,\n',
    )
    (frame, outside, absolute), failures = planned(path)
    assert failures == []
    assert frame.place == Place(path=str(tmp_path / "x/a.jpg"))  # decoded once, wherever its rows stand
    first, second = frame.images
    assert (first.image_id, first.box) == ("first", (1, 2, 3, 4))
    assert first.metadata == Metadata(
        vehicle_id="v1", camera_id="c1", captured_at=datetime(2026, 5, 4, 10, tzinfo=UTC),
        attributes={"speed": 5, "note": 5},
    )  # fmt: skip
    assert (second.image_id, second.metadata, second.box) == ("x:a.jpg:5-6-7-8", Metadata(), (5, 6, 7, 8))
    assert re.fullmatch(r"b\.jpg-[0-9a-f]{16}", outside.images[0].image_id)
    assert outside.images[0].metadata.attributes == {"speed": 1.5, "note": "x"}
    assert (absolute.place.path, absolute.images[0].image_id) == (str(tmp_path / "x/c.jpg"), "x:c.jpg")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"a.jpg,{'v' * 257},,,", r"manifest\.csv line 2, vehicle_id must be"),
        ("a.jpg,,,/slash,", r"manifest\.csv line 2, image_id must match"),
        (f"a.jpg,,,,{2**64}", r"manifest\.csv line 2, an attribute must be"),
        (f"a.jpg,,,,{'9' * 5000}", r"manifest\.csv line 2, "),
        ("a.jpg,v", r"manifest\.csv line 2, column path: the line has not as many cells"),
        (",v,,,", r"manifest\.csv line 2, column path: is empty"),
        ('a.jpg,"v"x,,,', r"manifest\.csv line 2, the line is no CSV"),
        ("a.jpg,\udcff,,,", r"manifest\.csv line 2, vehicle_id must be"),
        ("a\0.jpg,,,,", "embedded null"),
    ],
)
def test_a_row_that_is_wrong_fails_alone(tmp_path: Path, line: str, problem: str) -> None:
    text = f"path,vehicle_id,camera_id,image_id,speed\n{line}\nb.jpg,,,,\n"
    path = manifest(tmp_path, text.encode("utf-8", "surrogateescape"))
    pictures, failures = planned(path)
    if "null" in problem:
        assert [picture.place.path for picture in pictures] == [str(tmp_path / "a\0.jpg"), str(tmp_path / "b.jpg")]
        return
    assert ids(pictures) == ["b.jpg"]
    (reason,) = reasons(failures)
    assert re.search(problem, reason)
    assert failures[0].cells.get("vehicle_id") == (line.split(",")[1] or None if '"' not in line else None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("vehicle_id\nv1\n", "line 1: the column 'path' is missing"),
        ("path;vehicle_id\na.jpg;v1\n", "columns are separated by commas"),
        ("path,path\na.jpg,v1\n", "line 1: the column 'path' stands twice"),
        ('path,vehicle_id\na.jpg,v\nb.jpg,"v1\nc.jpg,v2\n', "line 3: unexpected end of data"),
        ("", "the column 'path' is missing"),
    ],
)
def test_what_makes_all_of_a_manifest_unreadable_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidValue, match=problem):
        planned(manifest(tmp_path, text))
    with pytest.raises(InvalidValue, match="not a UTF-8 CSV file"):
        planned(manifest(tmp_path, "path\na.jpg\n".encode("utf-16")))


def test_windows_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    assert ids(planned(manifest(tmp_path, b"\xef\xbb\xbfpath,vehicle_id\r\ncam1\\a.jpg,v1\r\n\r\n"))[0]) == [
        "cam1:a.jpg"
    ]


def test_an_id_that_stands_twice_in_a_manifest_is_the_first_ones(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,image_id,speed\na.jpg,x,1\nb.jpg,x,2\nc.jpg,y,3\n")
    pictures, (failure,) = planned(path)
    assert ids(pictures) == ["x", "y"]
    assert failure == Failure(
        place=Place(path=str(tmp_path / "b.jpg")), image_id=None, cells={"speed": "2"},
        reason="its image_id x is that of a.jpg already",
    )  # fmt: skip  # without the id, so that it is stored beside the first when it is added again


def test_two_sources_never_share_an_id(tmp_path: Path) -> None:
    touch(tmp_path / "cam1/0001.jpg", tmp_path / "cam2/0001.jpg")
    with pytest.raises(InvalidValue, match=r"cam1/0001\.jpg and .*cam2/0001\.jpg would both be the image 0001\.jpg"):
        planned(tmp_path / "cam1", tmp_path / "cam2")
    assert len(planned(tmp_path)[0]) == 2


# Archives


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_read_as_a_folder_is(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / f"x{kind}", {"b.jpg": b"1", "notes.txt": b"2", "cam1/a b.jpg": b"3", "../c.jpg": b"4"})
    pictures, (failure,) = planned(path)
    assert [picture.place for picture in pictures] == [
        Place(archive=str(path), path="b.jpg"), Place(archive=str(path), path="cam1/a b.jpg"),
    ]  # fmt: skip
    touch(tmp_path / "folder/b.jpg", tmp_path / "folder/cam1/a b.jpg")
    assert ids(pictures) == sorted(ids(planned(tmp_path / "folder")[0]))
    assert (failure.place.path, failure.reason) == ("../c.jpg", "its name leads out of the archive")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", ["", "crops/"])
def test_a_manifest_in_an_archive_says_what_is_in_it(tmp_path: Path, kind: str, folder: str) -> None:
    rows = b"path,vehicle_id\r\ncam1\\a.jpg,v1\r\n./b.jpg,v2\r\nnone.jpg,v3\r\n../x.jpg,v4\r\n/etc/y.jpg,v5\r\n"
    path = pack(
        tmp_path / f"x{kind}",
        {
            f"{folder}cam1/a.jpg": b"1",
            f"{folder}unnamed.jpg": b"2",
            f"{folder}manifest.csv": rows,
            f"{folder}b.jpg": b"3",
        },
    )
    plan = ImportPlan()
    list(plan_sources(plan, [path]))
    assert [(read.picture.images[0].image_id, read.picture.images[0].metadata.vehicle_id, read.read()) for read in read_planned(plan)] == [
        ("cam1:a.jpg", "v1", b"1"), ("b.jpg", "v2", b"3"),
    ]  # fmt: skip
    problems = [reason.partition("column path: ")[2] for reason in reasons(list(plan.failures()))]
    outside = "the archive has no such entry" if folder else "its name leads out of the archive"
    if not folder:
        assert problems == [
            "'none.jpg': the archive has no such entry", f"'../x.jpg': {outside}", "'/etc/y.jpg': its name is an absolute path",
        ]  # fmt: skip
    else:
        assert problems[0] == "'none.jpg': the archive has no such entry"
        assert len(problems) == 3
    plan.close()


def test_several_manifests_beside_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="several manifest"):
        planned(pack(tmp_path / "x.zip", {"a/manifest.csv": b"path\n", "b/manifest.csv": b"path\n"}))
    rows = {"a/manifest.csv": b"path\nx.jpg\n", "manifest.csv": b"path\na/x.jpg\n", "a/x.jpg": b"1"}
    assert ids(planned(pack(tmp_path / "y.zip", rows))[0]) == ["a:x.jpg"]


def test_an_archive_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"no picture .* in the archive .*x\.zip"):
        planned(pack(tmp_path / "x.zip", {"notes.txt": b""}))


def test_an_entry_that_stands_twice_is_the_first(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", {"a.jpg": b"1", "./a.jpg": b"2"})
    plan = ImportPlan()
    list(plan_sources(plan, [path]))
    assert [picture.read() for picture in read_planned(plan)] == [b"1"]
    assert reasons(list(plan.failures())) == ["the archive has two entries of this name; the first is taken"]
    plan.close()


def test_a_manifest_may_lead_into_an_archive(tmp_path: Path) -> None:
    pack(tmp_path / "x.zip", {"cam1/a.jpg": b"1", "b.jpg": b"2"})
    touch(tmp_path / "c.jpg")
    path = manifest(tmp_path, "path\nx.zip/b.jpg\nc.jpg\nx.zip/cam1/a.jpg\nx.zip/none.jpg\nx.zip/../c.jpg\n")
    plan = ImportPlan()
    list(plan_sources(plan, [path]))
    found = {}
    for picture in read_planned(plan):
        try:
            found[picture.picture.place.path.removeprefix(f"{tmp_path}/")] = picture.read()
        except InvalidValue as error:
            found[picture.picture.place.path] = str(error).encode()
    assert found == {"c.jpg": b"", "b.jpg": b"2", "cam1/a.jpg": b"1", "none.jpg": b"the archive has no such entry"}
    (reason,) = reasons(list(plan.failures()))
    assert "leads out of the archive" in reason
    plan.close()
