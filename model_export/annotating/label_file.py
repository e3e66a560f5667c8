"""Labels as they are kept: one CSV file that is a ``manifest.csv`` at every moment.

Columns: ``path`` (relative to the file), ``viewpoint``, ``source`` (``hand`` or ``auto``), ``confidence`` (V-Net's
probability of this viewpoint when the line was written; empty without a V-Net), whatever was carried over from the
manifest that the pictures came from, and ``decision``, a number that rises with every decision of a person, so that
undo knows the last one. A file with decisions over labels of ``auto`` has a column ``replaced_auto``: what ``auto``
said there, so that undo brings it back. ``vehicle-model train-vnet`` reads the file as it is.

A label is appended and flushed to the disk before ``add`` returns. Everything else writes the file anew beside the old
one and renames it. A line that a crash cut short is completed or dropped when the file is next opened: nobody was told
that it is saved. The file is locked while it is open.
"""

import contextlib
import csv
import errno
import fcntl
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

from index.errors import Conflict, InvalidValue, StorageError, StorageFull
from index.manifest import ManifestRow, read_manifest

Source = Literal["hand", "auto"]
Box = tuple[int, int, int, int]  # x, y, width, height in pixels of the upright picture

OWN_COLUMNS: Final = ("path", "viewpoint", "source", "confidence", "decision")
_REPLACED: Final = "replaced_auto"  # VIEWPOINT or VIEWPOINT:CONFIDENCE; only where it is needed
_REPLACED_CELL: Final = re.compile(r"([\w.-]+)(?::([01]\.\d{4}))?")
_LAST: Final = "decision"  # the column that a crash may cut short without making a label another one
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Place(NamedTuple):
    """What is labelled: a picture, or the part of it that ``box`` names. ``path`` is as ``true_path`` gives it."""

    path: str
    box: Box | None


@dataclass(frozen=True, kw_only=True)
class Label:
    """One line of the file."""

    place: Place
    viewpoint: str  # empty in a file of skipped pictures
    source: Source
    confidence: float | None = None
    decision: int | None = None  # None: written by ``auto``, or by something else
    replaced: tuple[str, float | None] | None = None  # viewpoint and confidence of the label of ``auto`` before
    carried: Mapping[str, str] = field(default_factory=dict)  # cells of further columns


