"""From a checkpoint to one ONNX file that describes itself and has been checked.

The file is written under a temporary name, run by ONNX Runtime against PyTorch, and only then renamed. Its
inputs, outputs and contract are those of ``index.contract``.
"""

import copy
import hashlib
import json
import logging
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from index.contract import CONTRACT_VERSION, METADATA_KEY, Contract, Resize
from index.errors import ModelError
from model_export.network.folding import fold, round_to_half
from model_export.network.mvan import MVAN
from model_export.training.configuration import as_mapping
from model_export.training.mnet_training import Restored, Training

OPSET = 20
TOLERANCE = (
    1e-4  # largest difference of any embedding component, ONNX Runtime against PyTorch and batched against alone
)
MOST_ROUNDED = 3e-2  # largest ‖Δf‖/‖f‖ that storing weights as fp16 may cost; int8 costs 0.1 and 0.6 % mAP
CHECKED_BATCHES = (1, 2, 7, 64)

_OUTPUTS = ("embedding", "viewpoint", "global_attention", "local_attention")
_CANDIDATES = 160  # test pictures that V-Net is asked about
# Spaces are older than these keys.
_NOT_HASHED = {("kept_views", ()), ("fusion", "soft"), ("networks", 1), ("temperature", 1.0)}
_BENT, _BENDS, _BEND = 8, 60, 4.0  # pictures that are bent, steps at most, grey levels a step
_HALF_FROM = 1024  # initializers of fewer values stay fp32 in the file


HALF = ".fp16"  # added to the name of a weight that is stored so
PLACES = ("out", "data_root", "vnet", "warm_start")  # keys of a configuration that name files


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What the self-check saw; differences are the largest of any component."""

    path: Path
    bytes: int
    embedding_space: str
    against_pytorch: float
    alone: float
    against_dense: float  # max ‖Δf‖/‖f‖ of the routed graph against running every branch
    against_full: float  # max ‖Δf‖/‖f‖ of weights stored as fp16 against full ones; 0 where they are stored in full
    checked: dict[str, int]  # pictures of the check by their most probable viewpoint

    def __str__(self) -> str:
        views = ", ".join(f"{count} {name}" for name, count in self.checked.items())
        return (
            f"{self.path}: {self.bytes / 1e6:.1f} MB, checked on batches of "
            f"{', '.join(map(str, CHECKED_BATCHES))} ({views}); largest difference to PyTorch "
            f"{self.against_pytorch:.1e}, of a row to itself alone {self.alone:.1e}, "
            f"of routed to dense {self.against_dense:.1e} of its length, "
            f"of stored to full weights {self.against_full:.1e}"
        )


def export_model(restored: Restored, out: Path, *, dense: bool = False, half_weights: bool = True) -> ExportReport:
    """Export a checkpoint's averaged weights to ``out``.

    ``dense`` runs every branch (for CUDA graphs); ``half_weights`` stores large weights as fp16, rounded before the
    check, so that the file computes in fp32 what was checked. Raises ModelError when a check fails; nothing is left.
    """
    model = fold(restored.model)
    lost = 0.0
    if half_weights:
        full = copy.deepcopy(model)
        round_to_half(model)
        lost = _drift(full, model)
        if not lost <= MOST_ROUNDED:
            raise ModelError(
                f"self-check: weights stored as fp16 move embeddings by {lost:.1e} of their length, limit "
                f"{MOST_ROUNDED}; store them in full (--full-weights)"
            )
    if dense:
        model.config = replace(model.config, routing_threshold=None)
    contract = _contract(restored, model)
    temporary = out.with_name(f".{out.name}.partial")
    with writing_to(out):
        try:
            proto = translate(model)
            if half_weights:
                _store_half(proto)
            stamp(proto, contract)
            onnx.checker.check_model(proto)
            write_file(proto, temporary)
            report = check_file(temporary, model, contract)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
    return replace(report, path=out, against_full=lost)


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Make ``out``'s folder; errors of the disk as one line that names the file and the way out."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ModelError(f"{out} was not written: {error.strerror}; free some space or choose another --out") from error


def check_file(path: Path, model: MVAN, contract: Contract) -> ExportReport:
    """Run the file against ``model`` on every batch size; raises ModelError naming what differs and by how much."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    against_pytorch = alone = against_dense = 0.0
    counts = dict.fromkeys(contract.viewpoints, 0)
    pictures = mixed_crops(model, max(CHECKED_BATCHES))
    for size in CHECKED_BATCHES:
        crops = pictures[:size]
        given = dict(zip(names, session.run(names, {"crops": crops}), strict=True))
        with torch.no_grad():
            expected = model(torch.from_numpy(crops).permute(0, 3, 1, 2))
            dense = _dense(model, crops)
        for name in names:
            difference = _difference(given[name], getattr(expected, name))
            if not difference <= TOLERANCE:  # NaN is no pass
                raise ModelError(
                    f"self-check: {name}, batch of {size}: differs from PyTorch by {difference:.2e}, limit {TOLERANCE}"
                )
            against_pytorch = max(against_pytorch, difference)
        alone = max(alone, check_alone(session, crops, given["embedding"], TOLERANCE))
        gap = (dense - expected.fused).norm(dim=1) / dense.norm(dim=1)
        against_dense = max(against_dense, float(gap.max()))
        for view in expected.viewpoint.argmax(1).tolist():
            counts[contract.viewpoints[view]] += 1
    return ExportReport(
        path=path, bytes=path.stat().st_size, embedding_space=contract.embedding_space, against_pytorch=against_pytorch,
        alone=alone, against_dense=against_dense, against_full=0.0, checked=counts,
    )  # fmt: skip


