"""Everything in a gallery's folder held against everything else; nothing is changed, and a service may run meanwhile.

The database is read in one view, and after it the files, which may take long, without any: a view holds up the log of
a gallery that is written to. A service that runs may write and erase files meanwhile, so a file that is missing or not
named is judged by what the database says then.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import apsw
import numpy as np

from index.errors import DataFolderUnusable, LogDamaged, StorageError
from index.machine.free_memory import free_memory
from index.searching.index_kind import unreadable
from index.searching.index_snapshot import snapshot_problem
from index.storage.about_rows import about_agrees
from index.storage.crop_list import crop_names, is_crop, loose_crops, unlisted_crops
from index.storage.crop_store import CropStore, is_as_written
from index.storage.database_file import PAGE, open_read_only, translated
from index.storage.feedback_database import FeedbackDatabase
from index.storage.gallery_files import CROPS, DATABASE, SNAPSHOT
from index.storage.gallery_schema import LAYOUT, lacking
from index.storage.row_checksum import OF_EMBEDDING, OF_IMAGE
from index.storage.write_ahead_log import log_problem

Progress = Callable[[int], object]

MISSING_CROP: Final = "an image's crop is missing on the disk"
CHANGED_CROP: Final = "an image's crop is not the picture that was written"
UNREADABLE_CROP: Final = "an image's crop cannot be read from the disk"
SAID_ERASED: Final = "an image is there, and the change sequence says that it was erased"
IN_DOUBT: Final = "an image is gone, and no entry says whether it was erased or lost"
OUT_OF_ORDER: Final = "the list of crops is not in order, and the crops after this one were not looked at"

_CROPS_AT_ONCE: Final = 1024
_MESSAGES = 100  # of SQLite's about one file
_TREE = re.compile(r"Tree (\d+) ")
_SEARCHED: Final = "(SELECT CAST(value AS INTEGER) FROM about WHERE key = 'space')"
_EVERY_ROW: Final = f"""
SELECT embeddings.row_id, vector, probabilities, dim, json_array_length(viewpoints)
FROM embeddings JOIN spaces USING (space_id) WHERE space_id = {_SEARCHED}
"""  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be: ``subjects`` are image ids, files or what SQLite says."""

    gallery: str
    what: str
    subjects: tuple[str, ...]


@dataclass
class Examination:
    """What was found in one gallery, and what a repair needs to know of it.

    ``broken``: SQLite cannot read all of the file. ``bad_rows`` cannot be kept, by row id with their image ids (or what
    they are called where that cannot be read); ``lost_crops`` are named and are not there as they were written;
    ``misnamed``: the folder has another name than its gallery; ``orphans`` are files that nobody names;
    ``bad_snapshot``: the index's is not what was written, ``bad_feedback``: some of the answers are not; of
    ``unlike_attributes`` the copy for filters is not what is given back; ``loose_crops`` are listed though no row names
    them.
    """

    gallery: str
    broken: bool = False
    misnamed: bool = False
    bad_rows: dict[int, str] = field(default_factory=dict)
    lost_crops: set[str] = field(default_factory=set)
    orphans: list[Path] = field(default_factory=list)
    bad_snapshot: bool = False
    bad_feedback: bool = False
    unlike_attributes: set[int] = field(default_factory=set)
    loose_crops: set[str] = field(default_factory=set)
    images: int = 0
    crops: int = 0
    _subjects: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, *subjects: str) -> None:
        """Add subjects of one kind of finding."""
        if subjects:
            self._subjects.setdefault(what, []).extend(subjects)

    @property
    def findings(self) -> list[Finding]:
        """One for each kind, in the order in which they were met."""
        return [
            Finding(gallery=self.gallery, what=what, subjects=tuple(subjects))
            for what, subjects in self._subjects.items()
        ]


def work_of(folder: Path) -> int:
    """How many steps of progress examining a gallery's folder will report."""
    return len(_CHECKS) + 2 + crops_of(folder)


