"""Fine-tune a finished model to other cameras without labels: group pictures, learn the groups, group again.

Every round embeds all pictures, groups those that seem to show one vehicle (:mod:`.pseudo_labels`) and trains on the
groups with camera-aware proxies (:mod:`.proxies`). V-Net and the batch norms' statistics stay as they are.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from index.errors import InvalidValue, ModelError
from index.manifest import ManifestRow
from model_export.adapting.proxies import Proxies, proxies_of
from model_export.adapting.pseudo_labels import GroupConfig, groups
from model_export.data_sets.crop_cache import CropCache, decode_all
from model_export.data_sets.data_set import open_data_set
from model_export.network.mvan import MVAN
from model_export.training.augment import AugmentConfig, augmented
from model_export.training.checkpoint import (
    begun,
    hash_of,
    require_same_run,
    save_checkpoint,
)
from model_export.training.configuration import as_mapping, from_mapping
from model_export.training.fitting import FitConfig, Fitter, Objective
from model_export.training.loader import Batch
from model_export.training.mnet_training import (
    Restored,
    Source,
    Training,
    averaged_model,
    averaged_weights,
    embed_rows,
    hold_still,
)
from model_export.training.processes import started
from model_export.training.run_log import RunLog, log_folder
from model_export.training.sampling import PKSampler


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """Everything an adaptation is made from, beside the model."""

    out: Path  # checkpoint that is written
    data: str  # manifest:FILE or a manifest's path; vehicle_id is not looked at
    name: str = ""  # stands in the contract; empty: the model's own with -adapted
    p: int = 8  # groups a batch
    k: int = 4  # pictures of each; a group with fewer gives some again, augmented otherwise
    round: int = 40  # iterations before pictures are grouped again
    groups: GroupConfig = field(default_factory=GroupConfig)
    temperature: float = 0.07  # τ of both losses
    momentum: float = 0.2  # μ of the proxies
    hardest: int = 50  # proxies of other groups in the loss across cameras
    across: float = 0.5  # weight of the loss across cameras
    frozen_stages: int = -1  # so many of the backbone's first stages stay as they are; −1: as in the model's training
    frozen_depthwise: bool = True  # depthwise kernels stay as they are: much faster on a CPU
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if self.p < 1 or self.k < 2:
            raise InvalidValue(f"p must be at least 1 and k at least 2, not {self.p} × {self.k}")
        if self.round < 1 or self.hardest < 1:
            raise InvalidValue(f"round and hardest must be at least 1, not {self.round} and {self.hardest}")
        if self.temperature <= 0 or not 0 <= self.momentum < 1 or self.across < 0:
            raise InvalidValue(
                f"temperature {self.temperature} must be above 0, momentum {self.momentum} in 0…1 and across "
                f"{self.across} at least 0"
            )


class _ProxyObjective(Objective):
    """L_intra + weight · L_inter of the embedding, against proxies that are renewed every round."""

    def __init__(self, model: MVAN, config: Adaptation) -> None:
        super().__init__()
        self.model, self._config = model, config
        self.proxies: Proxies | None = None
        self.train()

    def train(self, mode: bool = True) -> "_ProxyObjective":
        super().train(mode)
        config = self._config
        hold_still(self.model, stages=config.frozen_stages, depthwise=config.frozen_depthwise, norms=True)
        if isinstance(self.model.neck, nn.BatchNorm1d):
            self.model.neck.eval()
        return self

    def forward(self, crops: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.proxies is None:
            raise RuntimeError("pictures were not grouped before the first batch")
        f = F.normalize(self.model(crops).embedding.float())
        within, across = self.proxies.within_cameras(f, labels), self.proxies.across_cameras(f, labels)
        self.proxies.remember(f, labels, momentum=self._config.momentum)
        return within + self._config.across * across, {"within": within.detach(), "across": across.detach()}


def adapt(restored: Restored, config: Adaptation, *, resume: bool = False, quiet: bool = False) -> Path:
    """Train ``restored`` on without labels and write ``config.out``, an M-Net checkpoint; returns its path.

    The metrics of the model before are left out: nobody has measured the new one. Raises InvalidValue for pictures that
    cannot be used and ModelError where no two of them seem to show one vehicle.
    """
    training = restored.config
    if config.frozen_stages < 0:
        config = replace(config, frozen_stages=training.frozen_stages)
    shape = replace(
        training, out=config.out, name=config.name or f"{training.name}-adapted", warm_start=None,
        data_root=Path(), sources=(Source(data=config.data, p=config.p, k=config.k, measure=False),),
    )  # fmt: skip
    start = hash_of(restored.model.state_dict())[:16]
    content = _to_resume(config, shape, start, resume=resume)
    with started(config.fit.device) as processes:
        if processes.world > 1:
            raise InvalidValue("an adaptation runs in one process; start it without torchrun")
        torch.manual_seed(config.fit.seed)
        data_set = open_data_set(config.data)
        data_set.require_sound()
        for line in data_set.left_out():
            tqdm.write(line, file=sys.stderr)
        rows = list(data_set.part("train"))
        _require_cameras(rows, config.data)
        cache = CropCache(training.train_resize, limit_bytes=config.fit.cache_mb << 20)
        decode_all(cache, rows, quiet=quiet)
        objective = _ProxyObjective(restored.model.train(), config)
        _require_something_to_learn(restored.model, config)
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fitter = Fitter(replace(config.fit, workers=0), objective, processes)  # a batch waits for its round's groups
        log = RunLog(log_folder(config.out))
        rounds = _Rounds(config, rows, cache)

        def make(number: int) -> Batch:
            if rounds.are_over(number):
                objective.proxies = rounds.begin(number, averaged_model(fitter, shape)).to(processes.device)
                log.write(fitter.step, rounds.figures, kind="round")
            drawn, labels = rounds.batch(number)
            crops = augmented(
                cache.crops(drawn), shape.model.input_size, config.augment, seed=config.fit.seed, number=number,
                device=processes.device,
            )  # fmt: skip
            return Batch(crops, torch.tensor(labels), drawn)

        def measure(_: int) -> tuple[str, dict[str, float]]:
            return rounds.line, rounds.figures

        def save(_: int) -> None:
            viewpoint = {"viewpoint": restored.metrics["viewpoint"]} if "viewpoint" in restored.metrics else {}
            save_checkpoint(config.out, {
                "kind": "mvan", "config": as_mapping(shape), "adaptation": {**as_mapping(config), "start": start},
                "metrics": {**viewpoint, "adaptation": rounds.figures}, "weights": averaged_weights(fitter),
                **fitter.state(), "trained_on": [*restored.trained_on, f"{data_set.name} (without labels)"],
                "viewpoint_labels_from": restored.viewpoint_labels_from,
            })  # fmt: skip

        fitter.begin(content, config.out)
        fitter.run(
            make, title="adapt", log=log, measure=measure, save=save, quiet=quiet,
            advice="lower p or k, make up for it with fit.accumulate, or set fit.precision=bf16",
        )  # fmt: skip
    return config.out


class _Rounds:
    """The pictures' groups, renewed every ``round`` iterations, and batches drawn from them."""

    def __init__(self, config: Adaptation, rows: list[ManifestRow], cache: CropCache) -> None:
        self._config, self._rows, self._cache = config, rows, cache
        self._cameras = [row.camera_id or "" for row in rows]
        self._number = -1
        self._sampler: PKSampler | None = None
        self._proxy: Mapping[tuple[Path, object], int] = {}
        self.figures: dict[str, float] = {}

    @property
    def line(self) -> str:
        """What was found, in words."""
        found = self.figures
        return (
            f"{found['groups']:.0f} groups of {found['pictures'] / max(found['groups'], 1):.1f} pictures on "
            f"average, {found['across_cameras']:.0f} of them seen by several cameras, {found['alone']:.0f} pictures "
            "like no other"
        )

    def are_over(self, number: int) -> bool:
        """Whether batch ``number`` needs new groups."""
        return self._round_of(number) != self._number

    def begin(self, number: int, model: MVAN) -> Proxies:
        """Group all pictures as ``model`` sees them."""
        config = self._config
        vectors = embed_rows(model, self._rows, self._cache)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found = groups(vectors, self._cameras, config.groups)
        proxies, proxy = proxies_of(
            vectors, found, self._cameras, temperature=config.temperature, hardest=config.hardest
        )
        grouped = [replace(row, vehicle_id=str(n)) for row, n in zip(self._rows, found, strict=True) if n >= 0]
        self._proxy = {(row.path, row.box): int(n) for row, n in zip(self._rows, proxy, strict=True)}
        self._number = self._round_of(number)
        seen = set(zip(found.tolist(), self._cameras, strict=True))
        cameras = Counter(n for n, _ in seen if n >= 0)
        self.figures = {
            "round": self._number, "groups": len(cameras), "pictures": len(grouped),
            "across_cameras": sum(count > 1 for count in cameras.values()), "alone": int((found < 0).sum()),
        }  # fmt: skip
        if len(cameras) < 2:
            raise ModelError(
                f"among {len(self._rows)} pictures no two vehicles were found that can be told apart, {len(grouped)} "
                "are linked to another: give more pictures, of some hundred vehicles that two cameras saw, or start "
                "from a model that knows such pictures"
            )
        count = min(config.p, int(self.figures["groups"]))
        self._sampler = PKSampler(grouped, p=count, k=config.k, seed=config.fit.seed + self._number)
        return proxies

    def batch(self, number: int) -> tuple[list[ManifestRow], list[int]]:
        """Rows of a batch and the proxy of each."""
        if self._sampler is None:
            raise RuntimeError("begin a round first")
        rows = self._sampler.batch(number)
        return rows, [self._proxy[row.path, row.box] for row in rows]

    def _round_of(self, number: int) -> int:
        return number // (self._config.round * self._config.fit.accumulate)


