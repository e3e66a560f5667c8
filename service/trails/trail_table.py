"""A trail as a table: a row a sighting, for spreadsheets."""

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from typing import Final

from service.trails.trail import Leg, Sighting, Trail
from service.wire.documents import image_document, time_text

_COLUMNS: Final = (
    "number", "image_id", "captured_at", "camera_id", "camera_name", "latitude", "longitude", "x", "y", "vehicle_id",
    "viewpoint", "distance", "seconds_since_previous", "metres_from_previous", "kmh_from_previous", "impossible",
    "reason", "crop", "sha256", "picture", "gallery", "model", "model_name", "queries", "query_pictures", "title",
    "note", "asked_by", "key_id", "key_name", "made_at", "request_id",
)  # fmt: skip
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
Cell = str | float | None


def trail_csv(trail: Trail, *, files: Mapping[int, str] | None = None, looked_for: Sequence[str] = ()) -> bytes:
    """RFC 4180, UTF-8 with the mark by which spreadsheets know it.

    ``files`` names the pictures of sightings that lie beside it, by number, ``looked_for`` those of the queries. The
    last columns, who asked for what, are the same in every row. A text that a spreadsheet would take for a formula has
    an apostrophe before it: names come from anybody.
    """
    legs = {leg.end: leg for leg in trail.legs}
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(_COLUMNS)
    common = _common(trail, looked_for)
    names = files or {}
    for sighting in trail.every():
        row = [*_row(sighting, legs.get(sighting.number), trail.gallery), names.get(sighting.number), *common]
        writer.writerow([_plain(cell) for cell in row])
    for image_id in trail.missing:
        gone = dict.fromkeys(_COLUMNS) | {"image_id": image_id, "reason": "not in the gallery"}
        writer.writerow([_plain(cell) for cell in [*list(gone.values())[: -len(common)], *common]])
    return BOM_UTF8 + text.getvalue().encode()


def _row(sighting: Sighting, leg: Leg | None, gallery: str) -> Sequence[Cell]:
    image, camera = sighting.image, sighting.camera
    metadata = image.metadata
    place = (None,) * 5 if camera is None else (camera.name, camera.latitude, camera.longitude, camera.x, camera.y)
    way: Sequence[Cell] = (None,) * 5
    if leg is not None:
        way = (leg.seconds, leg.metres, leg.kmh, "no" if leg.impossible is None else "yes", leg.impossible)
    return (
        sighting.number, image.image_id, None if metadata.captured_at is None else time_text(metadata.captured_at),
        metadata.camera_id, *place, metadata.vehicle_id, sighting.viewpoint, sighting.distance, *way,
        image_document(image, gallery)["crop"], sighting.sha256,
    )  # fmt: skip


def _common(trail: Trail, looked_for: Sequence[str]) -> Sequence[Cell]:
    wish, request = trail.wish, trail.request
    return (
        trail.gallery, trail.model.fingerprint, trail.model.name, "; ".join(each.name for each in trail.queries),
        "; ".join(looked_for), wish.title, wish.note, wish.asked_by, request.key_id, request.key_name,
        time_text(request.made_at), request.request_id,
    )  # fmt: skip


def _plain(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
