"""P × K sampling (Hermans et al. 2017), seeded: each batch has P vehicles with K pictures each."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from index.errors import InvalidValue
from index.manifest import ManifestRow


def pk_batches(rows: Sequence[ManifestRow], *, p: int, k: int, seed: int) -> Iterator[list[ManifestRow]]:
    """Endless batches of P·K rows. A pass visits every vehicle with two or more pictures once, in a new order.

    Cameras are spread: a vehicle's pictures are drawn camera by camera before any camera gives a second one. A
    vehicle with fewer than K pictures gives some of them again. Raises InvalidValue when fewer than P vehicles have
    two pictures.
    """
    by_vehicle: dict[str, dict[str, list[ManifestRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_vehicle[row.vehicle_id or ""][row.camera_id or ""].append(row)
    vehicles = sorted(v for v, cameras in by_vehicle.items() if sum(map(len, cameras.values())) >= 2)
    if len(vehicles) < max(p, 2):
        raise InvalidValue(
            f"a batch of {p} vehicles needs as many with two pictures or more; there are {len(vehicles)}"
        )
    return _batches(vehicles, by_vehicle, p, k, np.random.default_rng(seed))


def _batches(
    vehicles: list[str], by_vehicle: dict[str, dict[str, list[ManifestRow]]], p: int, k: int, rng: np.random.Generator
) -> Iterator[list[ManifestRow]]:
    while True:
        order = rng.permutation(len(vehicles))
        for start in range(0, len(order) - p + 1, p):
            batch: list[ManifestRow] = []
            for number in order[start : start + p]:
                batch += _draw(by_vehicle[vehicles[number]], k, rng)
            yield batch


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