def crops_of(folder: Path) -> int:
    """How many crops a gallery has; none where that cannot be read."""
    try:
        with closing(open_read_only(folder / DATABASE)) as connection:
            return _number(connection, "SELECT count(*) FROM crops")
    except (apsw.Error, OSError, UnicodeDecodeError, LogDamaged):
        return 0


def examine(
    folder: Path, *, file: Path | None = None, files: bool = True, progress: Progress = lambda _: None
) -> Examination:
    """Hold a gallery's folder against its database, or against another ``file`` in its place.

    Without ``files`` the crops and the index's snapshot are left out.

    Raises DataFolderUnusable for a file of a newer release, StorageFull and StorageError where it cannot be looked at.
    """
    examination = Examination(gallery=folder.name)
    file = file or folder / DATABASE
    with _judging(examination, file), closing(open_read_only(file)) as connection:
        connection.execute("BEGIN")  # one view, taken by the first statement
        if _readable(connection, file, examination):
            for check in _CHECKS:
                with _judging(examination, file):
                    check(connection, examination)
                progress(1)
            _check_log(file, examination)
            if files:
                _check_snapshot(folder, examination)
                progress(1)
                _check_feedback(folder, examination)
                progress(1)
                connection.execute("ROLLBACK")  # from here on each statement sees what is there by then
                _check_files(CropStore(folder / CROPS), connection, examination, progress)
    return examination


def rows_to_come(connection: apsw.Connection) -> set[int]:
    """Row ids that must be there: those that were written and neither erased nor told to be lost."""
    return {
        row_id
        for (row_id,) in connection.execute(
            "SELECT row_id FROM changes WHERE kind = 'added'"
            " EXCEPT SELECT row_id FROM changes WHERE kind IN ('removed', 'lost')"
        )
    }  # fmt: skip


def rows_with(connection: apsw.Connection, crops: Iterable[str]) -> dict[str, set[int]]:
    """Rows that have each of these crops now.

    A crop that cannot be read is lost only where one row had it before and after: else it was erased meanwhile, or also
    written again.
    """
    rows: dict[str, set[int]] = {name: set() for name in crops}
    found = connection.execute(
        "SELECT crop, row_id FROM images WHERE crop IN (SELECT value FROM json_each(?))", (json.dumps(list(rows)),)
    )
    for name, row_id in found:
        rows[name].add(row_id)
    return rows


def sound_crop(store: CropStore, name: str) -> tuple[bytes | None, str | None]:
    """A crop as it was written, or what is wrong with it."""
    try:
        data = store.read(name)
    except StorageError:
        return None, UNREADABLE_CROP
    if data is None:
        return None, MISSING_CROP
    if not is_as_written(name, data):
        return None, CHANGED_CROP
    return data, None


def vector_problem(vector: bytes, probabilities: bytes | None, *, dim: int, viewpoints: int) -> str | None:
    """What is wrong with a stored vector, float32 (dim,), and its probabilities, float32 (viewpoints,)."""
    if len(vector) != 4 * dim:
        return f"has {len(vector)} bytes, not {4 * dim}"
    if not np.isfinite(np.frombuffer(vector, dtype="<f4")).all():
        return "is not finite"
    if probabilities is not None and len(probabilities) != 4 * viewpoints:
        return f"has {len(probabilities)} bytes of viewpoints, not {4 * viewpoints}"
    if probabilities is not None and not np.isfinite(np.frombuffer(probabilities, dtype="<f4")).all():
        return "has viewpoints that are not finite"
    return None


@contextmanager
def _judging(examination: Examination, file: Path) -> Iterator[None]:
    """What SQLite cannot read is a finding; but not that the disk is full, or the file not ours to read."""
    try:
        yield
    except (apsw.CantOpenError, apsw.IOError, apsw.BusyError, apsw.PermissionsError) as error:
        if not file.exists():
            _note_broken(examination, error)
            return
        with translated(file):
            raise
    except (apsw.Error, UnicodeDecodeError, LogDamaged) as error:
        _note_broken(examination, error)


def _note_broken(examination: Examination, error: Exception) -> None:
    examination.broken = True
    examination.note("the database cannot be read", " ".join(str(error).split()))


