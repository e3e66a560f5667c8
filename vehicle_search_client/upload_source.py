"""Folders and manifests as images to add, read as they are sent.

Pictures are named as ``vehicle-index add`` and import jobs name them, so that one that is sent again replaces itself.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, Final

from vehicle_search_client.client_errors import UnusableInput
from vehicle_search_client.picture_input import Attribute, NewImage, Picture

_SUFFIXES: Final = (".jpg", ".jpeg", ".mpo", ".png", ".webp", ".bmp", ".gif")
_OWN: Final = ("path", "vehicle_id", "camera_id", "image_id", "captured_at", "box", "viewpoint", "import_failure")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_ID: Final = 128
_KEPT: Final = 100  # characters of a path that is made fit by a hash


def images_of(
    source: str | os.PathLike[str] | Iterable[NewImage | Picture],
) -> tuple[Iterable[NewImage | Picture], int | None]:
    """The images of a folder, a manifest.csv or an iterable, and how many where that is known.

    Raises UnusableInput where a path is neither.
    """
    if not isinstance(source, str | os.PathLike):
        return source, len(source) if isinstance(source, Sized) else None
    path = Path(source)
    if path.is_dir():
        return _folder(path), sum(1 for _ in _pictures(path))
    if path.is_file() and path.suffix.lower() == ".csv":
        return _manifest(path), sum(1 for _ in _rows(path))
    raise UnusableInput(f"{str(path)!r} is neither a folder nor a manifest.csv; one picture goes with put_image")


def derived_id(path: str, box: tuple[int, ...] | None = None) -> str:
    """The image_id of a picture that nobody named: its relative path with ``:`` for ``/``, and its box."""
    text = path + ("" if box is None else f"/{'-'.join(map(str, box))}")
    readable = ":".join(_UNFIT.sub("-", part) for part in text.split("/"))
    if readable == text.replace("/", ":") and len(text) <= _LONGEST_ID and text[0].isalnum():
        return readable
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{readable.lstrip('._:-')[:_KEPT]}-{digest}".lstrip("-")


def _folder(folder: Path) -> Iterator[NewImage]:
    for path in _pictures(folder):
        yield NewImage(picture=path, image_id=derived_id(path.relative_to(folder).as_posix()))


def _pictures(folder: Path) -> Iterator[Path]:
    """Every picture below a folder, in the order of names; one folder's names are held at a time."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("._"):
                yield Path(place, name)


def _manifest(manifest: Path) -> Iterator[NewImage]:
    for line, row in _rows(manifest):
        if not row.get("path"):
            raise UnusableInput(f"{manifest} line {line}: the column path is empty")
        path = row["path"].replace("\\", "/")
        box = _box(manifest, line, row["box"]) if row.get("box") else None
        yield NewImage(
            picture=manifest.parent / path, image_id=row.get("image_id") or derived_id(path, box),
            vehicle_id=row.get("vehicle_id") or None, camera_id=row.get("camera_id") or None,
            captured_at=row.get("captured_at") or None, box=box,  # type: ignore[arg-type]
            attributes={name: _attribute(value) for name, value in row.items() if name not in _OWN and value},
        )  # fmt: skip


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if "path" not in (reader.fieldnames or ()):
                raise UnusableInput(f"{manifest} has no column path")
            for row in reader:
                if None in row or None in row.values():
                    raise UnusableInput(f"{manifest} line {reader.line_num} has not as many cells as the header")
                yield reader.line_num, {name.strip(): value.strip() for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise UnusableInput(f"{manifest} is not a UTF-8 CSV file: {error}") from error


def _box(manifest: Path, line: int, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in text.split(","))
    except ValueError as error:
        raise UnusableInput(f"{manifest} line {line}: box = {text!r} is not x,y,width,height") from error


def _attribute(text: str) -> Attribute:
    """A text that is written like a JSON number is that number."""
    number: Any = json.loads(text) if _NUMBER.fullmatch(text) and len(text) <= 400 else text
    return number  # type: ignore[no-any-return]
