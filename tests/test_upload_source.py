"""Folders and manifests are read as the indexer reads them."""

from pathlib import Path

import pytest

from index.bulk.picture_name import derived_id as indexers_id
from index.manifest import read_manifest
from vehicle_search_client import NewImage, UnusableInput
from vehicle_search_client.upload_source import derived_id, images_of

MANIFEST = """\ufeffpath,vehicle_id,camera_id,captured_at,box,image_id,viewpoint,import_failure,colour,wheels,plate
cam1/a.jpg,v1,c1,2026-05-04T10:11:12Z,"1,2,30,40",,front,,red,4,1e3
cam1\\b.jpg,,,,,own,,why,"dark, blue",,007
"""


def listed(source: Path) -> list[NewImage]:
    images, total = images_of(source)
    found = [one for one in images if isinstance(one, NewImage)]
    assert len(found) == total
    return found


def test_a_manifest_says_what_it_says_to_the_indexer(tmp_path: Path) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text(MANIFEST, encoding="utf-8")
    for image, row in zip(listed(file), read_manifest(file), strict=True):
        assert image.picture == row.path
        assert (image.vehicle_id, image.camera_id, image.box) == (row.vehicle_id, row.camera_id, row.box)
        assert image.attributes == row.attributes
        assert [type(value) for value in image.attributes.values()] == [type(it) for it in row.attributes.values()]
        assert image.image_id == (row.image_id or indexers_id(row.path.relative_to(tmp_path), row.box))


@pytest.mark.parametrize(
    "path", ["a.jpg", "cam1/a.jpg", "ü/a b.jpg", ".a.jpg", "x" * 200 + ".jpg", "-/a.jpg", "a:b/c.jpg"]
)
@pytest.mark.parametrize("box", [None, (1, 2, 3, 4)])
def test_a_picture_has_the_indexers_name(path: str, box: tuple[int, int, int, int] | None) -> None:
    assert derived_id(path, box) == indexers_id(Path(path), box)


def test_a_folder_is_gone_through_in_order(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a/x.webp", "z.gif", "notes.txt", "._z.gif", "b/10.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [one.image_id for one in listed(tmp_path)] == ["z.gif", "a:x.webp", "b:1.png", "b:10.bmp", "b:2.JPG"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("vehicle_id\nv1\n", "no column path"), ("path,box\na.jpg,\"1,x\"\n", "line 2: box"), ("path\n\"\"\n", "line 2"),
        ("path,b\na.jpg\n", "line 2"), ("path\n\"a", "not a UTF-8 CSV"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong_names_its_line(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text(text)
    with pytest.raises(UnusableInput, match=word):
        listed(file)


def test_neither_folder_nor_manifest(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="put_image"):
        images_of(tmp_path / "car.jpg")
