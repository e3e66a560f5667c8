"""A data set or an import as one CSV file: ``manifest.csv``.

Columns: ``path`` (relative to the manifest), ``vehicle_id``, ``camera_id``, and optionally ``image_id``, ``viewpoint``,
``captured_at`` (RFC 3339 with offset) and ``box`` (``x,y,width,height`` in pixels of the upright picture). Every
further column is an attribute, a number where the cell is written like a JSON number; an empty cell is absent.
``import_failure``, which the indexer writes beside rows that it could not store, is not read. The trainer and the
indexer read the same files.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from index.errors import InvalidValue

REQUIRED = ("path", "vehicle_id", "camera_id")
OPTIONAL = ("image_id", "viewpoint", "captured_at", "box")
FAILURE = "import_failure"

_LONGEST_NUMBER = 400  # characters; Python itself refuses to read whole numbers of some thousands
_MOST_DIGITS = 9  # of a side of a box
_NO_ATTRIBUTES = (*REQUIRED, *OPTIONAL, FAILURE)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One line of a manifest; ``line`` is its number in the file, for messages."""

    line: int
    path: Path
    vehicle_id: str | None
    camera_id: str | None
    image_id: str | None = None
    viewpoint: str | None = None
    captured_at: datetime | None = None
    box: tuple[int, int, int, int] | None = None
    attributes: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ManifestLine:
    """One line of a manifest as it stands: its filled cells by column; ``problem`` where it cannot be taken apart.

    ``columns`` are those of the manifest.
    """

    line: int
    columns: Sequence[str]
    cells: dict[str, str]
    problem: str | None = None


def read_manifest(manifest: Path, *, required: tuple[str, ...] = REQUIRED) -> Iterator[ManifestRow]:
    """Yield the rows of a manifest, in order. ``required`` names the columns that must be there, filled or not.

    Raises InvalidValue naming file, line, column and value for anything that cannot be read. Whether the pictures
    exist is left to whoever opens them.
    """
    if not manifest.is_file():
        raise InvalidValue(f"{manifest} does not exist or is not a file; give the path of a manifest.csv")
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        lines = read_lines(file, name=str(manifest), required=required)
        try:
            for line in lines:
                yield row_of(line, manifest.parent)
        except UnicodeDecodeError as error:
            raise InvalidValue(f"{manifest} is not a UTF-8 CSV file: {error}") from error
        except _CellRefused as error:
            raise InvalidValue(f"{manifest} line {error.line}, {error}") from error


def read_lines(lines: Iterable[str], *, name: str, required: tuple[str, ...] = ("path",)) -> Iterator[ManifestLine]:
    """Yield the lines of a manifest's text, in order; a line that cannot be taken apart says so and fails no other.

    Raises InvalidValue, calling the manifest ``name``, for what makes all of it unreadable: columns that are missing or
    stand twice, and a quote that is not closed, because nobody knows how many rows are in it.
    """
    reader = csv.reader(iter(lines), strict=True)
    columns = _columns(reader, name, required)
    while True:
        before = reader.line_num
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if reader.line_num - before > 1:
                raise InvalidValue(f"{name} is not a UTF-8 CSV file: line {before + 1}: {error}") from error
            yield ManifestLine(line=reader.line_num, columns=columns, cells={}, problem=f"the line is no CSV: {error}")
            continue
        if cells is None:
            return
        if not cells:
            continue
        filled = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
        fits = len(cells) == len(columns)
        yield ManifestLine(
            line=reader.line_num, columns=columns, cells=filled,
            problem=None if fits else "column path: the line has not as many cells as the header",
        )  # fmt: skip


def row_of(line: ManifestLine, folder: Path) -> ManifestRow:
    """What a line says, with its path below ``folder``; raises InvalidValue naming column and value."""

    def refuse(column: str, problem: str) -> InvalidValue:
        return _CellRefused(f"column {column}: {problem}", line.line)

    if line.problem is not None:
        raise _CellRefused(line.problem, line.line)
    text = line.cells
    if "path" not in text:
        raise refuse("path", "is empty")
    captured_at = None
    if "captured_at" in text:
        try:
            captured_at = parse_time(text["captured_at"])
        except ValueError as error:
            raise refuse("captured_at", str(error)) from error
    box = None
    if "box" in text:
        sides = text["box"].replace(" ", "").split(",")
        if len(sides) != 4 or not all(
            side.isascii() and side.isdigit() and len(side) <= _MOST_DIGITS for side in sides
        ):
            raise refuse("box", f"{text['box']!r} is not x,y,width,height in whole pixels")
        box = (int(sides[0]), int(sides[1]), int(sides[2]), int(sides[3]))
    return ManifestRow(
        line=line.line,
        path=folder / text["path"].replace("\\", "/"),
        vehicle_id=text.get("vehicle_id"),
        camera_id=text.get("camera_id"),
        image_id=text.get("image_id"),
        viewpoint=text.get("viewpoint"),
        captured_at=captured_at,
        box=box,
        attributes={name: attribute_value(value) for name, value in text.items() if name not in _NO_ATTRIBUTES},
    )


def parse_time(text: str) -> datetime:
    """An RFC 3339 time with offset, as UTC; a space where an unescaped ``+`` was is read as ``+``.

    Raises ValueError with a message that says what is wrong.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time with an offset, such as 2026-05-04T10:11:12Z")
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3].replace(' ', '+').upper()}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time: {error}") from error


_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[+\- ](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


def attribute_value(text: str) -> str | int | float:
    """A text that is written like a JSON number is that number, everything else a string."""
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _LONGEST_NUMBER:
        return text
    return float(text) if match[2] or match[3] else int(text)


class _CellRefused(InvalidValue):
    """A line that is wrong, for whoever knows the file."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _columns(reader: "Iterator[list[str]]", name: str, required: tuple[str, ...]) -> list[str]:
    try:
        columns = next(reader, [])
    except csv.Error as error:
        raise InvalidValue(f"{name} is not a UTF-8 CSV file: {error}") from error
    if any(cell == "\0" or "\ud800" <= cell <= "\udfff" for column in columns for cell in column):
        raise InvalidValue(f"{name} is not a UTF-8 CSV file; save it as such")
    missing = [column for column in required if column not in columns]
    if missing:
        hint = "; columns are separated by commas" if len(columns) == 1 and ";" in columns[0] else ""
        raise InvalidValue(f"{name} line 1: the column {missing[0]!r} is missing{hint}")
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise InvalidValue(f"{name} line 1: the column {twice[0]!r} stands twice")
    return columns
