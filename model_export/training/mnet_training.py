"""Second stage: train M-Net under a frozen V-Net with identity and triplet loss on P × K batches."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from index.contract import Aspect, Filter, Resize
from index.errors import InvalidValue, ModelError
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import CropCache, decode_all
from model_export.data_sets.data_set import open_data_set
from model_export.data_sets.selection import Selection, identities
from model_export.measuring.evaluation import Figures, evaluate
from model_export.measuring.viewpoint_accuracy import ViewpointFigures, viewpoint_figures
from model_export.network.backbones import build_backbone, load_pretrained
from model_export.network.losses import circle_loss, identity_loss, triplet_loss
from model_export.network.mvan import MVAN, IdentityHead, MVANConfig
from model_export.training.augment import AugmentConfig, augmented
from model_export.training.checkpoint import checkpoint_to_resume, load_checkpoint, save_checkpoint
from model_export.training.configuration import as_mapping, from_mapping
from model_export.training.fitting import FitConfig, Fitter, Objective, freeze, freeze_norms
from model_export.training.loader import Batch
from model_export.training.processes import started
from model_export.training.run_log import RunLog, log_folder
from model_export.training.sampling import PKSampler

_EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set of vehicles and its share of every batch."""

    data: str  # veri776:DIR, vehicleid:DIR, manifest:FILE or a manifest's path
    part: str = "train"  # of a data set that is split
    p: int = 4  # vehicles a batch
    k: int = 4  # pictures of each
    hold_out: str = ""  # kept from training and measured: COLUMN=VALUE[,VALUE] or a share of the vehicles as 30%
    measure: bool = True  # whether training measures what is held out as it goes

    def __post_init__(self) -> None:
        if self.p < 1 or self.k < 2:
            raise InvalidValue(f"source {self.data}: p must be at least 1 and k at least 2, not {self.p} × {self.k}")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything an M-Net run is made from; saved in its checkpoint and in the contract."""

    out: Path  # checkpoint that is written
    sources: tuple[Source, ...]
    data_root: Path = Path()  # places of data sets are relative to it
    name: str = "mvan"  # stands in the contract
    model: MVANConfig = field(default_factory=MVANConfig)
    resize: int = 0  # side to which pictures are stretched before the crop (random, centre in tests); 0: the input size
    resize_filter: Filter = "bilinear"  # bilinear, bicubic, lanczos, box
    resize_aspect: Aspect = "stretch"  # stretch, or pad: the aspect ratio is kept on mid-grey
    pretrained: str = ""  # imagenet, hed, a state dict's path, or nothing
    vnet: Path | None = None  # V-Net checkpoint; none only where there is one viewpoint
    warm_start: Path | None = None  # M-Net checkpoint whose one branch every branch starts from
    metric_loss: Literal["triplet", "circle"] = "triplet"  # triplet, circle
    margin: float = 0.5  # of the triplet loss
    soft_margin: bool = False  # log(1 + exp(·)) instead of a margin
    identity_weight: float = 1.0  # 0: the metric loss alone
    triplet_weight: float = 1.0  # λ of equation (9), of whichever metric loss; 0: the identity loss alone
    smoothing: float = 0.0  # of identity labels
    frozen_stages: int = 0  # so many of the backbone's first stages stay as they are
    frozen_depthwise: bool = False  # depthwise kernels stay as pre-trained: much faster on a CPU
    frozen_norms: bool = False  # batch norms keep their statistics: a branch's batches are small
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidValue("sources is empty; name at least one data set")
        if len(self.model.viewpoints) > 1 and self.vnet is None:
            raise InvalidValue("vnet names no checkpoint; a model with several viewpoints needs a trained V-Net")
        if self.resize and self.resize < self.model.input_size:
            raise InvalidValue(f"resize is {self.resize}, less than model.input_size = {self.model.input_size}")
        if not 0 <= self.smoothing < 1:
            raise InvalidValue(f"smoothing must be at least 0 and less than 1, not {self.smoothing}")
        if self.identity_weight < 0 or self.triplet_weight < 0 or not self.identity_weight + self.triplet_weight:
            raise InvalidValue(
                f"identity_weight {self.identity_weight} and triplet_weight {self.triplet_weight}: both must be at "
                "least 0 and one above it"
            )

    @property
    def crop_resize(self) -> Resize:
        """How crops are made, in training and for ever after."""
        size, crop = (self.resize or self.model.input_size,) * 2, (self.model.input_size,) * 2
        return Resize(size=size, crop=crop, filter=self.resize_filter, aspect=self.resize_aspect)

    @property
    def train_resize(self) -> Resize:
        """As :attr:`crop_resize`, before anything is cropped."""
        return replace(self.crop_resize, crop=self.crop_resize.size)


@dataclass(frozen=True)
class Held:
    """What a source keeps back, and everything it can be confused with."""

    name: str
    probes: list[ManifestRow]
    gallery: list[ManifestRow]


@dataclass(frozen=True)
class Vehicles:
    """One source opened: what is trained on, its labels, which follow those of the source before, what is held out."""

    name: str
    everything: list[ManifestRow]
    kept: list[ManifestRow]
    sampler: PKSampler
    labels: Mapping[str, int]
    held: Held | None


Look = Callable[[MVAN, Held, NDArray[np.float32]], Mapping[str, Image.Image]]


class MNetObjective(Objective):
    """Equation (9) of M-Net and its identity head, with what stays frozen frozen."""

    def __init__(self, model: MVAN, head: IdentityHead, config: Training) -> None:
        super().__init__()
        self.model, self.head, self._config = model, head, config
        self.train()

    def train(self, mode: bool = True) -> "MNetObjective":
        super().train(mode)
        config = self._config
        hold_still(
            self.model, stages=config.frozen_stages, depthwise=config.frozen_depthwise, norms=config.frozen_norms
        )
        return self

    def forward(self, crops: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self._config
        output = self.model(crops)
        loss, figures = output.fused.new_zeros(()), {}
        parts = output.fused.chunk(self.head.parts, 1)  # one, but for networks that learn independently
        for part, logits in zip(parts, self.head(output, self.model), strict=True):
            l_id = identity_loss(logits, labels, smoothing=config.smoothing)
            if config.metric_loss == "circle":
                l_metric = circle_loss(part, labels)
            else:
                l_metric = triplet_loss(part, labels, margin=None if config.soft_margin else config.margin)
            loss = loss + config.identity_weight * l_id + config.triplet_weight * l_metric
            right = (logits.detach().argmax(1) == labels).float().mean()
            figures = {"id": l_id.detach(), config.metric_loss: l_metric.detach(), "right": right}
        return loss, figures


def train(config: Training, *, resume: bool = False, look: Look | None = None, quiet: bool = False) -> Path:
    """Train M-Net and write ``out``; returns its path. Held-out vehicles are measured as it goes.

    ``look`` draws pictures of what was measured for the log, from the model, what was held out and its gallery's
    embeddings (G, D). Under ``torchrun`` each process draws batches of its own and gradients are averaged. ``quiet``
    shows no progress.
    """
    content = checkpoint_to_resume(config.out, kind="mvan", config=config, resume=resume)
    with started(config.fit.device) as processes:
        torch.manual_seed(config.fit.seed)
        vehicles = open_sources(config)
        identity_count = sum(len(part.labels) for part in vehicles)
        model = start_model(config)  # tells a wrong name or checkpoint before minutes of decoding
        cache = CropCache(config.train_resize, limit_bytes=config.fit.cache_mb << 20)
        decode_all(cache, [row for part in vehicles for row in part.everything], quiet=quiet or not processes.first)
        objective = MNetObjective(model, IdentityHead(model, identity_count), config)
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fitter = Fitter(config.fit, objective, processes)
        log = RunLog(log_folder(config.out)) if processes.first else None
        metrics: dict[str, Any] = _viewpoint_metrics(config)

        def make(number: int) -> Batch:
            rows, labels = [], []
            for part in vehicles:
                drawn = part.sampler.batch(number)
                rows += drawn
                labels += [part.labels[row.vehicle_id or ""] for row in drawn]
            size, seed = config.model.input_size, config.fit.seed
            crops = augmented(
                cache.crops(rows), size, config.augment, seed=seed, number=number, device=processes.device
            )
            return Batch(crops, torch.tensor(labels), rows)

        def measure(step: int) -> tuple[str, dict[str, float]]:
            twin = averaged_model(fitter, config)
            lines: list[str] = []
            told: dict[str, float] = {}
            for held in (part.held for part in vehicles if part.held):
                vectors = embed_rows(twin, held.gallery, cache)
                figures = measure_held(held, vectors)
                if look and log:
                    for name, picture in look(twin, held, vectors).items():
                        log.picture(step, f"{held.name}/{name}", picture)
                named = measure_viewpoints(twin, held.probes, cache)
                metrics[held.name] = figures.to_dict() | ({} if named is None else {"viewpoint": named.to_dict()})
                lines.append(f"{held.name}: {figures}")
                told |= {f"{held.name}/rank_1": figures.rank_1, f"{held.name}/map": figures.map}
            return "; ".join(lines) or "nothing held out", told

        def save(_: int) -> None:
            save_checkpoint(config.out, {
                "kind": "mvan", "config": as_mapping(config), "metrics": dict(metrics),
                "weights": averaged_weights(fitter), **fitter.state(),
                "trained_on": [part.name for part in vehicles], "viewpoint_labels_from": _viewpoint_labels_from(config),
            })  # fmt: skip

        fitter.begin(content, config.out)
        if content:
            metrics.update(content["metrics"])
        fitter.run(
            make, title="M-Net", log=log, measure=measure, save=save,
            advice="lower sources.0.p or model.input_size, make up for it with fit.accumulate, or set "
            "fit.precision=bf16",
            quiet=quiet,
        )  # fmt: skip
    return config.out


def open_sources(config: Training) -> list[Vehicles]:
    """Every source of a configuration, in order; raises InvalidValue for one that cannot be trained on."""
    opened: list[Vehicles] = []
    first = 0
    for number, source in enumerate(config.sources):
        data_set = open_data_set(source.data, root=config.data_root)
        data_set.require_sound()
        for line in data_set.left_out():
            tqdm.write(line, file=sys.stderr)
        rows = list(data_set.part(source.part))
        cameras = any(row.camera_id is not None for row in rows)  # VehicleID has none; some without one is a mistake
        for row in rows:
            if row.vehicle_id is None or (row.camera_id is None and cameras):
                column = "vehicle_id" if row.vehicle_id is None else "camera_id"
                raise InvalidValue(f"{source.data} line {row.line}, column {column}: is empty; training needs it")
        kept, out = Selection.parse(source.hold_out).split(rows, seed=config.fit.seed)
        if out and source.measure and not cameras:
            raise InvalidValue(
                f"source {source.data} has no cameras, so what it holds out cannot be measured from one to another; "
                f"set sources.{number}.measure=false"
            )
        labels = {vehicle: first + n for n, vehicle in enumerate(identities(kept))}
        first += len(labels)
        try:
            sampler = PKSampler(kept, p=source.p, k=source.k, seed=config.fit.seed + number)
        except InvalidValue as error:
            raise InvalidValue(f"source {source.data}: {error}; lower sources.{number}.p") from error
        held = Held(data_set.name, out, rows) if out and source.measure else None
        opened.append(Vehicles(data_set.name, rows, kept, sampler, labels, held))
    return opened


def averaged_weights(fitter: Fitter) -> dict[str, Tensor]:
    """M-Net's averaged weights, without the head's."""
    return {
        name.removeprefix("model."): value for name, value in fitter.averaged().items() if name.startswith("model.")
    }


def averaged_model(fitter: Fitter, config: Training) -> MVAN:
    """A model of its own with the averaged weights, where the fitter computes."""
    twin = MVAN(config.model)
    twin.load_state_dict(averaged_weights(fitter))
    return twin.to(fitter.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _viewpoint_metrics(config: Training) -> dict[str, Any]:
    """What V-Net's own training measured, for the contract."""
    if config.vnet is None or len(config.model.viewpoints) == 1:
        return {}
    measured = load_checkpoint(config.vnet, kind="vnet")["metrics"]
    return {"viewpoint": measured} if measured else {}


