"""``vehicle-model annotate``: label viewpoints by key on a local page, and let V-Net label what it is sure of."""

import argparse
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import InvalidValue

if TYPE_CHECKING:
    from model_export.annotating.label_file import LabelFile
    from model_export.annotating.viewpoint_model import ViewpointModel
    from model_export.annotating.work_list import Order, Picture
    from model_export.data_sets.data_set import DataSet

_PAPERS_VIEWPOINTS = ("front", "rear", "side")
_MOST_VIEWPOINTS = 9  # number keys
_NAMED = 5  # broken pictures that are named in the terminal; the page names all

_DESCRIPTION = """\
Label viewpoints on a page that this machine alone can open: f, r, s (or 1, 2, 3), space to skip, backspace or u to
undo, h to hide V-Net's guess. Every key is on the disk before the next one counts; stop it when you like and start it
again with the same words. Skipped pictures are listed beside the labels file (labels.skipped.csv); take that file away
to be asked again.

The labels file is a manifest.csv for train-vnet: path, viewpoint, source (hand or auto), confidence (V-Net's
probability of that viewpoint), and what the manifest says besides. A viewpoint in the manifest itself is not looked at.

With --model or --vnet the pictures come by V-Net's uncertainty, the entropy of its probabilities, highest first.
--auto 0.95 opens no page: it labels what no person decided about and V-Net gives 0.95 or more, replaces what an earlier
--auto wrote, and tells how often V-Net is right on the hand labels at or above that confidence. Hand labels that were
made in the order of uncertainty are the hard ones; some made with --order random measure better.
"""

