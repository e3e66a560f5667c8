"""The model file at work: crops in, embeddings out, by ONNX Runtime on the device that was asked for."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from index.contract import METADATA_KEY, Contract, fingerprint
from index.errors import ContractError, DeviceUnavailable, InvalidValue, ModelError
from index.machine.cpu_quota import usable_cpus

Device = Literal["auto", "cpu", "cuda"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ATTENTION = ("global_attention", "local_attention")
_ERRORS_ONLY = 3


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What the model says of N crops: ``embedding`` float32 (N, D), ``viewpoint`` float32 (N, V), None where V is 1."""

    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Where the model looked, float32 (N, h, w) each: over all branches, weighted by the viewpoints."""

    globally: NDArray[np.float32]
    locally: NDArray[np.float32]


class Embedder:
    """One model file, opened once. ``embed`` and ``attention`` may be called from any number of threads.

    ``device``: "cuda" is refused where CUDA does not really run; "auto" uses it where it does. ``threads``: cores that
    one call keeps busy, by default the container's CPU quota. ``alone_threads``: cores that a call keeps busy where it
    says that it is alone; more than ``threads`` take a second session on a CPU, and on a GPU mean nothing.
    ``gpu_memory``: bytes of the GPU that ONNX Runtime may take for it, 0: as many as it asks for.

    Raises ModelError (missing, not a model, fails to run), ContractError, DeviceUnavailable.
    """

    contract: Contract
    fingerprint: str
    provider: str  # the execution provider that runs, as ONNX Runtime calls it
    has_attention: bool  # whether the file has attention outputs
    threads: int

    def __init__(
        self, model: Path, *, device: Device = "auto", threads: int | None = None, alone_threads: int = 0,
        gpu_memory: int = 0,
    ) -> None:  # fmt: skip
        if not model.is_file():
            raise ModelError(f"there is no model file {model}; name one that `vehicle-model export` wrote")
        self.threads = usable_cpus() if threads is None else threads
        self._gpu_memory = gpu_memory
        stamp = _stamp(model)
        self._session = _open(model, device, self.threads, gpu_memory)
        self.contract = _contract(self._session, model)
        self.fingerprint = fingerprint(model)
        self.provider = self._session.get_providers()[0]
        self._fetches = ["embedding", "viewpoint"] if self.contract.has_viewpoint else ["embedding"]
        outputs = _check_tensors(self._session, self.contract)
        self.has_attention = outputs.issuperset(_ATTENTION)
        try:
            self._run_once()
        except ModelError:
            if device != "auto" or self.provider == _CPU:
                raise
            self._session = _session(model, [_CPU], self.threads)  # the GPU opens but does not work
            self.provider = self._session.get_providers()[0]
            self._run_once()
        self._alone_session = self._session
        if self.provider == _CPU and alone_threads > self.threads:
            self._alone_session = _session(model, [_CPU], alone_threads)
            self._run(self._fetches, self._grey(), alone=True)
        if _stamp(model) != stamp:  # sessions and fingerprint are of one file
            raise ModelError(f"the model file {model} changed while it was read; try again when it is whole")

    def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
        """Embed crops, uint8 (N, H, W, 3); N may be 0. Values that are not finite are passed on as they are.

        ``alone``: no other call is made now, so this one may have ``alone_threads``.
        """
        if self._is_empty(crops):
            V = len(self.contract.viewpoints)  # noqa: N806
            return Embedded(
                embedding=np.empty((0, self.contract.embedding_dim), dtype=np.float32),
                viewpoint=np.empty((0, V), dtype=np.float32) if self.contract.has_viewpoint else None,
            )
        outputs = self._run(self._fetches, crops, alone=alone)
        self._require_shape("embedding", outputs[0], (len(crops), self.contract.embedding_dim))
        if self.contract.has_viewpoint:
            self._require_shape("viewpoint", outputs[1], (len(crops), len(self.contract.viewpoints)))
        return Embedded(embedding=outputs[0], viewpoint=outputs[1] if self.contract.has_viewpoint else None)

    def attention(self, crops: NDArray[np.uint8]) -> AttentionMaps:
        """The attention maps of crops, uint8 (N, H, W, 3); ModelError where the model has none."""
        if not self.has_attention:
            raise ModelError(f"the model {self.contract.name} has no attention outputs")
        if self._is_empty(crops):
            nothing = np.empty((0, 1, 1), dtype=np.float32)
            return AttentionMaps(globally=nothing, locally=nothing)
        globally, locally = self._run(list(_ATTENTION), crops)
        for name, output in zip(_ATTENTION, (globally, locally), strict=True):
            self._require_shape(name, output, (len(crops), *globally.shape[1:]))
        return AttentionMaps(globally=globally, locally=locally)

    def _is_empty(self, crops: NDArray[np.uint8]) -> bool:
        expected = (*self.contract.input_size, 3)
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != expected:
            raise ValueError(
                f"crops must be uint8 (N, {', '.join(map(str, expected))}), not {crops.dtype} {crops.shape}"
            )
        return len(crops) == 0

    def _run(self, fetches: list[str], crops: NDArray[np.uint8], *, alone: bool = False) -> list[NDArray[np.float32]]:
        options = ort.RunOptions()
        options.only_execute_path_to_fetches = True
        try:
            session = self._alone_session if alone else self._session
            outputs: list[NDArray[np.float32]] = session.run(fetches, {"crops": crops}, options)
        except Exception as error:  # ONNX Runtime's own exceptions share no base but this one
            limit = _limit(self._gpu_memory if self.provider == _CUDA else 0)
            raise ModelError(
                f"the model {self.contract.name} failed on {len(crops)} crops{limit}: {_line(error)}"
            ) from error
        return outputs

    def _run_once(self) -> None:
        """Prove with one grey crop that the file runs.

        Also needed by threads: ONNX Runtime plans each set of fetches on its first run, and the plans are not locked.
        """
        self.answer_grey()
        if self.has_attention:
            self.attention(self._grey())

    def answer_grey(self) -> Embedded:
        """What the model says of one grey crop, for whoever wants to know whether it answers; ModelError."""
        return self.embed(self._grey())

    def _grey(self) -> NDArray[np.uint8]:
        return np.full((1, *self.contract.input_size, 3), 128, dtype=np.uint8)

    def _require_shape(self, name: str, output: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        if output.shape != shape:
            raise ModelError(f"the model {self.contract.name} gave {name} {output.shape} where {shape} was expected")


def _stamp(model: Path) -> tuple[int, int, int]:
    """What is another when the file is."""
    found = model.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def cuda_options(gpu_memory: int) -> dict[str, str]:
    """ONNX Runtime's options for CUDA where the model may take so many bytes of the GPU (0: no limit)."""
    if gpu_memory < 0:
        raise InvalidValue(f"gpu_model_memory must be 0 or more bytes, not {gpu_memory}")
    if not gpu_memory:
        return {}
    # its arena grows by what is asked for, not to the next power of two, which may be beyond the limit
    return {"gpu_mem_limit": str(gpu_memory), "arena_extend_strategy": "kSameAsRequested"}


