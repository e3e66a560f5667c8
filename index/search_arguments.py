"""The options that say how a picture is searched for."""

import argparse
import math

from index.crops import Box
from index.errors import InvalidValue


def add_search_options(command: argparse.ArgumentParser) -> None:
    """Add them all; filters are ``filter_arguments``' own."""
    command.add_argument("--top-k", type=int, default=10, metavar="N", help="matches at most, 1 to 1000 (default: 10)")
    command.add_argument("--box", type=_box, metavar="X,Y,WIDTH,HEIGHT", help="in pixels of the upright picture")
    command.add_argument("--max-distance", type=float, metavar="DISTANCE", help="Euclidean, inclusive")
    command.add_argument("--group-by", choices=("vehicle_id",), help="the best image of each vehicle")
    command.add_argument("--json", action="store_true", help="print a JSON array")


def require_search_options(arguments: argparse.Namespace) -> None:
    """Raise InvalidValue, naming the option, for a number that is out of range."""
    if not 1 <= arguments.top_k <= 1000:
        raise InvalidValue(f"--top-k must be from 1 to 1000, not {arguments.top_k}")
    if arguments.max_distance is not None and not 0 <= arguments.max_distance < math.inf:
        raise InvalidValue(f"--max-distance must be a finite number from 0, not {arguments.max_distance}")


def _box(text: str) -> Box:
    sides = text.split(",")
    if len(sides) != 4 or not all(side.isascii() and side.isdigit() and len(side) < 10 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!a} is not x,y,width,height in whole pixels")
    x, y, width, height = map(int, sides)
    return x, y, width, height
