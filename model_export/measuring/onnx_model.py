"""An ONNX file as it is measured: run by ONNX Runtime, pictures resized as its contract says."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from index.contract import METADATA_KEY, Contract, fingerprint
from index.errors import ContractError, ModelError
from model_export.measuring.measured_model import Attention, Seen

_MAPS = ("global_attention", "local_attention")
_TINY = float(np.finfo(np.float32).tiny)  # stands for what a softmax rounded to zero


class OnnxModel:
    """A :class:`~model_export.measuring.measured_model.MeasuredModel`. Raises ModelError or ContractError."""

    def __init__(self, path: Path) -> None:
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base but this one
            line = " ".join(str(error).split())[:200]
            raise ModelError(f"{path} is neither a checkpoint nor an ONNX file that can be opened: {line}") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ContractError(f"{path} has no contract; use a file that `vehicle-model export` wrote")
        try:
            self.contract = Contract.from_json(text)
        except ContractError as error:
            raise ContractError(f"{path}: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        wanted = ["embedding", *(["viewpoint"] if self.contract.has_viewpoint else [])]
        for name in wanted:
            if name not in self._outputs:
                raise ContractError(f"{path} has no output {name}; use a file that `vehicle-model export` wrote")
        self._wanted = wanted
        self.name, self.resize, self.viewpoints = self.contract.name, self.contract.resize, self.contract.viewpoints
        self.embedding_dim = self.contract.embedding_dim
        self.fingerprint = fingerprint(path)
        self.seed = int(self.contract.training.get("fit", {}).get("seed", 0))

    def see(self, crops: NDArray[np.uint8]) -> Seen:
        """Crops uint8 (N, H, W, 3) → embedding (N, D) and viewpoint (N, V)."""
        given = dict(zip(self._wanted, self._session.run(self._wanted, {"crops": crops}), strict=True))
        return Seen(embedding=given["embedding"], viewpoint=given.get("viewpoint"))

    def attention(self, crops: NDArray[np.uint8]) -> Attention | None:
        """The file's two maps (N, h, w); S is the logarithm of its softmax, up to a constant."""
        if any(name not in self._outputs for name in _MAPS):
            return None
        globally, locally = self._session.run(list(_MAPS), {"crops": crops})
        s = np.log(np.maximum(locally, _TINY))
        centred = s - s.mean((1, 2), keepdims=True)
        return Attention(globally=globally, locally=centred / (centred.std((1, 2), keepdims=True) + 1e-5))
