"""What an export says of itself: ``export.json``, written last, so that a folder without it is no export."""

import json
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
_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class ExportNote:
    """``images`` rows of ``gallery`` in a table of the SHA-256 ``table``, ``crops`` pictures; as at ``last_change``."""

    gallery: str
    spec: GallerySpec
    images: int
    crops: int
    last_change: int
    exported_at: datetime
    table: str


def write_note(folder: Path, note: ExportNote, filters: Filters) -> None:
    """``filters``, told for whoever finds the folder, are those that the images passed. Raises OSError."""
    document = {
        "format": _FORMAT, "version": _VERSION, **asdict(note),
        "exported_at": note.exported_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "table": {"file": TABLE, "sha256": note.table}, "filters": _told(filters),
    }  # fmt: skip
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
    if document.get("version") != _VERSION:
        raise InvalidValue(f"{file} is of version {document.get('version')!a}, this release reads {_VERSION}")
    try:
        return _note(document)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValue(f"{file} lacks something, or it is wrong: {type(error).__name__} {error}") from error


def require_table(folder: Path, note: ExportNote) -> Path:
    """The table's file; raises InvalidValue where it is not what was written."""
    file = folder / TABLE
    if not file.is_file():
        raise InvalidValue(f"{folder} is not whole: it has no file {TABLE}")
    if fingerprint(file) != note.table:
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
        gallery=check_gallery_name(document["gallery"]), spec=spec, table=str(document["table"]["sha256"]),
        exported_at=datetime.fromisoformat(document["exported_at"]), **numbers,
    )  # fmt: skip
