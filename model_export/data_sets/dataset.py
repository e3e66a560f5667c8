"""A data set in memory's reach: manifest rows, their labels, and crops decoded as the service decodes them.

Crops come from ``index.crops`` with the contract's resize, so training sees the pixels that serving sees. Decoded crops
are kept up to a stated limit; the rest is decoded again when asked for.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.contract import Resize
from index.crops import cut, model_crop, read_picture
from index.errors import InvalidValue, PictureError
from index.manifest import ManifestRow, read_manifest

_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Selection:
    """Which rows are kept back: ``column=value[,value…]``, or ``N%`` of the vehicles, drawn by the seed."""

    column: str = ""
    values: tuple[str, ...] = ()
    percent: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a command line's or configuration's form; the empty string keeps nothing back."""
        if not text:
            return cls()
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
            if not 0 < float(match[1]) < 100:
                raise InvalidValue(f"hold_out {text!r}: the share must lie between 0% and 100%")
            return cls(percent=float(match[1]))
        column, sign, values = text.partition("=")
        if not sign or not column or not values:
            raise InvalidValue(f"hold_out {text!r} is neither COLUMN=VALUE[,VALUE] nor a share such as 25%")
        return cls(column=column, values=tuple(values.split(",")))

    def split(self, rows: Sequence[ManifestRow], *, seed: int) -> tuple[list[ManifestRow], list[ManifestRow]]:
        """(kept for training, held out). A vehicle, or where none is named a scene, never lies on both sides."""
        if self.percent:
            groups = sorted({_group(row) for row in rows})
            count = max(1, round(len(groups) * self.percent / 100))
            held = set(np.random.default_rng(seed).permutation(np.array(groups))[:count].tolist())
        elif self.column:
            held = {_group(row) for row in rows if str(_cell(row, self.column)) in self.values}
            if not held:
                raise InvalidValue(f"hold_out {self.column}={','.join(self.values)} matches no row of the manifest")
        else:
            held = set()
        return (
            [row for row in rows if _group(row) not in held],
            [row for row in rows if _group(row) in held],
        )


class CropCache:
    """Decoded crops uint8 (H, W, 3) of manifest rows; keeps at most ``limit_bytes`` of them."""

    def __init__(self, resize: Resize, *, limit_bytes: int = 4 << 30, threads: int = 2) -> None:
        self._resize = resize
        self._limit = limit_bytes
        self._kept: dict[Path, NDArray[np.uint8]] = {}
        self._bytes = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def crops(self, rows: Sequence[ManifestRow]) -> NDArray[np.uint8]:
        """uint8 (N, H, W, 3). Raises InvalidValue naming manifest line and picture when one cannot be read."""
        return np.stack(list(self._pool.map(self._crop, rows)))

    def check(self, rows: Sequence[ManifestRow], *, report: Callable[[int], object]) -> None:
        """Decode everything once, so that a broken picture is known before training starts; ``report`` counts."""
        for _ in self._pool.map(self._crop, rows):
            report(1)

    def _crop(self, row: ManifestRow) -> NDArray[np.uint8]:
        kept = self._kept.get(row.path) if row.box is None else None
        if kept is not None:
            return kept
        try:
            image = read_picture(row.path.read_bytes(), max_pixels=_MAX_PIXELS)
            crop: NDArray[np.uint8] = model_crop(cut(image, row.box) if row.box else image, self._resize)
        except (OSError, PictureError) as error:
            raise InvalidValue(f"manifest line {row.line}: {row.path}: {error}") from error
        if row.box is None and self._bytes + crop.nbytes <= self._limit:
            self._kept[row.path] = crop
            self._bytes += crop.nbytes
        return crop


def decode_all(cache: CropCache, rows: Sequence[ManifestRow]) -> None:
    """Decode every picture once with a progress bar; raises InvalidValue for the first that cannot be read."""
    with tqdm(total=len(rows), unit="pictures", desc="decode") as progress:
        cache.check(rows, report=progress.update)


def read_rows(manifest: Path, *needed: str) -> list[ManifestRow]:
    """All rows of a manifest; raises InvalidValue for an empty one, or where a ``needed`` cell is empty."""
    rows = list(read_manifest(manifest, required=("path", *needed)))
    if not rows:
        raise InvalidValue(f"{manifest} has a header but no rows")
    for row in rows:
        for column in needed:
            if _cell(row, column) is None:
                raise InvalidValue(f"{manifest} line {row.line}, column {column}: is empty; training needs it")
    return rows


def data_set_name(manifest: Path) -> str:
    """What a manifest's data set is called in reports and contracts: its folder."""
    return manifest.absolute().parent.name


def identities(rows: Sequence[ManifestRow], *, at_least: int = 2) -> list[str]:
    """Vehicle ids with at least so many pictures, sorted: what a triplet can be made of."""
    counts = Counter(row.vehicle_id or "" for row in rows)
    return sorted(vehicle for vehicle, count in counts.items() if count >= at_least)


def _group(row: ManifestRow) -> str:
    return row.vehicle_id or str(row.attributes.get("scene") or row.path)


def _cell(row: ManifestRow, column: str) -> object:
    if column in ("vehicle_id", "camera_id", "viewpoint"):
        return getattr(row, column)
    return row.attributes.get(column)
