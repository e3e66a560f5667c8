"""``vehicleid:DIR``: PKU VehicleID, 26,328 vehicles from the front or the rear (Liu et al., CVPR 2016).

Layout, from the set's own README (https://www.pkuml.org/resources/pku-vehicleid.html) and public readers (fast-reid's
``vehicleid.py``, PVEN's converters):

- ``image/NNNNNNN.jpg``;
- ``train_test_split/train_list.txt`` and ``test_list_N.txt`` for N = 800, 1600, 2400, 3200, 6000 and 13164: a picture's
  name without ``.jpg`` and its vehicle a line. Papers measure on 800, 1,600 and 2,400 vehicles, "small", "medium" and
  "large"; MVAN's own figures are those of 2,400.
- ``attribute/img2vid.txt``: picture → vehicle for all pictures; ``model_attr.txt``, ``color_attr.txt``: vehicle →
  number; ``model_names.txt`` (Chinese) and ``color_names.txt``: what the numbers mean. Not every vehicle has them.

There are no camera numbers, so nothing can be measured from camera to camera: a seeded draw takes one picture of each
vehicle of a test size as its gallery and the others as queries, or the other way round. That is the measuring's task;
here all test pictures are the part ``gallery``, and ``test_sizes`` names the vehicles of each list. Viewpoints are not
labelled.
"""

import re
from collections import defaultdict
from pathlib import Path

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet
from model_export.data_sets.findings import Findings
from model_export.data_sets.label_lines import read_label_lines, read_names
from model_export.data_sets.layout import require_layout, wrong_layout
from model_export.data_sets.picture_folder import PictureFolder
from model_export.data_sets.row_checks import check_identities, check_overlap

_TEST_LIST = re.compile(r"test_list_(\d+)\.txt")


def read_vehicleid(root: Path) -> DataSet:
    """Read VehicleID; its oddities are findings. Raises InvalidValue for a folder that is laid out otherwise."""
    require_layout("vehicleid", root)
    findings = Findings()
    lists = root / "train_test_split"
    test_lists = {match[1]: path for path in lists.iterdir() if (match := _TEST_LIST.fullmatch(path.name))}
    if not (lists / "train_list.txt").is_file() and not test_lists:
        raise wrong_layout("vehicleid", root)
    folder = PictureFolder(root / "image")
    reader = _Reader(root, folder, findings)
    parts: dict[str, tuple[ManifestRow, ...]] = {}
    if (lists / "train_list.txt").is_file():
        parts["train"] = tuple(reader.rows(lists / "train_list.txt", fatal=False).values())
    else:
        findings.note("lists that are missing", "train_list.txt")
    tests: dict[str, ManifestRow] = {}
    sizes: dict[str, dict[str, ManifestRow]] = {}
    for size in sorted(test_lists, key=int):
        sizes[size] = reader.rows(test_lists[size], fatal=True)
        for picture, row in sizes[size].items():
            if tests.setdefault(picture, row).vehicle_id != row.vehicle_id:
                what = "pictures that test lists give to two vehicles"
                findings.note(what, f"{test_lists[size].name}: {picture}", fatal=True)
    parts["gallery"] = tuple(tests.values())
    if not any(parts.values()):
        raise InvalidValue(f"vehicleid:{root}: no picture is both listed in train_test_split/ and in image/")
    _check_sizes(sizes, parts["gallery"], findings)
    check_overlap(parts, findings)
    for part, rows in parts.items():
        check_identities(rows, findings, where=part)
    taken = {row.path.name for rows in parts.values() for row in rows}
    findings.note_each("pictures in image that no list takes", folder.others(taken), skipped=1)
    test_sizes = {size: tuple(sorted({row.vehicle_id or "" for row in rows.values()})) for size, rows in sizes.items()}
    return DataSet(
        name="vehicleid", root=root, protocol="vehicleid", parts=parts, findings=findings.report(),
        test_sizes=test_sizes,
    )  # fmt: skip


