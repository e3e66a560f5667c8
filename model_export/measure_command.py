"""``vehicle-model evaluate`` and ``vehicle-model figures``: how well a finished model finds vehicles, and where not."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import InvalidValue
from index.whole_file import write_whole
from model_export.seed_argument import seed

if TYPE_CHECKING:
    from model_export.measuring.measured_model import MeasuredModel

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DATA = "veri776:DIR, vehicleid:DIR, manifest:FILE, or another data set by its spec"
_PART = "which pictures probe: COLUMN=VALUE[,VALUE], or N%% of the vehicles; for VehicleID its test lists"


def add_to(commands: "Commands") -> None:
    """Add both commands to the door's."""
    evaluate = commands.add_parser(
        "evaluate", help="rank-1/5/10, mAP, mINP of a checkpoint or an ONNX file",
        description="Measure a checkpoint or an ONNX file on a data set by that data set's own protocol.",
    )  # fmt: skip
    _add_common(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help="write figures as JSON; - prints them in place of the text")
    evaluate.add_argument(
        "--protocol", choices=["cross-viewpoint"], help="in place of the data set's own: only other viewpoints count"
    )
    evaluate.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking, for comparing with papers")
    evaluate.add_argument(
        "--into", type=Path, metavar="FILE",
        help="write a copy of the ONNX file whose contract has the figures (it may be the file itself)",
    )  # fmt: skip
    evaluate.set_defaults(run=_evaluate)

    figures = commands.add_parser(
        "figures", help="draw rankings and attention, failures first",
        description="Draw what a model ranks for probes it fails on, and where it looked, as PNG and one HTML page.",
    )  # fmt: skip
    _add_common(figures)
    figures.add_argument("--out", type=Path, required=True, help="folder that is made and filled")
    figures.add_argument("--baseline", type=Path, metavar="MODEL2", help="its ranking is drawn above the model's")
    figures.add_argument("--count", type=int, default=20, help="probes that are drawn (default %(default)s)")
    figures.set_defaults(run=_figures)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, help="checkpoint (.pt) or ONNX file")
    command.add_argument("--data", required=True, metavar="SPEC", help=_DATA)
    command.add_argument("--part", default="", help=_PART)
    command.add_argument(
        "--seed", type=seed,
        help="of N%%, VehicleID's draws and the bootstrap (default: its training's, so that N%% is what it held out)",
    )  # fmt: skip


def _evaluate(arguments: argparse.Namespace) -> int:
    from model_export.data_sets.data_set import open_data_set
    from model_export.measuring.measurement import measure
    from model_export.reporting.model_file import is_checkpoint, open_model

    target = None if arguments.json in (None, "-") else Path(arguments.json)
    if target:
        _require_writable(target)
    if arguments.into and arguments.rerank:
        raise InvalidValue("--into keeps what the model answers with; it does not go with --rerank")
    if arguments.into and is_checkpoint(arguments.model):
        raise InvalidValue(f"--into copies an ONNX file; export {arguments.model} first")
    model, data = open_model(arguments.model), open_data_set(arguments.data)
    figures = measure(
        model,
        data,
        part=arguments.part,
        seed=_seed(arguments, model),
        protocol=arguments.protocol,
        rerank=arguments.rerank,
    )
    document = json.dumps(figures.to_dict(), indent=2, ensure_ascii=False)
    print(document if arguments.json == "-" else figures, flush=True)  # before what may fail
    if target:
        try:
            write_whole(target, document + "\n")
        except OSError as error:
            raise InvalidValue(f"--json {target} cannot be written: {error.strerror}; - prints instead") from error
    if arguments.into:
        from model_export.exporting.measured_file import write_measured

        print(f"written into {write_measured(arguments.model, figures, arguments.into)}", file=sys.stderr)
    return 0


def _figures(arguments: argparse.Namespace) -> int:
    from model_export.data_sets.data_set import open_data_set
    from model_export.reporting.figures import draw_figures
    from model_export.reporting.model_file import open_model

    model = open_model(arguments.model)
    baseline = open_model(arguments.baseline) if arguments.baseline else None
    page = draw_figures(
        model, open_data_set(arguments.data), arguments.out, baseline=baseline, count=arguments.count,
        part=arguments.part, seed=_seed(arguments, model),
    )  # fmt: skip
    print(page)
    return 0


def _seed(arguments: argparse.Namespace, model: "MeasuredModel") -> int:
    return model.seed if arguments.seed is None else int(arguments.seed)


def _require_writable(target: Path) -> None:
    """Tell now what would be told after a long measurement."""
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise InvalidValue(f"--json {target} cannot be written: it is a folder, or its folder does not exist")
