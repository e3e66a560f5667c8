"""What clients may say about an image and about a gallery's name: every value is checked here, once.

Documents are JSON as ``json.loads`` gives it, from whoever can reach the service. Errors carry an RFC 6901 pointer to
the value; both pointer and message can be encoded whatever was sent.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from index.crops import Box
from index.errors import InvalidValue
from index.gallery import Attribute, Metadata
from index.manifest import parse_time

MAX_LABEL: Final = 256  # characters of a vehicle_id or camera_id
MAX_ATTRIBUTES: Final = 64  # of one image
MAX_ATTRIBUTE_NAME: Final = 128  # characters
MAX_ATTRIBUTE_TEXT: Final = 1024  # characters of a value

IMAGE_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"  # pattern of a client's own id
GALLERY_NAME: Final = r"[a-z0-9][a-z0-9_-]{0,62}"

_IMAGE_ID = re.compile(IMAGE_ID)
_GALLERY_NAME = re.compile(GALLERY_NAME)
_INT64 = range(-(2**63), 2**63)
_MAX_TIME_TEXT = 64
_SHOWN = 60  # characters of a refused value in a message

_STORABLE_RULE = "without NUL and lone surrogates"

_T = TypeVar("_T")

_PATCHABLE = ("vehicle_id", "camera_id", "captured_at", "attributes")
_FIELDS = ("image_id", *_PATCHABLE, "box")
_FIXED = ("image_id", "box", "ingested_at", "viewpoint")


@dataclass(frozen=True, kw_only=True)
class ImageDescription:
    """A client's description of one image; ``box`` is x, y, width, height in pixels of the upright picture."""

    image_id: str | None
    metadata: Metadata
    box: Box | None


def check_image_id(value: object, *, pointer: str = "") -> str:
    """An image id, ``[A-Za-z0-9][A-Za-z0-9._:-]{0,127}``; raises InvalidValue."""
    if isinstance(value, str) and _IMAGE_ID.fullmatch(value):
        return value
    raise refused_value(value, f"must match {_IMAGE_ID.pattern}", "image_id", pointer)


def check_gallery_name(value: object, *, pointer: str = "") -> str:
    """A gallery's name, ``[a-z0-9][a-z0-9_-]{0,62}``; raises InvalidValue."""
    if isinstance(value, str) and _GALLERY_NAME.fullmatch(value):
        return value
    raise refused_value(value, f"must match {_GALLERY_NAME.pattern}", "the name of a gallery", pointer)


def check_label(value: object, *, name: str, pointer: str = "") -> str:
    """A vehicle_id or camera_id: 1–256 characters that can be stored and given back; raises InvalidValue."""
    if isinstance(value, str) and 1 <= len(value) <= MAX_LABEL and is_storable(value):
        return value
    raise refused_value(value, f"must be a string of 1–{MAX_LABEL} characters, {_STORABLE_RULE}", name, pointer)


def check_metadata(document: object, *, pointer: str = "") -> ImageDescription:
    """A client's description of one image, from a JSON object whose place is ``pointer``.

    A field that is null is absent. Raises InvalidValue for anything unknown or out of its rule.
    """
    if not isinstance(document, Mapping):
        raise refused_value(document, "must be a JSON object", "the metadata of an image", pointer)
    refuse_unknown(document, _FIELDS, pointer)
    return ImageDescription(
        image_id=_absent_or(document, "image_id", pointer, lambda value, at: check_image_id(value, pointer=at)),
        metadata=Metadata(
            vehicle_id=_label(document, "vehicle_id", pointer),
            camera_id=_label(document, "camera_id", pointer),
            captured_at=_absent_or(document, "captured_at", pointer, _time),
            attributes=_absent_or(document, "attributes", pointer, _attributes) or {},
        ),
        box=_absent_or(document, "box", pointer, lambda value, at: check_box(value, pointer=at)),
    )


def merge_metadata(current: Metadata, patch: object, *, pointer: str = "") -> Metadata:
    """``current`` after an RFC 7396 merge patch: null removes, attributes merge name by name; raises InvalidValue."""
    if not isinstance(patch, Mapping):
        raise refused_value(patch, "must be a JSON object", "a merge patch", pointer)
    for name in _FIXED:
        if name in patch:
            raise InvalidValue(f"{name} cannot be changed; write the image again instead", pointer=f"{pointer}/{name}")
    refuse_unknown(patch, _PATCHABLE, pointer)
    attributes = patch.get("attributes", {})
    if isinstance(attributes, Mapping):
        merged = {**current.attributes, **attributes}
        attributes = {name: value for name, value in merged.items() if name not in attributes or value is not None}
    return Metadata(
        vehicle_id=_label(patch, "vehicle_id", pointer) if "vehicle_id" in patch else current.vehicle_id,
        camera_id=_label(patch, "camera_id", pointer) if "camera_id" in patch else current.camera_id,
        captured_at=(
            _absent_or(patch, "captured_at", pointer, _time) if "captured_at" in patch else current.captured_at
        ),
        attributes={} if attributes is None else _attributes(attributes, f"{pointer}/attributes"),
    )