def _require_cameras(rows: list[ManifestRow], data: str) -> None:
    for row in rows:
        if row.camera_id is None:
            raise InvalidValue(f"{data} line {row.line}, column camera_id: is empty; adapting needs it")
    cameras = {row.camera_id for row in rows}
    if len(cameras) < 2:
        raise InvalidValue(
            f"{data} has one camera only ({', '.join(map(str, cameras))}); adapting links pictures of two or more"
        )
    if len(cameras) > 2:
        tqdm.write(
            f"{data} has {len(cameras)} cameras: where most vehicles pass few of them, a model that knows them already "
            "may lose; give cameras that follow each other, and measure before you change over",
            file=sys.stderr,
        )


def _require_something_to_learn(model: MVAN, config: Adaptation) -> None:
    stages = [*model.shared.children(), *model.branches[0].get_submodule("stages").children()]
    if not any(weight.requires_grad for stage in stages for weight in stage.parameters()):
        raise InvalidValue(
            f"frozen_stages is {config.frozen_stages} and the backbone {model.config.backbone} has {len(stages)} "
            "stages, so nothing of it could learn; set a smaller one"
        )


def _to_resume(config: Adaptation, shape: Training, start: str, *, resume: bool) -> dict[str, Any] | None:
    content = begun(config.out, kind="mvan", resume=resume)
    if content is None:
        return None
    if "adaptation" not in content:
        raise ModelError(f"{config.out} is no adaptation; give another --out, or leave --resume away")
    own = dict(content["adaptation"])
    before = own.pop("start")
    theirs = as_mapping(from_mapping(Adaptation, own))  # keys newer than the checkpoint stand at their defaults
    require_same_run({**theirs, "start": before}, {**as_mapping(config), "start": start}, config.out)
    require_same_run(as_mapping(from_mapping(Training, content["config"])), as_mapping(shape), config.out)
    return content
