"""Checks that all data sets share."""

from pathlib import Path

from index.manifest import ManifestRow
from model_export.data_sets.findings import Findings
from model_export.data_sets.row_checks import check_cameras, check_identities, check_overlap, check_queries


def rows(*pairs: tuple[str | None, str | None]) -> list[ManifestRow]:
    return [
        ManifestRow(line=n, path=Path(f"{n}.jpg"), vehicle_id=vehicle, camera_id=camera)
        for n, (vehicle, camera) in enumerate(pairs)
    ]


def told(findings: Findings) -> dict[str, tuple[str, ...]]:
    return {finding.what: finding.examples for finding in findings.report()}


def test_nobody_is_no_vehicle_in_common() -> None:
    findings = Findings()
    check_overlap({"train": rows((None, "c1"), ("a", "c1")), "query": rows((None, "c1"), ("b", "c1"))}, findings)
    assert findings.report() == ()
    check_overlap({"train": rows(("b", "c1")), "gallery": rows(("b", "c1"))}, findings)
    assert told(findings) == {"vehicles in train and in query or gallery": ("b",)}
    assert findings.report()[0].fatal


def test_identities_without_a_pair_are_told_once() -> None:
    findings = Findings()
    check_identities(
        rows(("a", "c1"), ("b", "c1"), ("b", "c1"), ("d", "c1"), ("d", "c2"), (None, "c1")), findings, where="x"
    )
    assert told(findings) == {
        "identities with one picture (x)": ("a",),
        "identities seen by one camera only (x)": ("b",),
    }


def test_gaps_are_counted_among_numbers_of_one_kind() -> None:
    findings = Findings()
    check_cameras(rows(("a", "c01"), ("a", "c04"), ("a", "gate"), ("a", "20240101"), ("a", "20251231")), findings)
    assert told(findings) == {"camera numbers that are left out": ("c02", "c03")}


def test_a_query_needs_its_vehicle_under_another_camera() -> None:
    findings = Findings()
    check_queries(rows(("a", "c1"), ("b", "c1")), rows(("a", "c1"), ("a", "c2"), ("b", "c1")), findings)
    assert told(findings) == {"queries without a match by another camera": ("1.jpg",)}
