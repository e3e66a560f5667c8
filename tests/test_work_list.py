"""Which pictures a person is asked about, and in which order."""

from pathlib import Path

import numpy as np
import pytest

from index.errors import InvalidValue
from index.manifest import ManifestRow, read_manifest
from model_export.annotating.work_list import columns_of, guessed, ordered, pictures_of, sample


def manifest(folder: Path) -> list[ManifestRow]:
    path = folder / "manifest.csv"
    path.write_text(
        "path,vehicle_id,camera_id,viewpoint,captured_at,box,source,speed,scene\n"
        'a.jpg,v1,c1,rear,2026-05-04T10:11:12Z,"1,2,3,4",flickr,3.5,\n'
        'a.jpg,v1,c1,rear,,"5,6,7,8",,,s2\n'
        'a.jpg,v1,c1,rear,,"1,2,3,4",,,\n'
        "./sub/../a.jpg,,,,,,,,\n"
        "a.jpg,,,,,,,,\n"
        "b.jpg,,,,,,,,\n"
    )
    return list(read_manifest(path))


def test_a_picture_and_every_box_of_it_is_asked_about_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    pictures = pictures_of(manifest(tmp_path), tmp_path / "labels" / "labels.csv")
    shown = [(picture.shown_path, picture.place.box) for picture in pictures]
    assert shown == [("../a.jpg", (1, 2, 3, 4)), ("../a.jpg", (5, 6, 7, 8)), ("../a.jpg", None), ("../b.jpg", None)]
    assert len({picture.id for picture in pictures}) == 4
    assert [p.id for p in pictures_of(manifest(tmp_path)[::-1], tmp_path / "labels" / "labels.csv")[::-1]] == [
        pictures[n].id for n in (1, 0, 2, 3)
    ]  # ids depend on nothing but path and box


def test_a_label_takes_along_what_the_manifest_says_but_no_viewpoint(tmp_path: Path) -> None:
    first, second, *_ = pictures = pictures_of(manifest(tmp_path), tmp_path / "labels.csv")
    assert first.carried == {
        "vehicle_id": "v1", "camera_id": "c1", "captured_at": "2026-05-04T10:11:12+00:00", "box": "1,2,3,4",
        "picture_source": "flickr", "speed": "3.5",
    }  # fmt: skip
    assert second.carried["scene"] == "s2"
    assert columns_of(pictures) == [
        "vehicle_id", "camera_id", "captured_at", "box", "picture_source", "speed", "scene",
    ]  # fmt: skip


def many(folder: Path, count: int = 40) -> list[ManifestRow]:
    path = folder / "manifest.csv"
    path.write_text("path,vehicle_id,camera_id\n" + "".join(f"{n}.jpg,,\n" for n in range(count)))
    return list(read_manifest(path))


def test_orders(tmp_path: Path) -> None:
    pictures = pictures_of(many(tmp_path, 4), tmp_path / "labels.csv")
    p = np.array([[0.9, 0.1], [np.nan, np.nan], [0.5, 0.5], [0.7, 0.3]], dtype=np.float32)
    asked = guessed(pictures, p)
    assert [picture.guess is None for picture in asked] == [False, True, False, False]
    assert [picture.shown_path for picture in ordered(asked, "uncertain")] == ["2.jpg", "3.jpg", "0.jpg", "1.jpg"]
    assert ordered(asked, "manifest") == asked
    assert ordered(pictures, "uncertain") == pictures
    assert ordered(asked, "random") == ordered(asked[::-1], "random")


def test_random_is_no_order_of_the_manifest_and_a_sample_is_always_the_same(tmp_path: Path) -> None:
    pictures = pictures_of(many(tmp_path), tmp_path / "labels.csv")
    assert ordered(pictures, "random") != pictures
    chosen = sample(pictures, 10)
    assert len(chosen) == 10
    assert chosen == [picture for picture in pictures if picture in chosen]
    assert set(map(id, sample(pictures[::-1], 10))) == set(map(id, chosen))
    assert sample(pictures, 1000) == pictures
    with pytest.raises(InvalidValue, match="--sample 0"):
        sample(pictures, 0)
