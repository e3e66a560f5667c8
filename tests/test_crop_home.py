"""Crops of galleries on Milvus in a folder."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index.crops import content_name
from index.errors import StorageError
from index.milvus.crop_home import CropFolder
from tests.test_gallery import jpeg


def test_crops_are_there_until_they_are_removed(tmp_path: Path) -> None:
    crops = {content_name(jpeg(text)): jpeg(text) for text in "abc"}
    home, other = CropFolder(tmp_path / "crops"), CropFolder(tmp_path / "crops")
    home.put("g", crops)
    home.put("g", {})
    assert sorted(other.names("g")) == sorted(crops)
    assert {name: other.get("g", name) for name in crops} == crops
    first, *rest = crops
    other.delete("g", [first, "none.jpg"])
    assert (home.has("g", first), home.get("g", first)) == (False, None)
    assert home.has("g", rest[0])
    assert list(home.names("h")) == []
    home.drop("g")
    home.drop("g")
    assert list(home.names("g")) == []


def test_a_damaged_crop_is_mended_by_the_picture(tmp_path: Path) -> None:
    home, name = CropFolder(tmp_path), content_name(jpeg("a"))
    home.put("g", {name: jpeg("a")})
    (tmp_path / "g" / name[:2] / name).write_bytes(b"x" * len(jpeg("a")))
    home.put("g", {name: jpeg("a")})
    assert home.get("g", name) == jpeg("a")


def test_several_write_one_crop_at_once(tmp_path: Path) -> None:
    name = content_name(jpeg("a"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: CropFolder(tmp_path).put("g", {name: jpeg("a")}), range(40)))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"crops cannot be written to {tmp_path}{os.sep}file"):
        CropFolder(tmp_path / "file").put("g", {content_name(jpeg("a")): jpeg("a")})
