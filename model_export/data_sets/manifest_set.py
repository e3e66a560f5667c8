"""``manifest:FILE``: a user's own pictures as one manifest.csv."""

from pathlib import Path

from model_export.data_sets.data_set import DataSet
from model_export.data_sets.selection import data_set_name, read_rows


def read_manifest_set(manifest: Path) -> DataSet:
    """All rows as part ``train``, measured camera against camera."""
    rows = tuple(read_rows(manifest))
    return DataSet(name=data_set_name(manifest), root=manifest.parent, protocol="cross-camera", parts={"train": rows})