def _readable(connection: apsw.Connection, file: Path, examination: Examination) -> bool:
    """Whether the file has the tables of this release, so that it can be asked anything."""
    layout = _number(connection, "PRAGMA user_version")
    if layout > LAYOUT:
        raise DataFolderUnusable(
            f"{file} has layout {layout}, this release reads up to {LAYOUT}: use the newer release"
        )
    missing = lacking(connection)
    if missing:
        examination.broken = True
        examination.note("the database lacks a table or an index, or their columns", *missing)
    elif layout < LAYOUT:
        examination.note("the database is of an older layout, without checksums; `list` upgrades it", str(layout))
    return not missing and layout == LAYOUT


def _check_structure(connection: apsw.Connection, examination: Examination) -> None:
    messages: list[str] = []
    try:
        for (message,) in connection.execute(f"PRAGMA integrity_check({_MESSAGES})"):
            messages += str(message).splitlines()  # one by one: it may break off after those that tell most
    finally:
        lines = [line for line in messages if line != "ok" and not line.startswith("*** in")]
        examination.broken |= bool(lines)
        examination.note("the database's pages are damaged", *(_with_names(connection, line) for line in lines))


def _with_names(connection: apsw.Connection, line: str) -> str:
    """SQLite's message with the table or list for the number of its tree."""
    match = _TREE.match(line)
    if match is None:
        return line
    name = connection.execute("SELECT name FROM sqlite_schema WHERE rootpage = ?", (int(match[1]),)).fetchone()
    return line if name is None else f"{name[0]}: {line[match.end() :]}"


def _check_about(connection: apsw.Connection, examination: Examination) -> None:
    if not about_agrees(connection):
        examination.broken = True
        examination.note("what the gallery was created with is not what was written", "table about")
    about = dict(connection.execute("SELECT key, value FROM about"))
    try:
        spec = json.loads(about["spec"])
        known = connection.execute("SELECT name FROM spaces WHERE space_id = ?", (int(about["space"]),)).fetchone()
        sound = isinstance(spec, dict) and known is not None and int(about["created_at"]) >= 0
        bytes.fromhex(about["secret"])
    except (KeyError, ValueError):
        sound = False
    if not sound:
        examination.broken = True
        examination.note("what the gallery was created with cannot be read", "table about")
    elif about["name"] != examination.gallery:
        examination.misnamed = True
        examination.note("the folder is not named as its gallery", str(about["name"]))


def _check_images(connection: apsw.Connection, examination: Examination) -> None:
    examination.images = _number(connection, "SELECT count(*) FROM images")
    bad = _ids(connection, f"SELECT row_id FROM images WHERE checksum IS NOT {OF_IMAGE}")  # noqa: S608
    _note_rows(connection, examination, "an image's row is not what was written", bad)


def _check_embeddings(connection: apsw.Connection, examination: Examination) -> None:
    bad = f"SELECT row_id FROM embeddings WHERE checksum IS NOT {OF_EMBEDDING} AND space_id {{}} {_SEARCHED}"  # noqa: S608
    searched, others = (_ids(connection, bad.format(sign)) for sign in ("=", "<>"))
    _note_rows(connection, examination, "an image's vector is not what was written", searched)
    examination.note(  # nothing is lost by it
        "a vector that a migration wrote is damaged; the migration makes it again", *_names(connection, others).values()
    )
    alone = "SELECT row_id FROM {} WHERE row_id NOT IN (SELECT row_id FROM {})"
    without = _ids(
        connection,
        f"SELECT row_id FROM images WHERE row_id NOT IN (SELECT row_id FROM embeddings WHERE space_id = {_SEARCHED})",  # noqa: S608
    )
    _note_rows(connection, examination, "an image has no vector", without)
    _note_rows(connection, examination, "a vector has no image", _ids(connection, alone.format("embeddings", "images")))


def _check_vectors(connection: apsw.Connection, examination: Examination) -> None:
    wrong = []
    for row_id, vector, probabilities, dim, viewpoints in connection.execute(_EVERY_ROW):
        if vector_problem(vector, probabilities, dim=dim, viewpoints=viewpoints):
            wrong.append(row_id)
    _note_rows(connection, examination, "a vector is not finite or not of its space's dimension", wrong)


