"""The indexer's door: ``vehicle-index add | search | list | delete | describe | verify | repair | backup | …``."""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from index import (
    backup_command,
    copy_command,
    deduplicate_command,
    embed_command,
    exchange_command,
    migrate_command,
    plan_command,
    stats_command,
    upkeep_command,
)
from index.bulk.failure_file import require_other_file, write_failures
from index.bulk.import_plan import COUNTS, ImportPlan
from index.bulk.import_source import plan_sources
from index.bulk.ingestion import MAX_PIXELS, Ingestion, OwnWorkers
from index.bulk.told_failures import ToldFailures
from index.contract import MatchProbability
from index.crops import cut, model_crop, read_picture
from index.data_folder import DEFAULT, DataFolder
from index.embedder import Embedder
from index.errors import GalleryConflict, GalleryNotFound, ImageNotFound, InvalidValue, PictureError, VehicleSearchError
from index.filter_arguments import add_filters, read_filters
from index.gallery import (
    GallerySpec,
    IndexState,
    Match,
    SearchOptions,
    StoredImage,
)
from index.gallery_arguments import add_data_dir, add_device, add_gallery, add_kind
from index.local_gallery import LocalGallery
from index.machine.mounts import network_warning
from index.metadata import check_gallery_name, check_image_id
from index.model_path import DEFAULT_MODEL, model_path
from index.search_arguments import add_search_options, require_search_options
from index.standard_output import printed
from index.text_table import printable, table_lines

