"""What a data set holds, in numbers: by part, identity, camera, viewpoint, and how large its crops are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet

_EDGES = (0, 32, 64, 96, 128, 192, 256, 384, 512, 1024)  # pixels, of the longer side
_BAR = 40  # characters
_SHOWN = 24  # cameras that the text names
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class PartSurvey:
    """Counts of one part. ``per_vehicle``: fewest, median and most pictures of a vehicle."""

    name: str
    crops: int
    pictures: int
    vehicles: int
    per_vehicle: tuple[int, float, int]
    cameras: Mapping[str, int]
    viewpoints: Mapping[str, int]
    without: Mapping[str, int]  # rows without a vehicle, camera, viewpoint


@dataclass(frozen=True, kw_only=True)
class SizeHistogram:
    """Longer sides of ``looked_at`` crops of ``crops``, in pixels: counts from each edge to the next."""

    looked_at: int
    crops: int
    counts: Mapping[int, int]
    smallest: int
    median: float
    largest: int
    unreadable: int


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A data set in numbers; ``str()`` is the text for people, ``to_dict()`` the same as JSON."""

    name: str
    root: Path
    protocol: str
    parts: tuple[PartSurvey, ...]
    test_sizes: Mapping[str, int]
    sizes: SizeHistogram

    def to_dict(self) -> dict[str, object]:
        """Everything as JSON types."""
        return {
            "name": self.name, "root": str(self.root), "protocol": self.protocol,
            "parts": {
                part.name: {
                    "crops": part.crops, "pictures": part.pictures, "vehicles": part.vehicles,
                    "per_vehicle": list(part.per_vehicle), "cameras": dict(part.cameras),
                    "viewpoints": dict(part.viewpoints), "without": dict(part.without),
                }
                for part in self.parts
            },
            "test_sizes": dict(self.test_sizes),
            "sizes": {
                "looked_at": self.sizes.looked_at, "crops": self.sizes.crops, "unreadable": self.sizes.unreadable,
                "from": dict(self.sizes.counts), "smallest": self.sizes.smallest, "median": self.sizes.median,
                "largest": self.sizes.largest,
            },
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.name} at {self.root}, measured as {self.protocol}"]
        for part in self.parts:
            low, middle, high = part.per_vehicle
            lines.append(
                f"\n{part.name}: {part.crops:,} crops of {part.pictures:,} pictures, {part.vehicles:,} vehicles "
                f"({low:,} to {high:,} crops each, median {middle:g}), {len(part.cameras):,} cameras"
            )
            lines += _table("viewpoint", part.viewpoints)
            lines += _table("camera", part.cameras)
            lacking = [f"{count:,} without a {what}" for what, count in part.without.items() if count]
            lines += [f"  {', '.join(lacking)}"] if lacking else []
        if self.test_sizes:
            lines.append(
                "\ntest lists: " + ", ".join(f"{size} ({n:,} vehicles)" for size, n in self.test_sizes.items())
            )
        return "\n".join([*lines, *_histogram(self.sizes)])


def survey(data: DataSet, *, sample: int = 2_000, seed: int = 0) -> Survey:
    """Count a data set. Sizes are read from the headers of ``sample`` crops, drawn by the seed; 0: of all."""
    rows = [row for part in data.parts.values() for row in part]
    return Survey(
        name=data.name, root=data.root, protocol=data.protocol,
        parts=tuple(_part(name, part) for name, part in data.parts.items()),
        test_sizes={size: len(vehicles) for size, vehicles in data.test_sizes.items()},
        sizes=_sizes(rows, sample, seed),
    )  # fmt: skip


def crop_size(row: ManifestRow) -> tuple[int, int] | None:
    """Width and height of a row's crop in pixels: of its box, or by the picture's header; None if unreadable."""
    if row.box is not None:
        return row.box[2:]
    try:
        with Image.open(row.path) as picture:
            return picture.size
    except (OSError, Image.DecompressionBombError):
        return None


def _part(name: str, rows: Sequence[ManifestRow]) -> PartSurvey:
    vehicles = Counter(row.vehicle_id for row in rows if row.vehicle_id is not None)
    counts = sorted(vehicles.values()) or [0]
    cameras = Counter(row.camera_id for row in rows if row.camera_id is not None)
    viewpoints = Counter(row.viewpoint for row in rows if row.viewpoint is not None)
    return PartSurvey(
        name=name, crops=len(rows), pictures=len({row.path for row in rows}), vehicles=len(vehicles),
        per_vehicle=(counts[0], median(counts), counts[-1]),
        cameras=dict(sorted(cameras.items())), viewpoints=dict(sorted(viewpoints.items())),
        without={
            "vehicle": len(rows) - vehicles.total(), "camera": len(rows) - cameras.total(),
            "viewpoint": len(rows) - viewpoints.total(),
        },
    )  # fmt: skip


def _sizes(rows: Sequence[ManifestRow], sample: int, seed: int) -> SizeHistogram:
    drawn = rows
    if 0 < sample < len(rows):
        drawn = [rows[n] for n in np.random.default_rng(seed).choice(len(rows), sample, replace=False)]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="header") as pool:
        sides = sorted(max(size) for size in pool.map(crop_size, drawn) if size is not None)
    counts = dict.fromkeys(_EDGES, 0)
    for side in sides:
        counts[max(edge for edge in _EDGES if edge <= side)] += 1
    return SizeHistogram(
        looked_at=len(drawn), crops=len(rows), counts=counts, unreadable=len(drawn) - len(sides),
        smallest=sides[0] if sides else 0, median=median(sides) if sides else 0, largest=sides[-1] if sides else 0,
    )  # fmt: skip


def _table(what: str, counts: Mapping[str, int]) -> list[str]:
    shown = [f"  {what} {name}: {count:,}" for name, count in list(counts.items())[:_SHOWN]]
    return shown + ([f"  … and {len(counts) - _SHOWN:,} more {what}s"] if len(counts) > _SHOWN else [])


def _histogram(sizes: SizeHistogram) -> list[str]:
    of = "all" if sizes.looked_at == sizes.crops else f"{sizes.looked_at:,} of {sizes.crops:,}"
    lines = [f"\nlonger side of {of} crops, pixels: {sizes.smallest} to {sizes.largest}, median {sizes.median:g}"]
    most = max(sizes.counts.values()) or 1
    for edge, following in zip(_EDGES, (*_EDGES[1:], None), strict=True):
        count = sizes.counts[edge]
        name = f"{edge}–{following - 1}" if following else f"{edge} and more"
        lines.append(f"  {name:>13}  {count:>7,}  {'█' * round(_BAR * count / most)}".rstrip())
    return lines + ([f"  {sizes.unreadable:,} could not be read"] if sizes.unreadable else [])
