"""Query parameters: one table says their names, what they mean and how they are read; anything else is refused."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from index.camera import WIDEST
from index.crops import Box
from index.errors import InvalidValue
from index.gallery import ORDERS, Attribute, Filters, GroupBy, SearchOptions
from index.manifest import parse_time
from index.metadata import (
    GALLERY_NAME,
    IMAGE_ID,
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTE_TEXT,
    MAX_LABEL,
    check_gallery_name,
    check_image_id,
    check_label,
)
from index.storage.kept_query import QUERY_ID

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
LONGEST_TIMEOUT_MS = 86_400_000
ATTRIBUTE = "attribute."
ATTRIBUTE_VALUE = rf'^("[^\u0000]{{0,{MAX_ATTRIBUTE_TEXT}}}"|[^\u0000]{{0,{MAX_ATTRIBUTE_TEXT}}})$'  # pattern
STORABLE = r"^[^\u0000]*$"  # pattern of what a database gives back
MAX_COMBINED = 8  # pictures of one vehicle that are searched with together
MAX_PARAMETERS = 256  # in one query string; SQL has its limits too

_INT64 = range(-(2**63), 2**63)
_INT64_DIGITS = 20  # with the sign
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One query parameter. ``read`` raises ValueError, whose text says what was expected."""

    name: str
    description: str
    schema: dict[str, Any]
    read: Callable[[str], object]
    repeatable: bool = False
    required: bool = False  # said of it; the route asks for it

    def document(self) -> dict[str, Any]:
        """Its OpenAPI form."""
        schema: dict[str, Any] = {"type": "array", "items": self.schema} if self.repeatable else self.schema
        return {
            "name": self.name,
            "in": "query",
            "description": self.description,
            "required": self.required,
            "schema": schema,
        }


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a request's query string said."""

    given: dict[str, list[Any]]
    attributes: dict[str, tuple[Attribute, ...]]

    def one(self, name: str, default: Any = None) -> Any:
        return self.given[name][0] if name in self.given else default

    def all(self, name: str) -> tuple[Any, ...]:
        return tuple(self.given.get(name, ()))

    def without(self, *names: str) -> "Values":
        """The same without these parameters."""
        return replace(self, given={name: each for name, each in self.given.items() if name not in names})


def read_parameters(request: Request, known: Sequence[Parameter], *, attributes: bool = False) -> Values:
    """Read a query string; raises InvalidValue naming the parameter that is unknown, repeated or wrong."""
    by_name = {parameter.name: parameter for parameter in known}
    given: dict[str, list[Any]] = {}
    wanted: dict[str, list[Attribute]] = {}
    for name, text in _pairs(request.scope["query_string"]):
        if attributes and name.startswith(ATTRIBUTE):
            wanted.setdefault(_attribute_name(name), []).extend(_attribute_values(name, text))
            continue
        parameter = by_name.get(name)
        if parameter is None:
            names = [*by_name, *([f"{ATTRIBUTE}NAME"] if attributes else [])]
            raise InvalidValue(
                f"unknown parameter {name[:60]!a}; this route knows {', '.join(names) or 'none'}", pointer=_at(name)
            )
        if name in given and not parameter.repeatable:
            raise InvalidValue(f"parameter {name} may stand once", pointer=_at(name))
        try:
            given.setdefault(name, []).append(parameter.read(text))
        except ValueError as error:
            raise InvalidValue(f"parameter {name} = {text[:60]!a}: {error}", pointer=_at(name)) from error
        except InvalidValue as error:
            raise InvalidValue(f"parameter {error}", pointer=_at(name)) from error
    return Values(given=given, attributes={name: tuple(values) for name, values in wanted.items()})


