"""The one owner of FAISS's ``GpuResources`` in a process: indexes on an NVIDIA GPU, by cuVS."""

import ctypes
from typing import Any, Final

from index.errors import IndexDeviceUnavailable
from index.gallery import Vectors
from index.searching.index_device import FAILURES, IndexDevice, one_line
from index.searching.placed_index import faiss

SCRATCH: Final = 256 * 2**20  # bytes
_DEVICE = 0  # the first that CUDA_VISIBLE_DEVICES lets this process see
_WAY_OUT = "or use index_device cpu"


class GpuResources(IndexDevice):
    """See ``IndexDevice``. Make one a process, before its galleries are opened.

    Raises IndexDeviceUnavailable where FAISS has no GPU support, or no cuVS, or finds no GPU.
    """

    name = "cuda"

    def __init__(self, *, cap: int | None = None, scratch: int = SCRATCH) -> None:
        super().__init__(cap=cap, scratch=scratch)
        if not hasattr(faiss, "StandardGpuResources"):
            raise IndexDeviceUnavailable(
                "index_device is cuda, but this FAISS is built without GPU support: install the extra 'gpu' in place "
                f"of 'cpu', {_WAY_OUT}"
            )
        if "NVIDIA_CUVS" not in faiss.get_compile_options():
            raise IndexDeviceUnavailable(
                "index_device is cuda, but this FAISS is built without cuVS, which filters need: install "
                f"faiss-gpu-cuvs (the extra 'gpu') in place of faiss-gpu, {_WAY_OUT}"
            )
        if faiss.get_num_gpus() == 0:
            raise IndexDeviceUnavailable(
                "index_device is cuda, but FAISS finds no GPU: check nvidia-smi, its driver (CUDA 13 needs 580 or "
                f"newer) and CUDA_VISIBLE_DEVICES, {_WAY_OUT}"
            )
        try:
            self._resources = faiss.StandardGpuResources()
            self._resources.setTempMemory(scratch)  # bytes, taken at once when the first index is made
            with self.lock:
                self.empty(1, "fp32")
        except FAILURES as error:
            raise IndexDeviceUnavailable(
                f"index_device is cuda, but FAISS cannot use the GPU with gpu_scratch_memory {scratch / 1e6:,.0f} MB: "
                f"{one_line(error)}; lower gpu_scratch_memory, {_WAY_OUT}"
            ) from error

    def empty(self, dim: int, vectors: Vectors) -> Any:
        config = faiss.GpuIndexFlatConfig()
        config.device, config.use_cuvs, config.useFloat16 = _DEVICE, True, vectors == "fp16"
        return faiss.GpuIndexFlat(self._resources, dim, faiss.METRIC_L2, config)

    def free(self) -> int | None:
        return cuda_free()


def cuda_free() -> int | None:
    """Bytes that are free on the GPU, as CUDA says; None where it says nothing."""
    try:
        told = ctypes.CDLL(None).cudaMemGetInfo  # FAISS's GPU build loads CUDA for everybody in the process
    except (OSError, AttributeError):
        return None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    return free.value if told(ctypes.byref(free), ctypes.byref(total)) == 0 else None
