"""``vehicle-index deduplicate``: pictures that a gallery holds twice; told first, erased with ``--apply``."""

import argparse
import json
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from index.data_folder import DataFolder, gallery_folders
from index.duplicates.duplicate_removal import remove_duplicates
from index.duplicates.duplicate_search import MAX_DISTANCE, WITHIN, DuplicateGroup, DuplicateReport, find_duplicates
from index.duplicates.duplicate_sheet import duplicate_sheet
from index.duplicates.gallery_copy import gallery_copy
from index.duplicates.picture_likeness import SAME_MOMENT, SAME_PICTURE
from index.errors import DataFolderLocked, InvalidValue
from index.gallery_arguments import add_data_dir, add_gallery
from index.local_gallery import LocalGallery
from index.searching.gpu_resources import GpuResources
from index.text_table import table_lines
from index.whole_file import write_whole

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DEDUPLICATE = f"""\
Find pictures that a gallery holds twice and tell them; erase them with --apply, and only then.

  same  the stored crops are equal, byte for byte
  near  coded, scaled or lit otherwise: the embeddings are within --max-distance, and the pixels are alike (a
        correlation of {SAME_PICTURE} or more; {SAME_MOMENT} for two pictures of one camera within --within seconds);
        pictures of two like vehicles are near, but not alike

Of each group the picture with the most pixels is kept, of equal ones the one that was ingested first; it takes over
what only the others know (vehicle, camera, time, attributes). Groups that say different things of vehicle or camera are
told and left alone. After a kill run it again.

Beside a running service it only tells: of a copy of the database, which is made in the temporary folder (TMPDIR) and
removed at the end. --apply needs the data folder for itself.
"""
_EXAMPLES = """\
examples:
  vehicle-index deduplicate                            # tells what it would do
  vehicle-index deduplicate --sheet duplicates.html    # and shows it
  vehicle-index deduplicate --apply
"""
_SHOWN = 50  # lines of a table
_ERASE = "DELETE /v1/galleries/{gallery}/images/{{image_id}}"


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "deduplicate", help="pictures that are there twice; tells first, acts with --apply", description=_DEDUPLICATE,
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_data_dir(command)
    add_gallery(command, "look at")
    command.add_argument(
        "--max-distance", type=float, default=MAX_DISTANCE, metavar="DISTANCE",
        help=f"of embeddings, Euclidean; fits models whose embeddings have length 1 (default: {MAX_DISTANCE})",
    )  # fmt: skip
    command.add_argument(
        "--within", type=float, default=WITHIN, metavar="SECONDS", help=f"one moment of a camera (default: {WITHIN:g})"
    )
    command.add_argument(
        "--index-device", choices=("cpu", "cuda"), default="cpu",
        help="where a gallery of the kind flat or auto is searched (default: cpu)",
    )  # fmt: skip
    command.add_argument(
        "--gpu-index-memory", type=int, default=0, metavar="BYTES",
        help="of the GPU that the index may take (default: 0, what is free)",
    )  # fmt: skip
    command.add_argument("--sheet", type=Path, metavar="FILE", help="write an HTML page that shows the pictures")
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command.add_argument("--apply", action="store_true", help="erase all but the kept picture of each group")
    command.set_defaults(run=_deduplicate)


def _deduplicate(arguments: argparse.Namespace) -> int:
    for name in ("max_distance", "within"):
        value = getattr(arguments, name)
        if not 0 <= value < math.inf:
            raise InvalidValue(f"--{name.replace('_', '-')} must be a finite number from 0, not {value}")
    if arguments.gpu_index_memory < 0:
        raise InvalidValue(f"--gpu-index-memory must be 0 or more bytes, not {arguments.gpu_index_memory}")
    with _gallery(arguments) as (gallery, ours):
        with tqdm(total=gallery.count(), desc="deduplicate", unit=" images") as bar:
            report = find_duplicates(
                gallery, max_distance=arguments.max_distance, within=arguments.within, progress=bar.update
            )
        if arguments.sheet is not None:
            write_whole(arguments.sheet, duplicate_sheet(gallery, report.groups, _summary(report)))
        erased = 0
        if arguments.apply:
            with tqdm(total=sum(len(group.others) for group in report.groups), desc="erase", unit=" images") as bar:
                erased = remove_duplicates(gallery, report.groups, progress=bar.update)
    if arguments.json:
        print(json.dumps(_document(gallery.name, report, erased), indent=2, ensure_ascii=False))
        return 0
    print(*_lines(report), _conclusion(arguments, report, erased, ours=ours), sep="\n")
    return 0


