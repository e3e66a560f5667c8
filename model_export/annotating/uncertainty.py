"""How unsure V-Net is of a picture, and the order in which a person should look.

The measure is the entropy of V-Net's probabilities as a share of the largest possible one:

    u(p) = −Σ_v p_v · ln p_v / ln V

0 where one viewpoint has all the probability, 1 where all V have the same (Settles, "Active Learning Literature
Survey", 2009, section 3.1: entropy).
"""

import numpy as np
from numpy.typing import NDArray


def uncertainty(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """u(p) of every row: float32 (N, V), V ≥ 2 → float64 (N,) in 0…1."""
    p = np.clip(probabilities.astype(np.float64), 0, 1)  # (N, V)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0.0)  # 0 · ln 0 is 0
    share: NDArray[np.float64] = np.clip(-terms.sum(1) / np.log(p.shape[1]), 0, 1)
    return share


def most_uncertain_first(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of the rows of (N, V) by falling uncertainty, int64 (N,); equals stay in their order."""
    return np.argsort(-uncertainty(probabilities), kind="stable")