def _pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values as they were meant: what is not UTF-8 is refused, because a mended filter finds other images."""
    try:
        text = query.decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise InvalidValue("the query string is not UTF-8", pointer="/query") from error
    except ValueError as error:
        raise InvalidValue(f"the query string has more than {MAX_PARAMETERS} parameters", pointer="/query") from error


def filters_of(values: Values, viewpoints: Sequence[str]) -> Filters:
    """The filters that a query string asks for; InvalidValue for a viewpoint that the gallery does not know."""
    for name in values.all("viewpoint"):
        if name not in viewpoints:
            raise InvalidValue(
                f"parameter viewpoint = {name[:60]!a}: this gallery knows {', '.join(viewpoints)}",
                pointer=_at("viewpoint"),
            )
    return Filters(
        image_id=values.all("image_id"),
        camera_id=values.all("camera_id"), exclude_camera_id=values.all("exclude_camera_id"),
        vehicle_id=values.all("vehicle_id"), viewpoint=values.all("viewpoint"),
        captured_after=values.one("captured_after"), captured_before=values.one("captured_before"),
        attributes=values.attributes,
    )  # fmt: skip


def selected_by(values: Values, viewpoints: Sequence[str]) -> Filters:
    """The filters of what does something to many images at once: at least one, or ``all=true``; else InvalidValue."""
    filters, everything = filters_of(values, viewpoints), values.one("all") is not None
    if filters.empty and not everything:
        raise InvalidValue("name at least one filter, or all=true for every image", pointer="/query")
    if everything and not filters.empty:
        raise InvalidValue("all=true goes without filters", pointer=_at("all"))
    return filters


def search_options_of(values: Values, viewpoints: Sequence[str], *, exclude: Iterable[str] = ()) -> SearchOptions:
    """Options of a search, which leaves out the images ``exclude``."""
    group_by: GroupBy | None = values.one("group_by")
    return SearchOptions(
        top_k=values.one("top_k", 10), filters=filters_of(values, viewpoints), max_distance=values.one("max_distance"),
        group_by=group_by, exclude_image_ids=frozenset(exclude), embeddings="embedding" in values.one("include", ()),
    )  # fmt: skip


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high} is expected")
        return int(text)

    return read


def _distance(text: str) -> float:
    if not _NUMBER.fullmatch(text) or len(text) > 40 or float(text) < 0 or float(text) == float("inf"):
        raise ValueError("a finite number from 0 is expected")
    return float(text)


def _metres(text: str) -> float:
    if not _NUMBER.fullmatch(text) or len(text) > 40 or not 0 < float(text) <= WIDEST:
        raise ValueError(f"a number of metres above 0 and up to {WIDEST:,} is expected")
    return float(text)


def _box(text: str) -> Box:
    sides = text.split(",")
    if len(sides) != 4 or not all(re.fullmatch(r"[0-9]{1,9}", side, re.ASCII) for side in sides):
        raise ValueError("x,y,width,height in whole pixels of the upright picture are expected")
    x, y, width, height = (int(side) for side in sides)
    if width < 1 or height < 1:
        raise ValueError("width and height must be at least 1")
    return x, y, width, height


def _query_id(text: str) -> str:
    if not re.fullmatch(QUERY_ID, text, re.ASCII):
        raise ValueError("32 hexadecimal digits are expected, as POST /v1/queries answers them")
    return text


def choice(*allowed: str) -> Callable[[str], str]:
    """What reads one of these words and nothing else."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{' or '.join(allowed)} is expected")
        return text

    return read


def _include(text: str) -> frozenset[str]:
    parts = frozenset(text.split(","))
    if not parts <= {"embedding", "attention"}:
        raise ValueError("embedding, attention or both with a comma are expected")
    return parts


def _time(text: str) -> datetime:
    if len(text) > 64:
        raise ValueError("an RFC 3339 time with an offset is expected")
    return parse_time(text)


def _label(name: str) -> Callable[[str], str]:
    return lambda text: check_label(text, name=name)


def _cursor(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_=-]{1,400}", text, re.ASCII):
        raise ValueError("the cursor of an earlier page is expected")
    return text


def _attribute_name(name: str) -> str:
    plain = name.removeprefix(ATTRIBUTE)
    if not 1 <= len(plain) <= MAX_ATTRIBUTE_NAME or "\0" in plain:
        raise InvalidValue(
            f"parameter {name[:60]!a}: the name has 1–{MAX_ATTRIBUTE_NAME} characters", pointer=_at(name)
        )
    return plain


