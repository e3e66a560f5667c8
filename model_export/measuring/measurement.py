"""One model measured on one data set by the data set's own protocol."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.data_sets.data_set import DataSet, Protocol
from model_export.measuring.distances import Distances, Euclidean
from model_export.measuring.evaluation import Figures, columns, summarize
from model_export.measuring.measured_model import MeasuredModel, Seen, see_rows
from model_export.measuring.protocols import Draw, Plan, plan
from model_export.measuring.re_ranking import KReciprocal, require_fits
from model_export.measuring.scoring import Contest, Scores, score
from model_export.measuring.viewpoint_accuracy import ViewpointFigures, viewpoint_figures

_COLUMNS = ("rank_1", "rank_5", "rank_10", "map", "minp")


@dataclass(frozen=True, kw_only=True)
class ListFigures:
    """Figures of one test list and, where it was drawn several times, their standard deviation over the draws."""

    figures: Figures
    draws: int
    deviation: Mapping[str, float]  # of rank_1, rank_5, rank_10, map and minp; empty for one draw

    def to_dict(self) -> dict[str, object]:
        """Plain values; deviations end in ``_sd``."""
        drawn = {f"{name}_sd": round(value, 4) for name, value in self.deviation.items()}
        return {**self.figures.to_dict(), **({"draws": self.draws, **drawn} if drawn else {})}

    def __str__(self) -> str:
        if not self.deviation:
            return str(self.figures)
        means = self.figures.to_dict()
        shares = ", ".join(
            f"{word} {means[name]:.1%} ± {self.deviation[name]:.1%}"
            for word, name in zip(("rank-1", "rank-5", "rank-10", "mAP", "mINP"), _COLUMNS, strict=True)
        )
        return f"{shares}, {self.figures.probes} probes × {self.figures.gallery}, mean ± sd of {self.draws} draws"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """All figures of a model on a data set, by test list ("" where the protocol has none)."""

    model: str
    fingerprint: str
    data_set: str
    protocol: str
    part: str
    seed: int
    reranked: bool
    note: str
    lists: Mapping[str, ListFigures]
    viewpoint: ViewpointFigures | None

    @property
    def largest(self) -> str:
        """The test list with the largest gallery: VehicleID's figures that papers quote last."""
        return max(self.lists, key=lambda name: self.lists[name].figures.gallery)

    @property
    def figures(self) -> Figures:
        """Figures of the largest test list."""
        return self.lists[self.largest].figures

    def to_dict(self) -> dict[str, object]:
        """One JSON object: the largest list's figures at the top, every list's own under ``test_lists``."""
        document: dict[str, object] = {
            "model": self.model, "fingerprint": self.fingerprint, "data_set": self.data_set, "protocol": self.protocol,
            "part": self.part, "seed": self.seed, "reranked": self.reranked, **self.lists[self.largest].to_dict(),
        }  # fmt: skip
        if self.largest:
            document["test_list"] = self.largest
            document["test_lists"] = {name: own.to_dict() for name, own in self.lists.items()}
        if self.viewpoint:
            document["viewpoint"] = self.viewpoint.to_dict()
        if self.note:
            document["note"] = self.note
        return document

    def for_contract(self) -> dict[str, object]:
        """As a model file keeps it, by the data set's name: without what says which file it was."""
        return {key: value for key, value in self.to_dict().items() if key not in ("model", "fingerprint", "data_set")}

    def __str__(self) -> str:
        title = f"{self.model} ({self.fingerprint[:12]}) on {self.data_set}, {self.protocol}"
        title += (
            f", probes {self.part}" * bool(self.part)
            + f" (seed {self.seed})" * ("%" in self.part)
            + ", re-ranked" * self.reranked
        )
        lines = [title, *(f"{name}: {own}" if name else str(own) for name, own in self.lists.items())]
        lines += [f"note: {self.note}"] * bool(self.note)
        return "\n".join([*lines, *([str(self.viewpoint)] if self.viewpoint else [])])


def measure(
    model: MeasuredModel, data: DataSet, *, part: str = "", seed: int = 0, protocol: Protocol | None = None,
    rerank: bool = False, progress: bool = True,
) -> Measurement:  # fmt: skip
    """Embed what the protocol needs, rank, count. ``part``, ``seed``, ``protocol`` as in :func:`.protocols.plan`.

    Raises InvalidValue for a data set that cannot be measured, ModelError for a model that cannot measure it.
    """
    planned = plan(data, part=part, seed=seed, protocol=protocol)
    if rerank:
        require_fits(max(len(draw.probes) + len(draw.gallery) for draws in planned.draws.values() for draw in draws))
    seen = see_rows(model, planned.rows, progress=progress)
    lists = {}
    for name, draws in planned.draws.items():
        scores = score_draws(planned, draws, seen.embedding, rerank=rerank, progress=progress)
        spread = np.std([columns(own).mean(0) for own in scores], axis=0, ddof=1) if len(scores) > 1 else ()
        lists[name] = ListFigures(
            figures=summarize(scores, seed=seed), draws=len(scores),
            deviation={key: float(value) for key, value in zip(_COLUMNS, spread, strict=False)},
        )  # fmt: skip
    return Measurement(
        model=model.name, fingerprint=model.fingerprint, data_set=planned.data_set, protocol=planned.protocol,
        part=part, seed=seed, reranked=rerank, note=planned.note, lists=lists,
        viewpoint=_viewpoint(planned, seen, model.viewpoints),
    )  # fmt: skip


def score_draws(
    planned: Plan, draws: tuple[Draw, ...], vectors: NDArray[np.float32], *, rerank: bool = False, progress: bool = True
) -> list[Scores]:
    """Scores of some draws of one test list; ``Scores.probe`` are positions in the plan's rows."""
    involved = np.union1d(draws[0].probes, draws[0].gallery)  # the same pictures in every draw
    codes = KReciprocal(vectors[involved], progress=progress) if rerank else None
    scores = []
    for draw in draws:
        distances: Distances = Euclidean(vectors, draw.probes, draw.gallery)
        if codes is not None:
            places = np.searchsorted(involved, draw.probes), np.searchsorted(involved, draw.gallery)
            distances = codes.between(*places)
        views = planned.viewpoints(draw.probes), planned.viewpoints(draw.gallery)
        contest = Contest(planned.labels(draw.probes), planned.labels(draw.gallery), planned.rule, views)
        scores.append(score(distances, contest, progress=progress).of_pictures(draw.probes))
    return scores


def _viewpoint(planned: Plan, seen: Seen, viewpoints: tuple[str, ...]) -> ViewpointFigures | None:
    if seen.viewpoint is None:
        return None
    labels = [planned.rows[at].viewpoint for at in planned.tested]
    return viewpoint_figures(seen.viewpoint[planned.tested], labels, viewpoints)
