"""A model to train on from an exported file: whoever has only the file can adapt it.

Weights of an int8 file come back as the file computes with them, rounded; training goes on from there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from index.errors import ModelError
from model_export.exporting.onnx_export import HALF, check_crops, describe
from model_export.network.folding import fold, unfold
from model_export.network.mvan import MVAN
from model_export.training.configuration import from_mapping
from model_export.training.mnet_training import Restored, Training

_PREFIX = "model."  # of our own modules in the graph's names
_CHECKED = 6  # test pictures
_LEAST_LIKENESS = 0.97  # cosine to the file's own embeddings; int8 rounds activations too, which training does not
_CONSTANT = ("mean", "std", "num_batches_tracked")  # buffers that the graph may hold otherwise or not at all


def rebuild(path: Path) -> Restored:
    """A model from an exported file, in evaluation mode, with its contract's configuration.

    Its batch norms change nothing (see :func:`.folding.unfold`). Raises ModelError where the file holds no
    configuration (from a release before it was kept) or where the rebuilt model does not answer as the file does.
    """
    contract = describe(path)
    if not contract.training:
        raise ModelError(
            f"{path} does not say how it was trained, so it cannot be trained on; give its checkpoint, or a file that "
            "this release exported"
        )
    vnet = "inside" if contract.has_viewpoint else None
    config = from_mapping(Training, {**contract.training, "out": str(path), "vnet": vnet})
    model = MVAN(config.model).eval()
    tensors = _tensors(path)
    folded = fold(model).state_dict()
    own = {name: value for name, value in folded.items() if name.rsplit(".", 1)[-1] in _CONSTANT} | tensors
    try:
        unfold(model, {name: own[name] for name in folded})
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path} lacks the weights {error}; give the checkpoint that it was exported from") from error
    _require_same_answers(path, model)
    return Restored(model, config, dict(contract.metrics), contract.trained_on, contract.viewpoint_labels_from)


def _tensors(path: Path) -> dict[str, Tensor]:
    """Weights float32 by our names, int8 ones multiplied by their scales.

    Of equal small tensors the exporter keeps one, and no bias of zeros: they are found at the nodes that use them.
    """
    graph = onnx.load(str(path)).graph
    stored = {entry.name.removesuffix(HALF): numpy_helper.to_array(entry) for entry in graph.initializer}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            layer = next((name.rpartition(".")[0] for name in node.input if name.startswith(_PREFIX)), "")
            for part, name in zip(("weight", "bias", "running_mean", "running_var"), node.input[1:], strict=True):
                stored.setdefault(f"{layer}.{part}", stored[name])
        if node.op_type not in ("Conv", "Gemm") or not node.input[1].startswith(_PREFIX):
            continue
        layer, dot, _ = node.input[1].partition(".weight")
        if dot and f"{layer}.bias_quantized" not in stored:
            shift = stored.get(node.input[2]) if len(node.input) == 3 else None
            stored.setdefault(f"{layer}.bias", np.zeros(_rows(stored, layer), np.float32) if shift is None else shift)
    found = {}
    for name, value in stored.items():
        if not name.startswith(_PREFIX) or name.endswith(("_scale", "_zero_point")):
            continue
        plain = name.removesuffix("_quantized")
        if plain != name:
            scale = stored[f"{name}_scale" if value.ndim == 1 else f"{plain}_scale"]
            value = value.astype(np.float32) * scale.reshape(-1, *(1,) * (value.ndim - 1))
        found[plain.removeprefix(_PREFIX)] = torch.from_numpy(value.astype(np.float32))
    return found


def _rows(stored: Mapping[str, NDArray[Any]], layer: str) -> int:
    weight = stored.get(f"{layer}.weight", stored.get(f"{layer}.weight_quantized"))
    return 0 if weight is None else len(weight)


def _require_same_answers(path: Path, model: MVAN) -> None:
    side = model.config.input_size
    crops = check_crops(_CHECKED, (side, side))
    expected = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        ["embedding"], {"crops": crops}
    )[0]
    with torch.no_grad():
        got = model(torch.from_numpy(crops).permute(0, 3, 1, 2)).embedding.numpy()
    likeness = (expected * got).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(got, axis=1)
    if not likeness.min() >= _LEAST_LIKENESS:
        raise ModelError(
            f"{path}: the model that its weights make answers otherwise than the file (cosine {likeness.min():.3f}); "
            "give the checkpoint that it was exported from"
        )
