"""Re-identification figures: CMC, at rank 1, 5 and 10 and as a curve, mAP and mINP.

For each probe the pictures that a rule leaves out (see :class:`~model_export.measuring.scoring.Contest`) are not
ranked; a probe without a match in what remains is excluded and counted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidValue
from model_export.measuring.distances import Euclidean
from model_export.measuring.intervals import bootstrap, wilson
from model_export.measuring.scoring import Contest, Label, Rule, Scores, score

CURVE_RANKS: Final = 50


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Fractions in 0…1, the mean over the draws where there are several.

    ``interval`` is rank-1's 95 % interval for so many independent probes (Wilson 1927); ``rank_1_interval`` and
    ``map_interval`` are bootstrapped over the probes. Wilson's is the one to trust near 0 and 1.
    """

    rank_1: float
    rank_5: float
    rank_10: float
    map: float
    minp: float  # mean inverse negative penalty (Ye et al. 2021)
    probes: int
    gallery: int
    excluded: int  # probes without a match
    interval: tuple[float, float]
    rank_1_interval: tuple[float, float]
    map_interval: tuple[float, float]
    cmc: tuple[float, ...]  # share of probes with a match among the first 1, 2, …, 50, or as many as the gallery has

    def to_dict(self) -> dict[str, object]:
        """As stored in checkpoints and contracts, rounded to four digits."""
        return {key: _rounded(value) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        low, high = self.interval
        map_low, map_high = self.map_interval
        return (
            f"rank-1 {self.rank_1:.1%} ({low:.1%}–{high:.1%}), rank-5 {self.rank_5:.1%}, rank-10 {self.rank_10:.1%}, "
            f"mAP {self.map:.1%} ({map_low:.1%}–{map_high:.1%}), mINP {self.minp:.1%}, "
            f"{self.probes} probes × {self.gallery}" + (f", {self.excluded} without a match" if self.excluded else "")
        )


def evaluate(
    probes: NDArray[np.float32], probe_labels: Sequence[Label],
    gallery: NDArray[np.float32], gallery_labels: Sequence[Label],
    *, other_cameras_only: bool = False, seed: int = 0,
) -> Figures:  # fmt: skip
    """Rank ``gallery`` (G, D) for every probe (Q, D) by L2; labels are (vehicle_id, camera_id).

    ``other_cameras_only`` leaves every picture of the probe's own camera out, whatever the vehicle; otherwise its own
    vehicle as its own camera saw it. Of equal distances the wrong ones stand first. Raises InvalidValue when no probe
    has a match.
    """
    vectors = np.concatenate([probes, gallery])
    distances = Euclidean(vectors, np.arange(len(probes)), np.arange(len(probes), len(vectors)))
    rule: Rule = "other-cameras" if other_cameras_only else "same-camera-junk"
    return summarize([score(distances, Contest(probe_labels, gallery_labels, rule))], seed=seed)


def summarize(draws: Sequence[Scores], *, seed: int = 0) -> Figures:
    """Figures of one ranking, or their mean over several draws of probes from the same pictures.

    ``Scores.probe`` must name the same picture by the same number in every draw; ``seed`` is the bootstrap's. Raises
    InvalidValue when no probe has a match.
    """
    if any(len(draw.first) == 0 for draw in draws):
        raise InvalidValue("no probe has a match from another camera in the gallery; nothing can be measured")
    means = np.mean([columns(draw).mean(0) for draw in draws], axis=0)
    rank_1, rank_5, rank_10, mean_precision, minp = (float(value) for value in means)
    earned = np.concatenate([columns(draw)[:, [0, 3]] for draw in draws])
    rank_1_interval, map_interval = bootstrap(earned, np.concatenate([draw.probe for draw in draws]), seed=seed)
    probes, ranks = len(draws[0].first), np.arange(1, min(CURVE_RANKS, draws[0].gallery) + 1)
    curve = np.mean([(draw.first[:, None] <= ranks).mean(0) for draw in draws], axis=0)  # (R,)
    return Figures(
        rank_1=rank_1, rank_5=rank_5, rank_10=rank_10, map=mean_precision, minp=minp, probes=probes,
        gallery=draws[0].gallery, excluded=draws[0].excluded, interval=wilson(rank_1, probes),
        rank_1_interval=rank_1_interval, map_interval=map_interval, cmc=tuple(float(share) for share in curve),
    )  # fmt: skip


def columns(scores: Scores) -> NDArray[np.float64]:
    """What each probe adds to rank-1, rank-5, rank-10, mAP and mINP, (n, 5)."""
    first = scores.first
    return np.stack([first <= 1, first <= 5, first <= 10, scores.precision, scores.inverse_penalty], axis=1)


def _rounded(value: object) -> object:
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
