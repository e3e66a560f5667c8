"""``veri776:DIR``: VeRi-776, 776 vehicles seen by 20 cameras (Liu et al., ICME and ECCV 2016).

Layout, from the set's own ReadMe as quoted at https://github.com/JDAI-CV/VeRidataset and from public readers
(fast-reid's ``veri.py``, TransReID's ``veri.py``, deep-person-reid's VeRi forks):

- ``image_train/``, ``image_query/``, ``image_test/`` hold ``VVVV_cCCC_FFFFFFFF_N.jpg``: vehicle, camera, frame. The
  query pictures are copies of some in ``image_test``; the same vehicle on the query's own camera is junk.
- ``name_train.txt``, ``name_query.txt``, ``name_test.txt`` list them; readers that only look at the names do without.
- ``train_label.xml``, ``test_label.xml`` say gb2312, which Python's XML parser refuses. They hold an ``Item`` a picture
  with ``imageName``, ``vehicleID``, ``cameraID``, ``colorID``, ``typeID``; ``list_color.txt``, ``list_type.txt`` name
  the numbers. Early releases give vehicles 3, 7 and 41 the type 0, which is none.
- ``gt_index.txt`` and ``jk_index.txt`` (positions in ``name_test.txt``, from 1), elsewhere ``gt_image.txt`` and
  ``jk_image.txt`` (names), give each query's matches and junk, a line a query.
- Viewpoints are not part of the set. ``keypoint_train.txt`` and ``keypoint_test.txt`` of Wang et al. (ICCV 2017;
  https://github.com/Zhongdao/VehicleReIDKeyPointData) hold a path, 20 points x y (−1 −1: not seen) and one of eight
  orientations a line. They are read from DIR or a folder directly in it. Three-quarter views count as front or rear.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet
from model_export.data_sets.findings import Findings
from model_export.data_sets.label_lines import LabelLine, read_label_lines, read_names, read_text
from model_export.data_sets.layout import require_layout
from model_export.data_sets.picture_folder import PictureFolder
from model_export.data_sets.row_checks import check_cameras, check_identities, check_overlap, check_queries

PUBLISHED = {"query": 1_678, "gallery": 11_579}  # pictures; a smaller gallery makes every figure better

_PARTS = {"train": "train", "query": "query", "gallery": "test"}  # ours → the set's own word
_NAME = re.compile(r"(\d{4,})_(c\d{3})_(\d+)(?:_\d+)?\.(?:jpe?g|png)", re.IGNORECASE)
_ITEM = re.compile(r"<Item\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ITEMS_SAID = re.compile(r"""<Items\b[^<>]*\bnumber\s*=\s*["'](\d+)""")

# Names that public code gives the numbers, for copies without list_color.txt and list_type.txt.
_COLOURS = ("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black")
_TYPES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")

_ORIENTATIONS = ("front", "rear", "left", "left-front", "left-rear", "right", "right-front", "right-rear")
_VIEWPOINTS = ("front", "rear", "side", "front", "rear", "side", "front", "rear")  # in the same order
_FRONT_POINTS = range(4, 10)  # fog lamps, head lamps, logo and plate of the front
_REAR_POINTS = range(16, 20)  # rear lamps, logo and plate of the rear
_KEYPOINT_WORDS = 1 + 2 * 20 + 1


@dataclass(frozen=True)
class _Listed:
    """A part as its list says it: what stands in it, before anything is left out."""

    lines: tuple[LabelLine, ...]
    folder: PictureFolder
    list_name: str


def read_veri776(root: Path) -> DataSet:
    """Read VeRi-776; its oddities are findings. Raises InvalidValue for a folder that is laid out otherwise."""
    require_layout("veri776", root)
    findings = Findings()
    listed = {part: _listed(root, word, findings) for part, word in _PARTS.items()}
    rows = {part: _rows(part, content, findings) for part, content in listed.items()}
    _require_names(root, listed, rows)
    labels = _Labels(root, listed, findings)
    viewpoints = _Viewpoints(root, listed, findings)
    parts = {part: tuple(viewpoints.on(labels.on(row)) for row in some) for part, some in rows.items()}
    labels.check()
    viewpoints.check()
    for kind, same_camera in (("gt", False), ("jk", True)):
        _check_matches(root, kind, listed["query"], listed["gallery"], findings, same_camera=same_camera)
    _check_parts(parts, findings)
    return DataSet(name="veri776", root=root, protocol="veri776", parts=parts, findings=findings.report())


def _listed(root: Path, word: str, findings: Findings) -> _Listed:
    folder = PictureFolder(root / f"image_{word}")
    list_file = root / f"name_{word}.txt"
    if list_file.is_file():
        return _Listed(tuple(read_label_lines(list_file, findings)), folder, list_file.name)
    findings.note("lists that are missing; all pictures of the folder are taken", list_file.name)
    lines = tuple(LabelLine(number, (name,)) for number, name in enumerate(sorted(folder.names), start=1))
    return _Listed(lines, folder, folder.path.name)


