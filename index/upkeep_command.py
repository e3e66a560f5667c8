"""``vehicle-index verify | repair | compact``: is everything as it was written, and gone that was erased."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from index.data_folder import DataFolder, gallery_folders, require_layout
from index.errors import GALLERY_TROUBLE, DataFolderUnusable, trouble_of
from index.gallery_arguments import add_data_dir, add_galleries
from index.maintenance.repair import Measure, repair
from index.maintenance.verification import Examination, Finding, Progress, examine, work_of
from index.storage.camera_folder import CameraFolder
from index.storage.folder_lock import FolderLock
from index.storage.gallery_files import BACKUP_NOTE, set_aside
from index.text_table import printable, table_lines

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_SHOWN = 3  # subjects of a line
_UNSEEN = "it cannot be looked at"

_VERIFY = """\
Hold everything against everything else: the pages of the databases, checksums of rows and vectors, attributes, crops
against the SHA-256 in their names, files that nobody names, the change sequence; without --gallery the cameras, too.
Nothing is changed. It may run while a service works on the folder, and on a backup (--data-dir BACKUP).

exit code: 0 everything is sound, 1 something was found, 2 it could not be looked at
"""
_VERIFY_EXAMPLES = """\
examples:
  vehicle-index verify
  vehicle-index verify --gallery yard --json
  vehicle-index verify --data-dir /backup/vehicles
"""
_REPAIR = """\
Mend what verify finds, as far as that can be done, and tell what is lost. Without --yes it only tells.

A damaged database is read page by page and written anew: every row whose checksum agrees is kept with its vector. An
image whose crop is missing or changed is kept without it: it is found by search, and `crop` says that there is none.
Nothing is destroyed: the old database, changed crops and files of no image are moved to set-aside/GALLERY in the data
folder, until `compact` erases them.

exit code: 0 nothing is wrong, or all was mended; 1 there is something to mend (without --yes), or something is lost;
2 it could not be done (a gallery beyond repair: restore a backup)
"""
_REPAIR_EXAMPLES = """\
examples:
  vehicle-index repair                    # tells what it would do
  vehicle-index repair --yes
  vehicle-index repair --gallery yard --yes
"""
_COMPACT = """\
Leave no byte of what was erased or replaced: databases are written anew (each needs room for a second one meanwhile),
logs are emptied, files of no image and what a repair set aside are removed. It also gives freed space back.
"""
_COMPACT_EXAMPLES = """\
examples:
  vehicle-index compact
  vehicle-index compact --gallery yard
