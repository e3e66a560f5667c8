"""Augmentation: seeded, in range, and nothing where every strength is 0."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from index.errors import InvalidValue
from model_export.training.augment import AugmentConfig, augment, augmented

STILL = AugmentConfig(flip=0, scale=0, shift=0, rotate=0, exposure=0, colour=0, grey=0, blur=0, noise=0, erase=0)


def test_augmentation_is_seeded_and_stays_in_range() -> None:
    crops = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    first = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    second = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    assert torch.allclose(augment(crops, STILL, torch.Generator()), crops.float(), atol=0.1)


def test_what_is_augmented_stays_as_it_was() -> None:
    crops = torch.rand(4, 3, 32, 32) * 255
    before = crops.clone()
    augment(crops, replace(STILL, blur=1, erase=1), torch.Generator().manual_seed(0))
    assert torch.equal(crops, before)


def test_seed_and_number_decide_what_a_batch_sees() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)

    def seen(seed: int, number: int) -> torch.Tensor:
        return augmented(pixels, 32, AugmentConfig(), seed=seed, number=number)

    assert seen(0, 3).shape == (4, 3, 32, 32)
    assert torch.equal(seen(0, 3), seen(0, 3))
    assert not torch.equal(seen(0, 3), seen(0, 4))
    assert not torch.equal(seen(0, 3), seen(1, 3))


def test_crops_are_cut_from_places_of_their_own() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None, None], (16, 40, 40, 3))
    tops = augmented(ramp.copy(), 32, STILL, seed=0, number=0)[:, 0, 0, 0]
    assert 0 <= float(tops.min()) < float(tops.max()) <= 8


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip", -3), ("erase", 40), ("grey", 1.1), ("blur", -0.1), ("smallest", 3), ("smallest", 0), ("noise", float("nan")),
        ("rotate", -1), ("exposure", float("inf")), ("scale", 1), ("shift", -0.1), ("colour", 2),
    ],
)  # fmt: skip
def test_a_strength_that_makes_no_sense_is_named(key: str, value: float) -> None:
    with pytest.raises(InvalidValue, match=rf"augment\.{key} "):
        AugmentConfig(**{key: value})


def alone(crops: Tensor, **strengths: float) -> Tensor:
    """The crops with these parts of the augmentation only."""
    return augment(crops, replace(STILL, **strengths), torch.Generator().manual_seed(0))


def coloured(count: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_flip_mirrors_left_and_right_of_its_share() -> None:
    crops = coloured()
    assert torch.allclose(alone(crops, flip=1), crops.float().flip(3), atol=0.1)
    seen = alone(crops, flip=0.5)
    mirrored = [not torch.allclose(own, crop, atol=0.1) for own, crop in zip(seen, crops.float(), strict=True)]
    assert 0 < sum(mirrored) < len(crops)


@pytest.mark.parametrize("flip", [0, 1])
def test_rotation_turns_either_way_up_to_its_degrees_and_bends_nothing(flip: int) -> None:
    crops = torch.zeros(32, 3, 64, 64)
    crops[:, 0, 30:34, 12:52] = 255  # a level bar
    crops[:, 1, 12:52, 30:34] = 255  # an upright one
    seen = alone(crops, rotate=20, flip=flip)
    level = [degrees(crop[0]) for crop in seen]
    assert -20.5 < min(level) < -10
    assert 10 < max(level) < 20.5
    between = [(degrees(crop[1]) - angle) % 180 for crop, angle in zip(seen, level, strict=True)]
    assert between == pytest.approx([90] * len(crops), abs=1)


def degrees(bar: Tensor) -> float:
    """The angle of a bright bar in a dark picture (H, W), by its moments."""
    y, x = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in bar.shape), indexing="ij")
    x, y = x - (bar * x).sum() / bar.sum(), y - (bar * y).sum() / bar.sum()
    return math.degrees(math.atan2(2 * float((bar * x * y).sum()), float((bar * (x**2 - y**2)).sum())) / 2)


def test_exposure_changes_contrast_too() -> None:
    crops = torch.zeros(64, 3, 8, 8)
    crops[..., 4:] = 255
    dark = alone(crops, exposure=0.5)[..., :4].mean((1, 2, 3))  # gain and gamma leave black black
    assert float(dark.max()) > 20
    assert float(dark.min()) < 2


def test_grey_leaves_the_luma_of_its_share() -> None:
    crops = coloured()
    luma = (crops.float() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(alone(crops, grey=1), luma.expand_as(crops), atol=0.1)
    colourless = (alone(crops, grey=0.5).std(1).mean((1, 2)) < 0.1).sum()
    assert 0 < int(colourless) < len(crops)


def test_blur_takes_detail_and_no_light() -> None:
    checks = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255.0).repeat(32, 3, 1, 1)
    seen = alone(checks, blur=1)
    assert float(seen.std((1, 2, 3)).mean()) < 0.6 * 127.5
    assert float(seen.mean()) == pytest.approx(127.5, abs=1)


def test_noise_is_of_each_pixel_and_up_to_its_strength() -> None:
    seen = alone(torch.full((32, 3, 32, 32), 128.0), noise=20)
    strength = seen.std((1, 2, 3))
    assert 0 <= float(strength.min()) < 3
    assert 10 < float(strength.max()) < 21
    assert float(seen.mean()) == pytest.approx(128, abs=1)


def test_erase_fills_one_rectangle_of_a_fiftieth_to_a_fifth() -> None:
    for crop in alone(torch.zeros(32, 3, 64, 64), erase=1):
        filled = (crop > 0).any(0)
        rows, columns = filled.any(1), filled.any(0)
        assert int(filled.sum()) == int(rows.sum()) * int(columns.sum())
        assert 0.015 < float(filled.float().mean()) <= 0.2
        assert all(len(channel[filled].unique()) == 1 for channel in crop)
