"""What each picture is called."""

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.bulk.picture_name import derived_id, is_picture, named_picture
from index.gallery import Metadata
from index.metadata import check_image_id


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


def test_names_of_veri_776_tell_vehicle_camera_and_frame() -> None:
    for path, folder in (
        ("VeRi/image_test/0001_c001_00016450_0.jpg", None),
        ("0001_c001_00016450_0.jpg", "image_test"),
    ):
        named = named_picture(PurePosixPath(path), None if folder is None else PurePosixPath(folder))
        assert named.image_id == "0001_c001_00016450_0"
        assert named.metadata == Metadata(vehicle_id="0001", camera_id="c001", attributes={"frame": 16450})
        assert named.shared


@pytest.mark.parametrize(
    "path", ["crops/0001_c001_00016450_0.jpg", "image_test/car.jpg", "image_all/0001_c001_00016450_0.jpg"]
)
def test_other_pictures_are_only_named(path: str) -> None:
    named = named_picture(PurePosixPath(path))
    assert (named.image_id, named.metadata, named.shared) == (path.replace("/", ":"), Metadata(), False)


def test_what_macos_leaves_beside_pictures_is_none() -> None:
    assert is_picture(PurePosixPath("a/b.JPG"))
    assert not is_picture(PurePosixPath("a/._b.jpg"))
    assert not is_picture(PurePosixPath("a/notes.txt"))