def check_alone(
    session: onnxruntime.InferenceSession, crops: NDArray[np.uint8], batched: NDArray[np.float32], tolerance: float
) -> float:
    """Largest difference of a row of ``batched`` (N, D) to its crop run alone; ModelError beyond ``tolerance``."""
    largest = 0.0
    for row in range(len(crops)):
        single = session.run(["embedding"], {"crops": crops[row : row + 1]})[0]
        gap = float(np.abs(single[0] - batched[row]).max())
        if not gap <= tolerance:  # NaN is no pass
            raise ModelError(
                f"self-check: row {row} of a batch of {len(crops)} differs from itself alone by {gap:.2e}, "
                f"limit {tolerance}"
            )
        largest = max(largest, gap)
    return largest


def check_crops(count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Seeded test pictures uint8 (count, H, W, 3): blocks, gradients and noise at many scales and exposures."""
    rng = np.random.default_rng(count)
    height, width = size
    crops = np.empty((count, height, width, 3), np.uint8)
    for row in range(count):
        cells = int(rng.integers(2, 24))
        blocks = rng.uniform(0, 255, (cells, cells, 3))
        tiled = blocks[np.arange(height) * cells // height][:, np.arange(width) * cells // width]
        ramp = np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-80, 80, 3)
        noise = rng.normal(0, rng.uniform(0, 30), (height, width, 3))
        crops[row] = np.clip(tiled * rng.uniform(0.3, 1.2) + ramp + noise, 0, 255)
    return crops


def mixed_crops(model: MVAN, count: int) -> NDArray[np.uint8]:
    """Test pictures of every viewpoint in turn, as V-Net names them: uint8 (count, H, W, 3).

    Each then wins alone on some rows and meets the others in the batch, so that empty branches and mixed batches are
    both run. Where V-Net calls no test picture so, some are bent until it does. What was found stands in the report.
    """
    size = (model.config.input_size,) * 2
    pool = check_crops(_CANDIDATES, size)
    with torch.no_grad():
        views = model.viewpoint(torch.from_numpy(pool).permute(0, 3, 1, 2).float()).argmax(1).numpy()
    wanted = range(len(model.config.viewpoints))
    queues = [
        pool[views == view] if (views == view).any() else bent_crops(model, pool[:_BENT], view) for view in wanted
    ]
    chosen = [queues[n % len(queues)][n // len(queues) % len(queues[n % len(queues)])] for n in range(count)]
    return np.stack(chosen)


def bent_crops(model: MVAN, crops: NDArray[np.uint8], view: int) -> NDArray[np.uint8]:
    """Crops uint8 (n, H, W, 3) moved, sign by sign of the gradient, to what V-Net calls viewpoint number ``view``."""
    if model.vnet is None:
        return crops
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    for _ in range(_BENDS):
        x.requires_grad_(True)
        logits = model.vnet.logits(x)
        if bool((logits.argmax(1) == view).all()):
            break
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.full((len(x),), view)), x)
        x = (x.detach() - _BEND * gradient.sign()).clamp(0, 255).round()
    return x.detach().permute(0, 2, 3, 1).to(torch.uint8).numpy()


def describe(path: Path) -> Contract:
    """The contract of a model file; raises ModelError or ContractError."""
    if not path.is_file():
        raise ModelError(f"model {path} does not exist; vehicle-model export writes one")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own class is not public
        raise ModelError(f"{path} is not an ONNX file: {error}") from error
    properties = {prop.key: prop.value for prop in proto.metadata_props}
    if METADATA_KEY not in properties:
        raise ModelError(
            f"{path} has no metadata property {METADATA_KEY!r}; it was not written by vehicle-model export"
        )
    return Contract.from_json(properties[METADATA_KEY])


class _Graph(nn.Module):
    """The model with the file's own input and outputs."""

    def __init__(self, model: MVAN) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        output = self.model(crops.permute(0, 3, 1, 2))  # (N, 3, H, W)
        return tuple(getattr(output, name) for name in _outputs(self.model))


def _outputs(model: MVAN) -> Sequence[str]:
    return _OUTPUTS if model.vnet is not None else [name for name in _OUTPUTS if name != "viewpoint"]


def translate(model: MVAN) -> onnx.ModelProto:
    """The graph of a folded model, unchecked and without a contract; raises ModelError."""
    size = model.config.input_size
    example = torch.zeros(3, size, size, 3, dtype=torch.uint8)
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about torchvision and deprecations inside torch
            program = torch.onnx.export(
                _Graph(model).eval(), (example,), dynamo=True, opset_version=OPSET, input_names=["crops"],
                output_names=list(_outputs(model)), dynamic_shapes={"crops": {0: torch.export.Dim("N", min=1)}},
                external_data=False, verbose=False,
            )  # fmt: skip
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    if program is None:
        raise ModelError("the ONNX exporter returned nothing")
    proto: onnx.ModelProto = program.model_proto
    _forget_origin(proto)
    return proto


def _forget_origin(proto: onnx.ModelProto) -> None:
    """Drop the exporter's notes: stack traces with the paths of the machine that exported."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _store_half(proto: onnx.ModelProto) -> None:
    """Replace large fp32 initializers by fp16 ones and a Cast, which the runtime folds once on loading."""
    casts = []
    for at, tensor in enumerate(proto.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < _HALF_FROM or not np.array_equal(half.astype(np.float32), values):
            continue
        stored = numpy_helper.from_array(half, f"{tensor.name}{HALF}")
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=onnx.TensorProto.FLOAT))
        proto.graph.initializer[at].CopyFrom(stored)
    nodes = casts + list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _contract(restored: Restored, model: MVAN) -> Contract:
    config, shape = restored.config, model.config
    metrics: dict[str, Any] = dict(restored.metrics)
    return Contract(
        contract_version=CONTRACT_VERSION, name=config.name, backbone=shape.backbone,
        input_size=(shape.input_size, shape.input_size), resize=config.crop_resize, embedding_dim=model.embedding_dim,
        viewpoints=shape.viewpoints, distance="l2", normalized=shape.normalized, precision="fp32",
        routing_threshold=shape.routing_threshold if len(shape.viewpoints) > 1 else None,
        embedding_space=embedding_space(restored.model, config.crop_resize),
        trained_on=restored.trained_on,
        viewpoint_labels_from=restored.viewpoint_labels_from, metrics=metrics,
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"), git_revision=_git_revision(),
        training=_without_places(config),
    )  # fmt: skip


def _without_places(config: Training) -> dict[str, Any]:
    """The whole configuration as the service may show it: folders of the machine that trained are left out."""
    document = as_mapping(config)
    for key in PLACES:
        del document[key]
    for source in document["sources"]:
        kind, colon, place = source["data"].rpartition(":")
        source["data"] = f"{kind}{colon}{PurePath(place).name if PurePath(place).is_absolute() else place}"
    return document


def embedding_space(model: MVAN, resize: Resize) -> str:
    """Hash of trained weights and pre-processing: 32 hex digits.

    Routed and dense files of one training share it, and so do files that store weights as fp16: the export refuses
    those where that moves embeddings.
    """
    digest = hashlib.sha256(json.dumps(asdict(resize), sort_keys=True).encode())
    shape = {key: value for key, value in asdict(model.config).items() if (key, value) not in _NOT_HASHED}
    del shape["routing_threshold"]
    digest.update(json.dumps(shape, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def stamp(proto: onnx.ModelProto, contract: Contract) -> None:
    """Write the contract into a graph, in place of any that is there."""
    proto.producer_name, proto.producer_version = "vehicle-model", str(CONTRACT_VERSION)
    del proto.metadata_props[:]
    helper.set_model_props(proto, {METADATA_KEY: contract.to_json()})


def write_file(proto: onnx.ModelProto, path: Path) -> None:
    """Write and flush to the disk."""
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.flush()
        os.fsync(file.fileno())


def _drift(full: MVAN, rounded: MVAN) -> float:
    """Largest ‖Δf‖/‖f‖ of embeddings on test pictures."""
    crops = torch.from_numpy(mixed_crops(full, max(CHECKED_BATCHES))).permute(0, 3, 1, 2)
    with torch.no_grad():
        before, after = full(crops).embedding, rounded(crops).embedding
    return float(((after - before).norm(dim=1) / before.norm(dim=1)).max())


def _dense(model: MVAN, crops: NDArray[np.uint8]) -> Tensor:
    """F with every branch run, (N, C)."""
    routed = model.config
    try:
        model.config = replace(routed, routing_threshold=None)
        fused: Tensor = model(torch.from_numpy(crops).permute(0, 3, 1, 2)).fused
        return fused
    finally:
        model.config = routed


def _difference(given: NDArray[np.float32], expected: Tensor) -> float:
    if given.shape != tuple(expected.shape):
        raise ModelError(f"self-check: an output has shape {given.shape}, PyTorch's has {tuple(expected.shape)}")
    wanted = expected.numpy()
    scale = max(1.0, float(np.abs(wanted).max()))  # a standardised local map sums to h·w, unlike embeddings
    return float(np.abs(given - wanted).max()) / scale


def _git_revision() -> str:
    """The checkout's commit; empty where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    run = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    return run.stdout.strip() if run else ""
