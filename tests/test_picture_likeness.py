"""One picture is like itself however it is coded, and like no other."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from index.duplicates.picture_likeness import SAME_MOMENT, SAME_PICTURE, likeness, thumbprint
from tests.pictures import encoded, photograph


def alike(one: Image.Image, other: Image.Image) -> float:
    return likeness(thumbprint(one), thumbprint(other))


@pytest.mark.parametrize("seed", range(5))
def test_coded_scaled_and_lit_otherwise(seed: int) -> None:
    picture = photograph(seed, (200, 150))
    again = Image.open(io.BytesIO(encoded(picture, "JPEG", quality=30)))
    for other in (
        picture, again, picture.resize((100, 75)), picture.resize((400, 300)), picture.convert("L").convert("RGB"),
        ImageEnhance.Brightness(picture).enhance(0.7),
    ):  # fmt: skip
        assert SAME_PICTURE < alike(picture, other) <= 1.0001


@pytest.mark.parametrize("seed", range(5))
def test_other_pictures(seed: int) -> None:
    picture = photograph(seed)
    assert alike(picture, photograph(seed + 100)) < SAME_MOMENT
    assert alike(picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < SAME_MOMENT


def test_as_the_formula_says() -> None:
    one, other = (photograph(n, (32, 32)) for n in (1, 2))
    greys = [np.asarray(each.convert("L"), dtype=float).ravel() for each in (one, other)]
    assert alike(one, other) == pytest.approx(np.corrcoef(np.stack(greys))[0, 1], abs=1e-4)


def test_what_shows_nothing_is_like_nothing() -> None:
    night = Image.new("RGB", (64, 64), (3, 3, 4))
    assert alike(night, night) == 0
    assert alike(night, photograph(1)) == 0


def test_very_small_pictures() -> None:
    assert alike(Image.new("RGB", (1, 1)), photograph(1, (3, 900))) == 0
