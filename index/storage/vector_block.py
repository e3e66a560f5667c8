"""Stored vectors as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import StorageError


def stacked(vectors: Sequence[Any], dim: int) -> NDArray[np.float32]:
    """Vectors as the database keeps them (bytes), float32 (n, D); StorageError where one is not of ``dim`` numbers."""
    if not set(map(len, vectors)) <= {4 * dim}:
        raise StorageError(
            f"a stored vector has not {dim} numbers; `vehicle-index verify` names it, `vehicle-index repair` saves the "
            "rest"
        )
    return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), dim).astype(np.float32, copy=False)
