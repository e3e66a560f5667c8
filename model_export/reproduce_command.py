"""``vehicle-model reproduce``: the paper's tables, trained and measured row by row."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import InvalidValue
from index.standard_output import tell
from model_export.seed_argument import seed

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLES = """\
examples:
  vehicle-model reproduce --budget small --meshes vehicle-meshes/ --out runs/small
  vehicle-model reproduce --budget medium --meshes vehicle-meshes/ --tables 1,3 --out runs/medium
  vehicle-model reproduce --data veri776:data/VeRi --out runs/veri776
  vehicle-model reproduce --data vehicleid:data/VehicleID --vnet-data veri776:data/VeRi --out runs/vehicleid

tables: 1 how views are joined (Baseline-1, -2, Multi-View-Binary, Multi-View), 2 how many there are (Baseline-3, -4),
3 losses, 4 split after conv1 … conv4 with no attention, GAM, LAM, GLAM, 5 the second backbone, 6 parameters;
7, not the paper's: the stronger recipe (train strong), each part of it left out once.

A row that is finished is not trained again: the same command goes on after an interruption. What was made from another
configuration or other pictures is refused by name.
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "reproduce", help="train and measure every row of the paper's tables", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("--data", default="", metavar="SPEC", help="what is trained and measured on; without: renders")
    command.add_argument(
        "--vnet-data", default="", metavar="SPEC", help="viewpoint labels for V-Net (default: those of --data)"
    )
    command.add_argument(
        "--hold-out", default="", metavar="SEL", help="of a manifest: COLUMN=VALUE[,VALUE] or N%% (30%%)"
    )
    command.add_argument("--meshes", type=Path, help="folder of .glb meshes, where renders are made")
    command.add_argument("--tables", default="1,2,3,4,5,6,7", help="which (default all: %(default)s)")
    command.add_argument("--out", type=Path, required=True, help="folder that receives tables.md and every row's model")
    command.add_argument(
        "--budget", choices=["small", "medium", "full"], default="full",
        help="small: minutes, miniature networks; medium: EfficientNet-Lite0; full: the paper's recipe (default)",
    )  # fmt: skip
    command.add_argument("--seed", type=seed, default=0, help="of everything that is drawn (default %(default)s)")
    command.add_argument("--paper", type=Path, metavar="FILE", help="figures of the paper that you have, as TOML")
    command.add_argument("--processes", type=int, default=2, help="renderers at work (default %(default)s)")
    for option, whose in (("--set", "every row's"), ("--set-vnet", "V-Net's")):
        command.add_argument(
            option, action="append", default=[], metavar="KEY=VALUE", help=f"override in {whose} configuration"
        )
    command.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from model_export.reproducing.budgets import chosen_budget
    from model_export.reproducing.experiment_data import given, rendered
    from model_export.reproducing.paper_figures import read_paper_figures
    from model_export.reproducing.reproduction import Reproduction
    from model_export.reproducing.tables import chosen_tables, needs_viewpoints

    tables, paper = chosen_tables(arguments.tables), read_paper_figures(arguments.paper)
    for option, words in (("--vnet-data", arguments.vnet_data), ("--set-vnet", arguments.set_vnet)):
        if words and not needs_viewpoints(tables):
            raise InvalidValue(f"{option} does nothing here: no row of --tables {arguments.tables} has a V-Net")
    budget = chosen_budget(arguments.budget)
    budget = replace(budget, overrides=tuple(arguments.set), vnet_overrides=tuple(arguments.set_vnet))
    if arguments.data:
        data = given(
            arguments.data, arguments.vnet_data, arguments.hold_out, seed=arguments.seed,
            viewpoints_needed=needs_viewpoints(tables),
        )  # fmt: skip
    elif budget.renders is None:
        raise InvalidValue("--data is needed: the full budget makes no renders; name veri776:DIR or vehicleid:DIR")
    elif arguments.meshes is None or arguments.vnet_data or arguments.hold_out:
        raise InvalidValue("--data or --meshes is needed; --vnet-data and --hold-out go with --data only")
    else:
        data = rendered(
            budget.renders, arguments.meshes, arguments.out / "renders", seed=arguments.seed,
            processes=arguments.processes,
        )  # fmt: skip
    reproduction = Reproduction(
        budget=budget, data=data, tables=tables, out=arguments.out, paper=paper, seed=arguments.seed,
        quiet=not sys.stderr.isatty(),
    )  # fmt: skip
    reproduction.run(tell=tell)
    return 0
