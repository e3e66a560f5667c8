"""What another camera would have made of the same vehicle: batch augmentation in float32, 0–255.

Strong on exposure, colour, scale and blur, because that is how real cameras differ. Every draw comes from the generator
that is passed in, on whose device everything is computed: a GPU augments its own batches, which a core takes 6 ms a
picture of 256 pixels for.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from index.errors import InvalidValue
from model_export.training.seeds import seed_of

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Strengths; 0 switches a part off."""

    flip: float = 0.5  # probability
    scale: float = 0.2  # largest relative change of each side
    shift: float = 0.08  # largest shift, as a share of the side
    rotate: float = 6.0  # degrees
    exposure: float = 0.5  # largest |log| of gamma; of gain and contrast 0.6 times as much
    colour: float = 0.12  # largest relative change of each channel
    grey: float = 0.1  # probability of losing all colour
    blur: float = 0.5  # probability of a lower resolution
    smallest: float = 0.25  # lowest resolution, as a share of the side
    noise: float = 8.0  # largest standard deviation, in grey levels
    erase: float = 0.3  # probability of a filled rectangle

    def __post_init__(self) -> None:
        for name in ("flip", "grey", "blur", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidValue(f"augment.{name} is a probability and must lie in 0…1, not {getattr(self, name)}")
        for name in ("scale", "shift", "colour"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidValue(f"augment.{name} must be at least 0 and less than 1, not {getattr(self, name)}")
        for name in ("rotate", "exposure", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidValue(f"augment.{name} must be at least 0 and finite, not {getattr(self, name)}")
        if not 0 < self.smallest <= 1:
            raise InvalidValue(f"augment.smallest must be above 0 and at most 1, not {self.smallest}")


def augmented(
    pixels: NDArray[np.uint8], size: int, config: AugmentConfig, *, seed: int, number: int,
    device: torch.device = _CPU,
) -> Tensor:  # fmt: skip
    """Crops uint8 (N, H, W, 3) as batch ``number`` sees them: float32 (N, 3, size, size) on ``device``, channels last.

    A device has draws of its own: a CPU's and a GPU's are not the same.
    """
    generator = torch.Generator(device).manual_seed(seed_of(seed, number))
    uploaded = torch.from_numpy(pixels).to(device)  # as bytes, a quarter of what float32 takes
    crops = random_crop(uploaded.permute(0, 3, 1, 2), size, generator)
    return augment(crops, config, generator).contiguous(memory_format=torch.channels_last)


def random_crop(crops: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """(N, 3, H, W) → (N, 3, size, size), each from a place of its own; H and W are at least ``size``."""
    n, _, height, width = crops.shape
    if (height, width) == (size, size):
        return crops
    tops = _integers(n, height - size + 1, generator)
    lefts = _integers(n, width - size + 1, generator)
    places = zip(crops, tops, lefts, strict=True)
    return torch.stack([crop[:, top : top + size, left : left + size] for crop, top, left in places])


def augment(crops: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """uint8 or float (N, 3, H, W), 0–255, on the generator's device → float32 of the same shape, 0–255."""
    n = len(crops)
    x = crops.to(torch.float32, copy=True)  # what the caller has stays as it is
    if config.flip or config.scale or config.shift or config.rotate:
        x = _move(x, config, generator)
    if config.exposure or config.colour or config.grey:
        x = _expose(x, config, generator)
    for row in (_random(generator, n) < config.blur).nonzero().flatten().tolist():
        x[row] = _coarsen(x[row : row + 1], config.smallest, generator)[0]
    if config.noise:
        sigma = _random(generator, n, 1, 1, 1) ** 2 * config.noise
        x = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    x = x.clamp_(0, 255)
    for row in (_random(generator, n) < config.erase).nonzero().flatten().tolist():
        _erase(x[row], generator)
    return x


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform in 0…1."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return _random(generator, n) * (high - low) + low


def _integers(n: int, end: int, generator: torch.Generator) -> list[int]:
    drawn: list[int] = torch.randint(0, end, (n,), generator=generator, device=generator.device).tolist()
    return drawn


def _move(x: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    n = len(x)
    angle = _uniform(n, -config.rotate, config.rotate, generator) * (torch.pi / 180)
    zoom = 1 + _uniform(n, -config.scale, config.scale, generator)
    aspect = 1 + _uniform(n, -config.scale / 2, config.scale / 2, generator)
    mirror = torch.where(_random(generator, n) < config.flip, -1.0, 1.0)
    matrix = torch.zeros(n, 2, 3, device=x.device)
    matrix[:, 0, 0] = angle.cos() * zoom * aspect * mirror
    matrix[:, 0, 1] = -angle.sin() * zoom
    matrix[:, 1, 0] = angle.sin() * zoom * mirror
    matrix[:, 1, 1] = angle.cos() * zoom / aspect
    matrix[:, :, 2] = (_random(generator, n, 2) * 2 - 1) * (2 * config.shift)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _expose(x: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    n = len(x)

    def factor(strength: float, *shape: int) -> Tensor:
        return torch.exp((_random(generator, n, *shape, 1, 1) * 2 - 1) * strength)

    x = (x / 255).clamp_(1e-4, 1)
    x = x.pow(factor(config.exposure, 1)) * factor(config.exposure * 0.6, 1)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = (x - middle) * factor(config.exposure * 0.6, 1) + middle  # contrast
    grey = (x * torch.tensor(_LUMA, device=x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    saturation = _uniform(n, 0.5, 1.4, generator) if config.colour else torch.ones(n, device=x.device)
    saturation = torch.where(_random(generator, n) < config.grey, 0.0, saturation)
    x = grey + (x - grey) * saturation.view(n, 1, 1, 1)
    x = x * (1 + (_random(generator, n, 3, 1, 1) * 2 - 1) * config.colour)
    return x.mul_(255)


def _coarsen(x: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    share = float(_uniform(1, smallest, 1.0, generator))
    height, width = x.shape[2:]
    small = F.interpolate(x, size=(max(int(height * share), 8), max(int(width * share), 8)), mode="area")
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


def _erase(x: Tensor, generator: torch.Generator) -> None:
    _, height, width = x.shape
    share = float(_uniform(1, 0.02, 0.2, generator))
    ratio = float(torch.exp(_uniform(1, -0.9, 0.9, generator)))
    h = min(int((height * width * share * ratio) ** 0.5), height - 1)
    w = min(int((height * width * share / ratio) ** 0.5), width - 1)
    [top], [left] = _integers(1, height - h, generator), _integers(1, width - w, generator)
    x[:, top : top + h, left : left + w] = _uniform(3, 40, 215, generator).view(3, 1, 1)
