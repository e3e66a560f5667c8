"""The options that say which images are meant, as the filters of a search."""

import argparse
from collections.abc import Sequence
from datetime import datetime

from index.errors import InvalidValue
from index.gallery import Attribute, Filters, GallerySpec
from index.manifest import attribute_value, parse_time
from index.metadata import check_image_id, check_label, check_metadata


def add_filters(command: argparse.ArgumentParser) -> None:
    """Add them all; different filters must all hold."""
    for name in ("image-id", "camera-id", "exclude-camera-id", "vehicle-id", "viewpoint"):
        command.add_argument(f"--{name}", action="append", default=[], metavar="NAME", help="repeatable: any of them")
    command.add_argument("--captured-after", metavar="TIME", help="inclusive; RFC 3339, as 2026-05-04T10:11:12+02:00")
    command.add_argument("--captured-before", metavar="TIME", help="exclusive")
    command.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=VALUE",
        help='repeatable; 5 means the number, \'"5"\' the text',
    )  # fmt: skip


def read_filters(arguments: argparse.Namespace, spec: GallerySpec, gallery: str) -> Filters:
    """What the options say of a gallery; raises InvalidValue, naming the option."""
    for name in arguments.viewpoint:
        if name not in spec.viewpoints:
            known = ", ".join(spec.viewpoints)
            raise InvalidValue(f"--viewpoint {name!a}: gallery {gallery} knows {known}")
    return filters_said(arguments)


def filters_said(arguments: argparse.Namespace) -> Filters:
    """What the options say where the gallery itself is asked later whether it knows the viewpoints."""
    return Filters(
        image_id=_image_ids(arguments.image_id),
        camera_id=_labels(arguments, "camera_id"),
        exclude_camera_id=_labels(arguments, "exclude_camera_id"),
        vehicle_id=_labels(arguments, "vehicle_id"),
        viewpoint=tuple(arguments.viewpoint),
        captured_after=_time(arguments, "captured_after"),
        captured_before=_time(arguments, "captured_before"),
        attributes=_attributes(arguments.attribute),
    )


def _image_ids(texts: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(map(check_image_id, texts))
    except InvalidValue as error:
        raise InvalidValue(f"--image-id: {error}") from error


def _labels(arguments: argparse.Namespace, name: str) -> tuple[str, ...]:
    return tuple(check_label(value, name=_option(name)) for value in getattr(arguments, name))


def _attributes(texts: Sequence[str]) -> dict[str, tuple[Attribute, ...]]:
    """``NAME=VALUE`` by name; a value in double quotes is a text whatever it looks like."""
    wanted: dict[str, tuple[Attribute, ...]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidValue(f"--attribute {text!a}: write NAME=VALUE")
        quoted = len(value) >= 2 and value[0] == value[-1] == '"'
        try:
            checked = check_metadata({"attributes": {name: value[1:-1] if quoted else attribute_value(value)}})
        except InvalidValue as error:
            raise InvalidValue(f"--attribute: {error}") from error
        wanted[name] = (*wanted.get(name, ()), checked.metadata.attributes[name])
    return wanted


def _time(arguments: argparse.Namespace, name: str) -> datetime | None:
    text = getattr(arguments, name)
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise InvalidValue(f"{_option(name)}: {error}") from error


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
