"""What a batch is made of, as a function of its number: a run that is taken up again draws what an unbroken one does.

P × K sampling after Hermans et al. 2017: each batch has P vehicles with K pictures each.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from index.errors import InvalidValue
from index.manifest import ManifestRow

_ORDER, _PICTURES = 0, 1  # two independent streams of one seed


class PKSampler:
    """Batches of P·K rows by number.

    A pass visits every vehicle with two or more pictures once, in a new order. Cameras are spread: a vehicle's pictures
    are drawn camera by camera before any camera gives a second one. A vehicle with fewer than K pictures gives some of
    them again. Raises InvalidValue when fewer than P vehicles have two pictures.
    """

    def __init__(self, rows: Sequence[ManifestRow], *, p: int, k: int, seed: int) -> None:
        self._by_vehicle: dict[str, dict[str, list[ManifestRow]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            self._by_vehicle[row.vehicle_id or ""][row.camera_id or ""].append(row)
        self._vehicles = sorted(
            vehicle for vehicle, cameras in self._by_vehicle.items() if sum(map(len, cameras.values())) >= 2
        )
        if len(self._vehicles) < max(p, 2):
            raise InvalidValue(
                f"a batch of {p} vehicles needs as many with two pictures or more; there are {len(self._vehicles)}"
            )
        self._p, self._k, self._seed = p, k, seed

    def batch(self, number: int) -> list[ManifestRow]:
        """Rows of a batch, vehicle by vehicle."""
        lap, at = divmod(number, len(self._vehicles) // self._p)
        order = np.random.default_rng((self._seed, _ORDER, lap)).permutation(len(self._vehicles))
        rng = np.random.default_rng((self._seed, _PICTURES, number))
        batch: list[ManifestRow] = []
        for vehicle in order[at * self._p : (at + 1) * self._p]:
            batch += _draw(self._by_vehicle[self._vehicles[vehicle]], self._k, rng)
        return batch


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one origin and the number of each one's viewpoint; ``weight``: how often they are drawn."""

    rows: list[ManifestRow]
    labels: list[int]
    origin: str
    weight: float


class ViewpointSampler:
    """Batches by number that draw viewpoints evenly, then origins by weight and by the root of their size."""

    def __init__(self, parts: Sequence[LabelledRows], *, viewpoints: Sequence[str], batch: int, seed: int) -> None:
        self._batch, self._seed = batch, seed
        self._pools: list[list[list[ManifestRow]]] = []
        self._chances: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        for view, name in enumerate(viewpoints):
            pools = [
                [row for row, label in zip(part.rows, part.labels, strict=True) if label == view] for part in parts
            ]
            weights = np.array([part.weight * len(pool) ** 0.5 for part, pool in zip(parts, pools, strict=True)])
            if weights.sum() == 0:
                raise InvalidValue(f"no training picture is labelled {name}; V-Net needs pictures of every viewpoint")
            self._pools.append(pools)
            self._chances.append(weights / weights.sum())

    def batch(self, number: int) -> tuple[list[ManifestRow], list[int]]:
        """Rows and labels of a batch."""
        rng = np.random.default_rng((self._seed, _PICTURES, number))
        rows, labels = [], []
        for view in rng.integers(0, len(self._pools), self._batch):
            pool = self._pools[view][rng.choice(len(self._chances[view]), p=self._chances[view])]
            rows.append(pool[rng.integers(len(pool))])
            labels.append(int(view))
        return rows, labels


def _draw(cameras: dict[str, list[ManifestRow]], k: int, rng: np.random.Generator) -> list[ManifestRow]:
    pools = [[pictures[n] for n in rng.permutation(len(pictures))] for _, pictures in sorted(cameras.items())]
    pools = [pools[n] for n in rng.permutation(len(pools))]
    drawn: list[ManifestRow] = []
    depth = 0
    while len(drawn) < k:
        layer = [pool[depth] for pool in pools if depth < len(pool)]
        depth = depth + 1 if layer else 0
        drawn += layer[: k - len(drawn)]
    return drawn
