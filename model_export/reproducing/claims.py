"""What the paper claims, and what we claim of our recipe, as differences between two rows; whether ours bear it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from index.errors import ModelError
from model_export.reproducing.row_run import RowResult
from model_export.reproducing.tables import (
    BASELINE_1,
    BASELINE_2,
    BASELINE_3,
    BASELINE_4,
    BINARY,
    MULTI_VIEW,
    MVAN_ROW,
    SECOND_BASELINE_1,
    SECOND_MULTI_VIEW,
    SECOND_MVAN,
    SOFTENED,
    SOFTMAX,
    STRONG,
    STRONG_WITHOUT,
    TRIPLET,
    split_row,
)

_DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True, kw_only=True)
class Claim:
    """``better`` and ``worse`` are names of rows."""

    text: str
    better: str
    worse: str


CLAIMS = (
    Claim(text="Branches for views help", better=MULTI_VIEW.name, worse=BASELINE_1.name),
    Claim(text="… by more than three times the weights do", better=MULTI_VIEW.name, worse=BASELINE_2.name),
    Claim(text="Probabilities beat one-hot viewpoints", better=MULTI_VIEW.name, worse=BINARY.name),
    Claim(text="Three views beat two", better=MVAN_ROW.name, worse=BASELINE_4.name),
    Claim(text="Three views beat one", better=MVAN_ROW.name, worse=BASELINE_3.name),
    Claim(text="Both losses beat softmax alone", better=MVAN_ROW.name, worse=SOFTMAX.name),
    Claim(text="Both losses beat triplet alone", better=MVAN_ROW.name, worse=TRIPLET.name),
    Claim(text="GLAM helps", better=MVAN_ROW.name, worse=MULTI_VIEW.name),
    Claim(text="GLAM beats GAM alone", better=MVAN_ROW.name, worse=split_row(4, "gam").name),
    Claim(text="GLAM beats LAM alone", better=MVAN_ROW.name, worse=split_row(4, "lam").name),
    Claim(text="Parting after conv4 beats parting after conv1", better=MVAN_ROW.name, worse=split_row(1, "glam").name),
    Claim(
        text="Branches help the second backbone", better=SECOND_MULTI_VIEW.name, worse=SECOND_BASELINE_1.name
    ),
    Claim(text="GLAM helps the second backbone", better=SECOND_MVAN.name, worse=SECOND_MULTI_VIEW.name),
)  # fmt: skip
OUR_CLAIMS = (
    Claim(text="Branches that answer together, against p itself", better=SOFTENED.name, worse=MULTI_VIEW.name),
    Claim(text="Branches that answer together, against one network", better=SOFTENED.name, worse=BASELINE_1.name),
    *(Claim(text=part, better=STRONG.name, worse=row.name) for part, row in STRONG_WITHOUT.items()),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Difference in mAP, ``better`` less ``worse``, with its 95 % interval over the tested vehicles."""

    claim: Claim
    difference: float
    low: float
    high: float

    @property
    def word(self) -> Literal["borne out", "contradicted", "open"]:
        """Which side of nothing the whole interval is on."""
        return "borne out" if self.low > 0 else "contradicted" if self.high < 0 else "open"


def judge(claims: Sequence[Claim], results: Mapping[str, RowResult], *, seed: int) -> list[Verdict]:
    """Every one of ``claims`` whose two rows are there."""
    return [
        Verdict(claim=claim, **paired_difference(results[claim.better], results[claim.worse], seed=seed))
        for claim in claims
        if claim.better in results and claim.worse in results
    ]


def paired_difference(better: RowResult, worse: RowResult, *, seed: int) -> dict[str, float]:
    """``difference``, ``low`` and ``high`` in mAP of the same probes, whole vehicles drawn again.

    Pictures of one vehicle stand or fall together, so vehicles are what is drawn (the cluster bootstrap). Raises
    ModelError where the rows were not measured on the same probes.
    """
    if better.vehicle != worse.vehicle:
        raise ModelError("two rows were measured on different probes; remove their folders and run again")
    _, codes = np.unique(np.array(better.vehicle), return_inverse=True)
    sums = np.bincount(codes, np.subtract(better.precision, worse.precision))  # (vehicles,)
    counts = np.bincount(codes)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (_DRAWS, len(counts)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": float(sums.sum() / counts.sum()), "low": float(low), "high": float(high)}
