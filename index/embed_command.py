"""``vehicle-index embed``: many pictures into an export, by this machine or by a Ray cluster; no gallery is touched."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from index.bulk.failure_file import require_other_file, write_failures
from index.bulk.import_plan import ImportPlan
from index.bulk.import_source import plan_sources
from index.bulk.told_failures import ToldFailures
from index.contract import Contract
from index.embedder import Embedder
from index.errors import InvalidValue
from index.exchange.pyarrow_extra import require_pyarrow
from index.gallery import GallerySpec
from index.gallery_arguments import add_gallery, add_kind
from index.gallery_rules import utc_now
from index.machine.cpu_quota import usable_cpus
from index.metadata import check_gallery_name
from index.model_path import model_path

if TYPE_CHECKING:
    from index.parts.part_embedding import PartWork
    from index.parts.picture_part import PartReport, PicturePart
    from index.parts.run_folder import OwnedRun, RunNote

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

PART_IMAGES: Final = 2048

_EMBED = """\
Embed pictures into DIR without a gallery: the way to fill one with more than a machine embeds in the time there is. A
SOURCE is what `vehicle-index add` takes, and images are called, cut and described as there. DIR becomes an export
(`vehicle-index import DIR` fills a gallery from it, without the model): parts/ has a Parquet table for every
--part-images images, with the columns of `vehicle-index export`, crops/ the pictures. It needs pyarrow:
pip install 'vehicle-search[parquet]'

  --engine local  this process, with a thread a core
  --engine ray    --workers processes that Ray starts: on this machine, where they are reached over loopback alone and
                  by a token of this run, or with --address on a cluster that runs. On a cluster every machine has this
                  program, Ray (pip install 'vehicle-search[ray]') and one --model file, and sees sources and DIR at the
                  same paths: a shared mount

Run the same command again when it was stopped, killed, or the disk was full: parts that are whole are kept, each worker
loses the part that it was at. Another model, other sources or other options are refused. Pictures that fail are named
and the others go on; they are kept with their part, so a further run names them again, but does not try them again:
mend them and `add` the --failures file. An archive is opened anew for each of its parts; of a compressed .tar all that
lies before a part is unpacked for it, so prefer .zip, plain .tar, or many smaller archives.

exit code: 0, 1 where pictures failed (the rest is embedded), 2 where it could not be done
"""
_EXAMPLES = """\
examples:
  vehicle-index embed crops/ --output embedded
  vehicle-index embed city.csv --output embedded --engine ray --workers 2
  vehicle-index embed /mnt/city --output /mnt/out --engine ray --address 10.0.0.5:6379 --workers 64
  vehicle-index embed /mnt/city --output /mnt/out --engine ray --address auto --workers 8 --device cuda --threads 12
  vehicle-index import embedded --check                # reads every byte of it
  vehicle-index import embedded --data-dir /srv/vehicles
"""


def add_to(commands: "Commands", model: argparse.ArgumentParser) -> None:
    """Add the command to the door's; ``model`` has the options of commands that run one."""
    command = commands.add_parser(
        "embed", parents=[model], help="embed pictures into an export, also on a Ray cluster", description=_EMBED,
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "source", nargs="+", type=Path, metavar="SOURCE", help="a manifest.csv, a folder, an archive, or a picture"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a new folder, or one that this command began"
    )
    command.add_argument("--engine", choices=("local", "ray"), default="local", help="who embeds (default: local)")
    command.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes of --engine ray (default, on this machine's cores: one each)",
    )
    command.add_argument(
        "--threads", type=_positive, metavar="N",
        help="of a worker, to read, decode and embed (default: 1; --engine local: one a core, and one more)",
    )  # fmt: skip
    command.add_argument(
        "--address",
        help="Ray cluster to use, HOST:PORT, or auto for the one that this machine is of (default: a new one)",
    )
    command.add_argument(
        "--part-images", type=_positive, metavar="N",
        help=f"images of a part: what a worker that dies loses (default: {PART_IMAGES}, or what DIR was begun with)",
    )  # fmt: skip
    add_gallery(command, "fill from it later")
    add_kind(command)
    command.add_argument("--failures", type=Path, metavar="FILE", help="manifest of what failed, and why; can be added")
    command.set_defaults(run=_embed)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _embed(arguments: argparse.Namespace) -> int:
    require_pyarrow("embed")
    if arguments.engine == "ray":
        from index.parts.ray_engine import require_ray

        require_ray()
        if arguments.workers is None and (arguments.address is not None or arguments.device == "cuda"):
            raise InvalidValue("say how many --workers; only on the cores of this machine it is known")
    elif arguments.workers is not None or arguments.address is not None:
        raise InvalidValue("--workers and --address are of --engine ray; --engine local is one process (--threads N)")
    _require_outside(arguments.output, arguments.source)
    require_other_file(arguments.failures, arguments.source)
    check_gallery_name(arguments.gallery)
    from index.parts.run_folder import OwnedRun

    with closing(ImportPlan()) as plan:
        with tqdm(desc="look", unit=" pictures", delay=1, leave=False) as bar:
            for planned in plan_sources(plan, [path.absolute() for path in arguments.source]):
                bar.update(planned - bar.n)
        model = model_path(arguments.model).absolute()
        looked = Embedder(model, device="cpu", threads=1)  # so that a file that is no model is refused before anything
        contract, fingerprint = looked.contract, looked.fingerprint
        del looked
        with closing(OwnedRun(arguments.output.absolute())) as run:
            note = _note(arguments, run, plan, contract, fingerprint)
            run.begin(note)
            return _filled(arguments, run, note, plan, model)


