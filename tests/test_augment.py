"""Augmentation: seeded, in range, and nothing where every strength is 0."""

import torch

from model_export.training.augment import AugmentConfig, augment


def test_augmentation_is_seeded_and_stays_in_range() -> None:
    crops = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    first = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    second = augment(crops, AugmentConfig(), torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    still = AugmentConfig(flip=0, scale=0, shift=0, rotate=0, exposure=0, colour=0, grey=0, blur=0, noise=0, erase=0)
    assert torch.allclose(augment(crops, still, torch.Generator()), crops.float(), atol=0.1)
