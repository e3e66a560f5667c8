"""Differences between rows, and when they say something."""

import numpy as np
import pytest

from index.errors import ModelError
from model_export.reproducing.claims import CLAIMS, OUR_CLAIMS, judge, paired_difference
from model_export.reproducing.row_run import RowResult
from model_export.reproducing.tables import TABLES, trained_rows


def result(precision: list[float], vehicle: list[str]) -> RowResult:
    return RowResult(figures={}, precision=tuple(precision), vehicle=tuple(vehicle), seconds=1.0, taken_up_at=None)


def test_every_claim_compares_two_rows_that_are_trained() -> None:
    names = {row.name for row in trained_rows(tuple(TABLES.values()))}
    assert {name for claim in (*CLAIMS, *OUR_CLAIMS) for name in (claim.better, claim.worse)} <= names


def test_the_difference_is_that_of_the_means_and_its_interval_draws_vehicles() -> None:
    rng = np.random.default_rng(0)
    vehicle = [f"v{n // 6}" for n in range(120)]
    shift = np.repeat(rng.normal(0.05, 0.1, 20), 6)  # a vehicle's pictures gain or lose together
    worse = rng.uniform(0.3, 0.6, 120)
    found = paired_difference(result((worse + shift).tolist(), vehicle), result(worse.tolist(), vehicle), seed=0)
    assert found["difference"] == pytest.approx(shift.mean())
    of_vehicles = shift[::6]
    expected = 1.96 * of_vehicles.std(ddof=1) / len(of_vehicles) ** 0.5
    assert (found["high"] - found["low"]) / 2 == pytest.approx(expected, rel=0.2)
    assert found["low"] < found["difference"] < found["high"]


def test_verdicts() -> None:
    vehicle = ["a", "a", "b", "c"]
    low, high = result([0.1, 0.2, 0.1, 0.3], vehicle), result([0.4, 0.6, 0.5, 0.5], vehicle)
    mixed = result([0.4, 0.2, 0.1, 0.1], vehicle)
    by_text = {
        v.claim.text: v.word
        for v in judge(CLAIMS, {"split-4-none": high, "baseline-1": low, "multi-view-binary": high}, seed=0)
    }
    assert by_text == {"Branches for views help": "borne out", "Probabilities beat one-hot viewpoints": "open"}
    [verdict] = judge(CLAIMS, {"split-4-glam": low, "split-4-none": high}, seed=0)
    assert verdict.word == "contradicted"
    [verdict] = judge(CLAIMS, {"split-4-glam": low, "split-4-none": mixed}, seed=0)
    assert verdict.word == "open"


def test_rows_of_other_probes_are_not_compared() -> None:
    with pytest.raises(ModelError, match="different probes"):
        paired_difference(result([0.5], ["a"]), result([0.5], ["b"]), seed=0)
