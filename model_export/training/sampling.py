"""What a batch is made of, as a function of its number: a run that is taken up again draws what an unbroken one does.

P × K sampling after Hermans et al. 2017: each batch has P vehicles with K pictures each.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """Rows of one origin and the number of each one's viewpoint; ``weight``: how often they are drawn.

    ``kind`` is what all of them are (a car, a bus) and must tell nothing of the viewpoint; empty where nobody says.
    """

    rows: list[ManifestRow]
    labels: list[int]
    origin: str
    weight: float
    kind: str = ""


class ViewpointSampler:
    """Batches by number that draw viewpoints evenly, then kinds, then origins by weight and by the root of their size.

    A kind is drawn equally often for every viewpoint that it has pictures of: where all motorcycles of a set are seen
    from the side, a network would learn that motorcycles are sides.
    """

    def __init__(self, parts: Sequence[LabelledRows], *, viewpoints: Sequence[str], batch: int, seed: int) -> None:
        self._batch, self._seed = batch, seed
        self._pools: list[list[list[ManifestRow]]] = []
        self._chances: list[NDArray[np.float64]] = []
        pools = [
            [[row for row, label in zip(part.rows, part.labels, strict=True) if label == view] for part in parts]
            for view in range(len(viewpoints))
        ]
        weights = np.array([
            [part.weight * len(pool) ** 0.5 for part, pool in zip(parts, own, strict=True)] for own in pools
        ])  # fmt: skip
        kinds = np.unique([part.kind for part in parts], return_inverse=True)[1]  # (parts,)
        of_kind = np.bincount(kinds, weights.sum(0))  # (kinds,), over all viewpoints
        for view, name in enumerate(viewpoints):
            if weights[view].sum() == 0:
                raise InvalidValue(f"no training picture is labelled {name}; V-Net needs pictures of every viewpoint")
            seen = np.bincount(kinds, weights[view], minlength=len(of_kind))
            chances = weights[view] * np.divide(of_kind, seen, out=np.zeros_like(of_kind), where=seen > 0)[kinds]
            self._pools.append(pools[view])
            self._chances.append(chances / chances.sum())

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
