"""Augmentation: seeded, in range, and nothing where every strength is 0."""

import numpy as np
import pytest
import torch

from index.errors import InvalidValue
from model_export.training.augment import AugmentConfig, augment, augmented


def test_augmentation_is_seeded_and_stays_in_range() -> None:
    crops = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    first = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    second = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    still = AugmentConfig(flip=0, scale=0, shift=0, rotate=0, exposure=0, colour=0, grey=0, blur=0, noise=0, erase=0)
    assert torch.allclose(augment(crops, still, torch.Generator()), crops.float(), atol=0.1)


def test_seed_and_number_decide_what_a_batch_sees() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)

    def seen(seed: int, number: int) -> torch.Tensor:
        return augmented(pixels, 32, AugmentConfig(), seed=seed, number=number)

    assert seen(0, 3).shape == (4, 3, 32, 32)
    assert torch.equal(seen(0, 3), seen(0, 3))
    assert not torch.equal(seen(0, 3), seen(0, 4))
    assert not torch.equal(seen(0, 3), seen(1, 3))


def test_crops_are_cut_from_places_of_their_own() -> None:
    still = AugmentConfig(flip=0, scale=0, shift=0, rotate=0, exposure=0, colour=0, grey=0, blur=0, noise=0, erase=0)
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None, None], (16, 40, 40, 3))
    tops = augmented(ramp.copy(), 32, still, seed=0, number=0)[:, 0, 0, 0]
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
