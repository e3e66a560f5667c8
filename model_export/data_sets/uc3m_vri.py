"""``uc3m-vri:DIR``: UC3M-VRI, 286 vehicles on a highway and at intersections (Ramajo-Ballester et al., 2024).

Layout, from https://github.com/ramajoballester/UC3M-VRI (README and its three samples; the archive's folders are not
described there, so any nesting is read): ``NNNNN.jpg``, 1920 × 1080 frames, each beside ``NNNNN.json`` with
``imagePath``, ``imageWidth``, ``imageHeight`` and ``ids``: each a ``label`` (make, model, year, colour; in Spanish) and
``bbox_coords``, two corners in pixels. Two subsets: *highway*, one camera, and *intersection*, cameras c1 and c2 at two
places, v1 and v2, which the README tells apart by the frame's number.

A vehicle is what the authors count as one: a label within a subset (201 + 85). Two vehicles of one make, model, year
and colour share it; frames that prove it, because they show the label twice, are reported. There is no split.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet
from model_export.data_sets.findings import Findings
from model_export.data_sets.label_lines import read_text
from model_export.data_sets.layout import require_folder, wrong_layout
from model_export.data_sets.picture_folder import PICTURE_ENDINGS
from model_export.data_sets.row_checks import check_cameras, check_identities

_LAST_OF_V1 = {"c1": 395, "c2": 525}  # frames of the intersection subset; later ones are v2
_LABEL = re.compile(r"(\S+)\s+(.+)\s+(\d{4})\s+(\S+)")
_CAMERA = re.compile(r"(?:cam(?:era)?_?|c)(\d+)", re.IGNORECASE)


def read_uc3m_vri(root: Path) -> DataSet:
    """Read UC3M-VRI, a row a box. Raises InvalidValue for a folder without labelled frames."""
    require_folder("uc3m-vri", root)
    findings = Findings()
    rows: list[ManifestRow] = []
    for place, folders, files in os.walk(root):
        folders.sort()
        folder, pictures = Path(place), {name for name in files if name.lower().endswith(PICTURE_ENDINGS)}
        labelled = set()
        for name in sorted(name for name in files if name.lower().endswith(".json")):
            content = _content(folder / name, findings)
            if content is not None:
                picture = str(content.get("imagePath", "")).replace("\\", "/").rpartition("/")[2]
                labelled.add(picture)
                rows += _rows(root, folder / name, folder / picture, content, picture in pictures, findings)
        findings.note_each(
            "pictures without a label file", map(folder.joinpath, sorted(pictures - labelled)), skipped=1
        )
    if not rows:
        raise wrong_layout("uc3m-vri", root)
    check_identities(rows, findings, where="train")
    check_cameras(rows, findings)
    return DataSet(
        name="uc3m-vri", root=root, protocol="cross-camera", parts={"train": tuple(rows)}, findings=findings.report()
    )


def _content(path: Path, findings: Findings) -> dict[str, Any] | None:
    """A label file's object; None for other JSON, which is not ours, and for what does not parse."""
    try:
        content = json.loads(read_text(path, findings))
    except ValueError:
        findings.note("label files that are not JSON", path)
        return None
    return content if isinstance(content, dict) and isinstance(content.get("ids"), list) else None


def _rows(
    root: Path, labels: Path, picture: Path, content: dict[str, Any], exists: bool, findings: Findings
) -> list[ManifestRow]:
    entries = content["ids"]
    if not exists:
        findings.note("pictures that are labelled and missing", f"{labels}: {picture.name}", skipped=len(entries))
        return []
    subset, camera, place = _where(root.name / labels.relative_to(root))
    rows = []
    for number, entry in enumerate(entries, start=1):
        at = f"{labels}: box {number}"
        label = " ".join(str(entry.get("label", "")).lower().split()) if isinstance(entry, dict) else ""
        box = _box(entry, content) if label else None
        if box is None:
            findings.note("boxes without a label or two corners inside the picture", at, skipped=1)
            continue
        match = _LABEL.fullmatch(label)
        if match is None:
            findings.note("labels that are not MAKE MODEL YEAR COLOUR", f"{at}: {label}")
        attributes: dict[str, str | int | float] = {"place": place} if place else {}
        if match:
            attributes |= {"make": match[1], "model": match[2], "year": int(match[3]), "colour": match[4]}
        rows.append(
            ManifestRow(
                line=number, path=picture, vehicle_id=f"{subset}/{label}" if subset else label,
                camera_id="-".join(filter(None, (subset, place, camera))) or None, box=box, attributes=attributes,
            )
        )  # fmt: skip
    for vehicle, count in Counter(row.vehicle_id for row in rows).items():
        if count > 1:
            findings.note("frames that show one identity twice: several vehicles share it", f"{labels}: {vehicle}")
    return rows


def _where(labels: Path) -> tuple[str, str, str]:
    """(subset, camera, place) by the names of the folders and the frame's number; empty where they do not say."""
    subset = next((word for word in ("highway", "intersection") for part in labels.parts if word in part.lower()), "")
    camera = next((f"c{match[1]}" for part in labels.parts[:-1] if (match := _CAMERA.fullmatch(part))), "")
    last = _LAST_OF_V1.get(camera)
    if subset == "highway" or last is None or not labels.stem.isdecimal():
        return subset, camera, ""
    return subset, camera, "v1" if int(labels.stem) <= last else "v2"


def _box(entry: dict[str, Any], content: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """x, y, width, height from two opposite corners, clipped to the picture; None where that is no box."""
    try:
        (x1, y1), (x2, y2) = entry["bbox_coords"]
        width, height = int(content["imageWidth"]), int(content["imageHeight"])
        left, right = sorted(min(max(round(x), 0), width) for x in (x1, x2))
        top, bottom = sorted(min(max(round(y), 0), height) for y in (y1, y2))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None