@contextmanager
def _gallery(arguments: argparse.Namespace) -> Iterator[tuple[LocalGallery, bool]]:
    """The gallery, and whether it may be changed: beside a process that has the data folder a copy is looked at."""
    device = GpuResources(cap=arguments.gpu_index_memory or None) if arguments.index_device == "cuda" else None
    try:
        home = DataFolder(arguments.data_dir, device=device)
    except DataFolderLocked as error:
        if arguments.apply:
            raise DataFolderLocked(
                f"{error}. Without --apply this command tells beside a service what is there twice; "
                f"{_ERASE.format(gallery=arguments.gallery)} erases it"
            ) from error
        (folder,) = gallery_folders(arguments.data_dir, name=arguments.gallery)
        with gallery_copy(folder, device=device) as gallery:
            yield gallery, False
        return
    with closing(home):
        yield home.get(arguments.gallery), True


def _lines(report: DuplicateReport) -> list[str]:
    rows = [
        (group.kept.image_id, each.image.image_id, each.kind, f"{each.distance:.4f}", f"{each.likeness:.3f}",
         "disagree, left alone: " + group.disagreement if group.disagreement else "")
        for group in report.groups for each in group.others
    ]  # fmt: skip
    if not rows:
        return []
    lines = table_lines(("KEPT", "AGAIN AS", "KIND", "DISTANCE", "ALIKE", ""), rows[:_SHOWN])
    return [*lines, *([f"… and {len(rows) - _SHOWN:,} more (--json names all)"] if len(rows) > _SHOWN else [])]


def _summary(report: DuplicateReport) -> str:
    kinds = [each.kind for group in report.groups for each in group.others]
    same, near = kinds.count("same"), kinds.count("near")
    return f"{report.images:,} images: {same:,} there again as the same picture, {near:,} as nearly the same."


def _conclusion(arguments: argparse.Namespace, report: DuplicateReport, erased: int, *, ours: bool) -> str:
    parts = [_summary(report)]
    if report.unseen:
        parts.append(f"{len(report.unseen):,} have no crop that can be read (`vehicle-index verify` tells).")
    to_erase = sum(len(group.others) for group in report.groups if group.disagreement is None)
    left_alone = sum(group.disagreement is not None for group in report.groups)
    if left_alone:
        parts.append(f"{left_alone:,} groups disagree about vehicle or camera and are left alone.")
    if arguments.sheet is not None:
        parts.append(f"Shown: {arguments.sheet}.")
    if arguments.apply:
        parts.append(f"{erased:,} erased.")
    elif to_erase and ours:
        parts.append(f"Nothing was changed; --apply erases {to_erase:,}.")
    elif to_erase:
        parts.append(
            f"Nothing was changed: another process has the data folder. {_ERASE.format(gallery=arguments.gallery)} "
            f"erases (--json names all {to_erase:,}), or stop it and use --apply."
        )
    return " ".join(parts)


def _document(name: str, report: DuplicateReport, erased: int) -> dict[str, object]:
    return {
        "gallery": name, "images": report.images, "erased": erased, "unseen": report.unseen,
        "groups": [_group(group) for group in report.groups],
    }  # fmt: skip


def _group(group: DuplicateGroup) -> dict[str, object]:
    return {
        "kept": group.kept.image_id, "pixels": list(group.size), "disagreement": group.disagreement,
        "others": [
            {
                "image_id": each.image.image_id, "kind": each.kind, "pixels": list(each.size),
                "distance": round(each.distance, 4), "likeness": round(each.likeness, 4),
            }
            for each in group.others
        ],
    }  # fmt: skip