_EXAMPLES = """\
examples:
  vehicle-model annotate data/cars/manifest.csv --labels data/cars/labels.csv --model models/default.onnx
  vehicle-model annotate veri776:data/VeRi --labels labels.csv --vnet runs/vnet.pt --sample 2576
  vehicle-model annotate data/cars/manifest.csv --labels data/cars/labels.csv --vnet runs/vnet.pt --auto 0.95 --dry-run
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the door's."""
    annotate = commands.add_parser(
        "annotate", help="label viewpoints by key on a local page; --auto lets V-Net fill the rest",
        description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    annotate.add_argument("data", metavar="MANIFEST_OR_SPEC", help="manifest.csv, or a data set such as veri776:DIR")
    annotate.add_argument("--labels", type=Path, required=True, help="CSV that receives the labels; made if missing")
    current = annotate.add_mutually_exclusive_group()
    current.add_argument("--model", type=Path, help="ONNX file whose viewpoint output guesses")
    current.add_argument("--vnet", type=Path, help="V-Net checkpoint that guesses")
    annotate.add_argument("--viewpoints", help="names, with commas (default the model's, else front,rear,side)")
    annotate.add_argument("--part", default="train", help="part of the data set (default %(default)s)")
    annotate.add_argument("--sample", type=int, metavar="N", help="label N of the pictures, always the same")
    annotate.add_argument("--order", choices=("uncertain", "random", "manifest"),
                          help="default uncertain with a model, manifest without")  # fmt: skip
    annotate.add_argument("--review", action="store_true", help="ask about the pictures that --auto labelled, too")
    annotate.add_argument("--port", type=int, default=8765, help="0: any free one (default %(default)s)")
    annotate.add_argument("--auto", type=float, metavar="CONFIDENCE", help="let V-Net label from this confidence up")
    annotate.add_argument("--dry-run", action="store_true", help="with --auto: only tell, write no label")
    annotate.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, or fill; returns the exit code."""
    from model_export.annotating.label_file import open_label_file
    from model_export.annotating.viewpoint_model import open_viewpoint_model
    from model_export.annotating.work_list import columns_of, pictures_of, sample

    if arguments.auto is None and arguments.dry_run:
        raise InvalidValue("--dry-run goes with --auto; name a confidence, such as --auto 0.95")
    data_set = _data_set(arguments)
    pictures = pictures_of(data_set.part(arguments.part), arguments.labels)
    if arguments.sample is not None and arguments.auto is None:
        pictures = sample(pictures, arguments.sample)
    model = open_viewpoint_model(model=arguments.model, vnet=arguments.vnet)
    if model is None and (arguments.auto is not None or arguments.order == "uncertain"):
        raise InvalidValue("--auto and --order uncertain need a V-Net; name one with --model or --vnet")
    viewpoints = _viewpoints(arguments.viewpoints, model)
    skipped_path = arguments.labels.with_suffix(".skipped.csv")
    with contextlib.ExitStack() as stack:
        columns = columns_of(pictures)
        labels = stack.enter_context(open_label_file(arguments.labels, viewpoints=viewpoints, carried=columns))
        skipped = stack.enter_context(open_label_file(skipped_path, viewpoints=(), carried=columns))
        for file in (labels, skipped):
            if file.dropped:
                print(f"{file.path}: the unfinished last line {file.dropped!r} was taken away")
        if arguments.auto is not None and model is not None:
            return _fill(arguments, data_set, pictures, labels, skipped, model, viewpoints)
        return _serve(arguments, pictures, labels, skipped, model, viewpoints)


def _data_set(arguments: argparse.Namespace) -> "DataSet":
    from model_export.annotating.label_file import true_path
    from model_export.data_sets.data_set import open_data_set

    if true_path(Path(arguments.data.removeprefix("manifest:"))) == true_path(arguments.labels):
        raise InvalidValue(f"--labels {arguments.labels} is the manifest itself; name another file")
    data_set = open_data_set(arguments.data)
    for line in data_set.left_out():
        print(line)
    return data_set


def _viewpoints(wanted: str | None, model: "ViewpointModel | None") -> tuple[str, ...]:
    if wanted is None:
        names = _PAPERS_VIEWPOINTS if model is None else model.viewpoints
    else:
        names = tuple(name.strip() for name in wanted.split(","))
    if not 2 <= len(names) <= _MOST_VIEWPOINTS or len(set(names)) != len(names):
        raise InvalidValue(f"--viewpoints {','.join(names)}: 2 to {_MOST_VIEWPOINTS} different names are needed")
    for name in names:
        if not re.fullmatch(r"[\w.-]{1,32}", name):
            raise InvalidValue(f"--viewpoints: {name!r} is not a name of letters, digits, '.', '-' and '_'")
    if model is not None and set(names) != set(model.viewpoints):
        raise InvalidValue(
            f"--viewpoints {','.join(names)}: {model.name} knows {','.join(model.viewpoints)}; leave --viewpoints "
            "out, or leave the model out"
        )
    return names


def _guesses(
    model: "ViewpointModel", pictures: "list[Picture]", viewpoints: tuple[str, ...]
) -> "tuple[list[Picture], dict[str, str]]":
    """The pictures with V-Net's guesses over ``viewpoints``; by id, why some could not be read."""
    from tqdm import tqdm

    from model_export.annotating.viewpoint_model import guess
    from model_export.annotating.work_list import guessed

    rows = [picture.row for picture in pictures]
    with tqdm(total=len(rows), unit="pictures", desc=f"asking {model.name}", disable=None) as progress:
        answer = guess(model, rows, report=progress.update)
    columns = [model.viewpoints.index(name) for name in viewpoints]
    broken = {pictures[n].id: reason for n, reason in answer.broken.items()}
    shown = [f"  {pictures[n].shown_path}: {reason}" for n, reason in answer.broken.items()]
    if shown:
        count = "1 picture" if len(shown) == 1 else f"{len(shown):,} pictures"
        print(f"cannot be read, {count} left out:", *shown[:_NAMED], sep="\n")
        if len(shown) > _NAMED:
            print(f"  and {len(shown) - _NAMED:,} more")
    return guessed(pictures, answer.probabilities[:, columns]), broken


def _serve(
    arguments: argparse.Namespace, pictures: "list[Picture]", labels: "LabelFile", skipped: "LabelFile",
    model: "ViewpointModel | None", viewpoints: tuple[str, ...],
) -> int:  # fmt: skip
    from model_export.annotating.annotation import Annotation
    from model_export.annotating.label_page import Description, LabelPage
    from model_export.annotating.work_list import ordered

    order: Order = arguments.order or ("manifest" if model is None else "uncertain")
    broken: dict[str, str] = {}
    if model is not None:
        pictures, broken = _guesses(model, pictures, viewpoints)
    annotation = Annotation(ordered(pictures, order), labels, skipped, viewpoints=viewpoints, review=arguments.review)
    for name, reason in broken.items():
        annotation.mark_broken(name, reason)
    described = Description(labels=str(arguments.labels), order=order, model="" if model is None else model.name)
    with LabelPage(annotation, described, port=arguments.port) as page:
        progress = annotation.progress()
        print(f"{progress.done:,} of {progress.total:,} pictures are decided; labels go to {labels.path}")
        print(f"label at {page.address} (Ctrl-C ends, every key is saved)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            page.serve_forever()
    progress = annotation.progress()
    print(f"\n{progress.done:,} of {progress.total:,} pictures are decided; the same command goes on from here")
    return 0


def _fill(
    arguments: argparse.Namespace, data_set: "DataSet", pictures: "list[Picture]", labels: "LabelFile",
    skipped: "LabelFile", model: "ViewpointModel", viewpoints: tuple[str, ...],
) -> int:  # fmt: skip
    from model_export.annotating.auto_labels import fill
    from model_export.data_sets.selection import data_set_name

    pictures, _ = _guesses(model, pictures, viewpoints)
    print(fill(pictures, labels, skipped, viewpoints=viewpoints, confidence=arguments.auto, dry_run=arguments.dry_run))
    seen = sorted({data_set_name(arguments.labels), data_set.name} & set(model.labels_from))
    if seen:
        print(f"{model.name} was trained on labels of {seen[0]}: where it has seen them it is right more often")
    return 0
