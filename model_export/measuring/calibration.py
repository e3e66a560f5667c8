"""Distances as probabilities: a falling curve through ranked matches, and how far it can be believed.

It is learnt of the pairs that a service would have shown: the ten nearest matches of each query of the evaluation's
data, by its protocol, whatever their distance. Of such pairs it is true. How many of them are right (the prior: one of
ten where every vehicle is there once more) it takes from there, too: P(right | d) is the prior's odds times
p(d | right) / p(d | wrong). Asked in a gallery where fewer queries have a match, or where more pictures of others come
near, the same distance is worth less; the odds change by the factor by which the prior's do, and, as the nearest of
more strangers are nearer, by p(d | wrong), which only pictures from there can tell.

Two curves are tried: Platt's logistic one (1999, "Probabilistic outputs for support vector machines", with his targets
that keep it from certainty), and isotonic regression (Zadrozny and Elkan 2002, "Transforming classifier scores into
accurate multiclass probability estimates"), which takes any falling shape.
What is told of them was measured on vehicles that they had not seen: ten folds of vehicles, each curve fitted to nine
and asked about the tenth, and that five times over with other folds, because one draw of them can turn the order. The
one with the smaller log loss there is then fitted to all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.contract import MatchProbability, ProbabilityForm
from index.errors import InvalidValue
from model_export.measuring.ranked_matches import RANKS, RankedMatches

FOLDS: Final = 10
REPEATS: Final = 5  # with other folds
FEWEST: Final = 30  # right matches, and wrong ones, and vehicles: of fewer no curve can be told

SMALLEST: Final = 20  # matches that a point of the isotonic curve rests on

_BINS = 10
_STEPS = 100  # of Newton's method; it takes about seven
_CLOSE = 1e-10

Parameters = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far probabilities agree with what happened, over n matches.

    ``log_loss`` is −mean ln p of what happened; ``ece`` the expected calibration error (Naeini et al. 2015), the mean
    over matches of |mean p − share right| of their bin, ten bins of equal width. ``bins``: of each that is not empty
    how many matches, their mean p, and the share that was right.
    """

    log_loss: float
    ece: float
    bins: tuple[tuple[int, float, float], ...]

    def to_dict(self) -> dict[str, object]:
        """As contracts keep it, rounded."""
        return {
            "log_loss": round(self.log_loss, 4), "ece": round(self.ece, 4),
            "bins": [[count, round(mean, 3), round(share, 3)] for count, mean, share in self.bins],
        }  # fmt: skip

    def table(self) -> list[str]:
        """A line for each bin."""
        lines = ["  said    right   matches"]
        return lines + [f"  {mean:6.1%}  {share:6.1%}  {count:7,}" for count, mean, share in self.bins]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A curve, and how each form did on vehicles that it had not seen; ``prior_loss`` is the log loss without any."""

    probability: MatchProbability
    held_out: Mapping[ProbabilityForm, Reliability]
    prior_loss: float
    matches: int
    vehicles: int

    def __str__(self) -> str:
        own = self.probability
        lines = [
            f"{self.matches:,} matches, the {own.ranks} nearest of each query, of {self.vehicles} vehicles; "
            f"{own.prior:.1%} right",
            f"on vehicles that it had not seen ({FOLDS} folds, {REPEATS} times), log loss without a curve "
            f"{self.prior_loss:.4f}:",
        ]
        for form, told in self.held_out.items():
            taken = " (taken)" if form == own.form else ""
            lines.append(f"  {form}{taken}: log loss {told.log_loss:.4f}, calibration error {told.ece:.2%}")
        return "\n".join([*lines, *self.held_out[own.form].table()])


def calibrate(matches: RankedMatches, *, data_set: str, seed: int = 0) -> Calibration:
    """The better of the two curves; ``seed`` draws the folds.

    Raises InvalidValue where there are too few matches to learn of, or where the nearer ones are not the right ones.
    """
    right, vehicles = int(matches.right.sum()), len(np.unique(matches.vehicle))
    fewest = min(right, len(matches.right) - right, vehicles)
    if fewest < FEWEST:
        raise InvalidValue(
            f"{data_set}: {right:,} right matches and {len(matches.right) - right:,} wrong ones of {vehicles} "
            f"vehicles; a probability needs {FEWEST} of each: name more pictures (--data, --part)"
        )
    told: dict[ProbabilityForm, Reliability] = {form: _on_others(matches, form, seed) for form in _FORMS}
    best = min(told, key=lambda form: told[form].log_loss)
    prior = right / len(matches.right)
    probability = MatchProbability(
        form=best, parameters=_FORMS[best](matches), ranks=RANKS, prior=round(prior, 6), data_set=data_set,
        figures={
            "matches": len(matches.right), "vehicles": vehicles, "probes": matches.probes, "gallery": matches.gallery,
            "held_out": {form: each.to_dict() for form, each in told.items()},
        },
    )  # fmt: skip
    without = reliability(np.full(len(matches.right), prior), matches.right).log_loss
    return Calibration(
        probability=probability, held_out=told, prior_loss=without, matches=len(matches.right), vehicles=vehicles
    )


def reliability(said: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """How far probabilities (n,), above 0 and below 1, agree with what was right (n,)."""
    happened = np.where(right, said, 1 - said)
    places = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for place in range(_BINS):
        inside = places == place
        if inside.any():
            bins.append((int(inside.sum()), float(said[inside].mean()), float(right[inside].mean())))
    gaps = [count * abs(mean - share) for count, mean, share in bins]
    return Reliability(log_loss=float(-np.log(happened).mean()), ece=float(sum(gaps) / len(said)), bins=tuple(bins))


def probabilities(probability: MatchProbability, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a curve says of distances (n,)."""
    return np.array([probability.of(each) for each in distance.tolist()])


