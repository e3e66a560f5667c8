"""``vehicle-model calibrate``: measure what a model's distances mean, and write it into its file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import InvalidValue
from model_export.seed_argument import seed

if TYPE_CHECKING:
    from index.contract import MatchProbability
    from model_export.measuring.ranked_matches import RankedMatches

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = """\
Learn how likely a match at a distance shows the query's vehicle, of the ten nearest matches of each query of a data
set, and write that into the model's file: services then tell a probability with every match. The model and its
embedding space stay as they are; only the file's fingerprint is another. Take vehicles that the model was not trained
on (--part), and pictures like those that it will be asked about: the probability is true where as many of the ten
nearest are right.
"""
_EXAMPLES = """\
examples:
  vehicle-model calibrate models/mine.onnx --data manifest:data/cars/manifest.csv --part 30%
  vehicle-model calibrate models/default.onnx --data veri776:data/VeRi --out models/veri.onnx
  vehicle-model calibrate models/default.onnx --data manifest:data/mine/manifest.csv --check
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "calibrate", help="what a distance means: write probabilities into a model file", description=_DESCRIPTION,
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("model", type=Path, help="ONNX file")
    command.add_argument("--data", required=True, metavar="SPEC", help="a data set, as in evaluate")
    command.add_argument("--part", default="", help="which pictures probe, as in evaluate")
    command.add_argument(
        "--seed", type=seed, help="of N%% and of the folds (default: its training's, so that N%% is what it held out)"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="write this one and leave MODEL as it is")
    command.add_argument(
        "--check", action="store_true", help="write nothing; tell how well the file's own probabilities fit the data"
    )
    command.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    from index.contract import fingerprint
    from model_export.data_sets.data_set import open_data_set
    from model_export.exporting.contract_change import write_changed
    from model_export.measuring.calibration import calibrate
    from model_export.measuring.measured_model import see_rows
    from model_export.measuring.onnx_model import OnnxModel
    from model_export.measuring.protocols import plan
    from model_export.measuring.ranked_matches import ranked_matches

    if arguments.check and arguments.out:
        raise InvalidValue("--out does nothing with --check, which writes nothing")
    model = OnnxModel(arguments.model)
    chosen = model.seed if arguments.seed is None else int(arguments.seed)
    if arguments.check and model.contract.probability is None:
        raise InvalidValue(f"{arguments.model} tells no probabilities; without --check they are written into the file")
    planned = plan(open_data_set(arguments.data), part=arguments.part, seed=chosen)
    matches = ranked_matches(planned, see_rows(model, planned.rows).embedding)
    if model.contract.probability is not None and arguments.check:
        _check(model.contract.probability, matches)
        return 0
    named = f"{planned.data_set} ({arguments.part})" if arguments.part else planned.data_set
    calibrated = calibrate(matches, data_set=named, seed=chosen)
    out = arguments.out or arguments.model
    write_changed(arguments.model, out, probability=calibrated.probability)
    print(f"{calibrated}\n{out}: fingerprint {fingerprint(out)}, embedding space {model.contract.embedding_space}")
    return 0


def _check(own: "MatchProbability", matches: "RankedMatches") -> None:
    from model_export.measuring.calibration import probabilities, reliability

    told = reliability(probabilities(own, matches.distance), matches.right)
    print(
        f"{len(matches.right):,} matches of {matches.probes:,} queries, {matches.right.mean():.1%} right; the file's "
        f"probabilities ({own.form}, of {own.data_set}, {own.prior:.1%} right): log loss {told.log_loss:.4f}, "
        f"calibration error {told.ece:.2%}",
        *told.table(), sep="\n",
    )  # fmt: skip
