"""Pictures that cannot be read, found by their containers alone: every file is read whole, nothing is decoded.

A second's work for a few thousand pictures, so readers of data sets leave it to ``data check``.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from index.crops import stored_size
from index.errors import PictureError
from model_export.data_sets.data_set import DataSet, Finding
from model_export.data_sets.findings import Findings

_MAX_PIXELS = 100_000_000  # as in training
_THREADS = 8


def check_pictures(data: DataSet) -> tuple[Finding, ...]:
    """A finding that counts and names the pictures that are empty, truncated or no pictures; none where all are sound.

    Shows a progress bar on a terminal.
    """
    paths = list(dict.fromkeys(row.path for rows in data.parts.values() for row in rows))
    findings = Findings()
    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="header") as pool,
        tqdm(total=len(paths), unit="pictures", desc="read headers", disable=None) as progress,
    ):
        for path, readable in zip(paths, pool.map(_is_readable, paths), strict=True):
            progress.update()
            if not readable:
                shown = path.relative_to(data.root) if path.is_relative_to(data.root) else path
                findings.note("pictures that cannot be read; training and measuring stop at them", shown)
    return findings.report()


def _is_readable(path: Path) -> bool:
    try:
        stored_size(path.read_bytes(), max_pixels=_MAX_PIXELS)
    except (OSError, PictureError):
        return False
    return True