class LabelFile:
    """An open, locked label file; made where it does not exist, with missing columns added where it does.

    ``viewpoints`` are the names that a label may have; none for a file of skipped pictures. ``carried`` are further
    columns that the file must have. Not for several threads at once.

    Raises InvalidValue naming file, line and value for what is not a label file, Conflict where another process has
    it open, StorageError where it cannot be written.
    """

    dropped: str  # the unfinished last line that was taken away when the file was opened; usually empty

    def __init__(self, path: Path, *, viewpoints: Sequence[str], carried: Sequence[str] = ()) -> None:
        self.path = Path(true_path(path))
        self._viewpoints = tuple(viewpoints)
        if self.path.is_symlink():
            raise InvalidValue(f"{path} is a symbolic link; name the file itself: its paths are relative to its folder")
        with _storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = _open_locked(self.path)
        try:
            self._columns = _header(self.path)
            with _storage(self.path):
                self.dropped = _mend_last_line(self._handle, self.path)
            self._labels = {label.place: label for label in self._read()} if self._columns else {}
            self._size = os.fstat(self._handle).st_size
            wanted = [name for name in (*OWN_COLUMNS, *carried) if name not in self._columns]
            if wanted:
                self._columns = [name for name in (*self._columns, *wanted) if name != _LAST] + [_LAST]
                self.rewrite(self._labels.values())
        except BaseException:
            os.close(self._handle)
            raise

    @property
    def labels(self) -> Mapping[Place, Label]:
        """Every label, in the order of the file; the last one of a place that stands twice."""
        return self._labels

    def add(self, label: Label) -> None:
        """Write a label, in place of the one that its picture may have; on the disk when this returns."""
        new_column = label.replaced is not None and _REPLACED not in self._columns
        if label.place in self._labels or new_column:
            self.rewrite([*(old for old in self._labels.values() if old.place != label.place), label])
            return
        self._require_untouched()
        line = self._line(label, self._columns)
        try:
            with _storage(self.path):
                _write(self._handle, line)
                os.fsync(self._handle)
        except StorageError:
            os.ftruncate(self._handle, self._size)  # never half a line
            raise
        self._size += len(line)
        self._labels[label.place] = label

    def remove(self, place: Place) -> None:
        """Take the label of a picture away; nothing where it has none."""
        if place in self._labels:
            self.rewrite([label for label in self._labels.values() if label.place != place])

    def rewrite(self, labels: Iterable[Label]) -> None:
        """Replace all labels at once: whatever happens, the file holds the old ones or the new ones."""
        self._require_untouched()
        labels, columns = list(labels), self._columns
        if _REPLACED not in columns and any(label.replaced for label in labels):
            columns = [*(name for name in columns if name != _LAST), _REPLACED, _LAST]
        content = _csv_line(columns) + b"".join(self._line(label, columns) for label in labels)
        temporary = self.path.with_name(self.path.name + ".partial")
        with _storage(self.path):
            handle = os.open(temporary, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before it has the name: never an unlocked moment
                os.fchmod(handle, os.fstat(self._handle).st_mode & 0o777)
                _write(handle, content)
                os.fsync(handle)
                temporary.replace(self.path)
            except BaseException:
                os.close(handle)
                temporary.unlink(missing_ok=True)
                raise
            os.close(self._handle)
            self._handle, self._size, self._columns = handle, len(content), columns
            self._labels = {label.place: label for label in labels}
            _flush_folder(self.path.parent)

    def close(self) -> None:
        """Let others open it."""
        os.close(self._handle)

    def _read(self) -> Iterator[Label]:
        rows = list(read_manifest(self.path, required=("path", "viewpoint")))
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            for row, cells in zip(rows, csv.DictReader(file), strict=True):
                yield self._label(row, cells)

    def _label(self, row: ManifestRow, cells: dict[str, str]) -> Label:
        def refuse(column: str, problem: str) -> InvalidValue:
            return InvalidValue(f"{self.path} line {row.line}, column {column}: {problem}")

        viewpoint = row.viewpoint or ""
        confidence, decision = row.attributes.get("confidence"), row.attributes.get("decision")
        if self._viewpoints and viewpoint not in self._viewpoints:
            raise refuse("viewpoint", f"{viewpoint!r} is not one of {', '.join(self._viewpoints)}; see --viewpoints")
        if isinstance(confidence, str) or not 0 <= (confidence or 0) <= 1:
            raise refuse("confidence", f"{confidence!r} is not a number in 0…1")
        if decision is not None and not isinstance(decision, int):
            raise refuse("decision", f"{decision!r} is not a whole number")
        source = cells.get("source", "")
        foreign = {"source": source} if source not in ("", "hand", "auto") else {}  # somebody else's column, kept
        return Label(
            place=Place(true_path(row.path), row.box), viewpoint=viewpoint,
            source="auto" if source == "auto" else "hand", confidence=confidence, decision=decision,
            replaced=_replaced(cells.get(_REPLACED, "")),
            carried={name: text for name, text in cells.items() if name not in (*OWN_COLUMNS, _REPLACED)} | foreign,
        )  # fmt: skip

    def _line(self, label: Label, columns: Sequence[str]) -> bytes:
        cells = {
            "source": label.source,
            **label.carried,
            "path": relative_cell(label.place.path, self.path.parent),
            "viewpoint": label.viewpoint,
            "confidence": "" if label.confidence is None else f"{label.confidence:.4f}",
            "decision": "" if label.decision is None else str(label.decision),
        }
        if label.replaced is not None:
            viewpoint, confidence = label.replaced
            cells[_REPLACED] = viewpoint if confidence is None else f"{viewpoint}:{confidence:.4f}"
        if label.place.box is not None:
            if "box" not in columns:
                raise ValueError(f"{self.path} was opened without a column for boxes")
            cells["box"] = ",".join(map(str, label.place.box))
        return _csv_line([_one_line(cells.get(name, "")) for name in columns])

    def _require_untouched(self) -> None:
        """Raise StorageError where something else wrote the file: an editor's copy would not see what is appended."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        ours = os.fstat(self._handle)
        if there is None or not os.path.samestat(there, ours) or there.st_size != self._size:
            raise StorageError(
                f"{self.path} was changed or removed by another program, nothing was written; stop this one and start "
                "it again, it goes on with what is in the file"
            )


@contextlib.contextmanager
def open_label_file(path: Path, *, viewpoints: Sequence[str], carried: Sequence[str] = ()) -> Iterator[LabelFile]:
    """A label file for the length of a ``with``."""
    file = LabelFile(path, viewpoints=viewpoints, carried=carried)
    try:
        yield file
    finally:
        file.close()


def true_path(path: Path) -> str:
    """The absolute path by which a picture is known: its folder without symbolic links and detours."""
    return str(Path(_true_folder(str(path.parent)), path.name))


def relative_cell(path: str, folder: Path) -> str:
    """The cell that names a picture in a manifest of ``folder``, both true; InvalidValue where none can."""
    cell = os.path.relpath(path, folder)
    if cell != cell.strip() or "\\" in cell or not cell.isprintable():
        raise InvalidValue(
            f"{path!r} cannot be named in a manifest: spaces at its ends, back-slashes and control characters are not "
            "kept; rename it"
        )
    return cell


@lru_cache(maxsize=1 << 16)
def _true_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise Conflict(
                f"{path} is open in another `vehicle-model annotate`; use the page that it serves, or stop it first"
            ) from None
        except FileNotFoundError:
            pass
        os.close(handle)  # the holder replaced the file between opening and locking


def _mend_last_line(handle: int, path: Path) -> str:
    """End a complete last line, take an unfinished one away and return it; a file that ends well stays as it is."""
    content = path.read_bytes()
    if not content or content.endswith(b"\n"):
        return ""
    whole = content.rfind(b"\n") + 1
    if whole == 0 or _is_even(content):
        _write(handle, b"\n")
        os.fsync(handle)
        return ""
    if not _is_even(content[:whole]):
        return ""  # not our doing; whoever reads it says what is wrong
    os.ftruncate(handle, whole)
    os.fsync(handle)
    return content[whole:].decode(errors="replace")


def _is_even(content: bytes) -> bool:
    """Whether this is CSV whose last line has as many cells as its first."""
    try:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return False
    return len(lines[-1]) == len(lines[0])


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidValue(f"{path} is not a UTF-8 CSV file: {error}") from error
    for name in ("path", "viewpoint"):
        if names and name not in names:
            raise InvalidValue(f"{path} is no label file: it has no column {name!r}; choose another --labels")
    return names


def _replaced(cell: str) -> tuple[str, float | None] | None:
    """What a cell of ``replaced_auto`` says; None for one that is not ours to read."""
    match = _REPLACED_CELL.fullmatch(cell)
    return None if match is None else (match[1], float(match[2]) if match[2] else None)


def _csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _one_line(text: str) -> str:
    """A cell without line ends, so that a line of the file is a line of CSV."""
    return text if text.isprintable() else " ".join(text.split())


def _write(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"{path} cannot be written: no space is left; nothing was changed, make room") from error
        raise StorageError(f"{path} cannot be written: {error.strerror or error}; choose another --labels") from error
