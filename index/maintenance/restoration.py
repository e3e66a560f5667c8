"""A data folder made of a backup; what was erased after the backup stays erased where that can still be known.

Row ids are never used again and every erasure stands in the change sequence, so the data folder that the backup was
taken of tells which of the backup's images were erased since. Images that were replaced since come back as the backup
has them.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from index.camera import Cameras
from index.data_folder import DEFAULT, gallery_folders, write_layout
from index.errors import DataFolderUnusable, InvalidValue, StorageError
from index.maintenance.backup import copy_crops, read_note
from index.maintenance.verification import Finding, examine
from index.storage import image_rows
from index.storage.about_rows import require_about
from index.storage.camera_folder import FOLDER as CAMERAS
from index.storage.camera_folder import CameraFolder
from index.storage.crop_list import crop_names
from index.storage.crop_store import CropStore
from index.storage.database_file import open_read_only, translated
from index.storage.feedback_database import FeedbackDatabase
from index.storage.folder_lock import FolderLock
from index.storage.gallery_database import GalleryDatabase
from index.storage.gallery_files import CROPS, DATABASE, FEEDBACK, RESTORING
from index.whole_file import PART, sync_file, sync_folder, write_whole

Progress = Callable[[int], object]

LEFT_IN_DOUBT: Final = "left out: gone in the data folder, and no entry says whether it was erased or lost"
RESTORED_NOTE: Final = "restored.json"

_BESIDE = (RESTORED_NOTE, RESTORED_NOTE + PART, "layout", "layout" + PART, CAMERAS)  # written before the galleries


@dataclass(frozen=True, kw_only=True)
class GalleryRestoration:
    """One gallery of a restored folder.

    ``erased`` and ``replaced`` count images of the backup to which that happened later: the first are not restored, the
    second are as the backup has them; None where nobody was asked. ``left_out``: why the whole gallery is not there.
    """

    name: str
    images: int
    last_change: int
    erased: int | None
    replaced: int | None
    left_out: str | None = None
    findings: tuple[Finding, ...] = ()


def restore(
    backup: Path, data: Path, *, since: Path | None = None, progress: Progress = lambda _: None
) -> list[GalleryRestoration]:
    """Make a data folder, which must be new or empty, of a backup, and write down in it what was done.

    ``since`` is the data folder that the backup was taken of: what was erased there after the backup is not restored.
    Raises InvalidValue, DataFolderUnusable, DataFolderLocked where ``backup`` is being written to, StorageFull and
    StorageError, also where ``since`` cannot be read or compared; nothing is left of ``data`` then. Where it is killed,
    ``data`` is no data folder yet, and may be restored to again.
    """
    if data.is_dir():
        _require_empty(data)
    with _kept(backup):
        return _restore(backup, data, since, progress)


@contextmanager
def _kept(backup: Path) -> Iterator[None]:
    """That no backup changes it meanwhile; a medium that nobody can write to needs no lock."""
    read_note(backup)  # else it is none, and not ours to lock
    try:
        lock = FolderLock(backup)
    except OSError:
        yield
        return
    with closing(lock):
        yield


def _restore(backup: Path, data: Path, since: Path | None, progress: Progress) -> list[GalleryRestoration]:
    note, sources = read_note(backup), gallery_folders(backup)
    if not note["galleries"]:
        raise DataFolderUnusable(f"the backup {backup} was never finished; `vehicle-index backup {backup}` finishes it")
    alive = None if since is None else {folder.name: folder for folder in gallery_folders(since)}
    data.mkdir(parents=True, exist_ok=True)
    with closing(FolderLock(data)):
        _require_empty(data)
        _clear(data)
        scratch = data / RESTORING
        try:
            scratch.mkdir()
            done = []
            for source in sources:
                if source.name not in note["galleries"]:
                    done.append(_not_there(source.name, "its backup was not finished"))
                    continue
                live = None if alive is None else alive.get(source.name)
                left_out = None if alive is None else _left_out(source, live)
                done.append(left_out or _restore_gallery(source, scratch / source.name, live, progress))
            for name in sorted(note["galleries"].keys() - {source.name for source in sources}):
                done.append(_not_there(name, "its folder is missing in the backup"))
            sync_folder(scratch)
            CameraFolder(data).take(*_cameras_of(backup))
            _write_note(data, backup, str(note["taken_at"]), since, done)
            write_layout(data)
            scratch.rename(data / "galleries")  # from now on it is a data folder
            sync_folder(data)
        except BaseException:
            shutil.rmtree(data / "galleries", ignore_errors=True)
            _clear(data)
            raise
    return done


def _cameras_of(backup: Path) -> tuple[Cameras, bytes | None]:
    """The cameras and their plan; no gallery depends on them, so whoever restores may leave them out."""
    try:
        return CameraFolder(backup).whole()
    except StorageError as error:
        raise StorageError(f"the backup's cameras: {error}; without {backup / CAMERAS} the rest is restored") from error


def _clear(data: Path) -> None:
    """Remove what a restoration that was killed or failed left; that which tells of it last."""
    shutil.rmtree(data / CAMERAS, ignore_errors=True)
    for name in _BESIDE:
        (data / name).unlink(missing_ok=True)
    shutil.rmtree(data / RESTORING, ignore_errors=True)


def _require_empty(data: Path) -> None:
    names = {path.name for path in data.iterdir()} - {"lock"}
    if RESTORING in names:  # of a restoration that was killed
        names -= {RESTORING, *_BESIDE}
    if names:
        raise InvalidValue(f"{data} is not empty (it has {min(names)!a}); a backup is restored to a new folder")


def _not_there(name: str, reason: str) -> GalleryRestoration:
    """A gallery that the backup does not have whole."""
    return GalleryRestoration(
        name=name, images=0, last_change=0, erased=None, replaced=None, left_out=reason,
        findings=(Finding(gallery=name, what=reason, subjects=(name,)),),
    )  # fmt: skip


def _left_out(source: Path, live: Path | None) -> GalleryRestoration | None:
    """Why a gallery must not come back: it was dropped after the backup. None where it may."""
    reason = None
    if live is None and source.name == DEFAULT:
        raise StorageError(
            f"the folder of --since has no gallery {DEFAULT}, which nobody can drop: it is damaged and cannot tell "
            "what was erased; restore without --since"
        )
    if live is None:
        reason = "dropped after the backup"
    else:
        (ours, last), (theirs, now) = _identity(source / DATABASE), _identity(live / DATABASE)
        if ours != theirs:
            reason = "dropped after the backup and made anew"
        elif now < last:
            raise StorageError(
                f"{live} ends at change {now}, the backup of it at {last}: what was erased after the backup cannot be "
                "told; restore without --since"
            )
    if reason is None:
        return None
    return GalleryRestoration(name=source.name, images=0, last_change=0, erased=None, replaced=None, left_out=reason)


def _identity(file: Path) -> tuple[str, int]:
    """A gallery's secret, which no other one has, and its last change."""
    with translated(file), closing(open_read_only(file)) as connection:
        require_about(connection, file)
        found: tuple[str, int] = connection.execute(
            "SELECT (SELECT value FROM about WHERE key = 'secret'), (SELECT coalesce(max(change), 0) FROM changes)"
        ).get
    return found


