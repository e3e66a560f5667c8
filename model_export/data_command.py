"""``vehicle-model data list | check | describe | download | render``: data sets before they are trained on."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from index.errors import InvalidValue
from model_export.seed_argument import seed

_EXAMPLES = """\
examples:
  vehicle-model data list
  vehicle-model data check veri776:data/VeRi
  vehicle-model data describe vehicleid:data/VehicleID_V1.0 --sheet sheet.jpg
  vehicle-model data download vehicle-orientation --only 5 --out data/orientation
  vehicle-model data render --meshes meshes/ --out data/renders --identities 600 --views 8

SPEC is veri776:DIR, vehicleid:DIR, vehicle-orientation:DIR, uc3m-vri:DIR, manifest:FILE or the path of a manifest.csv.
"""


def add_to(commands: Any) -> None:
    """Add the command ``data`` to the door's commands (what ``add_subparsers`` gave)."""
    data = commands.add_parser(
        "data", help="list, check, describe, download or render data sets", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = data.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="which public data sets are read, and how one comes by them")
    listing.set_defaults(run=_list)

    check = actions.add_parser(
        "check", help="everything odd about a data set in one table; exit code 1 where it would falsify a result"
    )
    check.add_argument("spec", metavar="SPEC")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    check.set_defaults(run=_check)

    describe = actions.add_parser("describe", help="counts by part, identity, camera and viewpoint; sizes of the crops")
    describe.add_argument("spec", metavar="SPEC")
    describe.add_argument("--sheet", type=Path, metavar="FILE", help="also draw a contact sheet (.jpg, .png, .webp)")
    describe.add_argument("--part", default="", help="whose pictures the sheet shows (default: the first)")
    describe.add_argument(
        "--sample", type=int, default=2_000, help="crops whose size is read (default %(default)s; 0: all)"
    )
    describe.add_argument("--seed", type=seed, default=0, help="of the sample and the sheet")
    describe.add_argument("--json", action="store_true", help="print the counts as JSON")
    describe.set_defaults(run=_describe)

    download = actions.add_parser("download", help="fetch a public data set, or say whom to ask for it")
    download.add_argument("name", metavar="NAME", help="as in data list")
    download.add_argument("--out", type=Path, help="folder for the files (default data/NAME)")
    download.add_argument(
        "--only", nargs="*", default=[], metavar="PART", help="only files whose name holds one of these"
    )
    download.add_argument("--mirror", default="", metavar="URL", help="take the files from another server")
    download.add_argument("--yes", action="store_true", help="accept the licence that is shown without being asked")
    download.set_defaults(run=_download)

    render = actions.add_parser("render", help="make a data set of vehicles from meshes, viewpoints exact")
    render.add_argument("--meshes", type=Path, required=True, help="folder of .glb meshes and their paint.json")
    render.add_argument("--out", type=Path, required=True, help="folder that receives images/ and manifest.csv")
    render.add_argument("--identities", type=int, default=300, help="vehicles in all (default %(default)s)")
    render.add_argument("--views", type=int, default=10, help="pictures of each (default %(default)s)")
    render.add_argument("--size", type=int, default=224, help="longest side in pixels (default %(default)s)")
    render.add_argument("--seed", type=seed, default=0, help="the same seed gives the same pictures")
    render.add_argument("--processes", type=int, default=2, help="renderers at work (default %(default)s)")
    render.add_argument("--clean", action="store_true", help="daylight and sharp, for pictures that people look at")
    render.add_argument("--only", nargs="*", default=[], metavar="MESH", help="meshes to use (default all)")
    render.set_defaults(run=_render)


