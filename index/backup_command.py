"""``vehicle-index backup | restore``: a copy that is whole, and a data folder made of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from index.data_folder import gallery_folders
from index.gallery_arguments import add_data_dir
from index.maintenance.backup import back_up
from index.maintenance.restoration import GalleryRestoration, restore
from index.maintenance.verification import crops_of
from index.upkeep_command import print_findings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_BACKUP = """\
Copy all galleries to DEST, a new folder or an earlier backup of them. A service may run meanwhile: each gallery is
copied as it was at one moment. A further backup into the same DEST copies only crops that are new and forgets what was
erased since; when it fails, the earlier one stays whole. What is damaged in the data folder is told.

exit code: 0, 1 where something is damaged (the rest is backed up), 2 where no backup was made
"""
_BACKUP_EXAMPLES = """\
examples:
  vehicle-index backup /backup/vehicles
  vehicle-index backup /backup/vehicles --data-dir /srv/vehicles
  vehicle-index verify --data-dir /backup/vehicles     # reads every byte of it
"""
_RESTORE = """\
Make a data folder of a backup, in a folder that is new or empty, and verify all of it. What was erased after the backup
comes back, unless --since names the data folder that the backup was taken of: what was erased or dropped there after
the backup is not restored then; images that were replaced come back as they were. restored.json in the new folder says
what was done.

exit code: 0, 1 where something in the backup is damaged (the rest is restored), 2 where nothing was restored
"""
_RESTORE_EXAMPLES = """\
examples:
  vehicle-index restore /backup/vehicles --data-dir data-new
  vehicle-index restore /backup/vehicles --data-dir data-new --since data
"""


def add_to(commands: "Commands") -> None:
    """Add both commands to the door's."""
    backup = commands.add_parser(
        "backup", help="copy all galleries, also beside a running service", description=_BACKUP,
        epilog=_BACKUP_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    backup.add_argument("target", type=Path, metavar="DEST", help="a new folder, or an earlier backup")
    add_data_dir(backup)
    backup.set_defaults(run=_backup)

    restoring = commands.add_parser(
        "restore", help="make a data folder of a backup", description=_RESTORE, epilog=_RESTORE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    restoring.add_argument("backup", type=Path, metavar="BACKUP")
    restoring.add_argument("--data-dir", type=Path, required=True, metavar="NEW", help="a new or empty folder")
    restoring.add_argument("--since", type=Path, metavar="DATA_DIR", help="where to look up what was erased since")
    restoring.set_defaults(run=_restore)


def _backup(arguments: argparse.Namespace) -> int:
    total = sum(map(crops_of, gallery_folders(arguments.data_dir)))
    with tqdm(total=total, desc="backup", unit=" crops") as bar:
        done = back_up(arguments.data_dir, arguments.target, progress=bar.update)
    findings = [finding for each in done for finding in each.findings]
    print_findings(findings)
    for each in done:
        print(
            f"{each.name}: {each.images:,} images, {each.crops:,} crops ({each.new_crops:,} new, "
            f"{each.forgotten_crops:,} forgotten), up to change {each.last_change}"
        )
    return int(bool(findings))


def _restore(arguments: argparse.Namespace) -> int:
    total = sum(map(crops_of, gallery_folders(arguments.backup)))
    with tqdm(total=total, desc="restore", unit=" crops") as bar:
        done = restore(arguments.backup, arguments.data_dir, since=arguments.since, progress=bar.update)
    findings = [finding for each in done for finding in each.findings]
    print_findings(findings)
    for each in done:
        print(f"{each.name}: {_told(each)}")
    return int(bool(findings))


def _told(gallery: GalleryRestoration) -> str:
    if gallery.left_out is not None:
        return f"not restored: {gallery.left_out}"
    images = f"{gallery.images:,} images, up to change {gallery.last_change}"
    if gallery.erased is None:
        return f"{images}; what was erased after the backup is in it again (see --since)"
    return f"{images}; erased since, left out: {gallery.erased:,}; replaced since, as they were: {gallery.replaced:,}"
