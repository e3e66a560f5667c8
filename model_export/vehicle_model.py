"""The trainer's door: ``vehicle-model data | annotate | train | evaluate | figures | reproduce | export | …``."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from index.errors import InvalidValue, VehicleSearchError
from index.standard_output import printed
from model_export import (
    adapt_command,
    annotate_command,
    calibrate_command,
    data_command,
    measure_command,
    reproduce_command,
)
from model_export.seed_argument import seed

Config = TypeVar("Config")

_EXAMPLES = """\
examples:
  vehicle-model data check veri776:data/VeRi
  vehicle-model annotate data/crops/manifest.csv --labels data/crops/labels.csv --model models/default.onnx
  vehicle-model train-vnet default-vnet --set data_root=data
  vehicle-model train default-single --set data_root=data
  vehicle-model train my-cameras.toml --set fit.iterations=4000 --resume
  vehicle-model evaluate runs/default/mvan.pt --data manifest:data/test/manifest.csv --json figures.json
  vehicle-model figures models/default.onnx --data veri776:data/VeRi --out figures/
  vehicle-model reproduce --data veri776:data/VeRi --out runs/veri776
  vehicle-model export runs/default/mvan.pt --out models/default.onnx
  vehicle-model describe models/default.onnx

A data set is a manifest.csv: path, vehicle_id, camera_id, and optionally viewpoint, captured_at, box; further columns
are attributes. A configuration is a TOML file or the name of one that comes with the project (--list shows them).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code. Errors are one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        return printed(lambda: int(arguments.run(arguments)))
    except VehicleSearchError as error:
        return _refuse(str(error))
    except OSError as error:  # what has no words of its own: a full disk, a place that is none
        return _refuse(f"{error.filename or 'the output'}: {error.strerror}")
    except KeyboardInterrupt:
        how = "; go on with --resume" if hasattr(arguments, "resume") else ""
        _refuse(f"stopped{how}")
        return 130


def _refuse(reason: str) -> int:
    print(f"vehicle-model: {reason}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vehicle-model", description="Train, measure and export the model that the vehicle search service runs.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('vehicle-search')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data_command.add_to(commands)
    annotate_command.add_to(commands)
    for name, run, what in (
        ("train-vnet", _train_vnet, "first stage: teach V-Net the viewpoints"),
        ("train", _train, "second stage: train M-Net under a frozen V-Net"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("configuration", nargs="?", help="TOML file, or the name of a shipped configuration")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override, as in fit.seed=1"
        )
        command.add_argument("--resume", action="store_true", help="go on from the checkpoint in out")
        command.add_argument("--list", action="store_true", help="show the shipped configurations")
        command.add_argument("--keys", action="store_true", help="show every key, its default and its meaning")
        command.set_defaults(run=run)

    adapt_command.add_to(commands)
    measure_command.add_to(commands)
    reproduce_command.add_to(commands)
    calibrate_command.add_to(commands)

    export = commands.add_parser("export", help="write and check the ONNX file")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--out", type=Path, required=True)
    export.add_argument("--dense", action="store_true", help="run every branch always (for CUDA graphs)")
    export.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32",
        help="fp16: for GPUs; int8: for CPUs, calibrated on training crops; both are measured against fp32 first",
    )  # fmt: skip
    export.add_argument(
        "--data", default="", metavar="SPEC", help="measure fewer bits on this, not on what was held out"
    )
    export.add_argument("--part", default="", help="of --data, as in evaluate")
    export.add_argument("--seed", type=seed, help="of --part (default 0)")
    export.add_argument("--full-weights", action="store_true", help="store weights as fp32: twice the size")
    export.set_defaults(run=_export)

    describe = commands.add_parser("describe", help="print what a model file says about itself")
    describe.add_argument("model", type=Path)
    describe.set_defaults(run=_describe)
    return parser


def _train_vnet(arguments: argparse.Namespace) -> int:
    from model_export.training.vnet_training import VNetTraining, train_vnet

    return _run_training(arguments, VNetTraining, train_vnet)


def _train(arguments: argparse.Namespace) -> int:
    from model_export.reporting.training_pictures import training_pictures
    from model_export.training.mnet_training import Training, train

    def run(config: Training, *, resume: bool) -> Path:
        return train(config, resume=resume, look=training_pictures(config))

    return _run_training(arguments, Training, run)


def _run_training(arguments: argparse.Namespace, kind: type[Config], run: Callable[..., Path]) -> int:
    from model_export.training.configuration import read_configuration

    if arguments.keys:
        from model_export.training.configuration_keys import configuration_keys

        print(*configuration_keys(kind), sep="\n")
        return 0
    if arguments.list or not arguments.configuration:
        return _list_configurations()
    config = read_configuration(kind, _configuration(arguments.configuration), arguments.set)
    print(run(config, resume=arguments.resume))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from model_export.exporting.onnx_export import export_model
    from model_export.exporting.reduced_export import Measuring, export_reduced
    from model_export.training.checkpoint import require_another
    from model_export.training.mnet_training import restore

    require_another(arguments.out, arguments.checkpoint)
    reduced = arguments.precision != "fp32"
    for option, given, useful, beside in (
        ("--full-weights", arguments.full_weights, not reduced, "--precision fp32"),
        ("--data", arguments.data, reduced, "--precision fp16 or int8"),
        ("--part", arguments.part, arguments.data, "--data" if reduced else "--precision fp16 or int8"),
        ("--seed", arguments.seed is not None, arguments.part, "--part"),
    ):
        if given and not useful:
            raise InvalidValue(f"{option} does nothing here; it goes with {beside}")
    restored = restore(arguments.checkpoint)
    if arguments.precision == "fp32":
        half = not arguments.full_weights
        print(export_model(restored, arguments.out, dense=arguments.dense, half_weights=half))
        return 0
    measuring = (
        Measuring(spec=arguments.data, part=arguments.part, seed=arguments.seed or 0) if arguments.data else None
    )
    print(export_reduced(restored, arguments.out, arguments.precision, dense=arguments.dense, measuring=measuring))
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    from index.contract import fingerprint
    from model_export.exporting.onnx_export import describe

    contract = json.loads(describe(arguments.model).to_json())
    print(json.dumps({"fingerprint": fingerprint(arguments.model), **contract}, indent=2, ensure_ascii=False))
    return 0


def _configuration(name: str) -> Path:
    shipped = _shipped()
    return shipped[name] if name in shipped else Path(name)


def _shipped() -> dict[str, Path]:
    from model_export.training.configuration import SHIPPED

    own = sorted(SHIPPED.glob("*.toml"), key=lambda path: path.stem)
    return {path.stem: path for path in own if path.stem != "adapt"}  # another command's


def _list_configurations() -> int:
    shipped = _shipped()
    width = max(map(len, shipped))
    for name, path in shipped.items():
        print(f"{name:{width}}  {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
