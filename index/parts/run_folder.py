"""The folder that a run of ``vehicle-index embed`` fills, and what is there of it.

``embed.json`` is what the run was begun with, ``parts/`` has a table for every part that is whole, ``crops/`` the
pictures, and in the end ``export.json`` makes an export of it. A part's table takes its name when it and its crops are
on the disk, and says of itself which run it is of; whatever else is there was left by workers that were killed.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from index.contract import fingerprint
from index.errors import Conflict, DataFolderLocked, InvalidValue
from index.exchange.crop_names import CropNames
from index.exchange.export_note import NOTE, ExportNote, write_note
from index.exchange.table_file import crops_of, read_said
from index.gallery import Filters, GallerySpec
from index.parts.picture_part import PartReport
from index.storage.folder_lock import FolderLock
from index.whole_file import write_whole

RUN: Final = "embed.json"
CROPS: Final = "crops"
PARTIAL: Final = ".partial"  # of the folder of a part that is being made

_PARTS, _LOCK = "parts", "lock"
_FORMAT: Final = "vehicle-search embed"
_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class RunNote:
    """What a run makes: ``images`` planned of a ``listing``, ``part_images`` a part, by the model of a fingerprint."""

    gallery: str
    spec: GallerySpec
    model: str
    listing: str
    images: int
    part_images: int

    @property
    def parts(self) -> int:
        """How many parts there are in the end."""
        return -(-self.images // self.part_images)

    @property
    def key(self) -> str:
        """What parts of this run say that they are of."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return json.loads(json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)}))  # type: ignore[no-any-return]


class RunFolder:
    """The folder from the outside, for workers, too."""

    def __init__(self, path: Path) -> None:
        self.path, self.parts, self.crops = path, path / _PARTS, path / CROPS

    def begun(self) -> dict[str, Any] | None:
        """What the run here was begun with; None where there is none. Raises InvalidValue and OSError."""
        file = self.path / RUN
        try:
            document = json.loads(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise InvalidValue(f"{file} cannot be read: {error}") from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise InvalidValue(f"{file} is not of a run of `vehicle-index embed`")
        if document.get("version") != _VERSION:
            raise InvalidValue(f"{file} is of version {document.get('version')!a}, this release knows {_VERSION}")
        return document

    def table(self, number: int) -> Path:
        """Where a part's table is, or will be."""
        return self.parts / f"{number:05}.parquet"

    def report(self, number: int, note: RunNote) -> PartReport | None:
        """What became of a part that is whole; None for any other. Raises OSError."""
        try:
            said = read_said(self.table(number))
            report = None if said is None or said["run"] != note.key else PartReport.heard(said)
        except (FileNotFoundError, KeyError, TypeError):
            return None
        return report if report is not None and report.number == number else None


class OwnedRun(RunFolder):
    """The folder as the one process that directs the run has it, from construction to ``close``.

    Raises InvalidValue, DataFolderLocked, and OSError.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if path.exists() and (not path.is_dir() or (self.begun() is None and _strange(path))):
            raise InvalidValue(
                f"{path} exists and is no folder of `vehicle-index embed` (it has no file {RUN}); name a new one"
            )
        path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = FolderLock(path)
        except DataFolderLocked as error:
            raise DataFolderLocked(
                f"another `vehicle-index embed` fills {path}: wait for it or stop it, then run this again"
            ) from error

    def close(self) -> None:
        """Let others in; an export has no lock file."""
        if (self.path / NOTE).exists():
            (self.path / _LOCK).unlink(missing_ok=True)
        self._lock.close()

    def begin(self, note: RunNote) -> None:
        """Begin a run, or go on with it; raises Conflict where another was begun here."""
        begun = self.begun()
        if begun is not None:
            _require_same(self.path, begun, note.document())
        for folder in (self.parts, self.crops):
            folder.mkdir(exist_ok=True)
        if begun is None:
            write_whole(self.path / RUN, json.dumps(note.document(), indent=2, ensure_ascii=False) + "\n")
        for left in self.parts.glob(f"*{PARTIAL}"):
            shutil.rmtree(left, ignore_errors=True)

    def reopen(self) -> None:
        """It is no export while parts are made."""
        (self.path / NOTE).unlink(missing_ok=True)

    def finish(self, note: RunNote, *, now: datetime, progress: Callable[[int], object]) -> None:
        """Make it an export, where it is none already; every part is there. ``progress`` counts parts."""
        if (self.path / NOTE).exists():
            return
        names, tables, images = CropNames(), {}, 0
        for number in range(note.parts):
            file = self.table(number)
            names.add(crops_of(file))
            tables[file.relative_to(self.path).as_posix()] = fingerprint(file)
            report = self.report(number, note)
            if report is None:
                raise InvalidValue(f"{file} is not whole any more; run this again")
            images += report.images
            progress(1)
        done = ExportNote(
            gallery=note.gallery, spec=note.spec, images=images, crops=len(names), last_change=0, exported_at=now,
            tables=tables,
        )  # fmt: skip
        write_note(self.path, done, Filters())


def _strange(path: Path) -> bool:
    return any(each.name != _LOCK for each in path.iterdir())


def _require_same(path: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise Conflict naming the first thing in which two runs differ."""
    if was == now:
        return
    if was.get("model") != now["model"]:
        what = f"with the model {was.get('model')}, this one is {now['model']}"
    elif was.get("listing") != now["listing"]:
        what = f"with other sources or another manifest ({was.get('images')} images then, {now['images']} now)"
    else:
        name = next(name for name in now if was.get(name) != now[name])
        what = f"with {name} {was.get(name)}, not {now[name]}"
    raise Conflict(f"{path} was begun {what}; go on with what it was begun with, or name another --output")
