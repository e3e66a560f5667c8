"""Intervals: by formula, and by what they must do."""

import numpy as np
import pytest

from model_export.measuring.intervals import bootstrap, wilson


def test_wilson_interval() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


def test_a_bootstrapped_share_has_the_width_of_its_normal_approximation() -> None:
    values = (np.arange(900) % 3 == 0).astype(np.float64)[:, None]
    ((low, high),) = bootstrap(values, np.arange(900))
    half = 1.96 * (1 / 3 * 2 / 3 / 900) ** 0.5
    assert (low, high) == pytest.approx((1 / 3 - half, 1 / 3 + half), abs=0.004)


def test_each_column_has_its_own_and_a_seed_repeats_it() -> None:
    values = np.random.default_rng(0).uniform(size=(50, 2)) + np.array([0, 10])
    first, second = bootstrap(values, np.arange(50), seed=3)
    assert first[0] < values[:, 0].mean() < first[1] < 2 < second[0] < values[:, 1].mean() < second[1]
    assert bootstrap(values, np.arange(50), seed=3) == [first, second]
    assert bootstrap(values, np.arange(50), seed=4) != [first, second]


def test_repeating_every_picture_ten_times_makes_nothing_surer() -> None:
    values = np.random.default_rng(0).uniform(size=(80, 1))
    repeated = np.repeat(values, 10, axis=0)
    assert bootstrap(repeated, np.repeat(np.arange(80), 10)) == [pytest.approx(bootstrap(values, np.arange(80))[0])]
    ((low, high),), ((narrow_low, narrow_high),) = bootstrap(values, np.arange(80)), bootstrap(repeated, np.arange(800))
    assert narrow_high - narrow_low < 0.5 * (high - low)
