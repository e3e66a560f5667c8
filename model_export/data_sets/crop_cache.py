"""Crops in memory's reach, decoded as the service decodes them.

Crops come from ``index.crops`` with the contract's resize, so training sees the pixels that serving sees. Decoded crops
are kept up to a stated limit; the rest is decoded again when asked for.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from index.contract import Resize
from index.crops import cut, model_crop, read_picture
from index.errors import InvalidValue, PictureError
from index.manifest import ManifestRow

_MAX_PIXELS = 100_000_000


class CropCache:
    """Decoded crops uint8 (H, W, 3) of manifest rows; keeps at most ``limit_bytes`` of them."""

    def __init__(self, resize: Resize, *, limit_bytes: int = 4 << 30, threads: int = 2) -> None:
        self._resize = resize
        self._limit = limit_bytes
        self._kept: dict[Path, NDArray[np.uint8]] = {}
        self._bytes = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def crops(self, rows: Sequence[ManifestRow]) -> NDArray[np.uint8]:
        """uint8 (N, H, W, 3). Raises InvalidValue naming row and picture when one cannot be read."""
        return np.stack(list(self._pool.map(self._crop, rows)))

    def check(self, rows: Sequence[ManifestRow], *, report: Callable[[int], object]) -> None:
        """Decode everything once, so that a broken picture is known before training starts; ``report`` counts."""
        for _ in self._pool.map(self._crop, rows):
            report(1)

    def _crop(self, row: ManifestRow) -> NDArray[np.uint8]:
        kept = self._kept.get(row.path) if row.box is None else None
        if kept is not None:
            return kept
        crop = model_crop(row_picture(row), self._resize)
        if row.box is None and self._bytes + crop.nbytes <= self._limit:
            self._kept[row.path] = crop
            self._bytes += crop.nbytes
        return crop


def row_picture(row: ManifestRow) -> Image.Image:
    """A row's upright RGB picture, cut to its box; raises InvalidValue naming line and picture if it cannot be read."""
    try:
        image = read_picture(row.path.read_bytes(), max_pixels=_MAX_PIXELS)
        return cut(image, row.box) if row.box else image
    except (OSError, PictureError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidValue(
            f"{row.path} (row {row.line} of its data set) cannot be read: {reason}; mend it or leave it out; "
            "vehicle-model data check finds all of them"
        ) from error


def decode_all(cache: CropCache, rows: Sequence[ManifestRow], *, quiet: bool = False) -> None:
    """Decode every picture once with a progress bar; raises InvalidValue for the first that cannot be read."""
    with tqdm(total=len(rows), unit="pictures", desc="decode", disable=quiet) as progress:
        cache.check(rows, report=progress.update)
