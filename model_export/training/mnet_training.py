"""Second stage: train M-Net under a frozen V-Net with identity and triplet loss on P × K batches."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from index.contract import Aspect, Filter, Resize
from index.errors import InvalidValue, ModelError
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import CropCache, decode_all
from model_export.data_sets.selection import Selection, data_set_name, identities, read_rows
from model_export.measuring.evaluation import Figures, evaluate
from model_export.network.backbones import build_backbone, load_pretrained
from model_export.network.losses import identity_loss, triplet_loss
from model_export.network.mvan import MVAN, IdentityHead, MVANConfig
from model_export.training.augment import AugmentConfig, augment
from model_export.training.checkpoint import load_checkpoint, require_writable, save_checkpoint
from model_export.training.configuration import as_mapping, from_mapping
from model_export.training.fitting import FitConfig, Fitter, freeze, freeze_norms
from model_export.training.sampling import pk_batches

_EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Source:
    """One manifest of vehicles and its share of every batch."""

    manifest: Path
    p: int = 4  # vehicles a batch
    k: int = 4  # pictures of each
    hold_out: str = ""  # kept from training and measured, see Selection

    def __post_init__(self) -> None:
        if self.p < 1 or self.k < 2:
            raise InvalidValue(
                f"source {self.manifest}: p must be at least 1 and k at least 2, not {self.p} × {self.k}"
            )


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything an M-Net run is made from; saved in its checkpoint and in the contract."""

    out: Path  # checkpoint that is written
    sources: tuple[Source, ...]
    data_root: Path = Path()  # manifests are relative to it
    name: str = "mvan"
    model: MVANConfig = field(default_factory=MVANConfig)
    resize: int = 0  # side to which pictures are stretched before the centre crop; 0: the input size
    resize_filter: Filter = "bilinear"
    resize_aspect: Aspect = "stretch"
    pretrained: str = ""  # imagenet, hed, a state dict's path, or nothing
    vnet: Path | None = None  # V-Net checkpoint; none only where there is one viewpoint
    warm_start: Path | None = None  # M-Net checkpoint whose one branch every branch starts from
    margin: float = 0.5  # of the triplet loss
    soft_margin: bool = False  # log(1 + exp(·)) instead of a margin
    triplet_weight: float = 1.0  # λ of equation (9)
    smoothing: float = 0.0
    frozen_stages: int = 0  # so many of the backbone's first stages stay as they are
    frozen_depthwise: bool = False
    frozen_norms: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidValue("sources is empty; name at least one manifest")
        if len(self.model.viewpoints) > 1 and self.vnet is None:
            raise InvalidValue("vnet names no checkpoint; a model with several viewpoints needs a trained V-Net")

    @property
    def crop_resize(self) -> Resize:
        """How crops are made, in training and for ever after."""
        size, crop = (self.resize or self.model.input_size,) * 2, (self.model.input_size,) * 2
        return Resize(size=size, crop=crop, filter=self.resize_filter, aspect=self.resize_aspect)


@dataclass(frozen=True)
class Held:
    """What a source keeps back, and everything it can be confused with."""

    name: str
    probes: list[ManifestRow]
    gallery: list[ManifestRow]


def train(config: Training, *, resume: bool = False) -> Path:
    """Train M-Net and write ``out``; returns its path. Held-out vehicles are measured as it goes."""
    require_writable(config.out)
    torch.manual_seed(config.fit.seed)
    cache = CropCache(config.crop_resize)
    batches: list[Iterator[list[ManifestRow]]] = []
    labels: dict[tuple[int, str], int] = {}
    held: list[Held] = []
    everything: list[ManifestRow] = []
    for number, source in enumerate(config.sources):
        rows = read_rows(config.data_root / source.manifest, "vehicle_id", "camera_id")
        kept, out = Selection.parse(source.hold_out).split(rows, seed=config.fit.seed)
        labels.update({(number, vehicle): len(labels) + n for n, vehicle in enumerate(identities(kept))})
        batches.append(pk_batches(kept, p=source.p, k=source.k, seed=config.fit.seed + number))
        everything += rows
        if out:
            held.append(Held(data_set_name(config.data_root / source.manifest), out, rows))
    decode_all(cache, everything)
    model = start_model(config)
    head = IdentityHead(model, len(labels))
    labels_from = _viewpoint_labels_from(config)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = nn.ModuleDict({"model": model, "head": head})
    _prepare(model, config)
    fitter = Fitter(config.fit, whole, whole.parameters())
    generator = torch.Generator().manual_seed(config.fit.seed)
    stream = _batches(batches, labels, cache, config, generator)
    margin = None if config.soft_margin else config.margin

    def loss_of(_: int) -> tuple[Tensor, dict[str, float]]:
        whole.train()
        _prepare(model, config)
        crops, target = next(stream)
        output = model(crops)
        logits = head(output, model)
        l_id = identity_loss(logits, target, smoothing=config.smoothing)
        l_tri = triplet_loss(output.fused, target, margin=margin)
        right = float((logits.argmax(1) == target).float().mean())
        return l_id + config.triplet_weight * l_tri, {"id": l_id.item(), "tri": l_tri.item(), "right": right}

    metrics: dict[str, dict[str, object]] = {}

    def measure(_: int) -> str:
        twin = MVAN(config.model)
        prefix = "model."
        twin.load_state_dict({k.removeprefix(prefix): v for k, v in fitter.averaged().items() if k.startswith(prefix)})
        twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        lines = []
        for part in held:
            figures = measure_held(twin, part, cache)
            metrics[part.name] = figures.to_dict()
            lines.append(f"{part.name}: {figures}")
        return "; ".join(lines) or "nothing held out"

    def save(step: int) -> None:
        averaged = {k.removeprefix("model."): v for k, v in fitter.averaged().items() if k.startswith("model.")}
        content: dict[str, Any] = {
            "kind": "mvan", "config": as_mapping(config), "step": step, "identities": len(labels),
            "whole": whole.state_dict(), "fit": fitter.state(), "metrics": dict(metrics),
            "weights": averaged, "viewpoint_labels_from": labels_from,
        }  # fmt: skip
        save_checkpoint(config.out, content)

    if resume and config.out.exists():
        content = load_checkpoint(config.out, kind="mvan")
        if content["config"]["model"] != as_mapping(config)["model"]:
            raise ModelError(
                f"{config.out} holds a model of another configuration; give another out, or leave --resume away"
            )
        if content["identities"] != len(labels):
            raise ModelError(
                f"{config.out} was trained on {content['identities']} vehicles, the sources give {len(labels)} now; "
                "give the same sources and hold_out, or leave --resume away"
            )
        whole.load_state_dict(content["whole"])
        fitter.resume(content["fit"])
        for _ in range(fitter.step):
            next(stream)
    fitter.run(loss_of, title="M-Net", evaluate=measure, save=save)
    return config.out


