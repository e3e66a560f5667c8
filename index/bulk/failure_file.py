"""The images that an import could not store, as a manifest.csv that says why and can be imported again."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from index.bulk.import_plan import Failure, Place
from index.manifest import FAILURE

ENCODING, ERRORS = "utf-8", "surrogateescape"  # names that are not UTF-8 keep their bytes


def write_failures(file: IO[str], failures: Iterable[Failure], columns: Sequence[str], folder: Path) -> int:
    """Write failures with the columns that their manifests have; how many.

    Paths are relative to ``folder`` where they lie below it, else absolute; one into an archive goes on behind the
    archive's own path, as a manifest may have it. ``folder`` may be an archive itself.
    """
    names = ["path", "image_id", *(name for name in columns if name not in ("path", "image_id")), FAILURE]
    writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    number = 0
    for failure in failures:
        known = {"image_id": failure.image_id} if failure.image_id is not None else {}
        writer.writerow(
            {**failure.cells, **known, "path": relative_path(failure.place, folder), FAILURE: failure.reason}
        )  # fmt: skip
        number += 1
    return number


def relative_path(place: Place, folder: Path) -> str:
    """A place as a manifest in ``folder`` names it."""
    if not place.path:
        return ""
    whole, base = os.path.abspath(str(place)), os.path.abspath(folder)  # noqa: PTH100  # links stay as they are
    return whole.removeprefix(f"{base}/") if whole.startswith(f"{base}/") else whole
