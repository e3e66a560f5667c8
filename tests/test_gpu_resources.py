"""The one owner of the GPU: refused in one line where there is none, and what it makes where there is one."""

import faiss
import numpy as np
import pytest

from index.errors import IndexDeviceUnavailable, NotEnoughMemory
from index.gallery import Vectors
from index.searching.device_trial import proven_error
from index.searching.gpu_resources import GpuResources, cuda_free
from tests.index_kinds import gpu


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_without_a_gpu_the_setting_and_the_way_out_are_named() -> None:
    with pytest.raises(IndexDeviceUnavailable) as refused:
        GpuResources()
    assert "index_device is cuda, but" in str(refused.value)
    assert str(refused.value).endswith("or use index_device cpu")
    assert ("the extra 'gpu'" in str(refused.value)) != hasattr(faiss, "StandardGpuResources")
    assert cuda_free() is None


@pytest.mark.gpu
@pytest.mark.parametrize("dim", [32, 512, 768])
@pytest.mark.parametrize("vectors", ["fp32", "fp16"])
def test_a_gpu_keeps_to_filters_and_is_nearly_exact(dim: int, vectors: Vectors) -> None:
    assert proven_error(gpu(), dim, vectors) < 8e-3


@pytest.mark.gpu
def test_what_is_free_is_known_and_is_not_exceeded() -> None:
    device = gpu()
    free = device.free()
    assert free is not None
    assert free > 0
    with pytest.raises(
        NotEnoughMemory, match=r"x needs .* MB more of the GPU's memory, where .* MB are free on the device"
    ):
        device.take(free + 10**9, "x")


@pytest.mark.gpu
def test_memory_is_given_back() -> None:
    device = gpu()
    rows = np.zeros((200_000, 512), dtype=np.float32)
    with device.lock:
        index = device.empty(512, "fp32")
        before = device.free()
        device.add(index, rows)
        during = device.free()
        del index
        after = device.free()
    assert before is not None
    assert during is not None
    assert after is not None
    assert 0.9 * rows.nbytes < before - during < 1.5 * rows.nbytes
    assert before - after < 0.1 * rows.nbytes
