"""A device that errs or ignores filters is found out before it answers for anybody."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import IndexDeviceUnavailable
from index.gallery import Vectors
from index.searching.device_trial import as_kept, proven_error
from index.searching.placed_index import Bits, Found
from index.searching.vector_index import RELATIVE_ERROR
from tests.host_device import HostDevice, faiss


class Erring(HostDevice):
    """Wrong by a share of every squared distance, or in other ways."""

    def __init__(self, *, share: float = 0, deaf: bool = False, blind: bool = False) -> None:
        super().__init__()
        self.share, self.deaf, self.blind = share, deaf, blind
        self.searches = 0

    def search(self, index_on_device: Any, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        self.searches += 1
        squares, places = super().search(index_on_device, queries, count, None if self.deaf else bits)
        if self.blind and bits is None:
            places = np.maximum(places // 2 * 2, 0)  # tells some rows twice
        return squares * np.float32(1 + self.share), places


@pytest.mark.parametrize("vectors", ["fp32", "fp16"])
def test_the_error_is_measured_once_with_some_to_spare(vectors: Vectors) -> None:
    device = Erring()
    assert RELATIVE_ERROR <= proven_error(device, 48, vectors) < 3 * RELATIVE_ERROR
    once = device.searches
    proven_error(device, 48, vectors)
    assert device.searches == once
    assert 3e-4 < proven_error(Erring(share=1e-3), 48, vectors) < 8e-3


def test_a_device_that_cannot_be_trusted_is_refused() -> None:
    with pytest.raises(IndexDeviceUnavailable, match="the device host gives rows that a filter leaves out"):
        proven_error(Erring(deaf=True), 48, "fp32")
    with pytest.raises(
        IndexDeviceUnavailable, match=r"off by .* of the vectors' squared lengths: use index_device cpu"
    ):
        proven_error(Erring(share=0.02), 48, "fp32")
    with pytest.raises(IndexDeviceUnavailable, match="off by inf"):
        proven_error(Erring(blind=True), 48, "fp32")


def test_numbers_beyond_a_half_are_cut_off() -> None:
    x = np.array([[1e6, -1e6, 0.1, 1]], dtype=np.float32)
    assert as_kept(x, "fp32") is x
    np.testing.assert_allclose(as_kept(x, "fp16"), [[65504, -65504, 0.1, 1]], rtol=1e-3)


class Failing(HostDevice):
    """FAISS fails."""

    def empty(self, dim: int, vectors: Vectors) -> Any:
        faiss.IndexFlat(1).merge_from(faiss.IndexFlat(2))


def test_a_device_that_fails_is_refused_in_one_line() -> None:
    with pytest.raises(IndexDeviceUnavailable, match=r"the device host failed when it was tried with vectors of 48 "):
        proven_error(Failing(), 48, "fp32")
