"""``vehicle-model adapt``: a finished model learns a user's own cameras from pictures without labels."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import InvalidValue

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLES = """\
example:
  vehicle-model adapt models/default.onnx --manifest crops/manifest.csv --out runs/mine.pt
  vehicle-model export runs/mine.pt --out models/mine.onnx

The manifest needs path and camera_id; vehicle_id is not looked at. Give some hundred vehicles or more, and cameras that
most of them pass: shown to help with two; with six, of which a vehicle passed two, a model that knew them lost.
Measure before you change over: label a few dozen vehicles and compare both models with `vehicle-model evaluate`. The
new model has an embedding space of its own, so galleries are embedded again.
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "adapt", help="fine-tune a model to your own cameras, without labels", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("model", type=Path, nargs="?", help="checkpoint (.pt) or ONNX file that is trained on")
    command.add_argument("--manifest", default="", metavar="FILE", help="manifest.csv of the pictures")
    command.add_argument("--out", type=Path, help="checkpoint that is written")
    command.add_argument(
        "--configuration", type=Path, metavar="FILE", help="TOML file in place of the shipped adapt.toml"
    )
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, as in fit.seed=1")
    command.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    command.add_argument("--keys", action="store_true", help="show every key, its default and its meaning")
    command.set_defaults(run=_adapt)


def _adapt(arguments: argparse.Namespace) -> int:
    from model_export.adapting.adaptation import Adaptation, adapt
    from model_export.exporting.rebuilding import rebuild
    from model_export.training.checkpoint import require_another
    from model_export.training.configuration import SHIPPED, read_configuration
    from model_export.training.configuration_keys import configuration_keys
    from model_export.training.mnet_training import restore

    if arguments.keys:
        print(*configuration_keys(Adaptation), sep="\n")
        return 0
    for name in ("model", "manifest", "out"):
        if not getattr(arguments, name):
            raise InvalidValue(
                f"{'the model' if name == 'model' else f'--{name}'} is missing; see vehicle-model adapt --help"
            )
    given = (f"data={_quoted(arguments.manifest)}", f"out={_quoted(str(arguments.out))}")
    for key, option in (("data", "--manifest"), ("out", "--out")):
        if any(override.partition("=")[0].strip() == key for override in arguments.set):
            raise InvalidValue(f"--set {key}: give it as {option}")
    config = read_configuration(Adaptation, arguments.configuration or SHIPPED / "adapt.toml", [*given, *arguments.set])
    require_another(arguments.out, arguments.model)
    if arguments.out.suffix == ".onnx":
        raise InvalidValue(
            f"--out {arguments.out}: a checkpoint is written, not an ONNX file; name it .pt and export it"
        )
    model = rebuild(arguments.model) if arguments.model.suffix == ".onnx" else restore(arguments.model)
    print(adapt(model, config, resume=arguments.resume))
    return 0


def _quoted(text: str) -> str:
    """A TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
