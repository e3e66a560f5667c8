"""What fewer bits cost: drift, figures alone, and figures of one precision against a gallery of the other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.measuring.distances import Euclidean
from model_export.measuring.evaluation import Figures, summarize
from model_export.measuring.measured_model import Seen
from model_export.measuring.protocols import Plan
from model_export.measuring.scoring import Contest, score

MOST_LOST = 0.002  # mAP that a precision may cost and keep its embedding space


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One precision against fp32 on one data set; the largest test list where there are several."""

    data_set: str
    drift_p50: float  # of ‖Δf‖/‖f‖ over all pictures
    drift_p99: float
    same_viewpoint: float  # share of pictures whose most probable viewpoint is the same
    reference: Figures  # fp32 against fp32
    own: Figures  # reduced against reduced
    reduced_probes: Figures  # reduced probes against an fp32 gallery
    reduced_gallery: Figures  # fp32 probes against a reduced gallery

    @property
    def lost(self) -> float:
        """Most mAP lost by mixing precisions, which decides whether the embedding space is kept."""
        return self.reference.map - min(self.reduced_probes.map, self.reduced_gallery.map)

    @property
    def keeps_space(self) -> bool:
        """Whether vectors of both precisions may stand in one gallery."""
        return self.lost <= MOST_LOST

    def to_dict(self) -> dict[str, object]:
        """As the contract keeps it; fractions, rounded."""

        def short(figures: Figures) -> dict[str, float]:
            return {"rank_1": round(figures.rank_1, 4), "map": round(figures.map, 4)}

        return {
            "data_set": self.data_set, "probes": self.reference.probes, "gallery": self.reference.gallery,
            "drift_p50": round(self.drift_p50, 4), "drift_p99": round(self.drift_p99, 4),
            "same_viewpoint": round(self.same_viewpoint, 4), "fp32": short(self.reference), "own": short(self.own),
            "reduced_probes": short(self.reduced_probes), "reduced_gallery": short(self.reduced_gallery),
            "map_lost": round(self.lost, 4), "keeps_space": self.keeps_space,
        }  # fmt: skip

    def __str__(self) -> str:
        def short(figures: Figures) -> str:
            return f"{figures.rank_1:.1%} / {figures.map:.2%}"

        kept = "kept" if self.keeps_space else f"not kept (limit {MOST_LOST:.1%})"
        return (
            f"on {self.data_set}, {self.reference.probes} probes × {self.reference.gallery}, rank-1 / mAP:\n"
            f"  fp32 {short(self.reference)}, alone {short(self.own)}\n"
            f"  its probes against fp32 {short(self.reduced_probes)}, "
            f"fp32 probes against it {short(self.reduced_gallery)}\n"
            f"  drift p50 {self.drift_p50:.3f}, p99 {self.drift_p99:.3f}, same viewpoint {self.same_viewpoint:.1%}\n"
            f"  mixing precisions loses {self.lost:.2%} mAP: embedding space {kept}"
        )


def compare(planned: Plan, whole: Seen, less: Seen, *, seed: int) -> Parity:
    """What fp32 (``whole``) and fewer bits (``less``) say of the plan's rows; ``seed`` is the bootstrap's."""
    drift = np.linalg.norm(whole.embedding - less.embedding, axis=1) / np.linalg.norm(whole.embedding, axis=1)
    same = 1.0
    if whole.viewpoint is not None and less.viewpoint is not None:
        same = float((whole.viewpoint.argmax(1) == less.viewpoint.argmax(1)).mean())
    return Parity(
        data_set=planned.data_set, drift_p50=float(np.median(drift)), drift_p99=float(np.percentile(drift, 99)),
        same_viewpoint=same,
        reference=_figures(planned, whole.embedding, whole.embedding, seed),
        own=_figures(planned, less.embedding, less.embedding, seed),
        reduced_probes=_figures(planned, less.embedding, whole.embedding, seed),
        reduced_gallery=_figures(planned, whole.embedding, less.embedding, seed),
    )  # fmt: skip


def _figures(planned: Plan, probes: NDArray[np.float32], gallery: NDArray[np.float32], seed: int) -> Figures:
    """Probes taken from one array of the plan's rows (N, D), gallery from the other."""
    largest = max(planned.draws.values(), key=lambda draws: len(draws[0].gallery))
    stacked = np.concatenate([probes, gallery])
    scores = []
    for draw in largest:
        contest = Contest(planned.labels(draw.probes), planned.labels(draw.gallery), planned.rule)
        distances = Euclidean(stacked, draw.probes, draw.gallery + len(probes))
        scores.append(score(distances, contest, progress=False).of_pictures(draw.probes))
    return summarize(scores, seed=seed)
