"""``vehicle-index plan``: what machines a gallery of some size would take."""

import argparse
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from index.errors import InvalidValue
from index.planning.capacity_plan import GIB, CapacityPlan, Load, Machine, plan
from index.planning.measured_points import CROP_BYTES, KINDS
from index.text_table import table_lines

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_PLAN = """\
Tell how many machines a gallery would take, for each kind of index that was measured at two sizes, and what gives way
first. Sums over the figures of docs/benchmarks.md, of cores as they were measured on; no machine is asked for anything.
"""
_EXAMPLES = """\
examples:
  vehicle-index plan --rows 10e6 --searches 20/s
  vehicle-index plan --rows 1e9 --searches 200/s --added 50/s --cores 32 --memory 256 --disk 8000
"""
_RATE: Final = re.compile(r"(?P<number>[0-9.eE+-]+)(?:/(?P<unit>s|min|h|d))?")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_FAR: Final = 10  # times what was measured; beyond, a figure is a guess


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "plan", help="what machines a gallery of some size takes, by what was measured", description=_PLAN,
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("--rows", type=_number, required=True, metavar="N", help="images in all, as 1e9")
    command.add_argument("--searches", type=_rate, default=1.0, metavar="RATE", help="as 200/s, 5000/h (default: 1/s)")
    command.add_argument("--added", type=_rate, default=0.0, metavar="RATE", help="images that come (default: none)")
    command.add_argument(
        "--crop", type=_number, default=CROP_BYTES, metavar="BYTES",
        help=f"of a stored picture; 0: none are kept (default: {CROP_BYTES})",
    )  # fmt: skip
    command.add_argument("--cores", type=int, default=16, metavar="N", help="of a machine (default: 16)")
    command.add_argument("--memory", type=_number, default=128.0, metavar="GIB", help="of a machine (default: 128)")
    command.add_argument("--disk", type=_number, default=4000.0, metavar="GIB", help="of a machine (default: 4000)")
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    for name in ("cores", "memory", "disk"):
        if getattr(arguments, name) <= 0:
            raise InvalidValue(f"--{name} {getattr(arguments, name):g} must be more than 0")
    machine = Machine(cores=arguments.cores, memory=arguments.memory * GIB, disk=arguments.disk * GIB)
    load = Load(rows=arguments.rows, searches=arguments.searches, added=arguments.added, crop=arguments.crop)
    plans = [plan(kind, load, machine) for kind in KINDS]
    if arguments.json:
        told = [asdict(each) | {"machines": each.machines} for each in plans]
        print(json.dumps({"load": asdict(load), "machine": asdict(machine), "plans": told}, indent=2))
        return 0
    print(*plan_lines(plans), sep="\n")
    return 0


def plan_lines(plans: list[CapacityPlan]) -> list[str]:
    """A table, and what must be known of it."""
    columns = (
        "INDEX", "MACHINES", "SHARDS × COPIES", "MEMORY EACH", "DISK EACH", "CORES BUSY", "A SEARCH", "BUILT IN",
        "FULL FIRST",
    )  # fmt: skip
    rows = [
        (
            each.kind, f"{each.machines:,}", f"{each.shards:,} × {each.copies:,}", f"{each.memory / GIB:,.0f} GiB",
            f"{each.disk / GIB:,.0f} GiB", f"{each.cores_used:.1f}", f"{each.search_seconds * 1000:,.0f} ms",
            _duration(each.build_seconds), each.first,
        )
        for each in plans
    ]  # fmt: skip
    lines = table_lines(columns, rows)
    lines += [
        f"{each.kind}: {each.beyond:,.0f} × the rows that were measured on one machine: a guess, measure before you buy"
        for each in plans
        if each.beyond > _FAR
    ]
    if any(each.shards > 1 for each in plans):
        lines.append("Shards are galleries of their own: who searches asks each service, and merges by distance.")
    return lines


def _duration(seconds: float) -> str:
    if seconds == 0:
        return "at once"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is no number, as 1e9") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!a} must be a finite number, 0 or more")
    return value


def _rate(text: str) -> float:
    """A second."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!a} is no rate, as 200/s, 5000/h or 20")
    return _number(found["number"]) / _SECONDS[found["unit"] or "s"]
