"""The nearest matches of every probe, right or wrong: what a service would have shown for it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.measuring.distances import Euclidean, block_rows
from model_export.measuring.protocols import Draw, Plan
from model_export.measuring.scoring import Contest

RANKS = 10  # the service's own default
_DECIMALS = 4  # of a distance that the service tells


@dataclass(frozen=True, kw_only=True)
class RankedMatches:
    """n matches; parallel arrays (n,), float64, bool and int64. ``vehicle`` numbers the probes' vehicles from 0."""

    distance: NDArray[np.float64]
    right: NDArray[np.bool_]
    vehicle: NDArray[np.int64]
    probes: int
    gallery: int  # pictures that a probe was ranked against, and junk

    def part(self, chosen: NDArray[np.bool_]) -> "RankedMatches":
        """Those that are chosen."""
        return RankedMatches(
            distance=self.distance[chosen], right=self.right[chosen], vehicle=self.vehicle[chosen], probes=self.probes,
            gallery=self.gallery,
        )  # fmt: skip


def ranked_matches(planned: Plan, vectors: NDArray[np.float32], *, ranks: int = RANKS) -> RankedMatches:
    """The ``ranks`` nearest of each probe, by the plan's own rule of what is ranked; ``vectors`` (N, D) are its rows'.

    Of the largest test list, all its draws. A probe without a right match counts as well: a service is asked for
    vehicles that it has not seen.
    """
    draws = max(planned.draws.values(), key=lambda each: len(each[0].gallery))
    found = [_of_draw(planned, draw, vectors, ranks) for draw in draws]
    distance, right, names = (np.concatenate(column) for column in zip(*found, strict=True))
    _, vehicle = np.unique(names, return_inverse=True)
    probes = sum(len(each.probes) for each in draws)
    return RankedMatches(
        distance=distance, right=right, vehicle=vehicle.astype(np.int64), probes=probes, gallery=len(draws[0].gallery)
    )


def _of_draw(
    planned: Plan, draw: Draw, vectors: NDArray[np.float32], ranks: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    labels = planned.labels(draw.probes)
    views = planned.viewpoints(draw.probes), planned.viewpoints(draw.gallery)
    contest = Contest(labels, planned.labels(draw.gallery), planned.rule, views)
    distances = Euclidean(vectors, draw.probes, draw.gallery)
    step = block_rows(len(draw.gallery))
    near: list[NDArray[np.float32]] = []
    right: list[NDArray[np.bool_]] = []
    names: list[str] = []
    for start in range(0, len(draw.probes), step):
        for probe, row in enumerate(distances.block(start, min(start + step, len(draw.probes))), start):  # (G,)
            matches, junk = contest.right_and_junk(probe)
            row[junk] = np.inf
            order = np.argsort(row, kind="stable")[:ranks]
            order = order[np.isfinite(row[order])]
            near.append(row[order])
            right.append(np.isin(order, matches))
            names += [labels[probe][0]] * len(order)
    shown: NDArray[np.float64] = np.concatenate(near).astype(np.float64).round(_DECIMALS)
    return shown, np.concatenate(right), np.array(names, dtype=np.str_)
