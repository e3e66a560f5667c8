"""What is read, and what each picture is called."""

import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.bulk.picture_source import PictureSource, derived_id, read_sources
from index.errors import InvalidValue
from index.gallery import Metadata
from index.metadata import check_image_id


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("car.jpg", "car.jpg"),
        ("cam1/2026/car_01.jpg", "cam1:2026:car_01.jpg"),
        ("a" * 128, "a" * 128),
    ],
)
def test_a_plain_path_is_its_own_id(path: str, expected: str) -> None:
    assert derived_id(PurePosixPath(path)) == expected


@pytest.mark.parametrize(
    "path", ["a b.jpg", "a:b.jpg", ".car.jpg", "../car.jpg", "a" * 129, "Straße/ü.jpg", "---", "\udcff.jpg", "车.jpg"]
)
def test_other_paths_get_a_hash(path: str) -> None:
    assert re.fullmatch(r"(.*-)?[0-9a-f]{16}", check_image_id(derived_id(PurePosixPath(path))))


names = st.lists(st.text(min_size=1, max_size=90).filter(lambda part: part not in (".", "..")), min_size=1, max_size=3)


@given(names, names)
def test_ids_fit_and_keep_paths_apart(first: list[str], second: list[str]) -> None:
    one, other = (PurePosixPath("/".join(parts).lstrip("/") or "x") for parts in (first, second))
    assert check_image_id(derived_id(one)) == derived_id(one)
    assert (derived_id(one) == derived_id(other)) == (one == other)


def test_boxes_of_one_frame_are_different_images() -> None:
    frame = PurePosixPath("f.jpg")
    assert derived_id(frame, (1, 2, 3, 4)) == "f.jpg:1-2-3-4"
    assert derived_id(frame, (1, 2, 3, 5)) != derived_id(frame)


def test_a_folder_is_read_with_all_below_it(tmp_path: Path) -> None:
    touch(tmp_path / "b.JPG", tmp_path / "a/c.png", tmp_path / "a/notes.txt")
    (tmp_path / "folder.jpg").mkdir()
    assert [(source.path, source.image_id) for source in read_sources([tmp_path])] == [
        (tmp_path / "a/c.png", "a:c.png"),
        (tmp_path / "b.JPG", "b.JPG"),
    ]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=f"no picture .* below {tmp_path}"):
        read_sources([tmp_path])


def test_a_picture_is_called_by_its_name(tmp_path: Path) -> None:
    (source,) = read_sources([tmp_path / "none" / "car.weird"])
    assert source == PictureSource(path=tmp_path / "none/car.weird", image_id="car.weird", metadata=Metadata())


def test_a_manifest_says_everything(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "path,vehicle_id,camera_id,image_id,captured_at,box,viewpoint,speed,note\n"
        'x/a.jpg,v1,c1,first,2026-05-04T12:00:00+02:00,"1,2,3,4",rear,5,"5 "\n'
        'x/a.jpg,,,,,"5,6,7,8",,,\n'
        "../b.jpg,,,,,,,1.5,x\n"
        f"{tmp_path}/x/c.jpg,,,,,,,,\n",
    )
    first, second, third, fourth = read_sources([path])
    assert first == PictureSource(
        path=tmp_path / "x/a.jpg",
        image_id="first",
        metadata=Metadata(
            vehicle_id="v1",
            camera_id="c1",
            captured_at=datetime(2026, 5, 4, 10, tzinfo=UTC),
            attributes={"speed": 5, "note": 5},
        ),
        box=(1, 2, 3, 4),
    )
    assert (second.image_id, second.metadata, second.box) == ("x:a.jpg:5-6-7-8", Metadata(), (5, 6, 7, 8))
    assert re.fullmatch(r"b\.jpg-[0-9a-f]{16}", third.image_id)
    assert third.metadata.attributes == {"speed": 1.5, "note": "x"}
    assert (fourth.path, fourth.image_id) == (tmp_path / "x/c.jpg", "x:c.jpg")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"a.jpg,{'v' * 257},,", r"manifest\.csv line 2: vehicle_id must be"),
        ("a.jpg,,,/slash", r"manifest\.csv line 2: image_id must match"),
        (f"a.jpg,,,,{2**64}", r"manifest\.csv line 2: an attribute must be"),
        (f"a.jpg,,,,{'9' * 5000}", r"manifest\.csv line 2: "),
    ],
)
def test_what_a_manifest_may_not_say_is_named_by_line(tmp_path: Path, line: str, problem: str) -> None:
    path = manifest(tmp_path, f"path,vehicle_id,camera_id,image_id,speed\n{line}{',' * (4 - line.count(','))}\n")
    with pytest.raises(InvalidValue, match=problem):
        read_sources([path])


def test_two_pictures_never_share_an_id(tmp_path: Path) -> None:
    touch(tmp_path / "cam1/0001.jpg", tmp_path / "cam2/0001.jpg")
    with pytest.raises(InvalidValue, match=r"cam1/0001\.jpg and .*cam2/0001\.jpg would both be the image 0001\.jpg"):
        read_sources([tmp_path / "cam1", tmp_path / "cam2"])
    assert len(read_sources([tmp_path])) == 2
