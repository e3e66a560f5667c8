"""First stage: teach V-Net to name the viewpoint, from labelled crops of any origin, balanced."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from index.contract import Resize
from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import CropCache, decode_all
from model_export.data_sets.data_set import open_data_set
from model_export.data_sets.selection import Selection
from model_export.network.backbones import build_backbone, load_pretrained
from model_export.network.mvan import MVANConfig, VNet
from model_export.training.augment import AugmentConfig, augmented
from model_export.training.checkpoint import checkpoint_to_resume, save_checkpoint
from model_export.training.configuration import as_mapping
from model_export.training.fitting import FitConfig, Fitter, Objective, freeze, freeze_norms
from model_export.training.loader import Batch
from model_export.training.processes import started
from model_export.training.run_log import RunLog, log_folder
from model_export.training.sampling import LabelledRows, ViewpointSampler

_EVALUATION_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class LabelledSource:
    """One data set of viewpoint labels. ``origin`` names the attribute that tells places apart in the report."""

    data: str  # vehicle-orientation:DIR, veri776:DIR, manifest:FILE or a manifest's path
    part: str = "train"  # of a data set that is split
    viewpoint: str = ""  # label of every row, where the data set says none
    weight: float = 1.0  # how often its pictures are drawn, before balancing viewpoints
    hold_out: str = ""  # kept from training and measured: COLUMN=VALUE[,VALUE] or a share such as 30%
    leave_out: tuple[str, ...] = ()  # labels whose pictures are not used; "" stands for no label
    origin: str = ""  # attribute that tells places apart, which are drawn and reported apart
    kind: str = ""  # attribute that must tell nothing of the viewpoint: each value is drawn alike for all of them


@dataclass(frozen=True, kw_only=True)
class VNetTraining:
    """Everything a V-Net run is made from."""

    out: Path  # checkpoint that is written
    sources: tuple[LabelledSource, ...]
    data_root: Path = Path()  # places of data sets are relative to it
    model: MVANConfig = field(default_factory=MVANConfig)
    pretrained: str = ""  # for lite0-blocksN: imagenet
    resize: int = 0  # side to which pictures are stretched before the crop (random, centre in tests); 0: vnet_size
    batch: int = 64  # pictures
    smoothing: float = 0.05  # of labels; smoothed ones keep every p above the routing threshold
    frozen_stages: int = 0  # so many of the first stages stay as pre-trained
    frozen_depthwise: bool = False  # depthwise kernels stay as pre-trained: much faster on a CPU
    frozen_norms: bool = False  # batches mix renders and photographs; their statistics are neither's
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidValue("sources is empty; name at least one data set with viewpoints")
        if len(self.model.viewpoints) < 2:
            raise InvalidValue("model.viewpoints has one name; a V-Net needs two or more")
        if self.resize and self.resize < self.model.vnet_size:
            raise InvalidValue(f"resize is {self.resize}, less than model.vnet_size = {self.model.vnet_size}")
        if not 0 <= self.smoothing < 1:
            raise InvalidValue(f"smoothing must be at least 0 and less than 1, not {self.smoothing}")
        if self.batch < 1:
            raise InvalidValue(f"batch must be at least 1, not {self.batch}")


class _VNetObjective(Objective):
    """Cross entropy of V-Net, with what stays frozen frozen."""

    def __init__(self, net: VNet, config: VNetTraining) -> None:
        super().__init__()
        self.net, self._config = net, config
        self.train()

    def train(self, mode: bool = True) -> "_VNetObjective":
        super().train(mode)
        config = self._config
        stages: list[nn.Module] = list(self.net.layers.children())[: config.frozen_stages]
        freeze(self.net, stages=stages, depthwise=config.frozen_depthwise)
        if config.frozen_norms:
            freeze_norms(self.net)
        return self

    def forward(self, crops: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.net.logits(crops).float()  # (N, V)
        right = (logits.detach().argmax(1) == labels).float().mean()
        return F.cross_entropy(logits, labels, label_smoothing=self._config.smoothing), {"right": right}


def train_vnet(config: VNetTraining, *, resume: bool = False, quiet: bool = False) -> Path:
    """Train and write ``out``; returns its path. Accuracy on what is held out is told by origin.

    Under ``torchrun`` each process draws batches of its own and gradients are averaged. ``quiet`` shows no progress.
    """
    content = checkpoint_to_resume(config.out, kind="vnet", config=config, resume=resume)
    with started(config.fit.device) as processes:
        torch.manual_seed(config.fit.seed)
        size, viewpoints = config.model.vnet_size, config.model.viewpoints
        training, held, names = _open(config)
        net = VNet(replace(config.model, input_size=size))
        if config.pretrained:
            _load_lite(net, config)
        cache = CropCache(_resize(config.resize or size), limit_bytes=config.fit.cache_mb << 20)
        decode_all(cache, [row for part in training + held for row in part.rows], quiet=quiet or not processes.first)
        objective = _VNetObjective(net, config)
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sampler = ViewpointSampler(training, viewpoints=viewpoints, batch=config.batch, seed=config.fit.seed)
        fitter = Fitter(config.fit, objective, processes)
        log = RunLog(log_folder(config.out)) if processes.first else None
        metrics: dict[str, float] = {}

        def make(number: int) -> Batch:
            rows, labels = sampler.batch(number)
            crops = augmented(
                cache.crops(rows), size, config.augment, seed=config.fit.seed, number=number, device=processes.device
            )
            return Batch(crops, torch.tensor(labels), rows)

        def measure(_: int) -> tuple[str, dict[str, float]]:
            if not held:
                return "nothing held out", {}
            metrics.clear()
            metrics.update(measure_vnet(_averaged_net(fitter, config), held_parts(held), cache, viewpoints))
            return ", ".join(f"{name} {value:.1%}" for name, value in metrics.items()), dict(metrics)

        def save(_: int) -> None:
            save_checkpoint(config.out, {
                "kind": "vnet", "config": as_mapping(config), "metrics": dict(metrics),
                "weights": _averaged_weights(fitter), **fitter.state(),
                "trained_on": names,
            })  # fmt: skip

        fitter.begin(content, config.out)
        if content:
            metrics.update(content["metrics"])
        fitter.run(
            make, title="V-Net", log=log, measure=measure, save=save,
            advice="lower batch or model.vnet_size, make up for it with fit.accumulate, or set fit.precision=bf16",
            quiet=quiet,
        )  # fmt: skip
    return config.out


def measure_vnet(
    net: VNet, parts: Sequence[tuple[str, list[ManifestRow], list[int]]], cache: CropCache, viewpoints: Sequence[str]
) -> dict[str, float]:
    """Accuracy by origin (mean over its viewpoints that have 5 pictures or more) and ``mean`` over origins."""
    net.eval()
    device, size = net.mean.device, net.size
    figures: dict[str, float] = {}
    for origin, rows, labels in parts:
        guesses = []
        for start in range(0, len(rows), _EVALUATION_BATCH):
            with torch.no_grad():
                pixels = cache.crops(rows[start : start + _EVALUATION_BATCH])
                edge = (pixels.shape[1] - size) // 2
                crops = torch.from_numpy(pixels[:, edge : edge + size, edge : edge + size]).permute(0, 3, 1, 2)
                crops = crops.float().to(device)
                guesses += net.logits(crops.contiguous(memory_format=torch.channels_last)).argmax(1).tolist()
        truth, guess = np.array(labels), np.array(guesses)
        shares = {
            name: float((guess[truth == n] == n).mean()) for n, name in enumerate(viewpoints) if (truth == n).sum() >= 5
        }
        if shares:
            figures.update({f"{origin}/{name}": share for name, share in shares.items()})
            figures[origin] = float(np.mean(list(shares.values())))
    origins = [value for name, value in figures.items() if "/" not in name]
    figures["mean"] = float(np.mean(origins)) if origins else float("nan")
    return figures


def held_parts(parts: Sequence[LabelledRows]) -> list[tuple[str, list[ManifestRow], list[int]]]:
    """Rows and labels joined by origin."""
    joined: dict[str, tuple[list[ManifestRow], list[int]]] = defaultdict(lambda: ([], []))
    for part in parts:
        joined[part.origin][0].extend(part.rows)
        joined[part.origin][1].extend(part.labels)
    return [(origin, rows, labels) for origin, (rows, labels) in sorted(joined.items())]


def _open(config: VNetTraining) -> tuple[list[LabelledRows], list[LabelledRows], list[str]]:
    """What is trained on and what is held out, by source and origin, and the data sets' names."""
    training: list[LabelledRows] = []
    held: list[LabelledRows] = []
    names = []
    for source in config.sources:
        data_set = open_data_set(source.data, root=config.data_root)
        data_set.require_sound()
        for line in data_set.left_out():
            tqdm.write(line, file=sys.stderr)
        names.append(data_set.name)
        rows = [row for row in data_set.part(source.part) if (row.viewpoint or "") not in source.leave_out]
        sides = Selection.parse(source.hold_out).split(rows, seed=config.fit.seed)
        for target, kept in zip((training, held), sides, strict=True):
            alike: dict[tuple[str, str], list[ManifestRow]] = defaultdict(list)
            for row in kept:
                origin = str(row.attributes.get(source.origin, data_set.name))
                alike[origin, str(row.attributes.get(source.kind, ""))].append(row)
            for (origin, kind), own in sorted(alike.items()):
                labels = [_label(source, row, config.model.viewpoints) for row in own]
                target.append(LabelledRows(own, labels, origin, source.weight, kind))
    return training, held, names


def _label(source: LabelledSource, row: ManifestRow, viewpoints: tuple[str, ...]) -> int:
    name = source.viewpoint or row.viewpoint or ""
    if name not in viewpoints:
        raise InvalidValue(
            f"{source.data} line {row.line}, column viewpoint: {name!r} is not one of {', '.join(viewpoints)}"
        )
    return viewpoints.index(name)


def _averaged_weights(fitter: Fitter) -> dict[str, Tensor]:
    return {name.removeprefix("net."): value for name, value in fitter.averaged().items()}


def _averaged_net(fitter: Fitter, config: VNetTraining) -> VNet:
    twin = VNet(replace(config.model, input_size=config.model.vnet_size))
    twin.load_state_dict(_averaged_weights(fitter))
    return twin.to(fitter.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _load_lite(net: VNet, config: VNetTraining) -> None:
    kind, _, blocks = config.model.vnet.partition("-blocks")
    backbone = build_backbone(f"efficientnet_{kind}")
    load_pretrained(backbone, config.pretrained)
    layers, _ = backbone.cut(f"block{blocks}")
    net.layers.load_state_dict(layers.state_dict())


def _resize(size: int) -> Resize:
    return Resize(size=(size, size), crop=(size, size))