def _check_attributes(connection: apsw.Connection, examination: Examination) -> None:
    copies = groupby(
        connection.execute("SELECT row_id, CAST(name AS BLOB), value FROM attributes ORDER BY row_id"),
        key=lambda row: row[0],
    )
    row_id, copy = _next(copies)
    unlike: list[int] = []
    for number, text in connection.execute("SELECT row_id, CAST(attributes AS BLOB) FROM images ORDER BY row_id"):
        while row_id is not None and row_id < number:
            unlike.append(row_id)  # of no image
            row_id, copy = _next(copies)
        own, (row_id, copy) = (copy, _next(copies)) if row_id == number else ({}, (row_id, copy))
        if own != _attributes(text):
            unlike.append(number)
    while row_id is not None:
        unlike.append(row_id)
        row_id, copy = _next(copies)
    examination.unlike_attributes.update(unlike)
    examination.note(
        "an image's attributes for filters are not those that it has", *_names(connection, unlike).values()
    )


def _check_crop_list(connection: apsw.Connection, examination: Examination) -> None:
    examination.crops = _number(connection, "SELECT count(*) FROM crops")
    loose, unlisted = loose_crops(connection), unlisted_crops(connection)
    named = [name for name in loose if name is not None]
    examination.loose_crops.update(named)
    examination.broken |= bool(unlisted) or len(named) < len(loose)
    examination.note("a crop is listed that no image has", *named)
    examination.note("a crop is listed without a name", *(["table crops"] * (len(loose) - len(named))))
    examination.note("an image's crop is not listed", *unlisted)


def _check_changes(connection: apsw.Connection, examination: Examination) -> None:
    first, last, count = connection.execute("SELECT min(change), max(change), count(*) FROM changes").get
    if count and last - first + 1 != count:
        examination.broken = True
        examination.note("the change sequence has gaps", f"{last - first + 1 - count:,} between {first} and {last}")
    unknown = _ids(connection, "SELECT change FROM changes WHERE kind NOT IN ('added', 'changed', 'removed', 'lost')")
    examination.broken |= bool(unknown)
    examination.note("a change is of no known kind", *(f"change {number}" for number in unknown))
    stored, to_come = set(_ids(connection, "SELECT row_id FROM images")), rows_to_come(connection)
    removed = _ids(
        connection, "SELECT row_id FROM images WHERE row_id IN (SELECT row_id FROM changes WHERE kind = 'removed')"
    )
    examination.broken |= bool(removed)  # the entry is damaged, not the image: no row outlives its erasure
    examination.note(SAID_ERASED, *_names(connection, removed).values())
    if first == 1:
        without = sorted(stored - to_come - set(removed))
        examination.note("an image is not in the change sequence", *_names(connection, without).values())
    _note_rows(connection, examination, IN_DOUBT, sorted(to_come - stored))


_CHECKS: Final[Sequence[Callable[[apsw.Connection, Examination], None]]] = (
    _check_structure, _check_about, _check_images, _check_embeddings, _check_vectors, _check_attributes,
    _check_crop_list, _check_changes,
)  # fmt: skip


def _check_log(file: Path, examination: Examination) -> None:
    """Who has had it open since before the damage, as a service may, sees all of it, and brings it in by ending."""
    problem = log_problem(file, page=PAGE)
    if problem is not None:
        examination.note("the log is damaged: end the service in order, a kill would lose what follows", problem)


def _check_snapshot(folder: Path, examination: Examination) -> None:
    """Its bytes, and whether FAISS can read them; whether it is of this database is asked before it is used."""
    problem = snapshot_problem(folder) or unreadable(folder, free=free_memory())
    if problem is not None:
        examination.bad_snapshot = True
        examination.note("the index's snapshot is not what was written", f"{SNAPSHOT}: {problem}")


