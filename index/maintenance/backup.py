"""A copy of a data folder that is whole, taken beside a running service.

A backup is laid out as a data folder: databases written anew from one view each, and crops under their content names.
The crops that are there are copied first, so that few are left to copy behind the view; what is erased in between is
found out by a new view. Another backup into the same folder copies only what is new and forgets what was erased.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from index.data_folder import gallery_folders, write_layout
from index.errors import DataFolderUnusable, InvalidValue
from index.maintenance.verification import CHANGED_CROP, MISSING_CROP, Finding, examine, rows_with
from index.storage.crop_store import CropStore, sync_folder
from index.storage.folder_lock import FolderLock
from index.storage.gallery_database import open_read_only, translated
from index.storage.gallery_files import BACKUP_NOTE, CROPS, DATABASE

Progress = Callable[[int], object]

_VIEWS: Final = 10  # taken at most, where pictures are replaced all the time
_AT_ONCE = 64  # crops; their flushes go to the disk together
_PART = ".part"


@dataclass(frozen=True, kw_only=True)
class GalleryBackup:
    """One gallery in a backup: what it holds, what was copied and forgotten this time, what was damaged already."""

    name: str
    images: int
    last_change: int
    crops: int
    new_crops: int
    forgotten_crops: int
    findings: tuple[Finding, ...]


def back_up(data: Path, target: Path, *, progress: Progress = lambda _: None) -> list[GalleryBackup]:
    """Copy all galleries of a data folder, whoever has it open, to a new folder or an earlier backup.

    Raises InvalidValue for another ``target``, DataFolderUnusable, DataFolderLocked where another backup goes to it,
    StorageFull and StorageError; an earlier backup is whole then as it was, gallery by gallery.
    """
    _require_apart(data, target)
    sources = gallery_folders(data)
    target.mkdir(parents=True, exist_ok=True)
    with closing(FolderLock(target)):
        _require_backup(target)
        write_layout(target)
        galleries = target / "galleries"
        galleries.mkdir(exist_ok=True)
        if not (target / BACKUP_NOTE).exists():
            _write_note(target, [])  # from now on it is a backup, though not of everything yet
        done = []
        for source in sources:
            done.append(_back_up_gallery(source, galleries / source.name, progress))
        for folder in galleries.iterdir():
            if folder.name not in {source.name for source in sources}:
                shutil.rmtree(folder)  # dropped since
        _write_note(target, done)
    return done


def read_note(backup: Path) -> dict[str, Any]:
    """What a backup says of itself; raises DataFolderUnusable for a folder that is none."""
    try:
        note: dict[str, Any] = json.loads((backup / BACKUP_NOTE).read_bytes())
        _ = note["taken_at"], note["galleries"]
    except FileNotFoundError as error:
        raise DataFolderUnusable(f"{backup} is no backup: it has no file {BACKUP_NOTE}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataFolderUnusable(f"{backup / BACKUP_NOTE} cannot be read: {error}") from error
    return note


def copy_crops(
    source: CropStore, target: CropStore, names: Iterable[str], *, progress: Progress
) -> tuple[int, dict[str, str]]:
    """Copy the crops that the target lacks; how many, and what is wrong with the others, by name."""
    copied, problems = 0, {}
    remaining = iter(names)
    while block := list(islice(remaining, _AT_ONCE)):
        crops = {}
        for name in block:
            data = None if target.find(name) else source.read(name)
            if data is not None and hashlib.sha256(data).hexdigest() == name.partition(".")[0]:
                crops[name] = data
            elif not target.find(name):
                problems[name] = MISSING_CROP if data is None else CHANGED_CROP
        target.settle(target.write(crops))
        copied += len(crops)
        progress(len(block))
    return copied, problems


def _require_apart(data: Path, target: Path) -> None:
    here, there = data.resolve(), target.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise InvalidValue(f"{target} and the data folder {data} must lie beside each other, not one in the other")


def _require_backup(target: Path) -> None:
    """That a folder is empty (but for our lock) or an earlier backup."""
    if (target / BACKUP_NOTE).exists():
        return
    strange = next((path.name for path in target.iterdir() if path.name not in ("lock", "layout")), None)
    if strange is not None:
        raise InvalidValue(f"{target} is no backup and not empty (it has {strange!a}); name a new folder")


def _back_up_gallery(source: Path, target: Path, progress: Progress) -> GalleryBackup:
    file = source / DATABASE
    ours, theirs = CropStore(target / CROPS), CropStore(source / CROPS)
    ours.create()
    part = target / (DATABASE + _PART)
    with translated(file), closing(open_read_only(file)) as live:
        copied, _ = copy_crops(theirs, ours, _crops(live), progress=progress)
        for _ in range(_VIEWS):
            _copy_database(live, part)
            named = _named(part)
            more, problems = copy_crops(theirs, ours, named, progress=lambda _: None)
            copied += more
            if not problems:
                break
            before = rows_with(live, problems)
            more, problems = copy_crops(theirs, ours, problems, progress=lambda _: None)
            copied += more
            after, loose = rows_with(live, problems), _loose(live)
            if all(before[name] & after[name] or name in loose for name in problems):
                break  # else some were erased behind the view
    take_place(part, target / DATABASE)
    forgotten = _forget(ours, named)
    with translated(target / DATABASE), closing(open_read_only(target / DATABASE)) as connection:
        images, last = connection.execute(
            "SELECT (SELECT count(*) FROM images), (SELECT coalesce(max(change), 0) FROM changes)"
        ).get
        findings = _findings(connection, source.name, problems)
    return GalleryBackup(
        name=source.name, images=images, last_change=last, crops=len(named) - len(problems), new_crops=copied,
        forgotten_crops=forgotten, findings=(*examine(target, files=False).findings, *findings),
    )  # fmt: skip


def _copy_database(live: apsw.Connection, part: Path) -> None:
    """One view of a database as a file of its own, without what was erased and without a log."""
    part.unlink(missing_ok=True)
    live.execute("VACUUM INTO ?", (str(part),))
    with closing(apsw.Connection(str(part))) as copy:
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()


def take_place(part: Path, place: Path) -> None:
    """Rename a file that is whole by now to its place, durably. Raises OSError."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(place)
    sync_folder(place.parent)