def _filled(
    arguments: argparse.Namespace, run: "OwnedRun", note: "RunNote", plan: ImportPlan, model: Path
) -> int:  # fmt: skip
    from index.parts.part_embedding import PartWork
    from index.parts.picture_part import cut_parts

    failures = list(plan.failures())
    told, images, kept = ToldFailures("vehicle-index"), 0, 0
    work = PartWork(
        folder=run.path, note=note, model=model, device=arguments.device, threads=arguments.threads,
        gpu_memory=arguments.gpu_model_memory,
    )  # fmt: skip
    with tqdm(total=plan.total, desc="embed", unit=" pictures") as bar:

        def take(report: "PartReport") -> None:
            nonlocal images
            images += report.images
            failures.extend(report.failures)
            told.tell(report.failures, bar)

        def missing() -> Iterator["PicturePart"]:
            nonlocal kept
            for part in cut_parts(plan, note.part_images):
                report = run.report(part.number, note)
                if report is None:
                    run.reopen()
                    yield part
                else:
                    kept += 1
                    take(report)
                    bar.update(len(part.images))

        told.tell(failures, bar)
        bar.update(len(failures))
        try:
            for report in _engine(arguments)(missing(), work, bar.update):
                take(report)
        finally:
            if arguments.failures is not None:
                write_failures(arguments.failures, failures, plan.columns())
    with tqdm(total=note.parts, desc="seal", unit=" parts", delay=1, leave=False) as bar:
        run.finish(note, now=utc_now(), progress=bar.update)
    there = f" ({kept:,} there already)" if kept else ""
    print(f"{images:,} embedded, {len(failures):,} failed, in {note.parts:,} parts{there}: {run.path}")
    return 1 if failures else 0


Engine = Callable[["Iterator[PicturePart]", "PartWork", Callable[[int], object]], "Iterator[PartReport]"]


def _engine(arguments: argparse.Namespace) -> Engine:
    from index.parts.part_embedding import embed_here
    from index.parts.ray_engine import embed_by_ray

    if arguments.engine == "local":
        return embed_here
    workers, address = arguments.workers, arguments.address
    count = workers or max(1, usable_cpus() // (arguments.threads or 1))
    return lambda parts, work, progress: embed_by_ray(parts, work, progress, workers=count, address=address)


def _note(
    arguments: argparse.Namespace, run: "OwnedRun", plan: ImportPlan, contract: Contract, fingerprint: str
) -> "RunNote":  # fmt: skip
    """What is asked for; what is not said is as the run was begun."""
    from index.parts.picture_part import listing_hash
    from index.parts.run_folder import RunNote

    begun = run.begun() or {}
    said = {name: value for name in ("kind", "vectors") if (value := getattr(arguments, name)) is not None}
    return RunNote(
        gallery=arguments.gallery, spec=GallerySpec.for_model(contract, **said), model=fingerprint,
        listing=listing_hash(plan), images=plan.total - plan.counts()["failed"],
        part_images=arguments.part_images or begun.get("part_images", PART_IMAGES),
    )  # fmt: skip


def _require_outside(output: Path, sources: list[Path]) -> None:
    """Raise InvalidValue where crops of a run would be pictures of its sources next time."""
    for source in sources:
        if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
            raise InvalidValue(f"--output {output} lies in {source}, which is to be embedded; name a folder outside")