"""


def add_to(commands: "Commands") -> None:
    """Add the commands to the door's."""
    for name, run, what, description, examples in (
        ("verify", _verify, "is everything as it was written?", _VERIFY, _VERIFY_EXAMPLES),
        ("repair", _repair, "mend what verify finds; tells first, acts with --yes", _REPAIR, _REPAIR_EXAMPLES),
        ("compact", _compact, "leave no byte of what was erased", _COMPACT, _COMPACT_EXAMPLES),
    ):
        command = commands.add_parser(
            name, help=what, description=description, epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        add_data_dir(command)
        add_galleries(command)
        if name == "repair":
            command.add_argument("--yes", action="store_true", help="do it")
        if name == "verify":
            command.add_argument("--json", action="store_true", help="print the findings as JSON")
        command.set_defaults(run=run)


def print_findings(findings: Sequence[Finding]) -> None:
    """One line for each kind of finding."""
    rows = [(found.gallery, f"{len(found.subjects):,}", found.what, examples(found.subjects)) for found in findings]
    if rows:
        print(*table_lines(("GALLERY", "COUNT", "WHAT", "FOR EXAMPLE"), rows), sep="\n")


def examples(subjects: Sequence[str]) -> str:
    """The first of them."""
    return ", ".join(subjects[:_SHOWN]) + (", …" if len(subjects) > _SHOWN else "")


def _verify(arguments: argparse.Namespace) -> int:
    folders = gallery_folders(arguments.data_dir, name=arguments.gallery)
    examined: list[Examination] = []
    with tqdm(total=sum(map(work_of, folders)), desc="verify", unit=" checks") as bar:
        for folder in folders:
            examined.append(_examined(folder, bar.update))
    findings = [finding for each in examined for finding in each.findings]
    cameras = _camera_problem(arguments.data_dir) if arguments.gallery is None else None
    unseen = any(finding.what == _UNSEEN for finding in findings)
    status = 2 if unseen else int(bool(findings) or cameras is not None)
    if arguments.json:
        print(json.dumps(_document(arguments.data_dir, examined, cameras), indent=2, ensure_ascii=False))
        return status
    print_findings(findings)
    if cameras is not None:
        print(f"cameras: {cameras}")
    for each in examined:
        verdict = f"{len(each.findings)} kinds of findings" if each.findings else "sound"
        print(f"{each.gallery}: {each.images:,} images, {each.crops:,} crops: {verdict}")
    if findings and (arguments.data_dir / BACKUP_NOTE).exists():
        print("a backup to a new folder is whole where the data folder is")
    elif findings:
        print("`vehicle-index repair` tells what can be mended and what is lost")
    return status


def _examined(folder: Path, progress: Progress) -> Examination:
    """What is found in a gallery's folder; that it cannot be looked at keeps no other from being examined."""
    try:
        return examine(folder, progress=progress)
    except DataFolderUnusable:
        raise
    except GALLERY_TROUBLE as error:
        examination = Examination(gallery=folder.name)
        examination.note(_UNSEEN, trouble_of(error))
        return examination


def _camera_problem(data: Path) -> str | None:
    """What is wrong with the cameras and their plan."""
    try:
        CameraFolder(data, read_only=True).whole()
    except GALLERY_TROUBLE as error:
        return trouble_of(error)
    return None


def _document(data: Path, examined: Iterable[Examination], cameras: str | None) -> dict[str, object]:
    galleries = [
        {
            "gallery": each.gallery, "images": each.images, "crops": each.crops, "sound": not each.findings,
            "findings": [
                {"what": found.what, "count": len(found.subjects), "subjects": list(found.subjects)}
                for found in each.findings
            ],
        }
        for each in examined
    ]  # fmt: skip
    sound = cameras is None and all(each["sound"] for each in galleries)
    return {
        "data_dir": str(data), "sound": sound, "galleries": galleries,
        "cameras": {"sound": cameras is None, "problem": cameras},
    }  # fmt: skip


def _repair(arguments: argparse.Namespace) -> int:
    require_layout(arguments.data_dir)
    if (arguments.data_dir / BACKUP_NOTE).exists():
        raise DataFolderUnusable(
            f"{arguments.data_dir} is a backup: back up to a new folder, or restore it and repair what was restored"
        )
    measures: list[Measure] = []
    beyond = False
    with closing(FolderLock(arguments.data_dir)):
        folders = gallery_folders(arguments.data_dir, name=arguments.gallery)
        for folder in tqdm(folders, desc="repair", unit=" galleries"):
            try:
                measures += repair(folder, act=arguments.yes)
            except GALLERY_TROUBLE as error:
                _tell(error)
                beyond = True
    rows = [
        (each.gallery, "LOSS" if each.loss else "", f"{len(each.subjects):,}", each.what, examples(each.subjects))
        for each in measures
    ]
    if rows:
        print(*table_lines(("GALLERY", "", "COUNT", "WHAT", "FOR EXAMPLE"), rows), sep="\n")
    if measures or not beyond:
        print(_conclusion(arguments, measures, folders))
    return 2 if beyond else int(any(each.loss or not arguments.yes for each in measures))


def _conclusion(arguments: argparse.Namespace, measures: Sequence[Measure], folders: Sequence[Path]) -> str:
    if not measures:
        return "nothing to mend"
    if not arguments.yes:
        return "nothing was changed; `vehicle-index repair --yes` does this"
    aside = [str(set_aside(folder)) for folder in folders if set_aside(folder).exists()]
    return f"done; set aside: {', '.join(aside)} (`vehicle-index compact` erases it)" if aside else "done"


def _compact(arguments: argparse.Namespace) -> int:
    with closing(DataFolder(arguments.data_dir)) as home:
        names, failed = home.names() if arguments.gallery is None else [arguments.gallery], False
        for gallery in tqdm([home.get(name) for name in names], desc="compact", unit=" galleries"):
            before = gallery.info().disk_bytes
            try:
                gallery.compact()
            except GALLERY_TROUBLE as error:
                _tell(error)
                failed = True
                continue
            tqdm.write(f"{gallery.name}: {gallery.info().disk_bytes / 1e6:.1f} MB, was {before / 1e6:.1f} MB")
        if arguments.gallery is None:
            home.forget_dropped()
            home.require_all()
    return 2 if failed else 0


def _tell(error: BaseException) -> None:
    """What keeps one gallery from being worked on, and no other."""
    tqdm.write(f"vehicle-index: {printable(trouble_of(error))}", file=sys.stderr)
