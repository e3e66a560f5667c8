"""A gallery's folder brought back to where a verification finds nothing, as far as that can be done.

Nothing is destroyed: what cannot stay (files of no image, pictures that changed, a damaged database) is moved to a
folder of its own, where a person can look at it and `compact` erases it.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw

from index.errors import InvalidValue, StorageError
from index.maintenance.salvage import salvage
from index.maintenance.verification import Examination, examine, sound_crop
from index.metadata import check_gallery_name
from index.storage.about_rows import write_about
from index.storage.crop_store import CropStore
from index.storage.database_file import PAGE, connect, translated
from index.storage.feedback_database import BROKEN, FeedbackDatabase
from index.storage.gallery_files import CROPS, DATABASE, SCRATCH, SNAPSHOT, derived_files, set_aside
from index.storage.image_rows import insert_attributes
from index.storage.row_checksum import OF_IMAGE
from index.storage.write_ahead_log import fold_log
from index.whole_file import sync_file, sync_folder, take_place

DOUBTFUL: Final = "gone, and no entry says whether it was erased or lost: it counts as erased"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Something that a repair does, or would do: ``subjects`` are image ids or files; ``loss``: it costs something."""

    gallery: str
    what: str
    subjects: tuple[str, ...]
    loss: bool = False


def repair(folder: Path, *, act: bool) -> list[Measure]:
    """Mend a gallery's folder that nobody else uses, or only tell how, without ``act``.

    Raises StorageError where the database is beyond repair, and StorageFull: a damaged one is written anew beside it.
    """
    work = _Repair(folder=folder, act=act)
    with _scratch(folder) as scratch:
        examination = examine(folder)
        file = folder / DATABASE
        if examination.broken or examination.bad_rows:
            file = _salvaged(work, scratch, names=examination.bad_rows)
            examination = examine(folder, file=file)
        _mend(work, file, examination)
    return work.measures


@dataclass
class _Repair:
    folder: Path
    act: bool
    measures: list[Measure] = field(default_factory=list)

    def note(self, what: str, *subjects: str, loss: bool = False) -> None:
        if subjects:
            self.measures.append(Measure(gallery=self.folder.name, what=what, subjects=subjects, loss=loss))

    def move(self, path: Path) -> None:
        """Set a file or folder aside, under a name that is free."""
        target = self._free(path)
        path.rename(target)
        sync_folder(target.parent)

    def link(self, path: Path) -> None:
        """Set a file aside that stays where it is until another takes its place."""
        target = self._free(path)
        try:
            target.hardlink_to(path)
        except OSError:  # a file system without links
            shutil.copy2(path, target)
            sync_file(target)
        sync_folder(target.parent)

    def copy(self, path: Path) -> None:
        """Set aside what a file is now; it is going to be mended where it is."""
        target = self._free(path)
        shutil.copy2(path, target)
        sync_file(target)
        sync_folder(target.parent)

    def _free(self, path: Path) -> Path:
        aside = set_aside(self.folder)
        aside.mkdir(parents=True, exist_ok=True)
        target, count = aside / path.name, 1
        while target.exists():
            count += 1
            target = aside / f"{path.stem}-{count}{path.suffix}"
        return target


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    scratch = folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _salvaged(work: _Repair, scratch: Path, *, names: Mapping[int, str]) -> Path:
    """The file of a new database with all that can be read of the old one; in its place, where we act.

    ``names``: what SQLite could still read of the image ids of bad rows.
    """
    old, damaged, new = work.folder / DATABASE, scratch / DATABASE, scratch / "new.sqlite"
    if not old.is_file():
        raise StorageError(f"there is no {old}; `vehicle-index restore` brings back a backup")
    whole = fold_log(old, damaged, page=PAGE)
    saved = salvage(damaged, new, of=old)
    work.note("written anew from what can be read, the old one set aside", f"database of {saved.images:,} images")
    work.note("lost", *(names.get(row_id, name) for row_id, name in saved.lost.items()), loss=True)
    work.note(DOUBTFUL, *(f"row {row_id}" for row_id in saved.doubtful), loss=True)
    if saved.about_turned_back:
        work.note("a flipped bit turned back, of what the gallery was created with", "table about")
    if not whole:
        work.note("a page of the log is lost", "metadata that was changed last may be as it was before", loss=True)
    if not saved.complete:
        work.note("the record of what was written and erased is damaged", "more or less may be lost", loss=True)
    if not work.act:
        return new
    for path in derived_files(work.folder):  # made from the old database; whoever made it makes it again
        work.move(path)
    _exchange(work, old, damaged, new)
    return old


def _exchange(work: _Repair, old: Path, folded: Path, new: Path) -> None:
    """Put the new database in the place of the old one, and that, with its log folded in, aside.

    Wherever this is cut off, a file is in place that has every commit, and none has the log of another.
    """
    for path in (folded, new):
        _let_own(path, like=old)
        sync_file(path)
    take_place(folded, old)
    for ending in ("-wal", "-shm"):
        old.with_name(old.name + ending).unlink(missing_ok=True)
    sync_folder(work.folder)
    work.link(old)
    take_place(new, old)


