"""Checks that every data set gets, whatever its layout: who is where, how often, and seen by which cameras."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from index.manifest import ManifestRow
from model_export.data_sets.findings import Findings

_MOST_CAMERAS = 10_000  # larger numbers are names, such as phone numbers or dates
_NUMBERED = re.compile(r"(\D*)(\d+)")


def check_overlap(parts: Mapping[str, Sequence[ManifestRow]], findings: Findings) -> None:
    """A vehicle that is trained on and then searched for makes every figure too good: fatal."""
    test = {row.vehicle_id for name in ("query", "gallery") for row in parts.get(name, ())}
    shared = {row.vehicle_id for row in parts.get("train", ())} & test
    findings.note_each("vehicles in train and in query or gallery", sorted(filter(None, shared)), fatal=True)


def check_identities(rows: Sequence[ManifestRow], findings: Findings, *, where: str) -> None:
    """Vehicles that no pair, or no pair across cameras, can be made of."""
    counts = Counter(row.vehicle_id for row in rows if row.vehicle_id)
    once = sorted(vehicle for vehicle, count in counts.items() if count == 1)
    findings.note_each(f"identities with one picture ({where})", once)
    cameras = defaultdict(set)
    for row in rows:
        if row.vehicle_id and row.camera_id:
            cameras[row.vehicle_id].add(row.camera_id)
    alone = sorted(vehicle for vehicle, seen in cameras.items() if len(seen) == 1 and counts[vehicle] > 1)
    findings.note_each(f"identities seen by one camera only ({where})", alone)


def check_cameras(rows: Sequence[ManifestRow], findings: Findings) -> None:
    """One camera only, which leaves nothing to search across; numbers that are left out between others."""
    cameras = sorted({row.camera_id for row in rows if row.camera_id})
    if len(cameras) == 1:
        findings.note("one camera only: nothing can be measured from camera to camera", cameras[0])
    numbers = defaultdict(set)
    for camera in cameras:
        if match := _NUMBERED.fullmatch(camera):
            numbers[match[1], len(match[2])].add(int(match[2]))
    for (prefix, digits), seen in sorted(numbers.items()):
        gaps = sorted(set(range(min(seen), max(seen))) - seen) if max(seen) - min(seen) < _MOST_CAMERAS else []
        findings.note_each("camera numbers that are left out", (f"{prefix}{number:0{digits}}" for number in gaps))


def check_queries(query: Sequence[ManifestRow], gallery: Sequence[ManifestRow], findings: Findings) -> None:
    """Queries whose vehicle no other camera saw: they have no match and count for nothing."""
    seen = defaultdict(set)
    for row in gallery:
        seen[row.vehicle_id].add(row.camera_id)
    unmatched = [row.path.name for row in query if not seen[row.vehicle_id] - {row.camera_id}]
    findings.note_each("queries without a match by another camera", unmatched)
