"""``vehicle-search query``: ask a running service where else a vehicle was seen; a table, JSON, or a page."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from index.errors import InvalidValue, VehicleSearchError
from index.filter_arguments import add_filters, filters_said
from index.gallery import Filters
from index.search_arguments import add_search_options, require_search_options
from index.standard_output import printed
from index.text_table import printable, table_lines
from index.whole_file import write_whole
from service.commands.match_page import match_page
from service.settings import API_KEY, Settings
from service.wire.documents import time_text
from vehicle_search_client import DEFAULT_URL, Match, NotFound, Patience, SearchReply, VehicleSearch
from vehicle_search_client import VehicleSearchError as ClientError
from vehicle_search_client.picture_input import picture_bytes

_EXAMPLES = f"""\
examples:
  vehicle-search query car.jpg
  vehicle-search query car.jpg --top-k 5 --exclude-camera-id c001 --html matches.html
  vehicle-search query frame.jpg --box 120,80,300,220 --gallery yard
  vehicle-search query front.jpg rear.jpg --group-by vehicle_id      # pictures of one vehicle
  {API_KEY}=… vehicle-search query car.jpg --url https://vehicles.example.org
"""
_MOST_TOGETHER = 8  # pictures of one vehicle
_PATIENCE = Patience(retries=3, first=0.3)  # somebody looks at the terminal
_COLUMNS = ("rank", "distance", "image_id", "vehicle_id", "camera_id", "viewpoint", "captured_at")


def query(words: Sequence[str]) -> int:
    """Run the command; the exit code: 0 also where nothing matches, 2 where nothing could be asked."""
    arguments = _parser().parse_args(words)
    try:
        return printed(lambda: _query(arguments))
    except (VehicleSearchError, ClientError, OSError) as error:
        print(f"vehicle-search: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vehicle-search: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vehicle-search query", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Where else was this vehicle seen? Asks a running service. The environment variable {API_KEY} "
        "holds the API key, where\nit wants one.",
    )  # fmt: skip
    parser.add_argument(
        "picture", nargs="+", type=Path, metavar="PICTURE", help=f"up to {_MOST_TOGETHER}, of one vehicle"
    )
    parser.add_argument("--url", default=DEFAULT_URL, help=f"address of the service (default: {DEFAULT_URL})")
    parser.add_argument("--gallery", default="default", metavar="NAME", help="gallery to search (default: default)")
    add_search_options(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the matches as a page with their pictures")
    add_filters(parser)
    return parser


def _query(arguments: argparse.Namespace) -> int:
    require_search_options(arguments)
    pictures = arguments.picture
    if len(pictures) > _MOST_TOGETHER:
        raise InvalidValue(f"{len(pictures)} pictures of one vehicle; up to {_MOST_TOGETHER} are searched for together")
    if arguments.box and len(pictures) > 1:
        raise InvalidValue("--box goes with one picture only")
    options = _options(arguments, filters_said(arguments))
    data = [picture_bytes(picture) for picture in pictures]
    with VehicleSearch(arguments.url, api_key=os.environ.get(API_KEY) or None, patience=_PATIENCE) as service:
        found = service.search(data, gallery=arguments.gallery, box=arguments.box, **options)
        page = None if arguments.html is None else _page(arguments, service, data, found)
    if page is not None:
        write_whole(arguments.html, page)
    if arguments.json:
        print(json.dumps([_document(match) for match in found], indent=2))
    elif len(found):
        print(*_table(found), sep="\n")
    else:
        print(f"nothing in gallery {arguments.gallery} matches", file=sys.stderr)
    return 0


def _options(arguments: argparse.Namespace, filters: Filters) -> dict[str, Any]:
    said = {each.name: getattr(filters, each.name) or None for each in fields(filters)}
    return {
        **said, "top_k": arguments.top_k, "max_distance": arguments.max_distance, "group_by": arguments.group_by,
    }  # fmt: skip


def _page(arguments: argparse.Namespace, service: VehicleSearch, data: Sequence[bytes], found: SearchReply) -> str:
    crops = [_crop(service, match, arguments.gallery) for match in tqdm(found, desc="crops", unit=" pictures", delay=1)]
    return match_page(
        [picture.name for picture in arguments.picture], data, found, crops, box=arguments.box, url=arguments.url,
        max_pixels=Settings.model_fields["max_pixels"].default,
    )  # fmt: skip


def _crop(service: VehicleSearch, match: Match, gallery: str) -> bytes | None:
    """The stored crop; None where the gallery keeps none, or it was erased meanwhile."""
    try:
        return None if match.crop is None else service.crop(match.image_id, gallery=gallery).data
    except NotFound:
        return None


def _document(match: Match) -> dict[str, Any]:
    return {
        "rank": match.rank, "distance": match.distance,
        **({} if match.probability is None else {"probability": match.probability}),
        "image_id": match.image_id, "vehicle_id": match.vehicle_id,
        "camera_id": match.camera_id, "captured_at": match.captured_at and time_text(match.captured_at),
        "viewpoint": match.viewpoint, "attributes": match.attributes, "crop": match.crop,
    }  # fmt: skip


def _table(found: SearchReply) -> list[str]:
    """With a column for the probability where the model tells it."""
    columns, rows = list(_COLUMNS), [_cells(match) for match in found]
    if any(match.probability is not None for match in found):
        columns.insert(2, "probability")
        for row, match in zip(rows, found, strict=True):
            row.insert(2, "-" if match.probability is None else f"{match.probability:.1%}")
    return table_lines(columns, rows)


def _cells(match: Match) -> list[str]:
    time = match.captured_at and time_text(match.captured_at)
    said = match.image_id, match.vehicle_id, match.camera_id, match.best_viewpoint, time
    return [str(match.rank), f"{match.distance:.4f}", *(cell or "-" for cell in said)]
