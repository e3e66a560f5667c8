"""Seeds: the same numbers the same seed, others another."""

from model_export.training.seeds import seed_of


def test_numbers_and_their_order_decide() -> None:
    assert seed_of(0, 7) == seed_of(0, 7)
    seeds = {seed_of(first, second) for first in range(20) for second in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
