"""Curves from distances to probabilities: that they are the right ones where the truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from index.contract import MatchProbability
from index.errors import InvalidValue
from model_export.measuring.calibration import (
    SMALLEST,
    calibrate,
    fit_isotonic,
    fit_logistic,
    probabilities,
    reliability,
)
from model_export.measuring.ranked_matches import RankedMatches


def drawn(truth: "NDArray[np.float64] | None" = None, *, count: int = 4000, seed: int = 0) -> RankedMatches:
    """Matches whose chance to be right is known: a logistic curve, or ``truth`` of 200 steps of the distance."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(0, 1.2, count).round(4)
    chance = 1 / (1 + np.exp(12 * distance - 6)) if truth is None else truth[(distance / 1.2 * 200).astype(int)]
    return RankedMatches(
        distance=distance, right=rng.random(count) < chance, vehicle=np.arange(count) // 10, probes=count // 10,
        gallery=count,
    )  # fmt: skip


def test_a_logistic_truth_is_found_again() -> None:
    parameters = fit_logistic(drawn(count=40_000))
    assert parameters["slope"] == pytest.approx(12, rel=0.05)
    assert parameters["intercept"] == pytest.approx(6, rel=0.05)


def test_the_logistic_fit_is_where_the_likelihood_is_flat() -> None:
    matches = drawn(count=500)
    parameters = fit_logistic(matches)

    def loss(intercept: float, slope: float) -> float:
        right, wrong = matches.right.sum(), (~matches.right).sum()
        target = np.where(matches.right, (right + 1) / (right + 2), 1 / (wrong + 2))
        p = 1 / (1 + np.exp(slope * matches.distance - intercept))
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())

    here = loss(parameters["intercept"], parameters["slope"])
    for change in (-0.02, 0.02):
        assert here < loss(parameters["intercept"] + change, parameters["slope"])
        assert here < loss(parameters["intercept"], parameters["slope"] + change)


def test_matches_that_can_be_told_apart_leave_a_slope_that_is_a_number() -> None:
    distance = np.concatenate([np.full(50, 0.2), np.full(50, 0.9)])
    matches = RankedMatches(distance=distance, right=distance < 0.5, vehicle=np.arange(100), probes=100, gallery=100)
    curve = MatchProbability(form="logistic", parameters=fit_logistic(matches), ranks=10, prior=0.5, data_set="")
    assert curve.of(0.2) > 0.97
    assert curve.of(0.9) < 0.03


def test_a_distance_that_tells_nothing_is_refused() -> None:
    rng = np.random.default_rng(1)
    distance = rng.uniform(0, 1, 400).round(4)
    matches = RankedMatches(distance=distance, right=distance > 0.5, vehicle=np.arange(400), probes=400, gallery=400)
    with pytest.raises(InvalidValue, match="the distance tells nothing"):
        calibrate(matches, data_set="d")


def test_isotonic_points_are_pools_of_a_naive_loop() -> None:
    matches = drawn(count=2000)
    parameters = fit_isotonic(matches)
    distances, heights = np.array(parameters["distances"]), np.array(parameters["probabilities"])
    assert (np.diff(distances) > 0).all()
    assert (np.diff(heights) <= 0).all()
    order = np.argsort(matches.distance, kind="stable")
    sums = np.concatenate([[0], np.cumsum(matches.right[order])])
    for place in range(0, 2000, 97):  # the falling fit: the least of the largest means over stretches around a place
        fitted = min(
            max((sums[end] - sums[start]) / (end - start) for end in range(place + 1, 2001))
            for start in range(place + 1)
        )
        said = float(np.interp(matches.distance[order][place], distances, heights))
        assert said == pytest.approx(fitted, abs=0.06)  # small pools are joined


