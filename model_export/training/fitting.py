"""The loop that both trainings share: schedule, precision, averaged weights, progress, checkpoints."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from index.errors import InvalidValue, ModelError


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How weights move; see each field."""

    iterations: int = 2000
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 5e-4  # peak
    warm_up: int = 100  # iterations of linear rise
    schedule: Literal["cosine", "step"] = "cosine"
    step_every: int = 80_000  # step: × step_factor every so many iterations
    step_factor: float = 0.2
    weight_decay: float = 1e-3
    momentum: float = 0.9  # sgd
    precision: Literal["fp32", "bf16"] = "fp32"  # of convolutions and matrix products while training
    average: float = 0.0  # decay of the exponential moving average of weights; 0: none
    checkpoint_every: int = 500
    evaluate_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "checkpoint_every", "evaluate_every"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise InvalidValue(f"learning_rate must be positive, not {self.learning_rate}")
        if not 0 <= self.average < 1:
            raise InvalidValue(f"average must lie in 0…1, not {self.average}")


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


class Fitter:
    """Runs ``iterations`` steps of ``loss_of(step) -> (loss, shown figures)``.

    Calls ``evaluate(step) -> line`` now and then and ``save(step)`` at every checkpoint and at the end, Ctrl-C
    included. A loss that is not finite stops the run with the step that made it.
    """

    def __init__(self, config: FitConfig, model: nn.Module, parameters: Iterable[nn.Parameter]) -> None:
        self.config, self.model = config, model
        weights = [p for p in parameters if p.requires_grad]
        matrices = {"params": [p for p in weights if p.ndim > 1], "weight_decay": config.weight_decay}
        vectors = {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0}
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(  # the paper decays everything
                weights, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
            )
        else:
            self.optimizer = torch.optim.AdamW([matrices, vectors], lr=config.learning_rate)
        self.average = Average(model, config.average) if config.average else None
        self.step = 0

    def learning_rate(self, step: int) -> float:
        """Rate at a step: linear warm-up, then cosine to 1 % of the peak, or steps."""
        config = self.config
        if step < config.warm_up:
            return config.learning_rate * (step + 1) / config.warm_up
        if config.schedule == "step":
            return config.learning_rate * float(config.step_factor ** (step // config.step_every))
        progress = (step - config.warm_up) / max(config.iterations - config.warm_up, 1)
        return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)

    def run(
        self, loss_of: Callable[[int], tuple[Tensor, dict[str, float]]], *, title: str,
        evaluate: Callable[[int], str], save: Callable[[int], None],
    ) -> None:  # fmt: skip
        """Train from ``self.step`` on; raises ModelError when the loss is not finite."""
        config = self.config
        with tqdm(total=config.iterations, initial=self.step, desc=title, unit="batch") as progress:
            try:
                while self.step < config.iterations:
                    rate = self.learning_rate(self.step)
                    for group in self.optimizer.param_groups:
                        group["lr"] = rate
                    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
                        loss, shown = loss_of(self.step)
                    if not bool(torch.isfinite(loss)):
                        raise ModelError(
                            f"the loss is {loss.item()} at iteration {self.step}; lower learning_rate ({rate:.2g})"
                        )
                    self.optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    self.optimizer.step()
                    if self.average:
                        self.average.update(self.model)
                    self.step += 1
                    progress.update(1)
                    if self.step % 10 == 0:
                        progress.set_postfix(
                            {"loss": f"{loss.item():.3f}", **{k: f"{v:.3f}" for k, v in shown.items()}}
                        )
                    if self.step % config.evaluate_every == 0 or self.step == config.iterations:
                        progress.write(f"{title} {self.step}: {evaluate(self.step)}")
                    if self.step % config.checkpoint_every == 0:
                        save(self.step)
            finally:
                save(self.step)

    def averaged(self) -> dict[str, Tensor]:
        """The weights to evaluate and ship: the average where there is one, else the model's own."""
        return self.average.state if self.average else self.model.state_dict()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides the model."""
        return {
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state if self.average else None,
            "average_updates": self.average.updates if self.average else 0,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Take up a state of :meth:`state`."""
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average and state["average"]:
            self.average.state, self.average.updates = state["average"], state["average_updates"]


def freeze(model: nn.Module, *, stages: list[nn.Module], depthwise: bool) -> None:
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
