"""Re-identification figures: CMC at rank 1, 5 and 10 and mAP, across cameras.

The rule of VeRi-776 and Market-1501: for each probe, gallery pictures of the same vehicle from the same camera are
left out; a probe without a match in what remains is excluded and counted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidValue

_CHUNK = 256  # probes per distance block


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Fractions in 0…1. ``interval`` is rank-1's 95 % interval (Wilson 1927) for so many probes."""

    rank_1: float
    rank_5: float
    rank_10: float
    map: float
    probes: int
    gallery: int
    excluded: int
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, object]:
        """As stored in checkpoints and contracts, rounded to four digits."""
        return {
            **{key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()},
            "interval": [round(end, 4) for end in self.interval],
        }

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"rank-1 {self.rank_1:.1%} ({low:.1%}–{high:.1%}), rank-5 {self.rank_5:.1%}, rank-10 {self.rank_10:.1%}, "
            f"mAP {self.map:.1%}, {self.probes} probes × {self.gallery}"
        )


def evaluate(
    probes: NDArray[np.float32], probe_labels: Sequence[tuple[str, str]],
    gallery: NDArray[np.float32], gallery_labels: Sequence[tuple[str, str]],
    *, other_cameras_only: bool = False,
) -> Figures:  # fmt: skip
    """Rank ``gallery`` (G, D) for every probe (Q, D) by L2; labels are (vehicle_id, camera_id).

    ``other_cameras_only`` leaves every picture of the probe's own camera out, whatever the vehicle.
    Equal distances are ranked worst case last among equals by gallery order, which is fixed. Raises InvalidValue when
    no probe has a match.
    """
    vehicle = np.array([label[0] for label in gallery_labels])
    camera = np.array([label[1] for label in gallery_labels])
    precisions, firsts, excluded = [], [], 0
    squares = (gallery.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(probes), _CHUNK):
        block = probes[start : start + _CHUNK].astype(np.float64)
        distances = squares[None, :] - 2 * block @ gallery.astype(np.float64).T  # (q, G), up to a constant per row
        for row, (own_vehicle, own_camera) in zip(distances, probe_labels[start : start + _CHUNK], strict=True):
            keep = camera != own_camera if other_cameras_only else ~((vehicle == own_vehicle) & (camera == own_camera))
            order = np.argsort(row[keep], kind="stable")
            hits = np.flatnonzero(vehicle[keep][order] == own_vehicle)
            if hits.size == 0:
                excluded += 1
                continue
            firsts.append(hits[0])
            precisions.append(float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1))))
    if not firsts:
        raise InvalidValue("no probe has a match from another camera in the gallery; nothing can be measured")
    first = np.array(firsts)
    rank_1 = float((first < 1).mean())
    return Figures(
        rank_1=rank_1, rank_5=float((first < 5).mean()), rank_10=float((first < 10).mean()),
        map=float(np.mean(precisions)), probes=len(first), gallery=len(gallery), excluded=excluded,
        interval=wilson(rank_1, len(first)),
    )  # fmt: skip


def wilson(share: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share seen in ``count`` trials (Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * ((share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5)
    return max(0.0, centre - half), min(1.0, centre + half)
