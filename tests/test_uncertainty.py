"""The measure against the formula written as a loop."""

import math

import numpy as np
import pytest

from model_export.annotating.uncertainty import most_uncertain_first, uncertainty


@pytest.mark.parametrize("viewpoints", [2, 3, 5])
def test_it_is_the_entropy_as_a_share_of_the_largest(viewpoints: int) -> None:
    p = np.random.default_rng(viewpoints).dirichlet([0.4] * viewpoints, 50).astype(np.float32)
    expected = [-sum(float(x) * math.log(float(x)) for x in row if x > 0) / math.log(viewpoints) for row in p]
    np.testing.assert_allclose(uncertainty(p), expected, atol=1e-6)


def test_sure_is_zero_and_torn_is_one() -> None:
    p = np.array([[0, 1, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]], dtype=np.float32)
    np.testing.assert_allclose(uncertainty(p), [0, 1, math.log(2) / math.log(3)], atol=1e-6)


def test_the_most_uncertain_come_first_and_equals_stay_in_order() -> None:
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [1, 0], [0.6, 0.4], [0, 1]], dtype=np.float32)
    assert most_uncertain_first(p).tolist() == [1, 4, 0, 2, 3, 5]