def _list(_arguments: argparse.Namespace) -> int:
    from model_export.data_sets.catalogue import catalogue

    rows = [("NAME", "SPEC", "HOW", "TERMS", "WHAT")]
    rows += [
        (entry.name, entry.spec, "ask" if entry.ask else "download", entry.licence, entry.what)
        for entry in catalogue().values()
    ]
    rows.append(
        ("manifest", "manifest:FILE", "your own", "", "a manifest.csv: path, vehicle_id, camera_id, viewpoint, …")
    )
    print(_aligned(rows))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from model_export.data_sets.data_set import open_data_set
    from model_export.data_sets.picture_check import check_pictures

    data = open_data_set(arguments.spec)
    findings = (*data.findings, *check_pictures(data))
    fatal = any(finding.fatal for finding in findings)
    taken = {part: len(rows) for part, rows in data.parts.items()}
    if arguments.json:
        found = [
            {"what": finding.what, "count": finding.count, "skipped": finding.skipped, "fatal": finding.fatal,
             "examples": list(finding.examples)}
            for finding in findings
        ]  # fmt: skip
        print(json.dumps(
            {"name": data.name, "root": str(data.root), "taken": taken, "sound": not fatal, "findings": found},
            indent=2, ensure_ascii=False,
        ))  # fmt: skip
        return int(fatal)
    print(f"{data.name} at {data.root}: " + ", ".join(f"{count:,} crops in {part}" for part, count in taken.items()))
    if findings:
        rows = [("", "COUNT", "SKIPPED", "WHAT", "FOR EXAMPLE")]
        rows += [
            ("FATAL" if finding.fatal else "", f"{finding.count:,}", f"{finding.skipped:,}" if finding.skipped else "",
             finding.what, "; ".join(finding.examples) + ("; …" if finding.count > len(finding.examples) else ""))
            for finding in findings
        ]  # fmt: skip
        print(_aligned(rows))
    if fatal:
        print("what is FATAL would falsify a result: mend it before training or measuring")
    elif data.protocol == "vehicleid" and not data.test_sizes:
        print("nothing can be measured on it, it has no test list; nothing here falsifies a training")
    else:
        print("nothing here falsifies a result")
    return int(fatal)


def _describe(arguments: argparse.Namespace) -> int:
    from model_export.data_sets.contact_sheet import save_contact_sheet
    from model_export.data_sets.data_set import open_data_set
    from model_export.data_sets.survey import survey

    if arguments.sample < 0:
        raise InvalidValue(f"--sample {arguments.sample}: a number of crops, or 0 for all")
    data = open_data_set(arguments.spec)
    rows = data.part(arguments.part or next(name for name, rows in data.parts.items() if rows))
    found = survey(data, sample=arguments.sample, seed=arguments.seed)
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if arguments.json else found)
    if arguments.sheet:
        save_contact_sheet(rows, arguments.sheet, seed=arguments.seed)
        print(f"contact sheet: {arguments.sheet}", file=sys.stderr)
    return 0


def _download(arguments: argparse.Namespace) -> int:
    from model_export.data_sets.catalogue import find
    from model_export.data_sets.transfer import fetch

    entry = find(arguments.name)
    print(f"{entry.name}: {entry.what}\npage: {entry.page}\ncite: {entry.citation}")
    if entry.ask:
        print(f"licence: {entry.licence}\n\nThis data set is given on request only. Ask {entry.ask}")
        print(f"\nOnce it is there: vehicle-model data check {entry.spec}")
        return 0
    licence, files = entry.offer(mirror=arguments.mirror)
    wanted = [file for file in files if not arguments.only or any(word in file.name for word in arguments.only)]
    if not wanted:
        raise InvalidValue(f"--only {' '.join(arguments.only)}: no file is called so; {_names(files)}")
    out = arguments.out or Path("data") / entry.name
    print(f"licence: {licence}\nfiles for {out}: {_names(wanted)}")
    if not arguments.yes and not _agreed():
        return 1
    for file in wanted:
        with tqdm(unit="B", unit_scale=True, desc=file.name, disable=None) as bar:

            def show(done: int, total: int | None, bar: Any = bar) -> None:
                bar.total = total
                bar.n = done
                bar.refresh()

            fetched = fetch(file, out, report=show)
        compared = "as published" if file.checked else "none is published to compare it with"
        print(
            f"{fetched.path}{' (was there already)' if fetched.before else ''}: {fetched.size:,} bytes, "
            f"SHA-256 {fetched.sha256} ({compared})"
        )
    print(f"now {entry.then}, then: vehicle-model data check {entry.spec}")
    return 0


def _render(arguments: argparse.Namespace) -> int:
    from model_export.data_sets.renders import RenderConfig, render_data_set

    config = RenderConfig(
        meshes=arguments.meshes, out=arguments.out, identities=arguments.identities, views=arguments.views,
        size=arguments.size, seed=arguments.seed, processes=arguments.processes, clean=arguments.clean,
        only=tuple(arguments.only),
    )  # fmt: skip
    print(render_data_set(config))
    return 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise InvalidValue("nobody is here to be asked; give --yes to accept the licence")
    return input("Download under this licence? [y/N] ").strip().lower() in ("y", "yes")


def _names(files: Sequence[Any]) -> str:
    return ", ".join(f"{file.name}{f' ({file.size:,} bytes)' if file.size else ''}" for file in files)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
