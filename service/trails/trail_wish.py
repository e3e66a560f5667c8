"""What somebody asks of a trail: the document that is sent, checked."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from index.crops import Box
from index.errors import InvalidValue
from index.metadata import check_box, check_image_id, is_storable, refuse_unknown, refused_value
from index.storage.kept_query import QUERY_ID
from service.wire.parameters import MAX_COMBINED

MOST_SIGHTINGS: Final = 256
MAX_SPEED: Final = 150.0  # km/h, where nobody says otherwise
FASTEST: Final = 2000.0  # km/h that may be asked for
MAX_TITLE: Final = 200  # characters
MAX_NOTE: Final = 4000
MAX_ASKER: Final = 200

T = TypeVar("T")

_QUERIES: Final = ("query_ids", "boxes", "query_image_ids")
_TEXTS: Final = {"title": MAX_TITLE, "note": MAX_NOTE, "asked_by": MAX_ASKER}


@dataclass(frozen=True, kw_only=True)
class TrailWish:
    """The vehicle was looked for by kept pictures, ``query_ids``, with a box each or none, and by stored images.

    ``max_speed`` is in km/h.
    """

    image_ids: tuple[str, ...]
    query_ids: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    query_image_ids: tuple[str, ...] = ()
    max_speed: float = MAX_SPEED
    title: str | None = None
    note: str | None = None
    asked_by: str | None = None


def check_wish(document: object) -> TrailWish:
    """From a JSON object as ``json.loads`` gives it; a field that is null is absent. Raises InvalidValue."""
    if not isinstance(document, dict):
        raise refused_value(document, "must be a JSON object", "the body", "")
    refuse_unknown(document, ("image_ids", *_QUERIES, "max_speed_kmh", *_TEXTS), "")
    given = {name: value for name, value in document.items() if value is not None}
    texts = {name: _text(given.get(name, ""), name, most) for name, most in _TEXTS.items()}
    query_ids = _each(given.get("query_ids", []), "query_ids", _query_id, least=0, most=MAX_COMBINED)
    boxes = _each(given.get("boxes", []), "boxes", _box, least=0, most=MAX_COMBINED)
    images = _each(given.get("query_image_ids", []), "query_image_ids", _image_id, least=0, most=MAX_COMBINED)
    if (together := len(query_ids) + len(images)) > MAX_COMBINED:
        raise InvalidValue(
            f"query_ids and query_image_ids are {together} together; a vehicle is looked for by up to {MAX_COMBINED}",
            pointer="/query_ids",
        )
    return TrailWish(
        image_ids=_distinct(_each(given.get("image_ids"), "image_ids", _image_id, least=1, most=MOST_SIGHTINGS)),
        query_ids=query_ids, boxes=boxes, query_image_ids=images,
        max_speed=_speed(given.get("max_speed_kmh", MAX_SPEED)),
        **texts,
    )  # fmt: skip


def _each(value: object, name: str, check: Callable[[object, str], T], *, least: int, most: int) -> tuple[T, ...]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise refused_value(value, f"must be an array of {least} to {most}", name, f"/{name}")
    return tuple(check(each, f"/{name}/{number}") for number, each in enumerate(value))


def _distinct(image_ids: tuple[str, ...]) -> tuple[str, ...]:
    for number, image_id in enumerate(image_ids):
        if image_id in image_ids[:number]:
            raise InvalidValue(f"image_ids has {image_id} twice", pointer=f"/image_ids/{number}")
    return image_ids


def _image_id(value: object, pointer: str) -> str:
    return check_image_id(value, pointer=pointer)


def _box(value: object, pointer: str) -> Box:
    return check_box(value, pointer=pointer)


def _query_id(value: object, pointer: str) -> str:
    if isinstance(value, str) and re.fullmatch(QUERY_ID, value, re.ASCII):
        return value
    raise refused_value(value, "must be 32 hexadecimal digits, as POST /v1/queries answers them", "a query_id", pointer)


def _speed(value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 else 0
    if not (math.isfinite(number) and 0 < number <= FASTEST):
        raise refused_value(
            value, f"must be a number above 0 and up to {FASTEST:,g}", "max_speed_kmh", "/max_speed_kmh"
        )
    return number


def _text(value: object, name: str, most: int) -> str | None:
    if not isinstance(value, str) or len(value) > most or not is_storable(value):
        rule = f"must be a string of at most {most:,} characters, without NUL and lone surrogates"
        raise refused_value(value, rule, name, f"/{name}")
    return value.strip() or None