def _attribute_values(name: str, text: str) -> Iterable[Attribute]:
    """A text that is written like a JSON number means that number; quotes around it mean the string."""
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    if len(text) > MAX_ATTRIBUTE_TEXT + 2 * quoted or "\0" in text:
        rule = f"the value has at most {MAX_ATTRIBUTE_TEXT} characters, without NUL"
        raise InvalidValue(f"parameter {name[:60]!a}: {rule}", pointer=_at(name))
    if quoted:
        return [text[1:-1]]
    if not _NUMBER.fullmatch(text):
        return [text]
    whole = not any(sign in text for sign in ".eE") and len(text) <= _INT64_DIGITS and int(text) in _INT64
    number = int(text) if whole else float(text)
    return [number] if math.isfinite(number) else [text]


def _at(name: str) -> str:
    return f"/query/{name[:60].replace('~', '~0').replace('/', '~1')}"


_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_LABEL, "pattern": STORABLE}
_INSTANT = {"type": "string", "format": "date-time", "examples": ["2026-05-04T10:11:12Z"]}
_CURSOR = {"type": "string", "pattern": "^[A-Za-z0-9_=-]{1,400}$"}

BOX = Parameter(
    name="box", description="Part of the upright picture: x,y,width,height in pixels, as in 10,20,200,150.",
    schema={
        "type": "string", "pattern": "^[0-9]{1,9},[0-9]{1,9},[1-9][0-9]{0,8},[1-9][0-9]{0,8}$",
        "examples": ["10,20,60,40"],
    },
    read=_box,
)  # fmt: skip
MAX_SIDE = Parameter(
    name="max_side", description="A JPEG to look at, no side of which is longer than so many pixels.",
    schema={"type": "integer", "minimum": 16, "maximum": 2048}, read=_integer(16, 2048),
)  # fmt: skip
PLAN_WIDTH = Parameter(
    name="width", description="Metres from the plan's left to its right side.", read=_metres, required=True,
    schema={"type": "number", "exclusiveMinimum": 0, "maximum": WIDEST, "examples": [120]},
)  # fmt: skip
TRAIL_FORMAT = Parameter(
    name="format",
    description="json, csv (a row a sighting), zip (that and the pictures), or pdf (a record with pictures).",
    schema={"type": "string", "enum": ["json", "csv", "zip", "pdf"], "default": "json"},
    read=choice("json", "csv", "zip", "pdf"),
)  # fmt: skip
COMBINE = Parameter(
    name="combine", description="With 2–8 pictures of one vehicle: search for the mean of their embeddings.",
    schema={"type": "string", "enum": ["mean"]}, read=choice("mean"),
)  # fmt: skip


def _labels(name: str, description: str) -> Parameter:
    return Parameter(name=name, description=description, schema=_TEXT, read=_label(name), repeatable=True)


FILTERS = (
    Parameter(
        name="image_id", description="Only these images.", schema={"type": "string", "pattern": f"^{IMAGE_ID}$"},
        read=check_image_id, repeatable=True,
    ),
    _labels("camera_id", "Only these cameras."),
    _labels("exclude_camera_id", "Not these cameras."),
    _labels("vehicle_id", "Only these vehicles."),
    _labels("viewpoint", "Only images whose most probable viewpoint is one of these."),
    Parameter(name="captured_after", description="Captured at this time or later.", schema=_INSTANT, read=_time),
    Parameter(name="captured_before", description="Captured before this time.", schema=_INSTANT, read=_time),
)  # fmt: skip
SEARCH = (
    Parameter(
        name="top_k", description="How many matches at most.", read=_integer(1, 1000),
        schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
    ),
    *FILTERS,
    Parameter(
        name="max_distance", description="Only matches at this Euclidean distance or nearer.", read=_distance,
        schema={"type": "number", "minimum": 0},
    ),
    Parameter(
        name="group_by", description="The best image of each vehicle; images without a vehicle stand alone.",
        schema={"type": "string", "enum": ["vehicle_id"]}, read=choice("vehicle_id"),
    ),
    Parameter(
        name="include", description="More in the answer: embedding, attention or both with a comma.",

        schema={
            "type": "string", "pattern": "^(embedding|attention)(,(embedding|attention))*$",
            "examples": ["embedding", "attention", "embedding,attention"],
        },
        read=_include,
    ),
)  # fmt: skip
KEPT_SEARCH = (
    Parameter(
        name="query_id", description="A kept picture to search with; with image_id up to 8 of one vehicle together.",
        schema={"type": "string", "pattern": f"^{QUERY_ID}$"}, read=_query_id, repeatable=True,
    ),
    replace(
        BOX, repeatable=True,
        description="Part of the upright picture, x,y,width,height in pixels; once for each query_id, in their order.",
    ),
    Parameter(
        name="image_id", description="A stored image to search with, which is itself left out.",
        schema={"type": "string", "pattern": f"^{IMAGE_ID}$"}, read=check_image_id, repeatable=True,
    ),
    *(each for each in SEARCH if each.name != "image_id"),
)  # fmt: skip


