"""``vehicle-index export | import``: a gallery as a Parquet table and pictures, and back without embedding again."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from index.data_folder import DEFAULT, DataFolder, gallery_folders
from index.exchange.pyarrow_extra import require_pyarrow
from index.filter_arguments import add_filters, read_filters
from index.gallery import GallerySpec
from index.gallery_arguments import add_data_dir, add_gallery
from index.gallery_rules import utc_now
from index.metadata import check_gallery_name
from index.storage.gallery_files import DATABASE
from index.storage.gallery_view import open_view
from index.upkeep_command import print_findings

if TYPE_CHECKING:
    from index.exchange.gallery_import import ExportFolder, GalleryImport

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_EXPORT = """\
Write a gallery to DIR, a new folder: images.parquet (metadata, viewpoints, embeddings, a row an image), crops/
(pictures named by their SHA-256), and export.json, which says what it is and holds the table's SHA-256. With filters it
is the images that a search with them can find. A service may run meanwhile: the gallery is written as it was at one
moment. DIR appears when it is whole; until then everything lies in DIR.partial, and a further try takes up the crops
that are there. It needs pyarrow: pip install 'vehicle-search[parquet]'

exit code: 0, 1 where something is damaged (the rest is exported), 2 where nothing was exported
"""
_EXPORT_EXAMPLES = """\
examples:
  vehicle-index export yard-2026-11
  vehicle-index export yard-2026-11 --gallery yard --data-dir /srv/vehicles
  vehicle-index export yard-north-may --camera-id north --captured-after 2026-05-01T00:00:00Z
  vehicle-index import yard-2026-11 --check            # reads every byte of it
  python -c 'import pandas; print(pandas.read_parquet("yard-2026-11/images.parquet"))'
"""
_IMPORT = """\
Fill a gallery from an export, with the embeddings that are in it: no model is needed. The gallery, made where there is
none, is the one that was exported, or --gallery; images keep the time at which they were ingested first, on which
retention runs. What is there already as the export has it is left alone, so run it again after it was stopped. It needs
pyarrow: pip install 'vehicle-search[parquet]'

exit code: 0, 1 where crops of it are damaged (their images are imported without), 2 where it could not be done
"""
_IMPORT_EXAMPLES = """\
examples:
  vehicle-index import yard-2026-11 --check            # is it as it was written? imports nothing
  vehicle-index import yard-2026-11 --data-dir /srv/vehicles
  vehicle-index import yard-2026-11 --gallery yard-again
  vehicle-index import yard-2026-11 --replace          # where the gallery has other images under the same ids
"""


def add_to(commands: "Commands") -> None:
    """Add both commands to the door's."""
    exporting = commands.add_parser(
        "export", help="a gallery as Parquet and pictures, also beside a running service", description=_EXPORT,
        epilog=_EXPORT_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    exporting.add_argument("target", type=Path, metavar="DIR", help="a new folder")
    add_data_dir(exporting)
    add_gallery(exporting, "export")
    add_filters(exporting)
    exporting.set_defaults(run=_export)

    importing = commands.add_parser(
        "import", help="fill a gallery from an export, without embedding", description=_IMPORT,
        epilog=_IMPORT_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    importing.add_argument("source", type=Path, metavar="DIR", help="what `vehicle-index export` wrote")
    add_data_dir(importing)
    importing.add_argument("--gallery", help="gallery to fill (default: the one that was exported)")
    importing.add_argument("--replace", action="store_true", help="replace images that have an id of the export")
    importing.add_argument("--check", action="store_true", help="read every byte of the export and import nothing")
    importing.set_defaults(run=_import)


def _export(arguments: argparse.Namespace) -> int:
    require_pyarrow("export")
    from index.exchange.gallery_export import export_gallery, require_free

    require_free(arguments.target)
    now = utc_now()
    (folder,) = gallery_folders(arguments.data_dir, name=arguments.gallery)
    with open_view(folder / DATABASE, now=now) as view:
        filters, there = read_filters(arguments, view.spec, view.name), view.count()
    with open_view(folder / DATABASE, now=now, filters=filters) as view:
        total = view.count() + view.count_crops()
    with tqdm(total=total, desc="export", unit=" crops and rows") as bar:
        done = export_gallery(folder, arguments.target, now=now, filters=filters, progress=bar.update)
    print_findings(done.findings)
    note = done.note
    images = f"{note.images:,}{'' if filters.empty else f' of {there:,}'} images"
    print(f"{note.gallery}: {images}, {note.crops:,} crops, up to change {note.last_change}: {arguments.target}")
    return int(bool(done.findings))


def _import(arguments: argparse.Namespace) -> int:
    require_pyarrow("import")
    from index.exchange.gallery_import import ExportFolder, import_export

    export = ExportFolder(arguments.source)
    if arguments.check:
        return _check(export)
    name = check_gallery_name(arguments.gallery or export.note.gallery)
    with closing(_opened(arguments.data_dir, name, export.note.spec)) as home:
        gallery = home.get(name)
        with tqdm(total=export.note.images, desc="import", unit=" images") as bar:
            done = import_export(export, gallery, replacing=arguments.replace, now=utc_now(), progress=bar.update)
        print_findings(export.findings(done.lost))
        print(f"{_told(done)}; gallery {name} has {gallery.count():,}")
    return int(bool(done.lost))


def _check(export: "ExportFolder") -> int:
    from index.exchange.gallery_import import check_export

    with tqdm(total=export.note.images, desc="check", unit=" images") as bar:
        findings = check_export(export, progress=bar.update)
    print_findings(findings)
    verdict = f"{len(findings)} kinds of findings" if findings else "sound"
    print(f"{export.note.gallery}: {export.note.images:,} images, {export.note.crops:,} crops: {verdict}")
    return int(bool(findings))


def _opened(path: Path, name: str, spec: GallerySpec) -> DataFolder:
    """The data folder with a gallery ``name``, made where it is missing."""
    plain = GallerySpec(
        embedding_space=spec.embedding_space, embedding_dim=spec.embedding_dim, viewpoints=spec.viewpoints
    )
    home = DataFolder(path, default_spec=spec if name == DEFAULT else plain)
    try:
        if name not in home.names():
            home.create(name, spec)
    except BaseException:
        home.close()
        raise
    return home


def _told(done: "GalleryImport") -> str:
    parts = [f"{done.created:,} created, {done.updated:,} updated, {done.same:,} there already"]
    if done.expired:
        parts.append(f"{done.expired:,} left out, which the gallery no longer keeps")
    return ", ".join(parts)