def _on_others(matches: RankedMatches, form: ProbabilityForm, seed: int) -> Reliability:
    """How curves of a form do on vehicles that they were not fitted to."""
    rng = np.random.default_rng(seed)
    said = np.concatenate([_held_out(matches, form, rng) for _ in range(REPEATS)])
    told = reliability(said, np.tile(matches.right, REPEATS))
    bins = tuple((round(count / REPEATS), mean, share) for count, mean, share in told.bins)
    return replace(told, bins=bins)


def _held_out(matches: RankedMatches, form: ProbabilityForm, rng: np.random.Generator) -> NDArray[np.float64]:
    """What curves say of vehicles that they were not fitted to, (n,)."""
    known = np.unique(matches.vehicle)
    folds = np.empty(known.max() + 1, np.int64)
    folds[rng.permutation(known)] = np.arange(len(known)) % FOLDS
    fold = folds[matches.vehicle]
    said = np.empty(len(fold), np.float64)
    for number in range(FOLDS):
        parameters = _FORMS[form](matches.part(fold != number))
        curve = MatchProbability(form=form, parameters=parameters, ranks=RANKS, prior=0.5, data_set="")
        said[fold == number] = probabilities(curve, matches.distance[fold == number])
    return said


def fit_logistic(matches: RankedMatches) -> Parameters:
    """Intercept and slope by Newton's method on Platt's targets; raises InvalidValue where it would not fall."""
    right = matches.right.sum()
    wrong = len(matches.right) - right
    target = np.where(matches.right, (right + 1) / (right + 2), 1 / (wrong + 2))
    centre, spread = matches.distance.mean(), matches.distance.std() or 1.0
    x = np.stack([np.ones(len(target)), (matches.distance - centre) / spread], axis=1)  # (n, 2)
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -50, 50)))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (target - p))
        weights += step
        if np.abs(step).max() < _CLOSE:
            break
    slope = float(-weights[1] / spread)
    if not slope > 0:
        raise InvalidValue("the nearer matches are right no more often than the others: the distance tells nothing")
    return {"intercept": round(float(weights[0]) + slope * float(centre), 6), "slope": round(slope, 6)}


def fit_isotonic(matches: RankedMatches) -> Parameters:
    """Both ends of every step of the falling curve: pools of adjacent violators, of ``SMALLEST`` matches or more.

    Nothing is sure: a pool of n matches that are all right says 1 − 1 / (n + 2), one without any 1 / (n + 2).
    """
    distance, place, counts = np.unique(matches.distance, return_inverse=True, return_counts=True)
    hits = np.bincount(place, weights=matches.right)
    pools: list[_Pool] = []
    for count, hit, at in zip(counts.tolist(), hits.tolist(), distance.tolist(), strict=True):
        pools.append(_Pool(count, hit, at, at))
        while len(pools) > 1 and pools[-2].right * pools[-1].matches <= pools[-1].right * pools[-2].matches:
            pools[-2:] = [pools[-2] + pools[-1]]  # the farther one is right as often: a violator
    pools = _supported(pools)
    ends = [(end, pool.share) for pool in pools for end in dict.fromkeys((pool.nearest, pool.farthest))]
    return {"distances": [end for end, _ in ends], "probabilities": [round(share, 6) for _, share in ends]}


def _supported(pools: Sequence["_Pool"]) -> list["_Pool"]:
    """Neighbours joined until each has enough matches, and none claims less than one behind it."""
    joined: list[_Pool] = []
    for pool in pools:
        if joined and joined[-1].matches < SMALLEST:
            joined[-1] += pool
        else:
            joined.append(pool)
        while len(joined) > 1 and joined[-1].matches >= SMALLEST and joined[-2].share <= joined[-1].share:
            joined[-2:] = [joined[-2] + joined[-1]]
    if len(joined) > 1 and joined[-1].matches < SMALLEST:
        joined[-2:] = [joined[-2] + joined[-1]]
    return joined


@dataclass(frozen=True)
class _Pool:
    """Neighbours in distance that are taken together."""

    matches: int
    right: float
    nearest: float
    farthest: float

    def __add__(self, other: "_Pool") -> "_Pool":
        return _Pool(self.matches + other.matches, self.right + other.right, self.nearest, other.farthest)

    @property
    def share(self) -> float:
        """Of right ones, never 0 or 1."""
        least = 1 / (self.matches + 2)
        return min(max(self.right / self.matches, least), 1 - least)


_FORMS: Final[Mapping[ProbabilityForm, Callable[[RankedMatches], Parameters]]] = {
    "logistic": fit_logistic, "isotonic": fit_isotonic,
}  # fmt: skip