def _restore_gallery(source: Path, target: Path, live: Path | None, progress: Progress) -> GalleryRestoration:
    crops = CropStore(target / CROPS)
    crops.create()
    shutil.copyfile(source / DATABASE, target / DATABASE)
    with closing(GalleryDatabase(target / DATABASE)) as database:
        erased, replaced, doubtful = (None, None, ()) if live is None else _erase_again(database, live / DATABASE)
        with database.snapshot() as connection:
            names = crop_names(connection)
            images, last = connection.execute(
                "SELECT (SELECT count(*) FROM images), (SELECT coalesce(max(change), 0) FROM changes)"
            ).get
    sync_file(target / DATABASE)
    copy_crops(CropStore(source / CROPS), crops, names, progress=progress)
    _restore_feedback(source, target, live)
    sync_folder(target)
    return GalleryRestoration(
        name=source.name, images=images, last_change=last, erased=erased, replaced=replaced,
        findings=(*_left_in_doubt(source.name, doubtful), *examine(target).findings),
    )  # fmt: skip


def _restore_feedback(source: Path, target: Path, live: Path | None) -> None:
    """Copy the answers, but for those that are not in the data folder any more: they may have been erased there."""
    if not (source / FEEDBACK).exists():
        return
    shutil.copyfile(source / FEEDBACK, target / FEEDBACK)
    if live is not None:
        restored = FeedbackDatabase(target)
        restored.keep(FeedbackDatabase(live).answer_ids())
        restored.rewrite()
    sync_file(target / FEEDBACK)


