"""A checkpoint as a file of fewer bits, measured against its own fp32 file before it is written."""

import hashlib
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from index.contract import Contract, MatchProbability, Precision
from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import CropCache
from model_export.data_sets.data_set import open_data_set
from model_export.data_sets.selection import Selection
from model_export.exporting.onnx_export import (
    check_alone,
    describe,
    export_model,
    mixed_crops,
    stamp,
    write_file,
    writing_to,
)
from model_export.exporting.parity import Parity, compare
from model_export.exporting.reduction import reduce_precision
from model_export.measuring.calibration import calibrate
from model_export.measuring.measured_model import Seen, see_rows
from model_export.measuring.onnx_model import OnnxModel
from model_export.measuring.protocols import Plan, plan
from model_export.measuring.ranked_matches import ranked_matches
from model_export.network.folding import fold
from model_export.training.mnet_training import Restored, Training

CALIBRATION_CROPS = 128
FIRST_KEPT = (0, 3, 6, 12, 18)  # tried in this order; the earlier a layer, the more its rounding costs
_TOLERANCES: dict[Precision, float] = {"fp16": 5e-3, "int8": 1e-4}  # of a row against itself alone
_CHECKED = 16  # crops of mixed viewpoints that are run together and alone


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """On what a precision is measured; ``part`` and ``seed`` as in ``vehicle-model evaluate``."""

    spec: str
    root: Path = Path()
    part: str = ""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ReducedReport:
    """What was written and what it costs."""

    path: Path
    precision: Precision
    bytes: int
    alone: float  # largest difference of a row to itself alone
    first_kept: int  # first convolutions that stay fp32
    parity: Parity
    meaning: str  # of its distances, or why it tells none

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.precision}, {self.bytes / 1e6:.1f} MB, {self.first_kept} first convolutions in "
            f"fp32, a row differs from itself alone by {self.alone:.1e}; {self.parity}\n{self.meaning}"
        )


def export_reduced(
    restored: Restored, out: Path, precision: Precision, *, dense: bool = False, measuring: Measuring | None = None
) -> ReducedReport:
    """Export in ``precision`` (fp16, int8), measured on ``measuring`` or on what the training held out.

    The file keeps the training's embedding space where mixing it with fp32 costs at most ``parity.MOST_LOST`` mAP, and
    gets one of its own otherwise; the figures stand in its contract. int8 leaves as many of the first convolutions in
    fp32 as that takes, of ``FIRST_KEPT``, or as cost least where none is enough. Raises InvalidValue where there is
    nothing to measure or calibrate on, ModelError when a check fails; nothing is left then.
    """
    measuring = measuring or held_out(restored.config)
    data = open_data_set(measuring.spec, root=measuring.root)
    planned = plan(data, part=measuring.part, seed=measuring.seed)
    with writing_to(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        whole = Path(folder) / "fp32.onnx"
        export_model(restored, whole, dense=dense, half_weights=False)
        reference = see_rows(OnnxModel(whole), planned.rows)
        calibration = cache(lambda: calibration_crops(restored.config))
        tries: list[tuple[Parity, int, Path, Seen]] = []
        for kept in FIRST_KEPT if precision == "int8" else (0,):
            reduced = Path(folder) / f"{kept}.onnx"
            reduce_precision(whole, reduced, precision, calibration, first_kept=kept)
            _rewrite(reduced, replace(describe(whole), precision=precision))
            seen = see_rows(OnnxModel(reduced), planned.rows)
            parity = compare(planned, reference, seen, seed=measuring.seed)
            tries.append((parity, kept, reduced, seen))
            if parity.keeps_space:
                break
        parity, kept, reduced, seen = min(tries, key=lambda one: (not one[0].keeps_space, one[0].lost))
        probability, meaning = _meaning(planned, seen, measuring)
        contract = describe(reduced)
        contract = replace(
            contract,
            embedding_space=contract.embedding_space if parity.keeps_space else _own_space(contract),
            metrics={**contract.metrics, "parity": {**parity.to_dict(), "first_convolutions_in_fp32": kept}},
            probability=probability,
        )
        _rewrite(reduced, contract)
        alone = _check_rows(reduced, mixed_crops(fold(restored.model), _CHECKED), _TOLERANCES[precision])
        size = reduced.stat().st_size
        reduced.replace(out)
    return ReducedReport(
        path=out, precision=precision, bytes=size, alone=alone, first_kept=kept, parity=parity, meaning=meaning
    )


def held_out(config: Training) -> Measuring:
    """What a training kept back first; raises InvalidValue where that is nothing."""
    for source in config.sources:
        if source.hold_out:
            return Measuring(spec=source.data, root=config.data_root, part=source.hold_out, seed=config.fit.seed)
    raise InvalidValue(
        "fewer bits are measured before they are written, and this training held nothing out; name vehicles that it "
        "has not seen with --data SPEC [--part PART]"
    )


def calibration_crops(config: Training, count: int = CALIBRATION_CROPS) -> NDArray[np.uint8]:
    """Crops uint8 (count, H, W, 3) that were trained on, of each source as many as its share of a batch, seeded.

    Nobody asks which vehicles they show, so an adapted model's pictures without labels do.
    """
    shares = np.array([source.p * source.k for source in config.sources], np.float64)
    rng = np.random.default_rng(config.fit.seed)
    rows: list[ManifestRow] = []
    for source, share in zip(config.sources, shares / shares.sum(), strict=True):
        everything = open_data_set(source.data, root=config.data_root).part(source.part)
        kept, _ = Selection.parse(source.hold_out).split(everything, seed=config.fit.seed)
        wanted = min(len(kept), max(1, round(count * share)))
        rows += [kept[at] for at in rng.permutation(len(kept))[:wanted]]
    return CropCache(config.crop_resize, limit_bytes=0).crops(rows)


def _meaning(planned: Plan, seen: Seen, measuring: Measuring) -> tuple[MatchProbability | None, str]:
    """What the file's distances mean on the pictures that it was measured on, and what to tell of it."""
    named = f"{planned.data_set} ({measuring.part})" if measuring.part else planned.data_set
    try:
        calibrated = calibrate(ranked_matches(planned, seen.embedding), data_set=named, seed=measuring.seed)
    except InvalidValue as error:
        return None, f"its matches have no probability: {error}"
    return calibrated.probability, str(calibrated)


def _own_space(contract: Contract) -> str:
    return hashlib.sha256(f"{contract.embedding_space} {contract.precision}".encode()).hexdigest()[:32]


def _rewrite(path: Path, contract: Contract) -> None:
    proto = onnx.load(str(path))
    stamp(proto, contract)
    write_file(proto, path)


def _check_rows(path: Path, crops: NDArray[np.uint8], tolerance: float) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batched = session.run(["embedding"], {"crops": crops})[0]
    return check_alone(session, crops, batched, tolerance)
