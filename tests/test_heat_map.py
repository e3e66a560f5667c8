"""Heat over a picture."""

import numpy as np

from model_export.reporting.heat_map import heat_map

CROP = np.full((64, 64, 3), 120, np.uint8)


def test_heat_is_bright_where_attention_is_high() -> None:
    attention = np.zeros((4, 4), np.float32)
    attention[0, 3] = 5
    pixels = np.asarray(heat_map(CROP, attention, 80)).astype(int)
    assert pixels.shape == (80, 80, 3)
    assert pixels[5, 75].sum() > pixels[75, 5].sum() + 150
    assert (pixels[70:, :10] == pixels[75, 5]).all()  # nothing happens far away


def test_only_the_shape_of_a_map_is_drawn_and_a_flat_one_is_even() -> None:
    attention = np.random.default_rng(0).uniform(size=(7, 7)).astype(np.float32)
    drawn = np.asarray(heat_map(CROP, attention, 50)).astype(int)
    assert abs(drawn - np.asarray(heat_map(CROP, attention * 100 - 7, 50)).astype(int)).max() <= 1
    flat = np.asarray(heat_map(CROP, np.full((7, 7), 0.3, np.float32), 50))
    assert (flat == flat[0, 0]).all()


def test_the_picture_shows_through() -> None:
    striped = CROP.copy()
    striped[:, ::16] = striped[:, 1::16] = 255
    flat = np.full((2, 2), 0.5, np.float32)
    columns = np.asarray(heat_map(striped, flat, 64)).astype(int).sum(2)[30]
    assert columns.max() - columns.min() > 60
