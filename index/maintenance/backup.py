"""A copy of a data folder that is whole, taken beside a running service.

A backup is laid out as a data folder: databases written anew from one view each, and crops under their content names.
The crops that are there are copied first, so that few are left to copy at the moment when the view begins; what is
erased within that moment is found out, and asks for a new view. The database is copied last, however long that takes.
The cameras come with it.
Another backup into the same folder copies only what is new and forgets what was erased. What is damaged by then stays
in it as the earlier one had it.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from index.data_folder import gallery_folders, write_layout
from index.errors import DataFolderUnusable, InvalidValue, StorageError, StorageFull
from index.maintenance.earlier_rows import put_back
from index.maintenance.verification import Finding, examine, rows_with, sound_crop
from index.storage import image_rows
from index.storage.about_rows import require_about
from index.storage.camera_folder import CameraFolder
from index.storage.crop_list import crop_names, loose_crops, unlisted_crops
from index.storage.crop_store import CropStore
from index.storage.database_file import open_read_only, translated
from index.storage.feedback_database import BROKEN, FeedbackDatabase
from index.storage.folder_lock import FolderLock
from index.storage.gallery_files import BACKUP_NOTE, CROPS, DATABASE, FEEDBACK
from index.whole_file import PART, sync_file, take_place, write_whole

Progress = Callable[[int], object]

KEPT: Final = "damaged in the data folder; the backup keeps it as the earlier one had it"
UNFORGOTTEN: Final = "kept in the backup though no image has it: the lists of crops disagree"

_VIEWS: Final = 100  # begun at most, where pictures are replaced all the time; each takes milliseconds
_AT_ONCE = 64  # crops; their flushes go to the disk together
_SCRATCH = ".copying"
_BEFORE_NOTE = ("lock", "layout", "layout" + PART, BACKUP_NOTE + PART)  # what a backup may have that has just begun


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
    """Copy all galleries and cameras of a data folder, whoever has it open, to a new folder or an earlier backup.

    Raises InvalidValue for another ``target``, DataFolderUnusable, DataFolderLocked where another backup goes to it,
    StorageFull and StorageError; an earlier backup is whole then as it was, gallery by gallery. A database that cannot
    be read keeps no other gallery out.
    """
    _require_apart(data, target)
    sources = gallery_folders(data)
    target.mkdir(parents=True, exist_ok=True)
    with closing(FolderLock(target)):
        _require_backup(target)
        write_layout(target)
        if not (target / BACKUP_NOTE).exists():
            _write_note(target, {})  # from now on it is a backup, though not of everything yet
        galleries = target / "galleries"
        galleries.mkdir(exist_ok=True)
        done, failed = [], []
        for source in sources:
            try:
                done.append(_back_up_gallery(source, galleries / source.name, progress))
            except StorageFull:
                raise
            except StorageError as error:
                failed.append(str(error))
        damage = _back_up_cameras(data, target)
        alive = {source.name for source in sources if source.is_dir()}  # others were dropped meanwhile
        earlier: dict[str, Any] = read_note(target)["galleries"]
        now = {each.name: {"images": each.images, "last_change": each.last_change} for each in done}
        _write_note(target, {name: told for name, told in (earlier | now).items() if name in alive})
        for folder in galleries.iterdir():
            if folder.name not in alive:
                shutil.rmtree(folder)  # no note names it any more
    failed = [*(failed if alive - now.keys() else ()), *damage]
    if failed:
        raise StorageError(f"{'; '.join(failed)} (galleries that are backed up now: {', '.join(now) or 'none'})")
    return [each for each in done if each.name in alive]


def _back_up_cameras(data: Path, target: Path) -> list[str]:
    """What is wrong with the cameras; then the backup keeps them as the earlier one had them."""
    try:
        CameraFolder(target).take(*CameraFolder(data).whole())
    except StorageFull:
        raise
    except StorageError as error:
        return [str(error)]
    return []


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
    """Copy the crops that the target lacks or has cut; how many, and what is wrong with the others, by name."""
    copied, problems = 0, {}
    remaining = iter(names)
    while block := list(islice(remaining, _AT_ONCE)):
        crops = {}
        for name in block:
            here, there = target.size(name), source.size(name)
            if here is not None and there in (None, here):
                continue
            data, problem = sound_crop(source, name)
            if data is not None:
                crops[name] = data
            elif problem is not None and here is None:
                problems[name] = problem
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
    strange = next((path.name for path in target.iterdir() if path.name not in _BEFORE_NOTE), None)
    if strange is not None:
        raise InvalidValue(f"{target} is no backup and not empty (it has {strange!a}); name a new folder")


def _back_up_gallery(source: Path, target: Path, progress: Progress) -> GalleryBackup:
    file = source / DATABASE
    ours, theirs = CropStore(target / CROPS), CropStore(source / CROPS)
    ours.create()
    with (
        translated(file), _scratch(target) as scratch,
        closing(open_read_only(file)) as now, closing(open_read_only(file)) as view,
    ):  # fmt: skip
        if (target / DATABASE).exists():
            require_about(now, file)  # the earlier backup stays
        copied, problems = _begin_view(view, now, theirs, ours, progress)
        part = _copy_database(view, scratch)
        damage = _damage(target, part)
        take_place(part, target / DATABASE)
    feedback = _copy_feedback(source, target)
    with translated(target / DATABASE), closing(open_read_only(target / DATABASE)) as connection:
        named = crop_names(connection)
        agreeing = not (unlisted_crops(connection) or loose_crops(connection))
        forgotten, kept = _forget(ours, named, agreeing=agreeing)
        images, last = connection.execute(
            "SELECT (SELECT count(*) FROM images), (SELECT coalesce(max(change), 0) FROM changes)"
        ).get
        findings = _findings(connection, source.name, problems)
        if kept:
            findings.append(Finding(gallery=source.name, what=UNFORGOTTEN, subjects=kept))
    return GalleryBackup(
        name=source.name, images=images, last_change=last, crops=len(named) - len(problems), new_crops=copied,
        forgotten_crops=forgotten, findings=(*damage, *findings, *feedback),
    )  # fmt: skip


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    scratch = target / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of a backup that was killed
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _begin_view(
    view: apsw.Connection, now: apsw.Connection, theirs: CropStore, ours: CropStore, progress: Progress
) -> tuple[int, dict[str, str]]:
    """Begin a view of a gallery and copy its crops: how many, and what is wrong with those that cannot be copied.

    ``now`` is another connection, which tells what became of a crop after the view began.
    """
    last = image_rows.last_row(now)
    copied, problems = copy_crops(theirs, ours, crop_names(now), progress=progress)
    for _ in range(_VIEWS):
        if view.in_transaction:
            view.execute("ROLLBACK")
        view.execute("BEGIN")  # with the first statement the view begins
        before, last = last, image_rows.last_row(view)
        more, problems = copy_crops(theirs, ours, _new_crops(view, before, problems), progress=lambda _: None)
        copied += more
        bearers = rows_with(now, problems)
        more, problems = copy_crops(theirs, ours, problems, progress=lambda _: None)
        copied += more
        after, loose = rows_with(now, problems), _loose(now)
        if all(bearers[name] & after[name] or name in loose for name in problems):
            break  # else some were erased behind the view
    return copied, problems


def _new_crops(view: apsw.Connection, last: int, missing: Iterable[str]) -> list[str]:
    """Crops of the rows above ``last``, and those of the ``missing`` ones that are listed still."""
    found = view.execute(
        "SELECT crop FROM images WHERE row_id > ? AND crop IS NOT NULL"
        " UNION SELECT name FROM crops WHERE name IN (SELECT value FROM json_each(?))",
        (last, json.dumps(list(missing))),
    )
    return [name for (name,) in found]


def _copy_database(view: apsw.Connection, scratch: Path) -> Path:
    """A view of a database as a file of its own, flushed, without what was erased and without a log."""
    pages, part = scratch / "pages", scratch / DATABASE
    try:
        with closing(apsw.Connection(str(pages))) as copy:
            with copy.backup("main", view, "main") as work:
                work.step()
            view.execute("ROLLBACK")  # the log of the gallery may begin anew
            copy.execute("VACUUM INTO ?", (str(part),))
        with closing(apsw.Connection(str(part))) as copy:
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    except apsw.FullError as error:
        raise StorageFull(f"no space left for the backup in {scratch.parent}; free some space and repeat it") from error
    sync_file(part)
    return part


def _copy_feedback(source: Path, target: Path) -> list[Finding]:
    """Copy the answers of a moment after the view's; those on images that the view has not are erased by a sweep.

    What is damaged stays in the backup as the earlier one had it.
    """
    theirs, ours = FeedbackDatabase(source), target / FEEDBACK
    if not theirs.exists:
        ours.unlink(missing_ok=True)
        return []
    problems = theirs.problems()
    if not problems or not ours.exists():
        part = target / (FEEDBACK + PART)
        part.unlink(missing_ok=True)
        try:
            theirs.copy_to(part)
            take_place(part, ours)
        except StorageFull:
            raise
        except StorageError as error:
            problems = {BROKEN: [str(error)]}
        finally:
            part.unlink(missing_ok=True)
    return [Finding(gallery=source.name, what=what, subjects=tuple(told)) for what, told in problems.items()]


def _damage(target: Path, part: Path) -> list[Finding]:
    """What is damaged in a copy; where an earlier backup has it whole, it is put back in the copy."""
    examination = examine(target, file=part, files=False)
    findings, earlier = examination.findings, target / DATABASE
    if examination.bad_rows and earlier.exists() and (kept := put_back(part, earlier)):
        sync_file(part)
        findings.append(Finding(gallery=target.name, what=KEPT, subjects=tuple(kept)))
    return findings


def _loose(connection: apsw.Connection) -> set[str]:
    """Crops that are listed though no row has them."""
    found = connection.execute("SELECT name FROM crops WHERE NOT EXISTS (SELECT 1 FROM images WHERE crop = name)")
    return {name for (name,) in found}


def _forget(crops: CropStore, named: set[str], *, agreeing: bool) -> tuple[int, tuple[str, ...]]:
    """Remove crops that no row of the backup has any more, and what a backup that was killed left.

    How many, and those that were kept because the database's lists of crops are not ``agreeing``.
    """
    unnamed = [path for path in crops.files() if path.name not in named]
    if not agreeing:
        return 0, tuple(path.name for path in unnamed)
    crops.recover(lambda name: name in named)
    for path in unnamed:
        path.unlink()
    return len(unnamed), ()


def _findings(connection: apsw.Connection, gallery: str, problems: dict[str, str]) -> list[Finding]:
    found = []
    for what in sorted(set(problems.values())):
        names = json.dumps([name for name, problem in problems.items() if problem == what])
        images = connection.execute(
            "SELECT image_id FROM images WHERE crop IN (SELECT value FROM json_each(?)) ORDER BY image_id", (names,)
        )
        subjects = tuple(image_id for (image_id,) in images)
        if subjects:  # else it is listed alone, which is told
            found.append(Finding(gallery=gallery, what=what, subjects=subjects))
    return found


def _write_note(target: Path, galleries: Mapping[str, object]) -> None:
    note = {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "galleries": galleries,
    }
    write_whole(target / BACKUP_NOTE, json.dumps(note, indent=2) + "\n")