_EXAMPLES = """\
examples:
  vehicle-index add examples/demo-gallery/manifest.csv
  vehicle-index add crops/ --gallery yard
  vehicle-index add crops/ --gallery city --kind auto
  vehicle-index add crops.zip --failures failed.csv
  vehicle-index search car.jpg --top-k 5 --exclude-camera-id c001
  vehicle-index search frame.jpg --box 120,80,300,220 --json
  vehicle-index list --vehicle-id v17 --captured-after 2026-05-04T00:00:00Z
  vehicle-index delete cam1-000001 cam1-000002
  vehicle-index delete --camera-id c003
  vehicle-index describe
  vehicle-index verify
  vehicle-index backup /backup/vehicles
  vehicle-index export yard-2026-11 --gallery yard
  vehicle-index copy --from local --to /srv/vehicles-2
  vehicle-index embed crops/ --output embedded --engine ray
  vehicle-index migrate --model models/new.onnx

`vehicle-index COMMAND --help` tells what a command takes. One process owns a data folder: while the service runs, send
pictures to it (POST /v1/galleries/{gallery}/images, archives to …/imports) instead. verify, backup, export and stats
work beside it, and deduplicate as far as it only tells.
"""
_ADD = """\
Embed and store pictures. A SOURCE is

  a manifest.csv  with the column path (relative to the manifest) and, as wanted, vehicle_id, camera_id, captured_at
                  (RFC 3339 with offset), box (x,y,width,height in pixels of the upright picture) and image_id; every
                  further column but viewpoint, which the model tells, is an attribute. Rows with one path and different
                  boxes cut several vehicles out of one frame. A path may lead into an archive: crops.zip/cam1/a.jpg
  a folder        with all pictures below it, or what its manifest.csv says; the folders of VeRi-776 (image_train,
                  image_query, image_test) give vehicle_id, camera_id and the attribute frame
  an archive      .zip or .tar, also .tar.gz, .tar.bz2, .tar.xz: as a folder; nothing is unpacked to the disk
  a picture       JPEG, PNG, WebP, BMP or GIF

A picture without image_id is named after its path below the manifest, folder or archive, with ":" for "/" (and a hash
at the end where an id cannot hold the path), so that adding it again replaces it and never doubles it. What is stored
already, the same picture with the same metadata, is left as it is: an import that was cut off goes on where it was. In
a gallery that keeps no crops nobody can tell, and pictures are embedded again.

A gallery that does not exist is created, of the kind that --kind and --vectors say; one that exists has its own. Rows
and pictures that fail are named, the others are stored; the exit code is 1 then. --failures writes them to a file that
can be added in turn when it is mended.
"""
_COLUMNS = ("image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at")
_PAGE = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; the exit code: 0, 1 where some things failed or are damaged, 2 where nothing could be done."""
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells of every library that it tries
    arguments = _parser().parse_args(argv)
    if "data_dir" in arguments and (warning := network_warning(arguments.data_dir)) is not None:
        _refuse(warning)
    try:
        return printed(lambda: int(arguments.run(arguments)))
    except (VehicleSearchError, OSError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        _refuse("stopped; what was written stays, and the same command goes on")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vehicle-index", description="Fill, search and look after galleries on this machine.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    shared, model, filters = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    add_data_dir(shared)
    add_gallery(shared, "work on")
    model.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        help="model file (default: models/default.onnx, or the one that was installed)",
    )
    add_device(model)
    add_filters(filters)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('vehicle-search')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser(
        "add", parents=[shared, model], help="embed and store pictures", description=_ADD,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add.add_argument(
        "source", nargs="+", type=Path, metavar="SOURCE", help="a manifest.csv, a folder, an archive, or a picture"
    )
    add.add_argument("--failures", type=Path, metavar="FILE", help="manifest of what failed, and why; can be added")
    add.add_argument("--anew", action="store_true", help="embed and store also what is stored already")
    add_kind(add)
    add.set_defaults(run=_add)

    search = commands.add_parser("search", parents=[shared, model, filters], help="rank a gallery for a picture")
    search.add_argument("picture", type=Path, metavar="PICTURE")
    add_search_options(search)
    search.set_defaults(run=_search)

    listing = commands.add_parser("list", parents=[shared, filters], help="list images, by image_id")
    listing.add_argument("--json", action="store_true", help="print a JSON object a line")
    listing.set_defaults(run=_list)

    delete = commands.add_parser("delete", parents=[shared, filters], help="erase images: by id, by filter, or all")
    delete.add_argument("images", nargs="*", metavar="IMAGE_ID")
    delete.add_argument("--all", action="store_true", help="erase every image")
    delete.set_defaults(run=_delete)

    describe = commands.add_parser("describe", parents=[shared], help="what a gallery holds")
    describe.set_defaults(run=_describe)
    upkeep_command.add_to(commands)
    backup_command.add_to(commands)
    exchange_command.add_to(commands)
    copy_command.add_to(commands)
    embed_command.add_to(commands, model)
    stats_command.add_to(commands)
    plan_command.add_to(commands)
    deduplicate_command.add_to(commands)
    migrate_command.add_to(commands)
    return parser


def _add(arguments: argparse.Namespace) -> int:
    require_other_file(arguments.failures, arguments.source)
    wanted = {name: value for name in ("kind", "vectors") if (value := getattr(arguments, name)) is not None}
    with closing(ImportPlan()) as plan:
        with tqdm(desc="look", unit=" pictures", delay=1, leave=False) as bar:
            for planned in plan_sources(plan, arguments.source):
                bar.update(planned - bar.n)
        with _with_model(arguments, create=wanted, threads=1) as (gallery, embedder), closing(OwnWorkers()) as workers:
            told = ToldFailures("vehicle-index")
            ingestion = Ingestion(gallery=gallery, embedder=embedder, workers=workers, anew=arguments.anew)
            try:
                with (
                    tqdm(total=plan.total, desc="add", unit=" pictures") as bar,
                    closing(ingestion.run(plan)) as steps,
                ):
                    told.tell(plan.failures(), bar)
                    bar.update(plan.counts()["failed"])
                    for done in steps:
                        told.tell(done.failed, bar)
                        bar.update(done.images)
            finally:
                if arguments.failures is not None:
                    write_failures(arguments.failures, plan.failures(), plan.columns())
            counts = plan.counts()
            print(f"{_told(counts)}; gallery {gallery.name} has {gallery.count()}")
    if told.untold and arguments.failures is None:
        _refuse(f"{told.untold:,} more failed; --failures FILE names them all")
    return 1 if counts["failed"] else 0


def _told(counts: Mapping[str, int]) -> str:
    """How many images became what; unchanged ones only where there are some."""
    return ", ".join(f"{counts[name]} {name}" for name in COUNTS if counts[name] or name != "unchanged")


def _search(arguments: argparse.Namespace) -> int:
    require_search_options(arguments)
    try:
        picture = read_picture(arguments.picture.read_bytes(), max_pixels=MAX_PIXELS)
        picture = cut(picture, arguments.box) if arguments.box else picture
    except (PictureError, OSError) as error:
        return _refuse(f"{arguments.picture}: {getattr(error, 'strerror', None) or error}")
    with _with_model(arguments) as (gallery, embedder):
        gallery.spec.require_space(embedder.contract, gallery.name)
        options = SearchOptions(
            top_k=arguments.top_k, filters=read_filters(arguments, gallery.spec, gallery.name),
            max_distance=arguments.max_distance, group_by=arguments.group_by,
        )  # fmt: skip
        (matches,) = gallery.search(
            embedder.embed(model_crop(picture, embedder.contract.resize)[None]).embedding, options
        )
    _print_matches(matches, embedder.contract.probability, as_json=arguments.json)
    return 0


def _print_matches(matches: Sequence[Match], meaning: MatchProbability | None, *, as_json: bool) -> None:
    """With the probability of each where the model tells what its distances mean."""
    if as_json:
        documents = [
            {
                "rank": m.rank, "distance": round(m.distance, 6),
                **({} if meaning is None else {"probability": meaning.of(m.distance)}), **_document(m.image),
            }
            for m in matches
        ]  # fmt: skip
        print(json.dumps(documents, indent=2))
        return
    columns = ("rank", "distance", *(() if meaning is None else ("probability",)), *_COLUMNS)
    rows = [
        (str(m.rank), f"{m.distance:.4f}", *(() if meaning is None else (f"{meaning.of(m.distance):.1%}",)),
         *_cells(m.image))
        for m in matches
    ]  # fmt: skip
    print(*table_lines(columns, rows), sep="\n")


def _list(arguments: argparse.Namespace) -> int:
    with _without_model(arguments) as gallery:
        filters, cursor = read_filters(arguments, gallery.spec, gallery.name), None
        while True:
            page = gallery.page(filters, limit=_PAGE, cursor=cursor)
            if arguments.json:
                for image in page.images:
                    print(json.dumps(_document(image)))
            elif page.images or cursor is None:
                lines = table_lines(_COLUMNS, [_cells(image) for image in page.images])
                print(*(lines if cursor is None else lines[1:]), sep="\n")
            cursor = page.cursor
            if cursor is None:
                return 0


def _delete(arguments: argparse.Namespace) -> int:
    erased = missing = 0
    with _without_model(arguments) as gallery:
        filters = read_filters(arguments, gallery.spec, gallery.name)
        if [bool(arguments.images), arguments.all, not filters.empty].count(True) != 1:
            raise InvalidValue("name image ids, or filters, or --all: exactly one of the three")
        for image_id in [check_image_id(image_id) for image_id in arguments.images]:
            try:
                gallery.delete(image_id)
                erased += 1
            except ImageNotFound as error:
                _refuse(str(error))
                missing += 1
        if not arguments.images:
            erased = gallery.delete_where(filters)
        print(f"{erased} erased; gallery {gallery.name} has {gallery.count()}")
    return 1 if missing else 0


def _describe(arguments: argparse.Namespace) -> int:
    with _without_model(arguments) as gallery:
        info = gallery.info()
    rows = [
        ("gallery", info.name), ("images", f"{info.images:,}"), ("embedding space", info.spec.embedding_space),
        ("embedding dim", str(info.spec.embedding_dim)), ("viewpoints", ", ".join(info.spec.viewpoints)),
        ("kind", f"{info.spec.kind}, vectors {info.spec.vectors}"), ("index", _index(info.index)),
        ("retention days", str(info.spec.retention_days or "for ever")),
        ("keeps crops", "yes" if info.spec.keep_crops else "no"), ("last change", str(info.last_change)),
        ("disk", f"{info.disk_bytes / 1e6:.1f} MB"), ("created at", info.created_at.isoformat(timespec="seconds")),
    ]  # fmt: skip
    for name, value in rows:
        print(f"{name:16} {value}")
    return 0


@contextmanager
def _with_model(
    arguments: argparse.Namespace, *, create: Mapping[str, Any] | None = None, threads: int | None = None
) -> Iterator[tuple[LocalGallery, Embedder]]:
    """The gallery, made for the model and with the properties ``create``, where it is missing and has some; the model.

    Raises GalleryConflict where it exists with other such properties.
    """
    check_gallery_name(arguments.gallery)
    embedder = Embedder(
        model_path(arguments.model), device=arguments.device, threads=threads, gpu_memory=arguments.gpu_model_memory
    )
    plain = GallerySpec.for_model(embedder.contract)
    spec = replace(plain, **(create or {}))
    default = spec if arguments.gallery == DEFAULT else plain
    with closing(DataFolder(arguments.data_dir, default_spec=None if create is None else default)) as home:
        if create is not None and arguments.gallery not in home.names():
            home.create(arguments.gallery, spec)
        gallery = _gallery(home, arguments.gallery)
        for name, value in (create or {}).items():
            if getattr(gallery.spec, name) != value:
                raise GalleryConflict(
                    f"gallery {gallery.name} exists with {name} {getattr(gallery.spec, name)}, which is chosen when a "
                    f"gallery is created: leave out --{name} {value}, or name a new --gallery"
                )
        yield gallery, embedder


@contextmanager
def _without_model(arguments: argparse.Namespace) -> Iterator[LocalGallery]:
    """The gallery of a data folder that exists."""
    with closing(DataFolder(arguments.data_dir)) as home:
        yield _gallery(home, arguments.gallery)


def _index(state: IndexState) -> str:
    """What finds the images now."""
    waiting = f", {state.waiting:,} more looked at one by one" if state.waiting else ""
    building = f", {state.building} is being built" if state.building else ""
    device = "" if state.device == "cpu" else f" on {state.device}"
    problem = f"; {state.problem}" if state.problem else ""
    return f"{state.kind} {state.vectors}{device}, {state.rows:,} images{waiting}{building}{problem}"


def _gallery(home: DataFolder, name: str) -> LocalGallery:
    try:
        return home.get(name)
    except GalleryNotFound as error:
        known = ", ".join(home.names()) or "none"
        raise GalleryNotFound(
            f"there is no gallery {name!a} in {home.path} (there: {known}); `add` makes one"
        ) from error


def _document(image: StoredImage) -> dict[str, object]:
    captured_at = image.metadata.captured_at
    return {
        "image_id": image.image_id, "vehicle_id": image.metadata.vehicle_id, "camera_id": image.metadata.camera_id,
        "captured_at": captured_at.isoformat().replace("+00:00", "Z") if captured_at else None,
        "viewpoint": {name: round(p, 4) for name, p in image.viewpoint.items()},
        "attributes": dict(image.metadata.attributes),
    }  # fmt: skip


def _cells(image: StoredImage) -> tuple[str, ...]:
    document = _document(image)
    viewpoint = max(image.viewpoint, key=lambda name: image.viewpoint[name], default=None)
    cells = (*(document[name] for name in _COLUMNS[:3]), viewpoint, document["captured_at"])
    return tuple(str(cell or "-") for cell in cells)


def _refuse(message: str) -> int:
    print(f"vehicle-index: {printable(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