def start_model(config: Training) -> MVAN:
    """A model at its start: pre-trained backbone or warm start, and the frozen V-Net."""
    model = MVAN(config.model)
    if config.warm_start:
        weights = load_checkpoint(config.warm_start, kind="mvan")["weights"]
        for view in range(len(model.branches)):
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
    trained_on: tuple[str, ...]  # names of data sets
    viewpoint_labels_from: str


def restore(checkpoint: Path) -> Restored:
    """Read an M-Net checkpoint; raises ModelError when it is not one."""
    content = load_checkpoint(checkpoint, kind="mvan")
    config = from_mapping(Training, content["config"])
    model = MVAN(config.model)
    model.load_state_dict(content["weights"])
    return Restored(
        model.eval(), config, content["metrics"], tuple(content["trained_on"]), content["viewpoint_labels_from"]
    )


def _viewpoint_labels_from(config: Training) -> str:
    if config.vnet is None or len(config.model.viewpoints) == 1:
        return ""
    return ", ".join(load_checkpoint(config.vnet, kind="vnet")["trained_on"])


def held_positions(held: Held) -> NDArray[np.intp]:
    """Where the probes stand in the gallery, (Q,)."""
    position = {id(row): n for n, row in enumerate(held.gallery)}
    return np.array([position[id(row)] for row in held.probes], np.intp)


