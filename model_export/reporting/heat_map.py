"""An attention map laid over the picture that it belongs to."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Anchors of a map whose lightness rises evenly, after matplotlib's "inferno" (CC0): low attention dark, high bright.
_ANCHORS = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39),
     (252, 255, 164)],
    dtype=np.float64,
)  # fmt: skip
_HEAT = 0.62  # of the mixture where the map is at its highest
_COLD = 0.45  # and at its lowest


def heat_map(crop: NDArray[np.uint8], attention: NDArray[np.float32], side: int) -> Image.Image:
    """``attention`` (h, w), stretched from its own lowest to its highest value, over ``crop`` uint8 (H, W, 3) in grey.

    A map of one value everywhere is drawn at half heat.
    """
    grey = np.asarray(Image.fromarray(crop).convert("L").resize((side, side), Image.Resampling.LANCZOS), np.float64)
    low, high = float(attention.min()), float(attention.max())
    level = (attention - low) / (high - low) if high > low else np.full(attention.shape, 0.5)
    smooth = Image.fromarray(level.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(smooth, np.float64), 0, 1)  # (side, side)
    colours = np.stack([np.interp(heat, np.linspace(0, 1, len(_ANCHORS)), channel) for channel in _ANCHORS.T], axis=2)
    share = (_COLD + (_HEAT - _COLD) * heat)[..., None]
    mixed = grey[..., None] * (1 - share) + colours * share
    return Image.fromarray(mixed.round().astype(np.uint8))
