"""Crops of galleries on Milvus in a store of objects."""

from pathlib import Path

from index.crops import content_name
from index.objects.crop_home import CropHome
from index.objects.folder_objects import FolderObjects
from tests.test_gallery import jpeg


def test_crops_are_there_until_they_are_removed(tmp_path: Path) -> None:
    crops = {content_name(jpeg(text)): jpeg(text) for text in "abc"}
    home, other = (CropHome(FolderObjects(tmp_path / "crops")) for _ in range(2))
    home.put("g", crops)
    home.put("g", {})
    assert sorted(other.names("g")) == sorted(crops)
    assert {name: other.get("g", name) for name in crops} == crops
    first, *rest = crops
    other.delete("g", [first, "none.jpg"])
    assert home.get("g", first) is None
    assert home.missing("g", [*crops, "none.jpg"]) == [first, "none.jpg"]
    assert home.get("g", rest[0]) == crops[rest[0]]
    assert list(home.names("h")) == []
    home.drop("g")
    home.drop("g")
    assert list(home.names("g")) == []


def test_a_damaged_crop_is_mended_by_the_picture(tmp_path: Path) -> None:
    home, name = CropHome(FolderObjects(tmp_path)), content_name(jpeg("a"))
    home.put("g", {name: jpeg("a")})
    (tmp_path / "g" / name[:2] / name).write_bytes(b"x" * len(jpeg("a")))
    home.put("g", {name: jpeg("a")})
    assert home.get("g", name) == jpeg("a")