def test_every_isotonic_point_rests_on_some_matches_and_none_is_certain() -> None:
    distance = np.arange(100) / 100
    matches = RankedMatches(distance=distance, right=distance < 0.5, vehicle=np.arange(100), probes=100, gallery=100)
    sure, never = round(51 / 52, 6), round(1 / 52, 6)
    assert fit_isotonic(matches) == {
        "distances": [0.0, 0.49, 0.5, 0.99], "probabilities": [sure, sure, never, never],
    }  # fmt: skip
    few = RankedMatches(
        distance=np.arange(25) / 100, right=np.arange(25) < 1, vehicle=np.arange(25), probes=25, gallery=25
    )
    assert fit_isotonic(few) == {"distances": [0.0, 0.24], "probabilities": [0.04, 0.04]}  # one match is no point
    assert SMALLEST == 20


@pytest.mark.parametrize("shape", ["logistic", "steps"])
def test_the_better_curve_is_taken_and_said_to_be_true(shape: str) -> None:
    steps = np.select([np.arange(201) < 60, np.arange(201) < 140], [0.95, 0.3], 0.02)
    matches = drawn(None if shape == "logistic" else steps, count=8000)
    calibrated = calibrate(matches, data_set="d", seed=1)
    if shape == "steps":
        assert calibrated.probability.form == "isotonic"
        assert calibrated.held_out["isotonic"].log_loss < calibrated.held_out["logistic"].log_loss
    own = calibrated.held_out[calibrated.probability.form]
    assert own.log_loss == min(each.log_loss for each in calibrated.held_out.values())
    assert own.ece < 0.02
    assert own.log_loss < calibrated.prior_loss
    fresh = drawn(None if shape == "logistic" else steps, count=8000, seed=9)
    told = reliability(probabilities(calibrated.probability, fresh.distance), fresh.right)
    assert told.log_loss == pytest.approx(own.log_loss, abs=0.02)
    assert calibrated.probability.prior == pytest.approx(matches.right.mean(), abs=1e-6)
    assert calibrated.probability.figures["matches"] == 8000


def test_what_is_told_is_told_of_vehicles_that_were_not_learnt() -> None:
    """Vehicles whose ten matches are right or wrong together: to know nine of them is to know the tenth."""
    rng = np.random.default_rng(2)
    vehicle = np.repeat(np.arange(80), 10)
    distance = (vehicle / 80 + rng.uniform(0, 0.01, 800)).round(4)
    right = rng.random(80)[vehicle] < 0.8 - 0.6 * vehicle / 80
    apart = RankedMatches(distance=distance, right=right, vehicle=vehicle, probes=80, gallery=800)
    known = RankedMatches(distance=distance, right=right, vehicle=np.arange(800), probes=80, gallery=800)
    honest, learnt = (calibrate(each, data_set="d").held_out["isotonic"].log_loss for each in (apart, known))
    assert honest > learnt + 0.02


def test_reliability_is_what_a_table_by_hand_says() -> None:
    said = np.array([0.05, 0.05, 0.95, 0.95, 0.95, 0.95])
    right = np.array([False, True, True, True, True, False])
    told = reliability(said, right)
    assert [count for count, _, _ in told.bins] == [2, 4]
    assert np.allclose([each[1:] for each in told.bins], [(0.05, 0.5), (0.95, 0.75)])
    assert told.ece == pytest.approx((2 * 0.45 + 4 * 0.2) / 6)
    assert told.log_loss == pytest.approx(-np.log([0.95, 0.05, 0.95, 0.95, 0.95, 0.05]).mean())
    assert reliability(np.array([0.999]), np.array([True])).bins[0][0] == 1


@pytest.mark.parametrize("change", ["few", "all right", "one vehicle"])
def test_too_few_are_refused_with_what_is_needed(change: str) -> None:
    matches = drawn(count=100 if change == "few" else 1000)
    right = np.ones(1000, bool) if change == "all right" else matches.right
    vehicle = np.zeros(1000, np.int64) if change == "one vehicle" else matches.vehicle
    given = RankedMatches(distance=matches.distance, right=right, vehicle=vehicle, probes=9, gallery=9)
    with pytest.raises(InvalidValue, match="a probability needs 30 of each"):
        calibrate(given, data_set="roads")
