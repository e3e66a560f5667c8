"""``vehicle-index stats``: what a gallery holds, in a table, as JSON, and drawn on a page."""

import argparse
import json
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from index.data_folder import gallery_folders
from index.errors import InvalidValue
from index.gallery_arguments import add_data_dir, add_gallery
from index.gallery_rules import utc_now
from index.overview.gallery_statistics import gather
from index.overview.statistics_page import statistics_document, statistics_lines, statistics_page
from index.storage.gallery_files import DATABASE
from index.storage.gallery_view import open_view
from index.whole_file import write_whole

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_STATS = """\
Tell what a gallery holds: images by camera and hour of the day, shares of viewpoints, distances within and between
vehicles (of a sample, drawn by --seed), and what is missing for any of it. --page draws all of it on one HTML page.
Nothing is changed, and a service may run meanwhile.
"""
_EXAMPLES = """\
examples:
  vehicle-index stats
  vehicle-index stats --gallery yard --page yard.html --timezone Asia/Ho_Chi_Minh
  vehicle-index stats --json
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "stats", help="what a gallery holds, drawn on a page, also beside a running service", description=_STATS,
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_data_dir(command)
    add_gallery(command, "look at")
    command.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page with charts")
    command.add_argument(
        "--timezone", default="UTC", metavar="NAME", help="whose hours, as Europe/Berlin (default: UTC)"
    )
    command.add_argument(
        "--seed", type=int, default=0, help="of the sample that distances are measured on (default: 0)"
    )
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command.set_defaults(run=_stats)


def _stats(arguments: argparse.Namespace) -> int:
    zone = _zone(arguments.timezone)
    (folder,) = gallery_folders(arguments.data_dir, name=arguments.gallery)
    with open_view(folder / DATABASE, now=utc_now()) as view:
        statistics = gather(view, zone=zone, zone_name=arguments.timezone, seed=arguments.seed)
    if arguments.page is not None:
        write_whole(arguments.page, statistics_page(statistics))
    if arguments.json:
        print(json.dumps(statistics_document(statistics), indent=2, ensure_ascii=False))
        return 0
    print(*statistics_lines(statistics), sep="\n")
    if arguments.page is not None:
        print(f"\ndrawn: {arguments.page}")
    return 0


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # also on a machine that has no time zones
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidValue(
            f"--timezone {name!a} is not a time zone that this machine knows; give one as Europe/Berlin, or UTC"
        ) from error
