"""Whatever a caller has becomes the bytes of a picture."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.crops import read_picture
from tests.pictures import encoded, jpeg, photograph
from vehicle_search_client import NewImage, UnusableInput
from vehicle_search_client.picture_input import picture_bytes, source_of


def test_files_and_bytes_go_as_they_are(tmp_path: Path) -> None:
    data = jpeg(0)
    path = tmp_path / "car.jpg"
    path.write_bytes(data)
    with path.open("rb") as file:
        for picture in (data, bytearray(data), path, str(path), file, io.BytesIO(data)):
            assert picture_bytes(picture) == data  # type: ignore[arg-type]
        assert source_of(file) == str(path)
    assert source_of(path) == str(path)
    assert source_of(data) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_a_pillow_image_is_seen_as_its_file_is(mode: str) -> None:
    image = photograph(1).convert(mode)
    seen = np.asarray(read_picture(picture_bytes(image), max_pixels=10**6))
    expected = image.convert("RGBA") if mode in ("RGBA", "LA") else image.convert("RGB")
    np.testing.assert_array_equal(seen, np.asarray(read_picture(encoded(expected, "PNG"), max_pixels=10**6)))


def test_a_pillow_image_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photograph(2), "JPEG", exif=exif)
    seen = read_picture(picture_bytes(Image.open(io.BytesIO(data))), max_pixels=10**6)
    assert seen.size == read_picture(data, max_pixels=10**6).size == (72, 96)


@pytest.mark.parametrize("view", ["whole", "mirrored", "fortran"])
def test_an_array_is_rgb(view: str) -> None:
    pixels = np.asarray(photograph(3))
    pixels = {"whole": pixels, "mirrored": pixels[:, ::-1], "fortran": np.asfortranarray(pixels)}[view]
    np.testing.assert_array_equal(np.asarray(read_picture(picture_bytes(pixels), max_pixels=10**6)), pixels)


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        ("none.jpg", "none.jpg"), ("a\0b", "cannot read"), (".", "cannot read"), (5, "int"), (None, "NoneType"),
        (io.StringIO("text"), "binary"), (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 2), np.uint8), "(4, 4, 2)"), (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "(1, 4, 4, 3)"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named(picture: object, word: str) -> None:
    with pytest.raises(UnusableInput) as caught:
        picture_bytes(picture)  # type: ignore[arg-type]
    assert word in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_description_has_what_was_said() -> None:
    assert NewImage(picture=b"").metadata() == {}
    new = NewImage(
        picture=b"", image_id="a", camera_id="c", captured_at=datetime(2026, 5, 4, tzinfo=UTC), attributes={"n": 1},
        box=(1, 2, 3, 4),
    )  # fmt: skip
    assert new.metadata() == {
        "image_id": "a", "camera_id": "c", "captured_at": "2026-05-04T00:00:00+00:00", "attributes": {"n": 1},
        "box": [1, 2, 3, 4],
    }  # fmt: skip
    with pytest.raises(UnusableInput, match="no time zone"):
        NewImage(picture=b"", captured_at=datetime(2026, 5, 4)).metadata()
