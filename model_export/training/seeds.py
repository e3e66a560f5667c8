"""Seeds of draws that must not depend on what was drawn before them."""

import numpy as np


def seed_of(*numbers: int) -> int:
    """A seed for torch, 63 bits, that a change of any of the numbers changes wholly."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