def _left_in_doubt(gallery: str, row_ids: Sequence[int]) -> list[Finding]:
    """By their numbers: ids of what was erased stand nowhere."""
    subjects = tuple(f"row {row_id}" for row_id in row_ids)
    return [Finding(gallery=gallery, what=LEFT_IN_DOUBT, subjects=subjects)] if subjects else []


def _erase_again(database: GalleryDatabase, live: Path) -> tuple[int, int, tuple[int, ...]]:
    """Erase what was erased after the backup, or may have been.

    How many images, how many others were replaced, and rows of which nobody can tell.
    """
    with translated(live), closing(open_read_only(live)) as connection, database.transaction() as ours:
        connection.execute("BEGIN")
        last: int = ours.execute("SELECT coalesce(max(change), 0) FROM changes").get
        gone = set(image_rows.removed_since(connection, last).tolist())
        doubtful = _doubtful(ours, connection) - gone
        listed = json.dumps(sorted(gone | doubtful))
        rows: list[tuple[int, str]] = ours.execute(
            "SELECT row_id, image_id FROM images WHERE row_id IN (SELECT value FROM json_each(?))", (listed,)
        ).fetchall()  # type: ignore[assignment]
        alive = "SELECT 1 FROM images WHERE image_id = ?"
        erased = [row_id for row_id, image_id in rows if connection.execute(alive, (image_id,)).fetchone() is None]
        image_rows.remove(ours, erased)
        ours.execute("DELETE FROM discarded")  # their files were not copied
    if erased:
        database.rewrite()
    return len(erased), len(rows) - len(erased), tuple(sorted(doubtful.intersection(erased)))


def _doubtful(ours: apsw.Connection, live: apsw.Connection) -> set[int]:
    """Rows of the backup that are not in the data folder, where no entry says what became of them.

    An entry of their erasure may be damaged: nothing is put back that may have been erased.
    """
    had = {row_id for (row_id,) in ours.execute("SELECT row_id FROM images")}
    known = live.execute("SELECT row_id FROM images UNION SELECT row_id FROM changes WHERE kind IN ('removed', 'lost')")
    return {row_id for row_id in had if row_id <= image_rows.last_row(live)} - {row_id for (row_id,) in known}


def _write_note(data: Path, backup: Path, taken_at: str, since: Path | None, done: list[GalleryRestoration]) -> None:
    """Write down what the folder is; ids of what was erased stand nowhere."""
    note = {
        "restored_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "backup": str(backup.resolve()),
        "taken_at": taken_at,
        "erasures_since_from": None if since is None else str(since.resolve()),
        "galleries": {
            each.name: {
                "images": each.images, "last_change": each.last_change, "erased_since": each.erased,
                "replaced_since": each.replaced, "left_out": each.left_out,
            }
            for each in done
        },
    }  # fmt: skip
    write_whole(data / RESTORED_NOTE, json.dumps(note, indent=2) + "\n")
