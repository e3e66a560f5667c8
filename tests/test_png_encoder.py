"""A PNG without Pillow is read by Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from vehicle_search_client.png_encoder import png_of


@pytest.mark.parametrize(
    ("shape", "mode"), [((3, 5), "L"), ((3, 5, 1), "L"), ((3, 5, 3), "RGB"), ((3, 5, 4), "RGBA"), ((1, 1, 3), "RGB")]
)
def test_pixels_come_back(shape: tuple[int, ...], mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = Image.open(io.BytesIO(png_of(pixels)))
    assert (image.format, image.mode) == ("PNG", mode)
    np.testing.assert_array_equal(np.asarray(image), pixels.reshape(np.asarray(image).shape))