def measure_held(held: Held, vectors: NDArray[np.float32]) -> Figures:
    """Every held-out picture probes all pictures of the other cameras; ``vectors`` (G, D) embed the gallery."""
    probes = vectors[held_positions(held)]
    return evaluate(probes, _labels(held.probes), vectors, _labels(held.gallery), other_cameras_only=True)


def embed_rows(model: MVAN, rows: Sequence[ManifestRow], cache: CropCache) -> NDArray[np.float32]:
    """Embeddings float32 (N, D) in evaluation mode, of the centre of what ``cache`` gives."""
    return _seen(model, rows, cache, lambda crops: model(crops).embedding)


def measure_viewpoints(model: MVAN, rows: Sequence[ManifestRow], cache: CropCache) -> ViewpointFigures | None:
    """How V-Net names the viewpoint of rows that have one; None where none has, or the model knows one viewpoint."""
    labels = [row.viewpoint for row in rows]
    if model.vnet is None or not any(label in model.config.viewpoints for label in labels):
        return None
    return viewpoint_figures(
        _seen(model, rows, cache, lambda crops: model.viewpoint(crops.float())), labels, model.config.viewpoints
    )


def _seen(
    model: MVAN, rows: Sequence[ManifestRow], cache: CropCache, look: Callable[[Tensor], Tensor]
) -> NDArray[np.float32]:
    """What ``look`` makes of crops (n, 3, H, W), in evaluation mode: float32 (N, …)."""
    model.eval()
    device, size = model.mean.device, model.config.input_size
    parts = []
    for start in range(0, len(rows), _EVALUATION_BATCH):
        pixels = cache.crops(rows[start : start + _EVALUATION_BATCH])
        top, left = (pixels.shape[1] - size) // 2, (pixels.shape[2] - size) // 2
        crops = torch.from_numpy(pixels[:, top : top + size, left : left + size]).permute(0, 3, 1, 2).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            parts.append(look(crops.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(parts)


def _labels(rows: list[ManifestRow]) -> list[tuple[str, str]]:
    return [(row.vehicle_id or "", row.camera_id or "") for row in rows]


def hold_still(model: MVAN, *, stages: int, depthwise: bool, norms: bool) -> None:
    """Freeze V-Net, the backbone's first ``stages``, shared or not, and as asked depthwise kernels and batch norms."""
    frozen: list[nn.Module] = [] if model.vnet is None else [model.vnet]
    for branch in model.branches:
        frozen += [*model.shared.children(), *branch.get_submodule("stages").children()][:stages]
    freeze(model, stages=frozen, depthwise=depthwise)
    if norms:
        freeze_norms(model)
