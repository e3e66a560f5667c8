"""One row of the tables: trained, measured, recorded; taken up where it was left."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_export.measuring.evaluation import summarize
from model_export.measuring.measured_model import see_rows
from model_export.measuring.measurement import score_draws
from model_export.reporting.checkpoint_model import CheckpointModel
from model_export.reproducing.experiment_data import ExperimentData
from model_export.reproducing.record import begun_training, read_record, write_record
from model_export.training.checkpoint import hash_of, load_checkpoint, save_checkpoint
from model_export.training.mnet_training import Training, train
from model_export.training.vnet_training import VNetTraining, train_vnet

_ONLY_FOR_GOING_ON = ("objective", "fit")  # parts of a checkpoint, four fifths of its bytes


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """What a row earned. ``precision`` and ``vehicle`` are those of each probe, draw after draw."""

    figures: Mapping[str, Any]  # as Figures.to_dict
    precision: tuple[float, ...]  # average precision
    vehicle: tuple[str, ...]
    seconds: float  # of the part that was not interrupted
    taken_up_at: int | None  # iteration at which an interrupted training went on
    kept: bool = False  # finished by an earlier run


@dataclass(frozen=True, kw_only=True)
class VNetResult:
    """The V-Net that all rows share."""

    checkpoint: Path
    metrics: Mapping[str, float]  # share of held-out pictures named right, by origin and viewpoint; may be empty
    weights: str  # hash that tells them from others
    seconds: float
    kept: bool


def run_vnet(config: VNetTraining, data: ExperimentData, folder: Path, *, quiet: bool) -> VNetResult:
    """Train the V-Net in ``folder``, or take it from there. Raises InvalidValue or ModelError."""
    [source, *_] = config.sources
    source = replace(
        source, data=data.vnet_spec, hold_out=data.vnet_hold_out, leave_out=data.leave_out, part="train", viewpoint=""
    )
    config = replace(config, out=folder / "vnet.pt", data_root=Path(), sources=(source,))
    began = time.monotonic()
    record = read_record(folder / "vnet.json", config, data.digest)
    kept = record is not None
    if record is None:
        begun_training(config.out, config, data.digest, kind="vnet")
        train_vnet(config, resume=True, quiet=quiet)
        content = load_checkpoint(config.out, kind="vnet")
        record = {
            "metrics": content["metrics"], "weights": hash_of(content["weights"]), "seconds": time.monotonic() - began,
        }  # fmt: skip
        write_record(folder / "vnet.json", record, config, data.digest)
    return VNetResult(
        checkpoint=config.out,
        metrics=record["metrics"],
        weights=record["weights"],
        seconds=record["seconds"],
        kept=kept,
    )


def run_row(config: Training, data: ExperimentData, folder: Path, *, vnet: VNetResult | None, quiet: bool) -> RowResult:
    """Train and measure one system in ``folder``, or take its figures from there; several viewpoints need ``vnet``.

    Raises InvalidValue or ModelError, the latter where what is there was made otherwise.
    """
    [source, *_] = config.sources
    source = replace(source, data=data.spec, hold_out=data.hold_out, part="train", measure=False)
    vnet = vnet if config.vnet else None
    config = replace(
        config, out=folder / "mvan.pt", data_root=Path(), sources=(source,), vnet=vnet.checkpoint if vnet else None
    )
    digest = f"{data.digest} {vnet.weights if vnet else ''}"
    record = read_record(folder / "row.json", config, digest)
    if record is not None:
        return _result(record, kept=True)
    began = time.monotonic()
    begun = begun_training(config.out, config, digest, kind="mvan")
    if begun is None or begun.resumable:
        train(config, resume=True, quiet=quiet)
    record = {
        **_measured(config.out, data, quiet=quiet), "seconds": time.monotonic() - began,
        "taken_up_at": begun.step if begun else None,
    }  # fmt: skip
    write_record(folder / "row.json", record, config, digest)
    _forget_optimizer(config.out)
    return _result(record, kept=False)


def _measured(checkpoint: Path, data: ExperimentData, *, quiet: bool) -> dict[str, Any]:
    """Figures of the largest test list, and what each of its probes earned."""
    seen = see_rows(CheckpointModel.open(checkpoint), data.plan.rows, progress=not quiet)
    scores = score_draws(data.plan, data.plan.draws[data.largest], seen.embedding, progress=not quiet)
    probes = np.concatenate([own.probe for own in scores])
    return {
        "figures": summarize(scores).to_dict(),
        "precision": np.concatenate([own.precision for own in scores]).round(6).tolist(),
        "vehicle": [vehicle for vehicle, _ in data.plan.labels(probes)],
    }


def _result(record: Mapping[str, Any], *, kept: bool) -> RowResult:
    return RowResult(
        figures=record["figures"], precision=tuple(record["precision"]), vehicle=tuple(record["vehicle"]),
        seconds=record["seconds"], taken_up_at=record["taken_up_at"], kept=kept,
    )  # fmt: skip


def _forget_optimizer(checkpoint: Path) -> None:
    """A finished row is measured, drawn and exported, never trained on."""
    content = load_checkpoint(checkpoint, kind="mvan")
    slim = {key: value for key, value in content.items() if key not in (*_ONLY_FOR_GOING_ON, "format")}
    save_checkpoint(checkpoint, slim)