def _rows(part: str, listed: _Listed, findings: Findings) -> list[ManifestRow]:
    rows: dict[str, ManifestRow] = {}
    places = {}
    for line in listed.lines:
        place = f"{listed.list_name} line {line.number}: {line.name}"
        match = _NAME.fullmatch(line.name)
        on_disk = listed.folder.find(line.name)
        if match is None:
            findings.note("names that do not parse as VVVV_cCCC_FRAME_N.jpg", place, skipped=1)
        elif line.name in places:
            findings.note("names that a list holds twice", place, skipped=1)
        elif on_disk is None:
            what = "pictures that are listed and missing"
            test = part != "train"  # a smaller gallery makes figures better than they are
            findings.note(f"{what} ({part})", place, skipped=1, fatal=test)
        else:
            rows[on_disk] = ManifestRow(
                line=line.number, path=listed.folder.path / on_disk, vehicle_id=match[1], camera_id=match[2].lower(),
                image_id=line.name.rpartition(".")[0], attributes={"frame": int(match[3])},
            )  # fmt: skip
        places[line.name] = place
    unlisted = listed.folder.others(rows)
    findings.note_each(f"pictures in {listed.folder.path.name} that are not taken", unlisted, skipped=1)
    return list(rows.values())


def _require_names(root: Path, listed: dict[str, _Listed], rows: dict[str, list[ManifestRow]]) -> None:
    if not any(rows.values()):
        names = [line.name for content in listed.values() for line in content.lines][:3]
        raise InvalidValue(
            f"veri776:{root}: no picture is listed, on disk and named as 0002_c002_00030600_0.jpg; the lists hold "
            f"{', '.join(names) or 'nothing'}. The AI City Challenge's sets look alike; they need a manifest.csv"
        )


class _Labels:
    """Colour and type of each picture, from the XML files."""

    def __init__(self, root: Path, listed: dict[str, _Listed], findings: Findings) -> None:
        self._findings = findings
        self._colours = _number_names(root / "list_color.txt", _COLOURS, findings)
        self._types = _number_names(root / "list_type.txt", _TYPES, findings)
        self._items: dict[str, dict[str, str]] = {}
        self._unlabelled: list[str] = []
        for word, parts in (("train", ("train",)), ("test", ("query", "gallery"))):
            path = root / f"{word}_label.xml"
            if not path.is_file():
                findings.note("label files that are missing: no colour, no type", path.name)
                continue
            known = {name.lower() for part in parts for name in _known(listed[part])}
            self._read(path, known)

    def _read(self, path: Path, known: set[str]) -> None:
        text = read_text(path, self._findings)
        items = [
            {name: double or single for name, double, single in _ATTRIBUTE.findall(item)}
            for item in _ITEM.findall(text)
        ]
        if not items:
            self._findings.note("label files without a single item", path.name)
        said = _ITEMS_SAID.search(text)
        if said and int(said[1]) != len(items):
            self._findings.note(
                "label files with another number of items than they say", f"{path.name}: {len(items)}, not {said[1]}"
            )
        for number, item in enumerate(items, start=1):
            name = item.get("imageName", "")
            if not name:
                self._findings.note("label items without imageName", f"{path.name} item {number}")
            elif name.lower() not in known:
                self._findings.note(f"pictures that {path.name} labels and nobody knows", name)
            else:
                self._items[name.lower()] = item

    def on(self, row: ManifestRow) -> ManifestRow:
        """The row with colour and type; a label that contradicts the name is fatal, the name counts."""
        item = self._items.get(row.path.name.lower())
        if item is None:
            self._unlabelled.append(row.path.name)
            return row
        vehicle, camera = item.get("vehicleID"), item.get("cameraID")
        if (vehicle or row.vehicle_id, camera or row.camera_id) != (row.vehicle_id, row.camera_id):
            self._findings.note(
                "labels that contradict the vehicle or camera of the name",
                f"{row.path.name}: {vehicle} {camera}", fatal=True,
            )  # fmt: skip
        attributes = dict(row.attributes)
        for attribute, key, names in (("colour", "colorID", self._colours), ("type", "typeID", self._types)):
            number = item.get(key, "").lstrip("0") or "0"
            if number in names:
                attributes[attribute] = names[number]
            elif key in item:
                self._findings.note(f"{key} numbers without a name; left out", f"{row.path.name}: {item[key]}")
        return replace(row, attributes=attributes)

    def check(self) -> None:
        """Report pictures without a label, where there are labels at all."""
        if self._items:
            self._findings.note_each("pictures without colour and type labels", self._unlabelled)


