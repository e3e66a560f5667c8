"""Which probes are worth looking at, and what a model ranked for them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.measuring.distances import Euclidean
from model_export.measuring.measurement import score_draws
from model_export.measuring.protocols import Draw, Plan
from model_export.measuring.scoring import Contest, Scores

TOP = 10  # as in the paper's Fig. 6


@dataclass(frozen=True, kw_only=True)
class Match:
    """A gallery picture at its place in a ranking."""

    row: ManifestRow
    place: int  # from 1
    distance: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What one model ranked for a probe: the first ten, and its first right and first wrong match wherever they are."""

    model: str
    matches: tuple[Match, ...]
    first_right: Match
    first_wrong: Match | None

    @property
    def failed(self) -> bool:
        """Whether a wrong picture stands first."""
        return self.first_right.place > 1

    @property
    def gap(self) -> float:
        """How much farther the first right match is than the first wrong one; negative where right is nearer."""
        return self.first_right.distance - self.first_wrong.distance if self.first_wrong else -float("inf")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A probe and its rankings: the model's, and the baseline's where there is one."""

    probe: ManifestRow
    ranking: Ranking
    baseline: Ranking | None


def worst_cases(
    planned: Plan, vectors: Mapping[str, NDArray[np.float32]], *, count: int, progress: bool = True
) -> tuple[list[Case], Scores]:
    """The ``count`` probes on which the first model of ``vectors`` is most wrong, and the scores of all.

    Most wrong is the latest first right match, then the largest gap. ``vectors`` are embeddings (N, D) of the plan's
    rows by model name: the model's, then its baseline's if there is one. Of several test lists the largest is taken, of
    several draws the first. Raises InvalidValue when no probe has a match.
    """
    draw = max((draws[0] for draws in planned.draws.values()), key=lambda own: len(own.gallery))
    model, *baselines = vectors
    (scores,) = score_draws(planned, (draw,), vectors[model], progress=progress)
    if len(scores.first) == 0:
        raise InvalidValue("no probe has a match in the gallery; there is no ranking to show")
    order = np.lexsort((scores.probe, -scores.gap, -scores.first))[:count]
    contest = Contest(planned.labels(draw.probes), planned.labels(draw.gallery), planned.rule)
    number = {int(at): n for n, at in enumerate(draw.probes)}
    cases = []
    for at in scores.probe[order]:
        rankings = [_ranking(planned, draw, contest, name, vectors[name], number[int(at)]) for name in vectors]
        cases.append(Case(probe=planned.rows[at], ranking=rankings[0], baseline=rankings[1] if baselines else None))
    return cases, scores


def _ranking(
    planned: Plan, draw: Draw, contest: Contest, model: str, vectors: NDArray[np.float32], probe: int
) -> Ranking:
    distances = Euclidean(vectors, draw.probes, draw.gallery).block(probe, probe + 1)[0]
    right, junk = contest.right_and_junk(probe)
    is_right = np.zeros(len(distances), np.bool_)
    is_right[right] = True
    distances[junk] = np.inf
    order = np.lexsort((is_right, distances))[: len(distances) - len(junk)]  # of equals the wrong ones first
    firsts = [_first(is_right[order]), _first(~is_right[order])]
    matches = {
        place: Match(
            row=planned.rows[draw.gallery[order[place]]], place=place + 1, distance=float(distances[order[place]]),
            right=bool(is_right[order[place]]),
        )
        for place in {*range(min(TOP, len(order))), *(place for place in firsts if place is not None)}
    }  # fmt: skip
    right_place, wrong_place = firsts
    if right_place is None:  # the caller shows probes with a match only
        raise InvalidValue(f"{planned.rows[draw.probes[probe]].path} has no match in the gallery")
    return Ranking(
        model=model, matches=tuple(matches[place] for place in range(min(TOP, len(order)))),
        first_right=matches[right_place], first_wrong=None if wrong_place is None else matches[wrong_place],
    )  # fmt: skip


def _first(flags: NDArray[np.bool_]) -> int | None:
    return int(flags.argmax()) if flags.any() else None
