"""First stage: teach V-Net to name the viewpoint, from labelled crops of any origin, balanced."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from index.contract import Resize
from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.crop_cache import CropCache, decode_all
from model_export.data_sets.selection import Selection, data_set_name, read_rows
from model_export.network.backbones import build_backbone, load_pretrained
from model_export.network.mvan import MVANConfig, VNet
from model_export.training.augment import AugmentConfig, augment
from model_export.training.checkpoint import load_checkpoint, require_writable, save_checkpoint
from model_export.training.configuration import as_mapping
from model_export.training.fitting import FitConfig, Fitter, freeze, freeze_norms

_EVALUATION_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class LabelledSource:
    """One manifest of viewpoint labels. ``origin`` names the column that tells places apart in the report."""

    manifest: Path
    viewpoint: str = ""  # label of every row, where the manifest has no such column
    weight: float = 1.0  # how often its pictures are drawn, before balancing viewpoints
    hold_out: str = ""  # see Selection
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class VNetTraining:
    """Everything a V-Net run is made from."""

    out: Path  # checkpoint that is written
    sources: tuple[LabelledSource, ...]
    data_root: Path = Path()  # manifests are relative to it
    model: MVANConfig = field(default_factory=MVANConfig)
    pretrained: str = ""  # for lite0-blocksN: imagenet
    batch: int = 64
    smoothing: float = 0.05
    frozen_stages: int = 0
    frozen_depthwise: bool = False
    frozen_norms: bool = False  # batches mix renders and photographs; their statistics are neither's
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidValue("sources is empty; name at least one manifest with a viewpoint column")
        if len(self.model.viewpoints) < 2:
            raise InvalidValue("model.viewpoints has one name; a V-Net needs two or more")


@dataclass(frozen=True)
class _Part:
    rows: list[ManifestRow]
    labels: list[int]
    origin: str
    weight: float


def train_vnet(config: VNetTraining, *, resume: bool = False) -> Path:
    """Train and write ``out``; returns its path. Prints accuracy on what is held out, by origin."""
    require_writable(config.out)
    torch.manual_seed(config.fit.seed)
    cache = CropCache(_resize(config.model.vnet_size))
    training, held = _parts(config)
    decode_all(cache, [row for part in training + held for row in part.rows])
    net = VNet(replace(config.model, input_size=config.model.vnet_size))
    if config.pretrained:
        _load_lite0(net, config)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(config.fit.seed)
    draw = _Draw(training, len(config.model.viewpoints), config.fit.seed)
    fitter = Fitter(config.fit, net, _prepare(net, config))

    def loss_of(_: int) -> tuple[Tensor, dict[str, float]]:
        rows, labels = draw.batch(config.batch)
        net.train()
        _prepare(net, config)
        crops = augment(_tensor(cache, rows), config.augment, generator)
        logits = net.logits(crops.contiguous(memory_format=torch.channels_last))
        target = torch.tensor(labels)
        accuracy = float((logits.argmax(1) == target).float().mean())
        return F.cross_entropy(logits.float(), target, label_smoothing=config.smoothing), {"accuracy": accuracy}

    metrics: dict[str, float] = {}

    def evaluate(_: int) -> str:
        if not held:
            return "nothing held out"
        metrics.clear()
        metrics.update(measure_vnet(_averaged(fitter, config), held_parts(held), cache, config.model.viewpoints))
        return ", ".join(f"{name} {value:.1%}" for name, value in metrics.items())

    def save(step: int) -> None:
        content = {
            "kind": "vnet", "config": as_mapping(config), "step": step, "model": net.state_dict(),
            "fit": fitter.state(),
            "weights": {k: v.clone() for k, v in fitter.averaged().items()}, "metrics": dict(metrics),
        }  # fmt: skip
        save_checkpoint(config.out, content)

    if resume and config.out.exists():
        content = load_checkpoint(config.out, kind="vnet")
        net.load_state_dict(content["model"])
        fitter.resume(content["fit"])
    fitter.run(loss_of, title="V-Net", evaluate=evaluate, save=save)
    return config.out


def measure_vnet(
    net: VNet, parts: Sequence[tuple[str, list[ManifestRow], list[int]]], cache: CropCache, viewpoints: Sequence[str]
) -> dict[str, float]:
    """Accuracy by origin (mean over its viewpoints that have 5 pictures or more) and ``mean`` over origins."""
    net.eval()
    figures: dict[str, float] = {}
    for origin, rows, labels in parts:
        guesses = []
        for start in range(0, len(rows), _EVALUATION_BATCH):
            with torch.no_grad():
                crops = _tensor(cache, rows[start : start + _EVALUATION_BATCH])
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


def held_parts(parts: Sequence[_Part]) -> list[tuple[str, list[ManifestRow], list[int]]]:
    """Rows and labels joined by origin."""
    joined: dict[str, tuple[list[ManifestRow], list[int]]] = defaultdict(lambda: ([], []))
    for part in parts:
        joined[part.origin][0].extend(part.rows)
        joined[part.origin][1].extend(part.labels)
    return [(origin, rows, labels) for origin, (rows, labels) in sorted(joined.items())]


class _Draw:
    """Draws viewpoints evenly, then origins by weight and by the root of their size, then a picture."""

    def __init__(self, parts: Sequence[_Part], views: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.pools: list[list[list[ManifestRow]]] = []
        self.chances: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        for view in range(views):
            pools = [
                [row for row, label in zip(part.rows, part.labels, strict=True) if label == view] for part in parts
            ]
            weights = np.array([part.weight * len(pool) ** 0.5 for part, pool in zip(parts, pools, strict=True)])
            if weights.sum() == 0:
                raise InvalidValue(f"no training picture is labelled with viewpoint number {view} of model.viewpoints")
            self.pools.append(pools)
            self.chances.append(weights / weights.sum())

    def batch(self, size: int) -> tuple[list[ManifestRow], list[int]]:
        """Rows and labels of a batch."""
        rows, labels = [], []
        for view in self.rng.integers(0, len(self.pools), size):
            pool = self.pools[view][self.rng.choice(len(self.chances[view]), p=self.chances[view])]
            rows.append(pool[self.rng.integers(len(pool))])
            labels.append(int(view))
        return rows, labels


def _parts(config: VNetTraining) -> tuple[list[_Part], list[_Part]]:
    training: list[_Part] = []
    held: list[_Part] = []
    for source in config.sources:
        rows = read_rows(config.data_root / source.manifest, *(() if source.viewpoint else ("viewpoint",)))
        for target, kept in zip(
            (training, held), Selection.parse(source.hold_out).split(rows, seed=config.fit.seed), strict=True
        ):
            by_origin: dict[str, list[ManifestRow]] = defaultdict(list)
            for row in kept:
                by_origin[
                    str(row.attributes.get(source.origin, data_set_name(config.data_root / source.manifest)))
                ].append(row)
            for origin, own in sorted(by_origin.items()):
                labels = [_label(source, row, config.model.viewpoints) for row in own]
                target.append(_Part(own, labels, origin, source.weight))
    return training, held


def _label(source: LabelledSource, row: ManifestRow, viewpoints: tuple[str, ...]) -> int:
    name = source.viewpoint or row.viewpoint or ""
    if name not in viewpoints:
        raise InvalidValue(
            f"{source.manifest} line {row.line}, column viewpoint: {name!r} is not one of {', '.join(viewpoints)}"
        )
    return viewpoints.index(name)


def _prepare(net: VNet, config: VNetTraining) -> list[torch.nn.Parameter]:
    stages = list(net.layers.children())[: config.frozen_stages]
    freeze(net, stages=stages, depthwise=config.frozen_depthwise)
    if config.frozen_norms:
        freeze_norms(net)
    return list(net.parameters())


def _averaged(fitter: Fitter, config: VNetTraining) -> VNet:
    twin = VNet(replace(config.model, input_size=config.model.vnet_size))
    twin.load_state_dict(fitter.averaged())
    return twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _load_lite0(net: VNet, config: VNetTraining) -> None:
    backbone = build_backbone("efficientnet_lite0")
    load_pretrained(backbone, config.pretrained)
    layers, _ = backbone.cut(f"block{config.model.vnet.removeprefix('lite0-blocks')}")
    net.layers.load_state_dict(layers.state_dict())


def _tensor(cache: CropCache, rows: Sequence[ManifestRow]) -> Tensor:
    return torch.from_numpy(cache.crops(rows)).permute(0, 3, 1, 2).float()  # (N, 3, H, W)


def _resize(size: int) -> Resize:
    return Resize(size=(size, size), crop=(size, size))
