"""How much a reproduction may cost: which backbones stand for the paper's, which configurations, which renders.

``full`` is the paper's recipe. ``medium`` trains EfficientNet-Lite0 from its ImageNet weights; ``small`` a VGG and a
ResNet in miniature from nothing, to see the whole experiment run.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from index.errors import InvalidValue
from model_export.reproducing.tables import Row
from model_export.training.configuration import SHIPPED, read_configuration
from model_export.training.mnet_training import Training
from model_export.training.vnet_training import VNetTraining

# Stages before which branches may part: nothing shared, then behind the stages that end at strides 2, 4, 8 and 16.
SPLITS = {
    "vgg16": ("conv1", "conv2", "conv3", "conv4", "conv5"),
    "vgg_small": ("conv1", "conv2", "conv3", "conv4", "conv5"),
    "resnet50": ("res1", "res2", "res3", "res4", "res5"),
    "resnet_small": ("res1", "res2", "res3", "res4", "res5"),
    "efficientnet_lite0": ("stem", "block1", "block3", "block5", "block11"),
    "efficientnet_lite2": ("stem", "block1", "block4", "block7", "block15"),
}
_MULTIPLE = 16  # pixels, of the sides of smaller pictures


@dataclass(frozen=True, kw_only=True)
class Renders:
    """How many pictures are rendered where no data set is given."""

    identities: int
    views: int
    size: int  # longest side, pixels
    held_out: float = 0.3  # share of the meshes that no training sees


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Names of shipped configurations, and what is changed in them.

    ``second`` is the configuration of the second backbone's rows, ``strong`` that of the stronger recipe's;
    ``overrides`` and ``vnet_overrides`` are KEY=VALUE as on the command line.
    """

    name: str
    vnet: str
    first: str
    second: str
    strong: str
    second_overrides: tuple[str, ...] = ()
    two_views: str = ""  # added to configurations' names where a data set has two views
    overrides: tuple[str, ...] = ()
    vnet_overrides: tuple[str, ...] = ()
    renders: Renders | None = None
    judged: bool = True  # whether its figures say anything about the paper's claims

    def training(self, row: Row, *, viewpoints: tuple[str, ...]) -> Training:
        """The configuration that ``row`` is trained by, but for its data and places; raises InvalidValue."""
        name = {"first": self.first, "second": self.second, "strong": self.strong}[row.starts_from]
        own = self.second_overrides if row.starts_from == "second" else ()
        training = read_configuration(Training, self._path(name, viewpoints), (*own, *row.overrides, *self.overrides))
        model = {"viewpoints": viewpoints, "kept_views": viewpoints[: row.kept], **row.model}
        backbone = training.model.backbone
        if backbone not in SPLITS:
            raise InvalidValue(f"model.backbone {backbone!r} has no splits for the tables; {', '.join(SPLITS)} have")
        if row.input_share != 1:
            model["input_size"] = _MULTIPLE * round(training.model.input_size * row.input_share / _MULTIPLE)
        shape = replace(training.model, split=SPLITS[backbone][row.split_after], **model)
        vnet = training.vnet if len(shape.viewpoints) > 1 else None
        return replace(training, name=row.name, model=shape, vnet=vnet, **row.training)

    def vnet_training(self, *, viewpoints: tuple[str, ...]) -> VNetTraining:
        """The configuration of the V-Net that all rows share, but for its data and places; raises InvalidValue."""
        training = read_configuration(VNetTraining, self._path(self.vnet, viewpoints), self.vnet_overrides)
        return replace(training, model=replace(training.model, viewpoints=viewpoints))

    def _path(self, name: str, viewpoints: tuple[str, ...]) -> Path:
        suffix = self.two_views if len(viewpoints) == 2 and name != self.strong else ""
        return SHIPPED / f"{name}{suffix}.toml"


_BUDGETS = (
    Budget(
        name="small", vnet="reproduce-small-vnet", first="reproduce-small", second="reproduce-small",
        second_overrides=("model.backbone=resnet_small",), strong="reproduce-small-strong",
        renders=Renders(identities=90, views=8, size=128), judged=False,
    ),
    Budget(
        name="medium", vnet="reproduce-medium-vnet", first="reproduce-medium", second="reproduce-medium",
        second_overrides=("model.backbone=efficientnet_lite2",), strong="reproduce-medium-strong",
        renders=Renders(identities=480, views=8, size=160),
    ),
    Budget(
        name="full", vnet="paper-vnet", first="paper-vgg16", second="paper-resnet50", strong="strong", two_views="-2"
    ),
)  # fmt: skip
BUDGETS = {budget.name: budget for budget in _BUDGETS}


def chosen_budget(name: str) -> Budget:
    """A budget by its name; raises InvalidValue."""
    if name not in BUDGETS:
        raise InvalidValue(f"--budget {name!r} is not one of {', '.join(BUDGETS)}")
    return BUDGETS[name]
