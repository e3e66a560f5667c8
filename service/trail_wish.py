"""What somebody asks of a trail: the document that is sent, checked."""

import math
from dataclasses import dataclass
from typing import Final

from index.errors import InvalidValue
from index.metadata import check_image_id, is_storable, refuse_unknown, refused_value

MOST_SIGHTINGS: Final = 256
MOST_QUERIES: Final = 8  # pictures of one vehicle
MAX_SPEED: Final = 150.0  # km/h, where nobody says otherwise
FASTEST: Final = 2000.0  # km/h that may be asked for
MAX_TITLE: Final = 200  # characters
MAX_NOTE: Final = 4000
MAX_NAME: Final = 200

_TEXTS: Final = {"title": MAX_TITLE, "note": MAX_NOTE, "asked_by": MAX_NAME}


@dataclass(frozen=True, kw_only=True)
class TrailWish:
    """``query_image_ids`` are images of the gallery that show the vehicle; several are looked for together.

    ``max_speed`` is in km/h.
    """

    image_ids: tuple[str, ...]
    query_image_ids: tuple[str, ...] = ()
    max_speed: float = MAX_SPEED
    title: str | None = None
    note: str | None = None
    asked_by: str | None = None


def check_wish(document: object) -> TrailWish:
    """From a JSON object as ``json.loads`` gives it; a field that is null is absent. Raises InvalidValue."""
    if not isinstance(document, dict):
        raise refused_value(document, "must be a JSON object", "the body", "")
    refuse_unknown(document, ("image_ids", "query_image_ids", "max_speed_kmh", *_TEXTS), "")
    given = {name: value for name, value in document.items() if value is not None}
    texts = {name: _text(given.get(name, ""), name, most) for name, most in _TEXTS.items()}
    return TrailWish(
        image_ids=_image_ids(given.get("image_ids"), "image_ids", least=1, most=MOST_SIGHTINGS),
        query_image_ids=_image_ids(given.get("query_image_ids", []), "query_image_ids", least=0, most=MOST_QUERIES),
        max_speed=_speed(given.get("max_speed_kmh", MAX_SPEED)),
        **texts,
    )


def _image_ids(value: object, name: str, *, least: int, most: int) -> tuple[str, ...]:
    at = f"/{name}"
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise refused_value(value, f"must be an array of {least} to {most} image ids", name, at)
    ids = tuple(check_image_id(each, pointer=f"{at}/{number}") for number, each in enumerate(value))
    if twice := [number for number, each in enumerate(ids) if each in ids[:number]]:
        raise InvalidValue(f"{name} has {ids[twice[0]]} twice", pointer=f"{at}/{twice[0]}")
    return ids


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
