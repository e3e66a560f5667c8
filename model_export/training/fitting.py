"""The loop that both trainings share: schedule, precision, averaged weights, several processes, progress, checkpoints.

Every random draw of a step comes from the seed and the step's number, so a run that is taken up again ends with the
weights of an unbroken one.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from index.errors import InvalidValue, ModelError
from model_export.training.checkpoint import set_aside
from model_export.training.interruption import Interruption
from model_export.training.loader import Batch, Loader
from model_export.training.processes import DeviceName, Processes
from model_export.training.run_log import RunLog
from model_export.training.seeds import seed_of

_SHOW_EVERY = 10  # iterations
_NAMED = 8  # pictures of a batch that an error names


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How weights move; see each field."""

    iterations: int = 2000  # steps in all
    optimizer: Literal["adamw", "sgd"] = "adamw"  # adamw, sgd
    learning_rate: float = 5e-4  # peak
    warm_up: int = 100  # iterations of linear rise
    schedule: Literal["cosine", "step"] = "cosine"  # after the warm-up: cosine to 1 % of the peak, step
    step_every: int = 80_000  # step: × step_factor every so many iterations
    step_factor: float = 0.2  # step: what the rate is multiplied by
    weight_decay: float = 1e-3  # adamw: of matrices; sgd: of all weights
    momentum: float = 0.9  # sgd
    clip: float = 0.0  # largest norm of the gradient; 0: as it comes
    accumulate: int = 1  # batches whose gradients are added up for one step
    device: DeviceName = "auto"  # auto: a GPU where there is one
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of convolutions and matrix products; fp16 on a GPU only
    average: float = 0.0  # decay of the exponential moving average of weights; 0: none
    workers: int = 1  # threads that decode and augment ahead; 0: none
    cache_mb: int = 4096  # decoded pictures that are kept, MiB
    checkpoint_every: int = 500  # iterations
    evaluate_every: int = 500  # iterations
    seed: int = 0  # of every draw: hold-outs, batches, augmentation, dropout

    def __post_init__(self) -> None:
        for name in ("iterations", "checkpoint_every", "evaluate_every", "accumulate", "step_every"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("workers", "cache_mb", "seed", "warm_up", "clip", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise InvalidValue(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidValue(f"learning_rate must be positive and finite, not {self.learning_rate}")
        if not 0 <= self.average < 1:
            raise InvalidValue(f"average must be at least 0 and less than 1, not {self.average}")
        if not 0 <= self.momentum < 1:
            raise InvalidValue(f"momentum must be at least 0 and less than 1, not {self.momentum}")
        if self.seed >= 2**63:
            raise InvalidValue(f"seed must be less than 2**63, not {self.seed}")


class Average:
    """Exponential moving average of a model's floating-point state, warmed up so that early noise is forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Move towards the model's present state."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - decay)
            else:
                self.state[name].copy_(value)


class Objective(nn.Module):
    """What is trained: (crops, labels) → a scalar loss and figures to show, 0-d tensors."""

    def forward(self, crops: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class."""
        raise NotImplementedError


class Fitter:
    """Runs the iterations of one process.

    Calls ``measure(step) -> (line, figures)`` now and then and ``save(step)`` at every checkpoint and at the end, after
    Ctrl-C too, both in the first process only. A loss that is not finite stops the run with the pictures that made it;
    too little memory stops it with the settings that need less. Closes ``log``.
    """

    def __init__(self, config: FitConfig, objective: Objective, processes: Processes) -> None:
        if config.precision == "fp16" and processes.device.type == "cpu":
            raise InvalidValue("fit.precision is fp16, which needs a GPU; bf16 and fp32 run on the CPU")
        self.config, self.objective, self.processes = config, objective.to(processes.device), processes
        weights = [p for p in objective.parameters() if p.requires_grad]
        matrices = {"params": [p for p in weights if p.ndim > 1], "weight_decay": config.weight_decay}
        vectors = {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0}
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(  # the paper decays everything
                weights, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
            )
        else:
            self.optimizer = torch.optim.AdamW([matrices, vectors], lr=config.learning_rate)
        self._weights = weights
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "fp16")
        self.average = Average(objective, config.average) if config.average else None
        self.step = 0
        self.saved = -1
        self._lost = False  # a loss was no number: the weights may be far off already

    def learning_rate(self, step: int) -> float:
        """Rate at a step: linear warm-up, then cosine to 1 % of the peak, or steps."""
        config = self.config
        if step < config.warm_up:
            return config.learning_rate * (step + 1) / config.warm_up
        if config.schedule == "step":
            return config.learning_rate * float(config.step_factor ** (step // config.step_every))
        progress = (step - config.warm_up) / max(config.iterations - config.warm_up, 1)
        return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)

    def numbers(self) -> Iterator[int]:
        """Numbers of the batches that this process takes from ``self.step`` on.

        ``world`` processes with ``accumulate`` batches a step take what one process would with ``world × accumulate``.
        """
        a_step = self.config.accumulate * self.processes.world
        for step in range(self.step, self.config.iterations):
            yield from range(step * a_step + self.processes.rank, (step + 1) * a_step, self.processes.world)

    def run(
        self, make: Callable[[int], Batch], *, title: str, log: RunLog | None,
        measure: Callable[[int], tuple[str, dict[str, float]]], save: Callable[[int], None], advice: str,
        quiet: bool = False,
    ) -> None:  # fmt: skip
        """Train from ``self.step`` on; raises ModelError. ``advice`` says what to set where memory runs out.

        ``quiet`` leaves the progress bar and what was measured to the log.
        """
        config, first = self.config, self.processes.first
        loader = Loader(make, self.numbers(), workers=config.workers)
        objective: nn.Module = self.objective
        if self.processes.world > 1:  # a branch that no picture of a batch took has no gradient
            objective = DistributedDataParallel(objective, find_unused_parameters=True)
        pace, began = _Pace(), self.step
        with (
            Interruption() as interruption,
            tqdm(
                total=config.iterations, initial=self.step, desc=title, unit="batch", disable=quiet or not first
            ) as progress,
        ):  # fmt: skip
            try:
                while self.step < config.iterations:
                    with interruption.held_back():
                        figures, seen = self._one_step(objective, loader)
                    pace.add(seen * self.processes.world)
                    progress.update(1)
                    if first and self.step % _SHOW_EVERY == 0:
                        self._show(figures, pace.take(), progress, log)
                    if self.step % config.evaluate_every == 0 or self.step == config.iterations:
                        if first:
                            line, measured = measure(self.step)
                            if not quiet:
                                progress.write(f"{title} {self.step}: {line}", file=sys.stderr)
                            if log and measured:
                                log.write(self.step, measured, kind="measure")
                        self.processes.wait_for_all()
                        pace.take()
                    if first and self.step % config.checkpoint_every == 0 and self.step < config.iterations:
                        self._save_if_possible(save, progress)
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not _out_of_memory(error):
                    raise
                raise ModelError(f"memory ran out at iteration {self.step}; {advice}") from error
            finally:
                loader.close()
                if log:
                    log.close()
                if first and self.step not in (began, self.saved) and self._is_sound():
                    save(self.step)

    def averaged(self) -> dict[str, Tensor]:
        """The weights to evaluate and ship, on the CPU: the average where there is one, else the model's own."""
        state = self.average.state if self.average else self.objective.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, as a part of its checkpoint."""
        return {"step": self.step, "objective": self.objective.state_dict(), "fit": self._fit_state()}

    def begin(self, content: Mapping[str, Any] | None, out: Path) -> None:
        """Take up the checkpoint ``content``; without one keep what is at ``out`` under another name."""
        if content:
            self.resume(content)
        elif self.processes.first:
            set_aside(out)

    def resume(self, content: Mapping[str, Any]) -> None:
        """Take up a checkpoint with a :meth:`state`."""
        self.objective.load_state_dict(content["objective"])
        state = content["fit"]
        self.step = self.saved = content["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self.average and state["average"]:
            self.average.state = {name: value.to(self.processes.device) for name, value in state["average"].items()}
            self.average.updates = state["average_updates"]

    def _fit_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self.average.state if self.average else None,
            "average_updates": self.average.updates if self.average else 0,
        }

    def _show(self, figures: dict[str, float], rate: float, progress: "tqdm[Any]", log: RunLog | None) -> None:
        progress.set_postfix({name: f"{value:.3f}" for name, value in figures.items()} | {"img/s": f"{rate:.0f}"})
        if log:
            more = {"learning_rate": self.learning_rate(self.step - 1), "pictures_per_second": rate}
            log.write(self.step, figures | more, kind="train")

    def _one_step(self, objective: nn.Module, loader: Loader) -> tuple[dict[str, float], int]:
        """One iteration: figures and pictures of this process."""
        config, device = self.config, self.processes.device
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        total, seen, shown = 0.0, 0, {}
        for part in range(config.accumulate):
            batch = next(loader).to(device)
            torch.manual_seed(seed_of(config.seed, self.step * config.accumulate + part, self.processes.rank))
            last = part == config.accumulate - 1
            if isinstance(objective, DistributedDataParallel):
                objective.require_backward_grad_sync = last
            with torch.autocast(device.type, _PRECISIONS[config.precision], enabled=config.precision != "fp32"):
                loss, figures = objective(batch.crops, batch.labels)
            value = loss.item()
            if not math.isfinite(value):
                self._lost = True
                raise ModelError(_not_finite(value, self.step, self.learning_rate(self.step), batch))
            self._scaler.scale(loss / config.accumulate).backward()
            total += value / config.accumulate
            seen += len(batch.rows)
            shown = figures
        if config.clip:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._weights, config.clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.average:
            self.average.update(self.objective)
        self.step += 1
        return {"loss": total} | {name: float(figure) for name, figure in shown.items()}, seen

    def _save_if_possible(self, save: Callable[[int], None], progress: "tqdm[Any]") -> None:
        """A checkpoint on the way that fails is told; the run goes on and the last good one stays."""
        if not self._is_sound():
            return  # the next loss tells
        try:
            save(self.step)
            self.saved = self.step
        except ModelError as error:
            progress.write(f"{error}; going on, the checkpoint before it is whole", file=sys.stderr)

    def _is_sound(self) -> bool:
        """Whether a run could go on from these weights: the loss and they are numbers."""
        return not self._lost and all(bool(torch.isfinite(weight).all()) for weight in self._weights)


class _Pace:
    """Pictures a second since it was last asked."""

    def __init__(self) -> None:
        self._since, self._pictures = time.perf_counter(), 0

    def add(self, pictures: int) -> None:
        self._pictures += pictures

    def take(self) -> float:
        rate = self._pictures / max(time.perf_counter() - self._since, 1e-9)
        self._since, self._pictures = time.perf_counter(), 0
        return rate


_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on the CPU it has no class for that."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _not_finite(value: float, step: int, rate: float, batch: Batch) -> str:
    names = ", ".join(str(row.path) for row in batch.rows[:_NAMED])
    more = f" and {len(batch.rows) - _NAMED} more" if len(batch.rows) > _NAMED else ""
    return (
        f"the loss is {value} at iteration {step}, made by {names}{more}; look at them, lower learning_rate "
        f"({rate:.2g}) or set clip"
    )


def freeze(model: nn.Module, *, stages: Sequence[nn.Module], depthwise: bool) -> None:
    """Keep ``stages`` as pre-trained (weights and statistics), and, if asked, every depthwise kernel.

    On a CPU the gradient of a depthwise kernel costs ten times that of its input; the kernels hold 3 % of the weights.
    """
    for stage in stages:
        stage.requires_grad_(False)
        stage.eval()
    if depthwise:
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                module.weight.requires_grad_(False)


def freeze_norms(module: nn.Module) -> None:
    """Put every 2-d batch norm in evaluation mode: batches of one viewpoint are too small to count on."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
