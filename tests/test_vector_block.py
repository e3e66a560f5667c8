"""Stored vectors as one array."""

import numpy as np
import pytest

from index.errors import StorageError
from index.storage.vector_block import stacked


def test_vectors_come_back_in_order() -> None:
    expected = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = stacked([row.astype("<f4").tobytes() for row in expected], 2)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    assert stacked([], 5).shape == (0, 5)


@pytest.mark.parametrize("sizes", [(7, 8), (8, 12), (4, 12)])  # the last are as many bytes as two should have
def test_a_vector_of_another_size_is_told(sizes: tuple[int, ...]) -> None:
    with pytest.raises(StorageError, match="has not 2 numbers; `vehicle-index verify` names it"):
        stacked([bytes(size) for size in sizes], 2)