def _limit(gpu_memory: int) -> str:
    return f" with gpu_model_memory {gpu_memory / 1e6:,.0f} MB" if gpu_memory else ""


def _open(model: Path, device: Device, threads: int, gpu_memory: int) -> ort.InferenceSession:
    options = cuda_options(gpu_memory)
    wanted = _CUDA in ort.get_available_providers() and device != "cpu"
    if device == "cuda" and not wanted:
        raise DeviceUnavailable(
            "the device cuda was asked for, but this ONNX Runtime is built without CUDA; install the extra 'gpu' "
            "or use the device cpu"
        )
    if wanted:
        session = _session_on_cuda(model, threads, options)
        if session is not None:
            return session
    session = _session(model, [_CPU], threads)  # first, because it tells a bad model from a bad GPU
    if device == "cuda":
        raise DeviceUnavailable(
            f"the device cuda was asked for, but ONNX Runtime cannot use it{_limit(gpu_memory)}: no GPU, a driver or "
            "CUDA library that does not fit, or too little of the GPU's memory; check nvidia-smi, or use the device cpu"
        )
    return session


def _session_on_cuda(model: Path, threads: int, options: dict[str, str]) -> ort.InferenceSession | None:
    """A session that really runs on CUDA, None where there is no such thing."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # where it prints what it misses, others expect results
            ort.preload_dlls()  # CUDA and cuDNN come as wheels, which the loader does not search
    try:
        session = _session(model, [(_CUDA, options), _CPU], threads)
    except ModelError:
        return None
    return session if session.get_providers()[0] == _CUDA else None  # a library that is missing is only a log line


def _session(model: Path, providers: list[str | tuple[str, dict[str, str]]], threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave cores to decoding
    try:
        # without ONNX Runtime's own fallback, which changes to the CPU at any failed run and only prints that it did
        return ort.InferenceSession(str(model), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exceptions share no base but this one
        raise ModelError(
            f"{model} is not an ONNX model that can be opened: {_line(error)}; "
            "use a file that `vehicle-model export` wrote"
        ) from error


def _contract(session: ort.InferenceSession, model: Path) -> Contract:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ContractError(f"{model} has no contract; use a file that `vehicle-model export` wrote")
    try:
        return Contract.from_json(text)
    except ContractError as error:
        raise ContractError(f"{model}: {error}; export it again with `vehicle-model export`") from error


def _check_tensors(session: ort.InferenceSession, contract: Contract) -> set[str]:
    """Compare names, types and fixed sizes with the contract; the names of the outputs."""
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    if inputs.keys() != {"crops"}:
        raise ContractError(f"the model's inputs are {sorted(inputs)}; the contract knows one, crops")
    _check_tensor(inputs["crops"], "tensor(uint8)", (*contract.input_size, 3))
    expected: dict[str, tuple[int | None, ...]] = {"embedding": (contract.embedding_dim,)}
    if contract.has_viewpoint:
        expected["viewpoint"] = (len(contract.viewpoints),)
    elif "viewpoint" in outputs:
        raise ContractError("the model has an output viewpoint, but its contract names one viewpoint only")
    for name, sizes in expected.items():
        if name not in outputs:
            raise ContractError(f"the model has no output {name}")
        _check_tensor(outputs[name], "tensor(float)", sizes)
    for name in _ATTENTION:
        if name in outputs:
            _check_tensor(outputs[name], "tensor(float)", (None, None))
    return set(outputs)


def _check_tensor(tensor: Any, dtype: str, sizes: tuple[int | None, ...]) -> None:
    """``sizes`` without the batch dimension, which must not be fixed; None means any."""
    batch, *rest = tensor.shape or [None]
    fits = len(rest) == len(sizes) and all(
        not isinstance(size, int) or wanted is None or size == wanted for size, wanted in zip(rest, sizes, strict=True)
    )
    if tensor.type != dtype or isinstance(batch, int) or not fits:
        wanted_shape = ["N", *("any" if size is None else size for size in sizes)]
        raise ContractError(
            f"the model's {tensor.name} is {tensor.type} {tensor.shape}; the contract wants {dtype} {wanted_shape}"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