def _check_feedback(folder: Path, examination: Examination) -> None:
    problems = FeedbackDatabase(folder).problems()
    examination.bad_feedback = bool(problems)
    for what, subjects in problems.items():
        examination.note(what, *subjects)


def _check_files(store: CropStore, now: apsw.Connection, examination: Examination, progress: Progress) -> None:
    for name, size in _listed(now, examination):
        problem = _crop_problem(store, now, name, size)
        if problem:
            examination.lost_crops.add(name)
            examination.note(problem, *_bearers(now, name))
        progress(1)
    if not store.complete:
        examination.note("a folder is missing", "crops/incoming")
    named = crop_names(now) | {name for (name,) in now.execute("SELECT name FROM discarded")}
    try:
        for path in store.files():
            if path.name not in named and not _is_named(now, path.name) and path.exists():
                examination.orphans.append(path)
    except StorageError as error:
        examination.note("a folder of crops cannot be read", str(error))
    examination.note("a file belongs to no image", *(path.name for path in examination.orphans))


def _listed(now: apsw.Connection, examination: Examination) -> Iterator[tuple[str, int]]:
    """Names and sizes of all crops, as far as they are in order; between two lots nothing is read."""
    last = ""
    while block := _listed_after(now, last):
        for name, size in block:
            if name is None or name <= last:  # paging on by a name that goes back would never end
                examination.broken = True
                examination.note(OUT_OF_ORDER, f"{name} after {last}" if last else str(name))
                return
            yield name, size
            last = name


def _listed_after(now: apsw.Connection, name: str) -> list[tuple[str | None, int]]:
    found: Iterable[Any] = now.execute(
        "SELECT name, bytes FROM crops WHERE name > ? ORDER BY name LIMIT ?", (name, _CROPS_AT_ONCE)
    )
    return list(found)


def _crop_problem(store: CropStore, now: apsw.Connection, name: str, size: int) -> str | None:
    rows: set[int] = set()
    while True:
        (data, problem), before, rows = sound_crop(store, name), rows, rows_with(now, [name])[name]
        if data is not None:
            return None if len(data) == size else "a crop's size is not the one that is listed"
        if problem != MISSING_CROP or rows & before:  # one row had it all the time
            return problem
        if not rows:
            return None  # erased meanwhile


def _is_named(now: apsw.Connection, name: str) -> bool:
    discarded = now.execute("SELECT 1 FROM discarded WHERE name = ?", (name,)).fetchone() is not None
    return discarded or is_crop(now, name)


def _bearers(connection: apsw.Connection, crop: str) -> list[str]:
    """Images that have this crop."""
    rows = connection.execute("SELECT CAST(image_id AS BLOB) FROM images WHERE crop = ?", (crop,))
    return [image_id.decode(errors="replace") for (image_id,) in rows] or [crop]


def _note_rows(connection: apsw.Connection, examination: Examination, what: str, row_ids: Sequence[int]) -> None:
    """Rows that cannot be kept."""
    names = _names(connection, row_ids)
    examination.bad_rows.update(names)
    examination.note(what, *names.values())


def _names(connection: apsw.Connection, row_ids: Sequence[int]) -> dict[int, str]:
    """Image ids by row id; a row that has none that can be read is called by its number."""
    names = {row_id: f"row {row_id}" for row_id in row_ids}
    rows = connection.execute(
        "SELECT row_id, CAST(image_id AS BLOB) FROM images WHERE row_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(row_ids)),),
    )
    return names | {row_id: image_id.decode(errors="replace") for row_id, image_id in rows}


def _next(copies: Iterator[tuple[int, Iterator[tuple[int, bytes, object]]]]) -> tuple[int | None, dict[str, object]]:
    """The next row's id and its attributes for filters; None after the last."""
    for row_id, rows in copies:
        return row_id, {name.decode(errors="replace"): value for _, name, value in rows}
    return None, {}


def _attributes(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _ids(connection: apsw.Connection, sql: str) -> list[int]:
    return [number for (number,) in connection.execute(sql)]


def _number(connection: apsw.Connection, sql: str) -> int:
    value: Any = connection.execute(sql).get
    return int(value)
