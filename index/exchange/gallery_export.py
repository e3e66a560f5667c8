"""A gallery written as a Parquet table and crops, as it is at one moment, beside whoever holds the data folder.

Everything is written to a folder beside the wanted one, ``NAME.partial``, which takes its name at the end: an export is
whole or not there. Crops are copied first, so that the view of the database is held while the table is written and no
longer; an image that is replaced behind the view is exported as it is then, one that is erased is left out.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from index.contract import fingerprint
from index.errors import InvalidValue, StorageError, StorageFull
from index.exchange.crop_names import CropNames
from index.exchange.export_note import NOTE, TABLE, ExportNote, write_note
from index.exchange.image_table import record_batch
from index.exchange.table_file import GROUP, flush, table_writer
from index.gallery import Filters
from index.maintenance.backup import copy_crops
from index.maintenance.verification import Finding
from index.storage import image_rows
from index.storage.crop_store import NO_SPACE, CropStore
from index.storage.folder_lock import FolderLock
from index.storage.gallery_files import CROPS, DATABASE
from index.storage.gallery_view import GalleryView, open_view
from index.storage.image_rows import WholeRow
from index.whole_file import sync_folder

Progress = Callable[[int], object]

DAMAGED_ROW: Final = "left out, the image or its vector is not what was written"


@dataclass(frozen=True, kw_only=True)
class GalleryExport:
    """What was written, and what was damaged."""

    note: ExportNote
    findings: tuple[Finding, ...]


def export_gallery(
    folder: Path, target: Path, *, now: datetime, filters: Filters | None = None, progress: Progress = lambda _: None
) -> GalleryExport:
    """Write the gallery of a folder, or what passes ``filters``, to ``target``, which must be new or empty.

    ``progress`` counts crops and images.

    What is damaged is told, and the rest exported. Raises InvalidValue, DataFolderLocked where another export goes to
    ``target``, StorageFull and StorageError; what was copied by then is of use to the next try.
    """
    require_free(target)
    part = target.with_name(f"{target.name}.partial")
    try:
        part.mkdir(parents=True, exist_ok=True)
        _require_part(part)
        with closing(FolderLock(part)):
            note, findings = _Exporting(folder, part, filters or Filters(), progress).run(now)
            (part / "lock").unlink()
            sync_folder(part)
            part.rename(target)  # over an empty folder, too
            sync_folder(target.parent)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(
                f"no space left for {part}; free some and run it again: the crops that are there are not copied again"
            ) from error
        raise StorageError(f"the export to {target} failed: {error.strerror or error}") from error
    return GalleryExport(note=note, findings=findings)


class _Exporting:
    """One export to a folder that we own."""

    def __init__(self, folder: Path, part: Path, filters: Filters, progress: Progress) -> None:
        self._file, self._part, self._progress = folder / DATABASE, part, progress
        self._filters = filters
        self._theirs, self._ours = CropStore(folder / CROPS), CropStore(part / CROPS)
        self._named = CropNames()
        self._found: dict[str, list[str]] = {}

    def run(self, now: datetime) -> tuple[ExportNote, tuple[Finding, ...]]:
        (self._part / NOTE).unlink(missing_ok=True)
        self._ours.create()
        with open_view(self._file, now=now, filters=self._filters, moving=True) as moving:
            for names in moving.crop_names():
                copy_crops(self._theirs, self._ours, names, progress=self._progress)
            with open_view(self._file, now=now, filters=self._filters) as view:
                last_change = image_rows.last_change(view.connection)
                images = self._write_table(view, moving)
        self._forget_unnamed()
        note = ExportNote(
            gallery=view.name, spec=view.spec, images=images, crops=len(self._named), last_change=last_change,
            exported_at=now, tables={TABLE: fingerprint(flush(self._part / TABLE))},
        )  # fmt: skip
        write_note(self._part, note, self._filters)
        found = self._found.items()
        return note, tuple(Finding(gallery=view.name, what=what, subjects=tuple(ids)) for what, ids in found)

    def _write_table(self, view: GalleryView, moving: GalleryView) -> int:
        images = 0
        with table_writer(self._part / TABLE, view.spec) as writer:
            for rows in _blocks(view.rows(), GROUP):
                kept = self._with_crops([row for row in rows if self._is_intact(row)], moving)
                if kept:
                    writer.write_batch(record_batch(kept, view.spec), row_group_size=GROUP)
                images += len(kept)
                self._progress(len(rows))
        return images

    def _is_intact(self, row: WholeRow) -> bool:
        if not row.intact:
            self._note(DAMAGED_ROW, row.image.image_id)
        return row.intact

    def _with_crops(self, rows: Sequence[WholeRow], moving: GalleryView) -> list[WholeRow]:
        """The rows, whose crops are copied now; of those that were replaced meanwhile what is in their place."""
        wanted = [row.image.crop_name for row in rows if row.image.crop_name is not None]
        _, problems = copy_crops(self._theirs, self._ours, wanted, progress=lambda _: None)
        kept = []
        for row in rows:
            current = self._current(row, moving) if row.image.crop_name in problems else row
            if current is not None:
                kept.append(current)
        self._named.add([row.image.crop_name for row in kept if row.image.crop_name is not None])
        return kept

    def _current(self, row: WholeRow, moving: GalleryView) -> WholeRow | None:
        """What is there of an image whose crop could not be read, None where it was erased."""
        while True:
            found = moving.row(row.image.image_id)
            if found is None or not self._is_intact(found):
                return None
            name = found.image.crop_name
            if name is None:
                return found
            _, problems = copy_crops(self._theirs, self._ours, [name], progress=lambda _: None)
            if not problems:
                return found
            if found.row_id == row.row_id:  # it had this crop all the time
                self._note(problems[name], row.image.image_id)
                return replace(found, image=replace(found.image, crop_name=None))
            row = found

    def _forget_unnamed(self) -> None:
        """Remove crops that were copied and that no row of the table has."""
        for path in list(self._ours.files()):
            if path.name not in self._named:
                path.unlink()
        shutil.rmtree(self._part / CROPS / "incoming")
        for folder in (self._part / CROPS).iterdir():
            sync_folder(folder)
        sync_folder(self._part / CROPS)

    def _note(self, what: str, image_id: str) -> None:
        self._found.setdefault(what, []).append(image_id)


def require_free(target: Path) -> None:
    """Raise InvalidValue where something is there that an export would have to replace."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidValue(f"{target} exists and is not an empty folder; name a new one")


def _require_part(part: Path) -> None:
    """That a folder is empty or what an export left that was stopped."""
    strange = next((path.name for path in part.iterdir() if path.name not in (TABLE, NOTE, CROPS, "lock")), None)
    if strange is not None:
        raise InvalidValue(f"{part} is not of an export (it has {strange!a}); move it, or name another folder")


def _blocks(rows: Iterator[WholeRow], size: int) -> Iterator[list[WholeRow]]:
    while block := list(islice(rows, size)):
        yield block
