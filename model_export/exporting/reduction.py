"""An exported fp32 file in fewer bits: fp16 for GPUs, static int8 for CPUs.

int8 is per channel for weights (signed) and per tensor for activations (unsigned), with ranges from calibration crops
(Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference").
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from index.contract import Precision
from model_export.exporting.graph_parts import reducible_nodes

_CALIBRATION_BATCH = 8


def reduce_precision(
    source: Path, out: Path, precision: Precision, calibration: Callable[[], NDArray[np.uint8]], *, first_kept: int = 0
) -> None:
    """Write ``source`` in ``precision`` to ``out``; int8 asks ``calibration`` for crops uint8 (n, H, W, 3).

    ``first_kept`` as in :func:`.graph_parts.reducible_nodes`, for int8.
    """
    if precision == "int8":
        _to_int8(source, out, calibration(), first_kept)
    else:
        _to_fp16(source, out)


def _to_fp16(source: Path, out: Path) -> None:
    model = onnx.load(str(source))
    chosen = set(reducible_nodes(model.graph))
    kept = [node.name for node in model.graph.node if node.name not in chosen]
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=[], node_block_list=kept)
    _without_round_trips(half.graph)
    onnx.save(half, str(out))


def _without_round_trips(graph: onnx.GraphProto) -> None:
    """Let what passes from one fp32 node to the next stay fp32.

    The converter casts down behind every fp32 node and up before the next: a variance of LAM's sums is too large for
    that.
    """
    down = {node.output[0]: node.input[0] for node in graph.node if _casts_to(node, onnx.TensorProto.FLOAT16)}
    for node in graph.node:
        if _casts_to(node, onnx.TensorProto.FLOAT) and node.input[0] in down:
            node.op_type, node.input[0] = "Identity", down[node.input[0]]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    needed = [node for node in graph.node if not _casts_to(node, onnx.TensorProto.FLOAT16) or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(needed)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(own.name == "to" and own.i == kind for own in node.attribute)


def _to_int8(source: Path, out: Path, calibration: NDArray[np.uint8], first_kept: int) -> None:
    level = logging.getLogger().level
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".reduction-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        chosen = reducible_nodes(onnx.load(str(prepared)).graph, first_kept=first_kept)
        logging.getLogger().setLevel(logging.ERROR)  # it warns through the root logger about what is wanted here
        try:
            quantize_static(
                str(prepared), str(out), _Reader(calibration), quant_format=QuantFormat.QDQ, nodes_to_quantize=chosen,
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )  # fmt: skip
        finally:
            logging.getLogger().setLevel(level)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds crops batch by batch."""

    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self._batches = iter(np.array_split(crops, max(1, len(crops) // _CALIBRATION_BATCH)))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"crops": batch}