def _paging(what: str) -> tuple[Parameter, Parameter]:
    """How a listing of these is gone through."""
    return (
        Parameter(
            name="limit", description=f"{what} on a page.", read=_integer(1, 1000),
            schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
        ),
        Parameter(name="cursor", description="The field next of the page before.", schema=_CURSOR, read=_cursor),
    )  # fmt: skip


PAGE = (
    *_paging("Images"),
    Parameter(
        name="offset", description="Images to pass over first, instead of a cursor; next goes on from there.",
        schema={"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0}, read=_integer(0, 999_999_999),
    ),
    Parameter(
        name="order", description="image_id, or newest: what was written last comes first.",
        schema={"type": "string", "enum": list(ORDERS), "default": ORDERS[0]}, read=choice(*ORDERS),
    ),
    Parameter(
        name="total", description="true: say how many images pass the filters.",
        schema={"type": "string", "enum": ["true"]}, read=choice("true"),
    ),
    *FILTERS,
)  # fmt: skip
SELECTED = (
    *FILTERS,
    Parameter(
        name="all", description="true: every image, instead of filters.", schema={"type": "string", "enum": ["true"]},
        read=choice("true"),
    ),
)  # fmt: skip
AUDIT = (
    *_paging("Entries"),
    Parameter(name="since", description="Entries of this time or later.", schema=_INSTANT, read=_time),
    Parameter(name="until", description="Entries before this time.", schema=_INSTANT, read=_time),
    Parameter(
        name="key", description="Entries of the key with this id; keyless: of callers without one.", schema=_TEXT,
        read=_label("key"),
    ),
    Parameter(name="gallery", description="Entries about this gallery.", schema=_TEXT, read=_label("gallery")),
)  # fmt: skip


def _gallery_name(text: str) -> str:
    try:
        return check_gallery_name(text)
    except InvalidValue as error:
        raise ValueError("the name of a gallery is expected") from error


def _image_id(text: str) -> str:
    try:
        return check_image_id(text)
    except InvalidValue as error:
        raise ValueError("the id of an image is expected") from error


IN_GALLERY = Parameter(
    name="gallery", description="Name of the gallery.", read=_gallery_name, required=True,
    schema={"type": "string", "pattern": f"^{GALLERY_NAME}$", "examples": ["default"]},
)  # fmt: skip
FEEDBACK = (
    IN_GALLERY,
    *_paging("Answers"),
    Parameter(
        name="query_id", description="Answers on matches of this kept picture, or of a part of it.", read=_query_id,
        schema={"type": "string", "pattern": f"^{QUERY_ID}$"},
    ),
    Parameter(
        name="query_image_id", description="Answers on matches of this stored image.", read=_image_id,
        schema={"type": "string", "pattern": f"^{IMAGE_ID}$"},
    ),
)  # fmt: skip
CONFIRM = Parameter(
    name="confirm",
    description="The gallery's own name.",
    schema={"type": "string"},
    read=lambda text: text,
    required=True,
)