def _label(document: Mapping[str, object], name: str, pointer: str) -> str | None:
    return _absent_or(document, name, pointer, lambda value, at: check_label(value, name=name, pointer=at))


def _time(value: object, pointer: str) -> datetime:
    if not isinstance(value, str) or len(value) > _MAX_TIME_TEXT:
        raise refused_value(value, "must be an RFC 3339 time with an offset", "captured_at", pointer)
    try:
        return parse_time(value)
    except ValueError as error:
        raise InvalidValue(f"captured_at: {error}", pointer=pointer) from error


def check_box(value: object, *, pointer: str = "") -> Box:
    """A box from a JSON array, x, y, width, height in whole pixels of the upright picture; raises InvalidValue."""
    if isinstance(value, list | tuple) and len(value) == 4 and all(type(side) is int for side in value):
        x, y, width, height = value
        if 0 <= x < 2**31 and 0 <= y < 2**31 and 1 <= width < 2**31 and 1 <= height < 2**31:
            return x, y, width, height
    rule = "must be [x, y, width, height] in whole pixels, x and y from 0, width and height from 1"
    raise refused_value(value, rule, "box", pointer)


def _attributes(value: object, pointer: str) -> dict[str, Attribute]:
    if not isinstance(value, Mapping):
        raise refused_value(value, "must be a flat JSON object of strings and finite numbers", "attributes", pointer)
    if len(value) > MAX_ATTRIBUTES:
        raise InvalidValue(f"attributes has {len(value)} entries; the limit is {MAX_ATTRIBUTES}", pointer=pointer)
    for name in value:
        if not 1 <= len(name) <= MAX_ATTRIBUTE_NAME or not is_storable(name):
            rule = f"must have 1–{MAX_ATTRIBUTE_NAME} characters, {_STORABLE_RULE}"
            raise refused_value(name, rule, "the name of an attribute", pointer)
    return {name: _attribute(item, f"{pointer}/{_escaped(name)}") for name, item in value.items()}


def _attribute(value: object, pointer: str) -> Attribute:
    if isinstance(value, str):
        if len(value) <= MAX_ATTRIBUTE_TEXT and is_storable(value):
            return value
        rule = f"must have at most {MAX_ATTRIBUTE_TEXT} characters, {_STORABLE_RULE}"
        raise refused_value(value, rule, "the text of an attribute", pointer)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if type(value) is int and value in _INT64:
        return value
    raise refused_value(value, "must be a string or a finite number of at most 64 bits", "an attribute", pointer)


def _absent_or(
    document: Mapping[str, object], name: str, pointer: str, check: Callable[[object, str], _T]
) -> _T | None:
    value = document.get(name)
    return None if value is None else check(value, f"{pointer}/{name}")


def refuse_unknown(document: Mapping[str, object], known: tuple[str, ...], pointer: str) -> None:
    """Raise InvalidValue where an object has a key that is none of these."""
    for name in document:
        if name not in known:
            at = f"{pointer}/{_escaped(name)}" if is_storable(name) and len(name) <= MAX_ATTRIBUTE_NAME else pointer
            raise InvalidValue(f"{_shown(name)} is not a known field; known are {', '.join(known)}", pointer=at)


def is_storable(text: str) -> bool:
    """Whether a database and UTF-8 give the text back: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def refused_value(value: object, rule: str, what: str, pointer: str) -> InvalidValue:
    """What to raise for a value that breaks a rule ("must be …"); its message can be encoded whatever was sent."""
    return InvalidValue(f"{what} {rule}, not {_shown(value)}", pointer=pointer)


def _shown(value: object) -> str:
    """A refused value in ASCII that is short whatever it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return ascii(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
    if isinstance(value, float):
        return str(value)
    if isinstance(value, int):
        return str(value) if value in _INT64 else "an integer of more than 64 bits"
    if isinstance(value, Mapping):
        return f"an object of {len(value)}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown(item) for item in value)}]" if _is_short(value) else f"an array of {len(value)}"
    return f"a {type(value).__name__}"


def _is_short(value: list[object] | tuple[object, ...]) -> bool:
    return len(value) <= 6 and all(item is None or isinstance(item, int | float) for item in value)
