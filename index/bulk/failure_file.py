"""The images that an import could not store, as a manifest.csv that says why and can be imported again."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from index.bulk.import_plan import Failure
from index.errors import InvalidValue
from index.manifest import FAILURE

ENCODING, ERRORS = "utf-8", "surrogateescape"  # names that are not UTF-8 keep their bytes


def failure_lines(failures: Iterable[Failure], columns: Sequence[str], folder: Path) -> Iterator[str]:
    """The text of the file, line by line, with the columns that the failures' manifests have.

    Paths are relative to ``folder`` where they lie below it, else absolute; one into an archive goes on behind the
    archive's own path, as a manifest may have it. ``folder`` may be an archive itself.
    """
    names = ["path", "image_id", *(name for name in columns if name not in ("path", "image_id")), FAILURE]
    yield _line(names)
    for failure in failures:
        cells = dict(failure.cells) | {"path": failure.place.below(folder), FAILURE: failure.reason}
        if failure.image_id is not None:
            cells["image_id"] = failure.image_id
        yield _line([cells.get(name, "") for name in names])


def write_failures(file: Path, failures: Iterable[Failure], columns: Sequence[str]) -> None:
    """Write the file, with paths as seen from its folder. Raises OSError."""
    with file.open("w", encoding=ENCODING, errors=ERRORS, newline="") as opened:
        opened.writelines(failure_lines(failures, columns, file.parent))


def require_other_file(file: Path | None, sources: Iterable[Path]) -> None:
    """What failed is written over no source: if that were cut off, rows would be lost. Raises InvalidValue."""
    if file is not None and any(path.exists() and file.exists() and path.samefile(file) for path in sources):
        raise InvalidValue(f"--failures {file} is what is to be added; name another file")


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
