"""``vehicle-orientation:DIR``: sekilab's Vehicle Orientation Dataset, for V-Net (Kumar et al., IEEE Big Data 2021).

Layout, from https://github.com/sekilab/VehicleOrientationDataset: five archives ``vehicle-orientation-1`` … ``-5`` of
street pictures, 213,714 in all, each ``NAME.jpg`` beside a darknet ``NAME.txt`` with a line a vehicle: class number and
the box's centre x, centre y, width and height as shares of the picture. ``vehicle_orientation.names`` lists the 15
classes, car, bus, truck, motorcycle and bicycle by back, side and front; without it the published order is taken.

Copies that were cut into crops, in folders called after a class or a side (``car_back/``, ``front/``), are read too.
Back is our rear. Nobody is identified: rows have no vehicle and no camera.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet
from model_export.data_sets.findings import Findings
from model_export.data_sets.label_lines import LabelLine, read_label_lines
from model_export.data_sets.layout import require_folder, wrong_layout
from model_export.data_sets.picture_folder import PICTURE_ENDINGS

SMALLEST_SIDE = 24  # pixels; a smaller box shows no more than a colour

_CLASSES = tuple(
    f"{kind}_{side}" for kind in ("car", "bus", "truck", "motorcycle", "bicycle") for side in ("back", "side", "front")
)
_VIEWPOINTS = {"front": "front", "back": "rear", "rear": "rear", "side": "side"}
_FOLDER = re.compile(r"(?:(\w+)_)?(front|back|rear|side)", re.IGNORECASE)
_THREADS = 8  # reading 200,000 headers waits for the disk more than for the processor


def read_vehicle_orientation(root: Path) -> DataSet:
    """Read the set, a row a box. Raises InvalidValue for a folder without labelled pictures."""
    require_folder("vehicle-orientation", root)
    findings = Findings()
    classes = _classes(root, findings)
    rows: list[ManifestRow] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="header") as pool:
        for folder, pictures, labels in _folders(root):
            cut = _FOLDER.fullmatch(folder.name)
            labelled = sorted(name for name in pictures if _stem(name) in labels)
            sizes = pool.map(_size, (folder / name for name in labelled))
            for name, size in zip(labelled, sizes, strict=True):
                rows += _boxes(folder / name, folder / labels[_stem(name)], size, classes, findings)
            unlabelled = sorted(pictures.difference(labelled))
            if cut and unlabelled:
                rows += _crops(folder, unlabelled, cut)
            else:
                findings.note_each("pictures without a label file", map(folder.joinpath, unlabelled), skipped=1)
            stems = {_stem(name) for name in pictures}
            lonely = sorted(name for stem, name in labels.items() if stem not in stems)
            findings.note_each("label files without a picture", map(folder.joinpath, lonely))
    if not rows:
        raise wrong_layout("vehicle-orientation", root)
    _check_sides(rows, findings)
    return DataSet(
        name="vehicle-orientation", root=root, protocol="cross-camera", parts={"train": tuple(rows)},
        findings=findings.report(),
    )  # fmt: skip


def _folders(root: Path) -> Iterator[tuple[Path, set[str], dict[str, str]]]:
    """Every folder with its pictures and, by stem, its label files."""
    for place, folders, files in os.walk(root):
        folders.sort()
        pictures = {name for name in files if name.lower().endswith(PICTURE_ENDINGS)}
        labels = {_stem(name): name for name in files if name.lower().endswith(".txt")}
        if pictures:
            yield Path(place), pictures, labels


def _boxes(
    picture: Path, labels: Path, size: tuple[int, int] | None, classes: Sequence[str], findings: Findings
) -> Iterator[ManifestRow]:
    lines = read_label_lines(labels, findings)
    if size is None:
        findings.note("pictures that cannot be read", picture, skipped=1)
        return
    if not lines:
        findings.note("label files without a box", labels)
    seen = set()
    for line in lines:
        place = f"{labels} line {line.number}"
        parsed = _parse(line)
        if parsed is None:
            findings.note("lines that are not CLASS X Y WIDTH HEIGHT", place, skipped=1)
            continue
        number, shares = parsed
        kind, _, side = classes[number].rpartition("_") if number < len(classes) else ("", "", "")
        box = _pixels(shares, size)
        if side not in _VIEWPOINTS:
            findings.note("class numbers without a known side", f"{place}: {number}", skipped=1)
        elif min(box[2:]) < SMALLEST_SIDE:
            findings.note(f"boxes with a side under {SMALLEST_SIDE} pixels", place, skipped=1)
        elif line.words in seen:
            findings.note("boxes that a label file holds twice", place, skipped=1)
        else:
            yield ManifestRow(
                line=line.number, path=picture, vehicle_id=None, camera_id=None, viewpoint=_VIEWPOINTS[side], box=box,
                attributes={"type": kind} if kind else {},
            )  # fmt: skip
        seen.add(line.words)


def _crops(folder: Path, names: Sequence[str], cut: re.Match[str]) -> list[ManifestRow]:
    kind, side = cut[1], cut[2].lower()
    return [
        ManifestRow(
            line=number, path=folder / name, vehicle_id=None, camera_id=None, viewpoint=_VIEWPOINTS[side],
            attributes={"type": kind.lower()} if kind else {},
        )
        for number, name in enumerate(names, start=1)
    ]  # fmt: skip


def _classes(root: Path, findings: Findings) -> tuple[str, ...]:
    for path in (root / "vehicle_orientation.names", root / "data" / "vehicle_orientation.names"):
        if path.is_file():
            return tuple(line.name.lower() for line in read_label_lines(path, findings))
    return _CLASSES


def _parse(line: LabelLine) -> tuple[int, tuple[float, ...]] | None:
    """(class number, centre x, centre y, width, height as shares), or None where the line is not of that form."""
    if len(line.words) != 5 or not line.words[0].isdecimal():
        return None
    try:
        shares = tuple(float(word) for word in line.words[1:])
    except ValueError:
        return None
    return (int(line.words[0]), shares) if all(0 <= share <= 1 for share in shares) else None


def _pixels(shares: tuple[float, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """x, y, width and height in pixels, clipped to the picture; rounding at labelling may lie one pixel outside."""
    (x, y, width, height), (columns, rows) = shares, size
    left, right = (min(max(round((x + sign * width / 2) * columns), 0), columns) for sign in (-1, 1))
    top, bottom = (min(max(round((y + sign * height / 2) * rows), 0), rows) for sign in (-1, 1))
    return left, top, right - left, bottom - top


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height from the header; None where there is none."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _check_sides(rows: Sequence[ManifestRow], findings: Findings) -> None:
    counts: Mapping[str | None, int] = Counter(row.viewpoint for row in rows)
    findings.note_each("viewpoints that no box shows", sorted(set(_VIEWPOINTS.values()) - {*counts}))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