class _Viewpoints:
    """Orientation of each picture, from the keypoint files."""

    def __init__(self, root: Path, listed: dict[str, _Listed], findings: Findings) -> None:
        self._findings = findings
        self._orientation: dict[str, int] = {}
        self._unlabelled: list[str] = []
        known = {name.lower() for content in listed.values() for name in _known(content)}
        for path in _keypoint_files(root):
            self._read(path, known)

    def _read(self, path: Path, known: set[str]) -> None:
        seen: dict[str, int] = {}
        for line in read_label_lines(path, self._findings):
            try:
                *numbers, orientation = (int(word) for word in line.words[1:])
            except ValueError:
                numbers, orientation = [], -1
            if len(line.words) != _KEYPOINT_WORDS or not 0 <= orientation < len(_ORIENTATIONS):
                self._findings.note(f"lines of {path.name} that do not parse", f"line {line.number}")
            elif line.name.lower() not in known:
                self._findings.note(f"pictures that {path.name} labels and nobody knows", line.name)
            elif seen.setdefault(line.name.lower(), orientation) != orientation:
                self._findings.note("pictures with two orientation labels; the first counts", line.name)
            elif _contradicts(orientation, numbers):
                self._findings.note("viewpoints that their own keypoints contradict; left out", line.name)
            else:
                self._orientation[line.name.lower()] = orientation

    def on(self, row: ManifestRow) -> ManifestRow:
        """The row with its viewpoint, where it is labelled."""
        orientation = self._orientation.get(row.path.name.lower())
        if orientation is None:
            self._unlabelled.append(row.path.name)
            return row
        attributes = {**row.attributes, "orientation": _ORIENTATIONS[orientation]}
        return replace(row, viewpoint=_VIEWPOINTS[orientation], attributes=attributes)

    def check(self) -> None:
        """Report pictures without a viewpoint, where there are viewpoints at all."""
        if self._orientation:
            self._findings.note_each("pictures without a viewpoint label", self._unlabelled)


def _known(listed: _Listed) -> set[str]:
    return {line.name for line in listed.lines} | listed.folder.names


def _contradicts(orientation: int, points: Sequence[int]) -> bool:
    """Whether only the points of the other end are seen; ``points`` are x and y by turns, −1 where not seen."""
    front, rear = (any(points[2 * point] >= 0 for point in end) for end in (_FRONT_POINTS, _REAR_POINTS))
    return {"front": rear and not front, "rear": front and not rear}.get(_VIEWPOINTS[orientation], False)


def _keypoint_files(root: Path) -> list[Path]:
    """Both files from DIR itself or else the first folder in it that holds them."""
    found = []
    for name in ("keypoint_train.txt", "keypoint_test.txt"):
        found += sorted([*root.glob(name), *root.glob(f"*/{name}")], key=lambda path: len(path.parts))[:1]
    return found


def _number_names(path: Path, otherwise: tuple[str, ...], findings: Findings) -> dict[str, str]:
    if path.is_file():
        return {number.lstrip("0") or "0": name.lower() for number, name in read_names(path, findings).items()}
    findings.note("lists that are missing; the published names are taken", path.name)
    return {str(number): name for number, name in enumerate(otherwise, start=1)}


def _check_matches(
    root: Path, kind: str, query: _Listed, gallery: _Listed, findings: Findings, *, same_camera: bool
) -> None:
    """Hold gt_* or jk_* against vehicle and camera of the names: figures are measured by the names."""
    path = next((path for path in (root / f"{kind}_image.txt", root / f"{kind}_index.txt") if path.is_file()), None)
    if path is None:
        return
    what = f"queries for which {path.name} and the file names disagree"
    lines = read_text(path, findings).replace("\\", "/").splitlines()
    while lines and not lines[-1].strip():
        del lines[-1]
    if len(lines) < len(query.lines):  # a last query without junk is an empty line, which an editor may drop
        lines += [""] * (len(query.lines) - len(lines))
    if len(lines) > len(query.lines):
        findings.note(what, f"{len(lines)} lines for {len(query.lines)} queries", fatal=True)
        return
    by_vehicle: dict[str, list[tuple[str, str]]] = {}
    for line in gallery.lines:
        if match := _NAME.fullmatch(line.name):
            by_vehicle.setdefault(match[1], []).append((match[2].lower(), line.name))
    for line, text in zip(query.lines, lines, strict=True):
        match = _NAME.fullmatch(line.name)
        if match is None:
            continue
        camera = match[2].lower()
        by_name = {name for seen_by, name in by_vehicle.get(match[1], ()) if (seen_by == camera) == same_camera}
        if _named(text.split(), gallery.lines) - {line.name} != by_name - {line.name}:
            findings.note(what, line.name, fatal=True)


def _named(words: Iterable[str], gallery: Sequence[LabelLine]) -> set[str]:
    names = set()
    for word in words:
        if word.isdecimal():
            position = int(word)
            names.add(gallery[position - 1].name if 1 <= position <= len(gallery) else word)
        else:
            name = word.rpartition("/")[2]
            names.add(name if "." in name else f"{name}.jpg")
    return names


def _check_parts(parts: dict[str, tuple[ManifestRow, ...]], findings: Findings) -> None:
    check_overlap(parts, findings)
    check_identities(parts["train"], findings, where="train")
    check_identities(parts["gallery"], findings, where="gallery")
    check_queries(parts["query"], parts["gallery"], findings)
    check_cameras([row for rows in parts.values() for row in rows], findings)
    for part, published in PUBLISHED.items():
        if len(parts[part]) != published:
            findings.note(
                "parts of another size than published: figures do not compare with papers",
                f"{part}: {len(parts[part]):,}, not {published:,}",
            )