def start_model(config: Training) -> MVAN:
    """A model at its start: pre-trained backbone or warm start, and the frozen V-Net."""
    model = MVAN(config.model)
    if config.warm_start:
        weights = load_checkpoint(config.warm_start, kind="mvan")["weights"]
        for view in range(len(config.model.viewpoints)):
            weights.update(
                {
                    k.replace("branches.0.", f"branches.{view}.", 1): v
                    for k, v in weights.items()
                    if k.startswith("branches.0.")
                }
            )
        missing, unexpected = model.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not name.startswith("vnet.")]
        if missing or unexpected:
            raise ModelError(f"{config.warm_start} does not fit this model: {(missing or unexpected)[0]}")
    elif config.pretrained:
        backbone = build_backbone(config.model.backbone)
        load_pretrained(backbone, config.pretrained)
        model.load_backbone(backbone)
    if model.vnet is not None and config.vnet is not None:
        content = load_checkpoint(config.vnet, kind="vnet")
        theirs, ours = content["config"]["model"], as_mapping(config.model)
        for key in ("vnet", "vnet_size", "vnet_standardized", "viewpoints"):
            if theirs[key] != ours[key]:
                raise ModelError(f"{config.vnet} has {key} = {theirs[key]!r}, this model {ours[key]!r}")
        model.vnet.load_state_dict(content["weights"])
    return model


@dataclass(frozen=True)
class Restored:
    """A checkpoint's averaged model in evaluation mode and what is known about it."""

    model: MVAN
    config: Training
    metrics: dict[str, Any]
    viewpoint_labels_from: str


def restore(checkpoint: Path) -> Restored:
    """Read an M-Net checkpoint; raises ModelError when it is not one."""
    content = load_checkpoint(checkpoint, kind="mvan")
    config = from_mapping(Training, content["config"])
    model = MVAN(config.model)
    model.load_state_dict(content["weights"])
    return Restored(model.eval(), config, content["metrics"], content["viewpoint_labels_from"])


def _viewpoint_labels_from(config: Training) -> str:
    if config.vnet is None:
        return ""
    theirs = load_checkpoint(config.vnet, kind="vnet")["config"]
    manifests = [Path(theirs["data_root"]) / source["manifest"] for source in theirs["sources"]]
    return ", ".join(data_set_name(manifest) for manifest in manifests)


def measure_held(model: MVAN, held: Held, cache: CropCache) -> Figures:
    """Every held-out picture probes all pictures of the other cameras, the vehicles of training among them."""
    gallery = embed_rows(model, held.gallery, cache)
    position = {id(row): n for n, row in enumerate(held.gallery)}
    probes = gallery[[position[id(row)] for row in held.probes]]
    return evaluate(probes, _labels(held.probes), gallery, _labels(held.gallery), other_cameras_only=True)


def embed_rows(model: MVAN, rows: list[ManifestRow], cache: CropCache) -> NDArray[np.float32]:
    """Embeddings float32 (N, D) in evaluation mode."""
    model.eval()
    parts = []
    for start in range(0, len(rows), _EVALUATION_BATCH):
        crops = torch.from_numpy(cache.crops(rows[start : start + _EVALUATION_BATCH])).permute(0, 3, 1, 2)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            parts.append(model(crops.contiguous(memory_format=torch.channels_last)).embedding.float().numpy())
    return np.concatenate(parts)


def _labels(rows: list[ManifestRow]) -> list[tuple[str, str]]:
    return [(row.vehicle_id or "", row.camera_id or "") for row in rows]


def _prepare(model: MVAN, config: Training) -> None:
    stages: list[nn.Module] = list(model.shared.children())[: config.frozen_stages]
    if model.vnet is not None:
        stages.append(model.vnet)
    freeze(model, stages=stages, depthwise=config.frozen_depthwise)
    if config.frozen_norms:
        freeze_norms(model)


def _batches(
    streams: list[Iterator[list[ManifestRow]]], labels: dict[tuple[int, str], int], cache: CropCache,
    config: Training, generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Augmented crops float (N, 3, H, W) and labels int64 (N,), for ever."""
    while True:
        rows, target = [], []
        for number, stream in enumerate(streams):
            drawn = next(stream)
            rows += drawn
            target += [labels[number, row.vehicle_id or ""] for row in drawn]
        crops = torch.from_numpy(cache.crops(rows)).permute(0, 3, 1, 2)
        crops = augment(crops, config.augment, generator)
        yield crops.contiguous(memory_format=torch.channels_last), torch.tensor(target)