def _named(file: Path) -> set[str]:
    with closing(open_read_only(file)) as connection:
        return set(_crops(connection))


def _crops(connection: apsw.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM crops")]


def _loose(connection: apsw.Connection) -> set[str]:
    """Crops that are listed though no row has them."""
    found = connection.execute("SELECT name FROM crops WHERE NOT EXISTS (SELECT 1 FROM images WHERE crop = name)")
    return {name for (name,) in found}


def _forget(crops: CropStore, named: set[str]) -> int:
    """Remove crops that no row of the backup has any more; how many."""
    unnamed = [path for path in crops.files() if path.name not in named]
    for path in unnamed:
        path.unlink()
    return len(unnamed)


def _findings(connection: apsw.Connection, gallery: str, problems: dict[str, str]) -> list[Finding]:
    found = []
    for what in sorted(set(problems.values())):
        names = json.dumps([name for name, problem in problems.items() if problem == what])
        images = connection.execute(
            "SELECT image_id FROM images WHERE crop IN (SELECT value FROM json_each(?)) ORDER BY image_id", (names,)
        )
        found.append(Finding(gallery=gallery, what=what, subjects=tuple(image_id for (image_id,) in images)))
    return found


def _write_note(target: Path, done: Iterable[GalleryBackup]) -> None:
    note = {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "galleries": {each.name: {"images": each.images, "last_change": each.last_change} for each in done},
    }
    part = target / (BACKUP_NOTE + _PART)
    part.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    take_place(part, target / BACKUP_NOTE)
