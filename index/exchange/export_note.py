"""What an export says of itself: ``export.json``, written last, so that a folder without it is no export.

Version 1 has one table, ``images.parquet``. Version 2 has any number of them below ``parts/``, as
``vehicle-index embed`` writes them; releases that know version 1 alone refuse it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from index.contract import fingerprint
from index.errors import InvalidValue
from index.gallery import KINDS, VECTORS, Filters, GallerySpec
from index.metadata import check_gallery_name
from index.whole_file import write_whole

NOTE: Final = "export.json"
TABLE: Final = "images.parquet"

_FORMAT: Final = "vehicle-search export"
_ONE, _PARTS = 1, 2  # versions
_PART = re.compile(r"parts/[0-9]{5,9}\.parquet")


@dataclass(frozen=True, kw_only=True)
class ExportNote:
    """``images`` rows of ``gallery`` in ``tables``: SHA-256 by file; ``crops`` pictures; as at ``last_change``."""

    gallery: str
    spec: GallerySpec
    images: int
    crops: int
    last_change: int
    exported_at: datetime
    tables: Mapping[str, str]


def write_note(folder: Path, note: ExportNote, filters: Filters) -> None:
    """``filters``, told for whoever finds the folder, are those that the images passed. Raises OSError."""
    tables = [{"file": file, "sha256": sha256} for file, sha256 in note.tables.items()]
    one = list(note.tables) == [TABLE]
    document = {
        "format": _FORMAT, "version": _ONE if one else _PARTS, **asdict(note),
        "exported_at": note.exported_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "filters": _told(filters),
    }  # fmt: skip
    del document["tables"]
    document |= {"table": tables[0]} if one else {"tables": tables}
    write_whole(folder / NOTE, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_note(folder: Path) -> ExportNote:
    """Raises InvalidValue for a folder that is no export, or one of a newer release."""
    file = folder / NOTE
    try:
        document = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidValue(f"{folder} is no export: it has no file {NOTE}; `vehicle-index export` makes one") from error
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{file} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InvalidValue(f"{file} is not of an export of a gallery")
    if document.get("version") not in (_ONE, _PARTS):
        raise InvalidValue(f"{file} is of version {document.get('version')!a}, this release reads {_ONE} and {_PARTS}")
    try:
        return _note(document)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValue(f"{file} lacks something, or it is wrong: {type(error).__name__} {error}") from error


def require_tables(folder: Path, note: ExportNote) -> list[Path]:
    """The tables' files, in order; raises InvalidValue where one is not what was written."""
    return [_require_table(folder, name, sha256) for name, sha256 in note.tables.items()]


def _require_table(folder: Path, name: str, sha256: str) -> Path:
    file = folder / name
    if not file.is_file():
        raise InvalidValue(f"{folder} is not whole: it has no file {name}")
    if fingerprint(file) != sha256:
        raise InvalidValue(f"{file} is not what was written: its SHA-256 is not the one in {NOTE}; export again")
    return file


def _told(filters: Filters) -> dict[str, Any]:
    said = {name: value for name, value in asdict(filters).items() if value}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in said.items()}


def _note(document: dict[str, Any]) -> ExportNote:
    said: dict[str, Any] = document["spec"]
    unknown = said.keys() - {each.name for each in fields(GallerySpec)}
    if unknown:
        raise ValueError(f"spec.{min(unknown)} is unknown")
    spec = GallerySpec(**{**said, "viewpoints": tuple(said["viewpoints"])})
    dim, days = spec.embedding_dim, spec.retention_days
    if type(dim) is not int or dim < 1 or spec.kind not in KINDS or spec.vectors not in VECTORS or not spec.viewpoints:
        raise ValueError("spec")
    if not isinstance(spec.embedding_space, str) or not all(isinstance(name, str) for name in spec.viewpoints):
        raise ValueError("spec")
    if days is not None and not (isinstance(days, int | float) and days > 0):
        raise ValueError(f"spec.retention_days {days!a}")
    numbers = {name: int(document[name]) for name in ("images", "crops", "last_change")}
    return ExportNote(
        gallery=check_gallery_name(document["gallery"]), spec=spec, tables=_tables(document),
        exported_at=datetime.fromisoformat(document["exported_at"]), **numbers,
    )  # fmt: skip


def _tables(document: dict[str, Any]) -> dict[str, str]:
    if document["version"] == _ONE:
        return {TABLE: str(document["table"]["sha256"])}
    tables = {str(each["file"]): str(each["sha256"]) for each in document["tables"]}
    strange = next((name for name in tables if _PART.fullmatch(name) is None), None)
    if strange is not None:
        raise ValueError(f"tables: {strange!a} is no place of a part")
    return tables
