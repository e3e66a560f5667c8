"""``manifest:FILE``: a user's own pictures as one manifest.csv."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet
from model_export.data_sets.findings import Findings
from model_export.data_sets.picture_folder import PictureFolder
from model_export.data_sets.row_checks import check_cameras, check_identities
from model_export.data_sets.selection import data_set_name, read_rows

_SPLIT_COLUMNS = ("part", "split", "subset")  # what people call the column that says train or test


def read_manifest_set(manifest: Path) -> DataSet:
    """All rows whose pictures are there as part ``train``, measured camera against camera.

    Raises InvalidValue for a manifest that cannot be read, has no rows, or none of whose pictures is there.
    """
    if manifest.is_dir():
        raise InvalidValue(f"{manifest} is a folder; give the path of a manifest.csv in it")
    findings = Findings()
    read = read_rows(manifest)
    rows = _distinct(_present(read, findings), findings)
    if not rows:
        raise InvalidValue(
            f"{manifest}: none of its {len(read)} pictures is there, for one {read[0].path}; paths are relative to the "
            "manifest's folder"
        )
    for column, what in (("vehicle_id", "a vehicle"), ("camera_id", "a camera"), ("viewpoint", "a viewpoint")):
        without = [f"line {row.line}" for row in rows if getattr(row, column) is None]
        if len(without) < len(rows) or column != "viewpoint":
            findings.note_each(f"rows without {what}", without)
    check_identities(rows, findings, where="train")
    check_cameras(rows, findings)
    _check_split(rows, findings)
    return DataSet(
        name=data_set_name(manifest), root=manifest.parent, protocol="cross-camera", parts={"train": tuple(rows)},
        findings=findings.report(),
    )  # fmt: skip


def _present(rows: Sequence[ManifestRow], findings: Findings) -> list[ManifestRow]:
    """Rows whose picture is there; each folder is listed once."""
    folders: dict[Path, frozenset[str]] = {}
    present = []
    for row in rows:
        folder = row.path.parent
        if folder not in folders:
            folders[folder] = PictureFolder(folder).names if folder.is_dir() else frozenset()
        if row.path.name in folders[folder] or row.path.is_file():  # the latter for endings that no picture has
            present.append(row)
        else:
            findings.note("pictures that are missing", f"line {row.line}: {row.path}", skipped=1)
    return present


def _distinct(rows: Sequence[ManifestRow], findings: Findings) -> list[ManifestRow]:
    """Rows without repetitions; a crop that is said to be two vehicles is fatal."""
    first: dict[tuple[Path, object], ManifestRow] = {}
    distinct = []
    for row in rows:
        other = first.setdefault((row.path, row.box), row)
        place = f"lines {other.line} and {row.line}: {row.path.name}"
        if other is row:
            distinct.append(row)
        elif other.vehicle_id != row.vehicle_id:
            findings.note("pictures that two rows give to different vehicles", place, skipped=1, fatal=True)
        else:
            findings.note("rows that repeat another's picture and box", place, skipped=1)
    return distinct


def _check_split(rows: Sequence[ManifestRow], findings: Findings) -> None:
    for column in _SPLIT_COLUMNS:
        values = defaultdict(set)
        for row in rows:
            if row.vehicle_id and column in row.attributes:
                values[row.vehicle_id].add(str(row.attributes[column]))
        both = sorted(vehicle for vehicle, seen in values.items() if len(seen) > 1)
        findings.note_each(f"vehicles with several values of the column {column}", both)