def _let_own(path: Path, *, like: Path) -> None:
    """Give a file the rights of another, and its owner where we may: a service that is not root goes on with it."""
    known = like.stat()
    path.chmod(known.st_mode)
    with suppress(PermissionError):
        os.chown(path, known.st_uid, known.st_gid)


def _mend(work: _Repair, file: Path, examination: Examination) -> None:
    """What can be done about a database that SQLite can read and whose rows are good."""
    crops = CropStore(work.folder / CROPS)
    if not crops.complete:
        work.note("made", "crops/incoming")
        if work.act:
            crops.create()
    with translated(file), closing(connect(file)) as connection, _transaction(connection, keep=work.act):
        if examination.misnamed:
            _rename(work, connection)
        _mend_attributes(work, connection, sorted(examination.unlike_attributes))
        _mend_crops(work, connection, crops, sorted(examination.lost_crops))
        _drop_loose(work, connection, crops, sorted(examination.loose_crops))
    snapshot = work.folder / SNAPSHOT
    if examination.bad_snapshot and snapshot.exists():  # else it went with the old database
        work.note("set aside, the index is made from the database", SNAPSHOT)
        if work.act:
            work.move(snapshot)
    if examination.bad_feedback:
        _mend_feedback(work)
    work.note("set aside, a file of no image", *(path.name for path in examination.orphans))
    for path in examination.orphans if work.act else ():
        work.move(path)


def _mend_feedback(work: _Repair) -> None:
    """Keep the answers that are as they were written; of a file that cannot be read there are none."""
    database = FeedbackDatabase(work.folder)
    problems = database.problems()
    broken = problems.pop(BROKEN, [])
    work.note("feedback set aside, it cannot be read", *broken, loss=True)
    for what, subjects in problems.items():
        work.note(f"feedback erased: {what}", *subjects, loss=True)
    if work.act and broken:
        work.move(database.path)
    elif work.act:
        work.copy(database.path)
        database.drop_bad()


@contextmanager
def _transaction(connection: apsw.Connection, *, keep: bool) -> Iterator[None]:
    """Everything done in it stays only where the caller says so."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _rename(work: _Repair, connection: apsw.Connection) -> None:
    """Name a gallery as its folder, which is the name that requests have."""
    name = work.folder.name
    try:
        check_gallery_name(name)
    except InvalidValue as error:
        raise StorageError(f"{work.folder} cannot have its folder's name: {error}; rename the folder") from error
    write_about(connection, {"name": name})
    work.note("the gallery is named as its folder", name)


def _mend_attributes(work: _Repair, connection: apsw.Connection, row_ids: list[int]) -> None:
    names = []
    for row_id in row_ids:
        connection.execute("DELETE FROM attributes WHERE row_id = ?", (row_id,))
        image = connection.execute("SELECT image_id, attributes FROM images WHERE row_id = ?", (row_id,)).fetchone()
        if image is not None:
            insert_attributes(connection, {row_id: json.loads(image[1])})
        names.append(f"row {row_id}" if image is None else image[0])
    work.note("attributes for filters written anew", *names)


def _mend_crops(work: _Repair, connection: apsw.Connection, crops: CropStore, names: list[str]) -> None:
    bereft: list[str] = []
    for name in names:
        data, _ = sound_crop(crops, name)
        if data is not None:
            connection.execute("UPDATE crops SET bytes = ? WHERE name = ?", (len(data), name))
            continue
        bereft += [
            image_id for (image_id,) in connection.execute("SELECT image_id FROM images WHERE crop = ?", (name,))
        ]
        connection.execute(
            "INSERT INTO changes (row_id, kind) SELECT row_id, 'changed' FROM images WHERE crop = ?", (name,)
        )
        connection.execute("UPDATE images SET crop = NULL, checksum = NULL WHERE crop = ?", (name,))
        connection.execute("DELETE FROM crops WHERE name = ?", (name,))
        _move_crop(work, crops, name)
    connection.execute(f"UPDATE images SET checksum = {OF_IMAGE} WHERE checksum IS NULL")  # noqa: S608
    work.note("kept, but without its crop", *bereft, loss=True)


def _drop_loose(work: _Repair, connection: apsw.Connection, crops: CropStore, names: list[str]) -> None:
    connection.executemany("DELETE FROM crops WHERE name = ?", [(name,) for name in names])
    for name in names:
        _move_crop(work, crops, name)
    work.note("listed no longer, a crop of no image", *names)


def _move_crop(work: _Repair, crops: CropStore, name: str) -> None:
    path = crops.find(name)
    if path is not None and work.act:
        work.move(path)