class _Reader:
    """Lists to rows, with what ``attribute/`` knows of each vehicle."""

    def __init__(self, root: Path, folder: PictureFolder, findings: Findings) -> None:
        self._folder = folder
        self._findings = findings
        attribute = root / "attribute"
        self._vehicle_of = self._pairs(attribute / "img2vid.txt")
        self._attributes: dict[str, dict[str, str]] = defaultdict(dict)
        for name, values, names in (
            ("model", "model_attr.txt", "model_names.txt"),
            ("colour", "color_attr.txt", "color_names.txt"),
        ):
            meaning = read_names(attribute / names, findings) if (attribute / names).is_file() else {}
            for vehicle, number in self._pairs(attribute / values).items():
                self._attributes[vehicle][name] = meaning.get(number, number)
                if meaning and number not in meaning:
                    findings.note(f"{name} numbers without a name; kept as numbers", f"vehicle {vehicle}: {number}")
        for picture in self._vehicle_of:
            if folder.find(f"{picture}.jpg") is None:
                findings.note("pictures that img2vid.txt names and image/ lacks", picture)

    def rows(self, path: Path, *, fatal: bool) -> dict[str, ManifestRow]:
        """Picture → row of a list. A missing picture is fatal in a test list: fewer pictures are easier to search."""
        rows: dict[str, ManifestRow] = {}
        for line in read_label_lines(path, self._findings):
            place = f"{path.name} line {line.number}: {line.name}"
            if len(line.words) != 2 or not line.words[1].isdecimal():
                self._findings.note("lines of the lists that are not PICTURE VEHICLE", place, skipped=1)
                continue
            picture, vehicle = line.name.removesuffix(".jpg"), line.words[1]
            on_disk = self._folder.find(f"{picture}.jpg")
            known = self._vehicle_of.get(picture, vehicle)
            if known != vehicle:
                self._findings.note(
                    "pictures whose vehicle differs between a list and img2vid.txt", f"{place}: {vehicle}, {known}",
                    fatal=True,
                )  # fmt: skip
            if picture in rows:
                same = rows[picture].vehicle_id == vehicle
                what = "names that a list holds twice" if same else "names that a list gives to two vehicles"
                self._findings.note(what, place, skipped=1, fatal=not same)
            elif on_disk is None:
                where = "test" if fatal else "train"
                self._findings.note(f"pictures that are listed and missing ({where})", place, skipped=1, fatal=fatal)
            else:
                rows[picture] = ManifestRow(
                    line=line.number, path=self._folder.path / on_disk, vehicle_id=vehicle, camera_id=None,
                    image_id=picture, attributes=dict(self._attributes.get(vehicle, {})),
                )  # fmt: skip
        return rows

    def _pairs(self, path: Path) -> dict[str, str]:
        if not path.is_file():
            self._findings.note("label files that are missing", f"attribute/{path.name}")
            return {}
        pairs: dict[str, str] = {}
        for line in read_label_lines(path, self._findings):
            if len(line.words) != 2 or not line.words[1].isdecimal():
                self._findings.note(f"lines of {path.name} that do not parse", f"line {line.number}")
            elif pairs.setdefault(line.name.removesuffix(".jpg"), line.words[1]) != line.words[1]:
                self._findings.note(f"names to which {path.name} gives two values; the first counts", line.name)
        return pairs


def _check_sizes(sizes: dict[str, dict[str, ManifestRow]], tests: tuple[ManifestRow, ...], findings: Findings) -> None:
    of_vehicle: dict[str | None, int] = defaultdict(int)
    for row in tests:
        of_vehicle[row.vehicle_id] += 1
    if not sizes:
        findings.note("test lists: none is there, nothing can be measured", "train_test_split/test_list_N.txt")
    if "2400" not in sizes:
        findings.note("lists that are missing", "test_list_2400.txt, the one that papers compare on")
    for size, rows in sizes.items():
        listed: dict[str | None, int] = defaultdict(int)
        for row in rows.values():
            listed[row.vehicle_id] += 1
        if len(listed) != int(size):
            findings.note(
                "test lists of another number of vehicles than published: figures do not compare with papers",
                f"test_list_{size}.txt: {len(listed):,}",
            )
        partly = sorted(vehicle or "" for vehicle, count in listed.items() if count != of_vehicle[vehicle])
        findings.note_each(f"vehicles that test_list_{size}.txt holds with fewer pictures than another list", partly)
