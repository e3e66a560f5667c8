"""The indexer's door: ``vehicle-index add | search | list | delete | describe``."""

import argparse
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from index.cpu_quota import usable_cpus
from index.crops import Box, StoredCrop, cut, model_crop, read_picture, stored_crop
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import InvalidValue, PictureError, VehicleSearchError
from index.gallery import Attribute, Filters, GallerySpec, Metadata, NewImage, SearchOptions, StoredImage
from index.local_gallery import LocalGallery
from index.manifest import attribute_value, parse_time, read_manifest
from index.metadata import check_image_id, check_metadata

_EXAMPLES = """\
examples:
  vehicle-index add examples/demo-gallery/manifest.csv
  vehicle-index add crops/ more/car.jpg --gallery yard
  vehicle-index search car.jpg --top-k 5 --exclude-camera-id c001
  vehicle-index search frame.jpg --box 120,80,300,220 --json
  vehicle-index list --vehicle-id v17
  vehicle-index delete cam1-000001 cam1-000002
  vehicle-index describe

A manifest.csv has the columns path, vehicle_id, camera_id and optionally image_id, captured_at, box; further columns
are attributes. An image without an image_id is named after its path below the manifest or folder, so that adding it
again replaces and does not double. One process owns a data folder: while the service runs, send pictures to it instead.
"""
_SUFFIXES = {".jpg", ".jpeg", ".mpo", ".png", ".webp", ".bmp", ".gif"}
_MAX_PIXELS = 100_000_000
_EMBEDDED_AT_A_TIME = 16
_COMMITTED_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One picture on its way in."""

    path: Path
    image_id: str
    metadata: Metadata
    box: Box | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code: 0, 1 where some pictures failed, 2 where nothing could be done."""
    logging.getLogger("faiss").setLevel(logging.WARNING)
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except VehicleSearchError as error:
        print(f"vehicle-index: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vehicle-index: stopped; what was committed stays", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vehicle-index", description="Fill, search and look after galleries on this machine.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the galleries (default data)")
    shared.add_argument("--gallery", default="default", help="gallery to work on (default default)")
    shared.add_argument("--model", type=Path, default=Path("models/default.onnx"), help="ONNX file")
    shared.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the model runs")
    filters = argparse.ArgumentParser(add_help=False)
    for name in ("camera-id", "exclude-camera-id", "vehicle-id", "viewpoint"):
        filters.add_argument(f"--{name}", action="append", default=[], help="repeatable: any of them")
    filters.add_argument("--captured-after", help="RFC 3339 time with offset, inclusive")
    filters.add_argument("--captured-before", help="RFC 3339 time with offset, exclusive")
    filters.add_argument("--attribute", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("add", parents=[shared], help="embed and store pictures")
    add.add_argument("source", nargs="+", type=Path, help="a manifest.csv, a folder, or pictures")
    add.set_defaults(run=_add)

    search = commands.add_parser("search", parents=[shared, filters], help="rank the gallery for a picture")
    search.add_argument("picture", type=Path)
    search.add_argument("--top-k", type=int, default=10, help="matches at most (default 10)")
    search.add_argument("--box", type=_box, help="x,y,width,height in pixels of the upright picture")
    search.add_argument("--max-distance", type=float, help="Euclidean")
    search.add_argument("--group-by", choices=("vehicle_id",), help="the best image of each vehicle")
    search.add_argument("--json", action="store_true", help="print JSON")
    search.set_defaults(run=_search)

    listing = commands.add_parser("list", parents=[shared, filters], help="list images")
    listing.add_argument("--json", action="store_true", help="print a JSON object a line")
    listing.set_defaults(run=_list)

    delete = commands.add_parser("delete", parents=[shared, filters], help="erase images by id or filter")
    delete.add_argument("image_id", nargs="*")
    delete.add_argument("--all", action="store_true", help="erase every image")
    delete.set_defaults(run=_delete)

    describe = commands.add_parser("describe", parents=[shared], help="what galleries hold")
    describe.set_defaults(run=_describe)
    return parser


def _add(arguments: argparse.Namespace) -> int:
    sources = [source for path in arguments.source for source in _sources(path)]
    if not sources:
        raise InvalidValue(f"no picture ({', '.join(sorted(_SUFFIXES))}) below {', '.join(map(str, arguments.source))}")
    failed: list[tuple[Path, str]] = []
    counts = {"created": 0, "updated": 0}
    with _Opened(arguments) as (gallery, embedder), ThreadPoolExecutor(usable_cpus()) as pool:
        gallery.spec.require_space(embedder.contract, gallery.name)
        with tqdm(total=len(sources), unit="pictures", desc="add") as progress:
            waiting: list[NewImage] = []
            for batch in _decoded(pool, sources, embedder):
                good = []
                for source, crop in batch:
                    if isinstance(crop, str):
                        failed.append((source.path, crop))
                    else:
                        good.append((source, *crop))
                waiting += _embedded(good, embedder)
                if len(waiting) >= _COMMITTED_AT_A_TIME:
                    _commit(gallery, waiting, counts)
                progress.update(len(batch))
            _commit(gallery, waiting, counts)
    for path, reason in failed:
        print(f"vehicle-index: {path}: {reason}", file=sys.stderr)
    print(f"{counts['created']} created, {counts['updated']} updated, {len(failed)} failed in gallery {gallery.name}")
    return 1 if failed else 0


def _sources(path: Path) -> Iterator[_Source]:
    if path.suffix.lower() == ".csv":
        for row in read_manifest(path):
            described = check_metadata(
                {
                    "vehicle_id": row.vehicle_id,
                    "camera_id": row.camera_id,
                    "attributes": row.attributes,
                    "image_id": row.image_id,
                },
                pointer=f"/line {row.line}",
            )
            name = described.image_id or _id_of(row.path.relative_to(path.parent))
            metadata = replace(described.metadata, captured_at=row.captured_at)
            yield _Source(path=row.path, image_id=name, metadata=metadata, box=row.box)
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in _SUFFIXES:
                yield _Source(path=file, image_id=_id_of(file.relative_to(path)), metadata=Metadata())
    else:
        yield _Source(path=path, image_id=_id_of(Path(path.name)), metadata=Metadata())


def _id_of(path: Path) -> str:
    """The path as an image id: what an id cannot hold becomes ``-``, and then a hash keeps different paths apart."""
    text = path.as_posix()
    plain = re.sub(r"[^A-Za-z0-9._:-]", "-", text.replace("/", ":"))
    if plain == text.replace("/", ":") and len(plain) <= 128 and plain[0].isalnum():
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{plain.lstrip('._:-')[:100]}-{digest}".lstrip("-")


def _decoded(
    pool: ThreadPoolExecutor, sources: list[_Source], embedder: Embedder
) -> Iterator[list[tuple[_Source, tuple[StoredCrop, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] | str]]]:
    """Batches of decoded crops in order, or the reason why not; decoding runs ahead of whoever embeds them."""
    resize = embedder.contract.resize

    def decode(source: _Source) -> tuple[StoredCrop, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] | str:
        try:
            crop = stored_crop(source.path.read_bytes(), box=source.box, max_pixels=_MAX_PIXELS)
            return crop, model_crop(crop.image, resize)
        except OSError as error:
            return str(error.strerror)
        except PictureError as error:
            return str(error)

    remaining = iter(sources)
    ahead = [(source, pool.submit(decode, source)) for source in islice(remaining, 4 * _EMBEDDED_AT_A_TIME)]
    while ahead:
        batch, ahead = ahead[:_EMBEDDED_AT_A_TIME], ahead[_EMBEDDED_AT_A_TIME:]
        ahead += [(source, pool.submit(decode, source)) for source in islice(remaining, len(batch))]
        yield [(source, future.result()) for source, future in batch]


def _embedded(
    good: Sequence[tuple[_Source, StoredCrop, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]], embedder: Embedder
) -> list[NewImage]:
    if not good:
        return []
    result = embedder.embed(np.stack([crop for _, _, crop in good]))
    return [
        NewImage(
            image_id=source.image_id, metadata=source.metadata, crop=stored.data, embedding=result.embedding[n],
            viewpoint=None if result.viewpoint is None else result.viewpoint[n],
        )
        for n, (source, stored, _) in enumerate(good)
    ]  # fmt: skip


def _commit(gallery: LocalGallery, waiting: list[NewImage], counts: dict[str, int]) -> None:
    """Write what waits; the last of several with one id wins."""
    latest = {image.image_id: image for image in waiting}
    for status in gallery.add(list(latest.values())):
        counts[status] += 1
    waiting.clear()


def _search(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.top_k <= 1000:
        raise InvalidValue(f"--top-k must be from 1 to 1000, not {arguments.top_k}")
    if arguments.max_distance is not None and not 0 <= arguments.max_distance < float("inf"):
        raise InvalidValue(f"--max-distance must be a finite number from 0, not {arguments.max_distance}")
    try:
        image = read_picture(arguments.picture.read_bytes(), max_pixels=_MAX_PIXELS)
        image = cut(image, arguments.box) if arguments.box else image
    except OSError as error:
        raise InvalidValue(f"{arguments.picture}: {error.strerror}") from error
    with _Opened(arguments) as (gallery, embedder):
        gallery.spec.require_space(embedder.contract, gallery.name)
        options = SearchOptions(
            top_k=arguments.top_k, filters=_filters(arguments, gallery), max_distance=arguments.max_distance,
            group_by=arguments.group_by,
        )  # fmt: skip
        query = embedder.embed(model_crop(image, embedder.contract.resize)[None]).embedding
        (matches,) = gallery.search(query, options)
    if arguments.json:
        print(json.dumps([{"rank": m.rank, "distance": m.distance, **_document(m.image)} for m in matches], indent=2))
        return 0
    rows = [(str(m.rank), f"{m.distance:.4f}", *_cells(m.image)) for m in matches]
    _table(("rank", "distance", "image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at"), rows)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with _Opened(arguments) as (gallery, _):
        filters, cursor = _filters(arguments, gallery), None
        if not arguments.json:
            print("\t".join(("image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at")))
        while True:
            page = gallery.page(filters, limit=1000, cursor=cursor)
            for image in page.images:
                print(json.dumps(_document(image)) if arguments.json else "\t".join(_cells(image)))
            cursor = page.cursor
            if cursor is None:
                return 0


def _delete(arguments: argparse.Namespace) -> int:
    with _Opened(arguments) as (gallery, _):
        filters = _filters(arguments, gallery)
        ways = [bool(arguments.image_id), arguments.all, not filters.empty]
        if sum(ways) != 1:
            raise InvalidValue("name image ids, or filters, or --all: exactly one of the three")
        if arguments.image_id:
            for image_id in arguments.image_id:
                gallery.delete(check_image_id(image_id))
            count = len(arguments.image_id)
        else:
            count = gallery.delete_where(filters)
    print(f"{count} erased from gallery {gallery.name}")
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    with _Opened(arguments) as (gallery, _):
        info = gallery.info()
    rows = [
        ("gallery", info.name), ("images", f"{info.images:,}"), ("embedding space", info.spec.embedding_space),
        ("embedding dim", str(info.spec.embedding_dim)), ("viewpoints", ", ".join(info.spec.viewpoints)),
        ("kind", info.spec.kind), ("retention days", str(info.spec.retention_days or "for ever")),
        ("keeps crops", "yes" if info.spec.keep_crops else "no"), ("last change", str(info.last_change)),
        ("disk", f"{info.disk_bytes / 1e6:.1f} MB"), ("created at", info.created_at.isoformat(timespec="seconds")),
    ]  # fmt: skip
    for name, value in rows:
        print(f"{name:16} {value}")
    return 0


class _Opened:
    """The gallery and the model that a command works with."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments

    def __enter__(self) -> tuple[LocalGallery, Embedder]:
        arguments = self._arguments
        embedder = Embedder(arguments.model, device=arguments.device)
        self._home = DataFolder(arguments.data_dir, default_spec=GallerySpec.for_model(embedder.contract))
        try:
            return self._home.get(arguments.gallery), embedder
        except VehicleSearchError:
            self._home.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._home.close()


def _filters(arguments: argparse.Namespace, gallery: LocalGallery) -> Filters:
    for name in arguments.viewpoint:
        if name not in gallery.spec.viewpoints:
            raise InvalidValue(f"--viewpoint {name}: gallery {gallery.name} knows {', '.join(gallery.spec.viewpoints)}")
    attributes: dict[str, tuple[Attribute, ...]] = {}
    for text in arguments.attribute:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidValue(f"--attribute {text}: write NAME=VALUE")
        attributes[name] = (*attributes.get(name, ()), attribute_value(value))
    times = {}
    for name in ("captured_after", "captured_before"):
        text = getattr(arguments, name)
        try:
            times[name] = parse_time(text) if text else None
        except ValueError as error:
            raise InvalidValue(f"--{name.replace('_', '-')}: {error}") from error
    return Filters(
        camera_id=tuple(arguments.camera_id), exclude_camera_id=tuple(arguments.exclude_camera_id),
        vehicle_id=tuple(arguments.vehicle_id), viewpoint=tuple(arguments.viewpoint), attributes=attributes, **times,
    )  # fmt: skip


def _box(text: str) -> Box:
    sides = text.split(",")
    if len(sides) != 4 or not all(side.isascii() and side.isdigit() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not x,y,width,height in whole pixels")
    x, y, width, height = map(int, sides)
    return x, y, width, height


def _document(image: StoredImage) -> dict[str, object]:
    captured_at = image.metadata.captured_at
    return {
        "image_id": image.image_id, "vehicle_id": image.metadata.vehicle_id, "camera_id": image.metadata.camera_id,
        "captured_at": captured_at.isoformat() if captured_at else None, "viewpoint": dict(image.viewpoint),
        "attributes": dict(image.metadata.attributes),
    }  # fmt: skip


def _cells(image: StoredImage) -> tuple[str, ...]:
    metadata = image.metadata
    viewpoint = max(image.viewpoint, key=lambda name: image.viewpoint[name]) if image.viewpoint else ""
    captured_at = metadata.captured_at.isoformat(timespec="seconds") if metadata.captured_at else ""
    return image.image_id, metadata.vehicle_id or "", metadata.camera_id or "", viewpoint, captured_at


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
