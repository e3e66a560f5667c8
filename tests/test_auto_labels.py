"""Labels by V-Net alone: what is filled, what is left alone, and what is measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import InvalidValue
from index.manifest import read_manifest
from model_export.annotating.auto_labels import Filling, Line, fill
from model_export.annotating.label_file import Label, open_label_file
from model_export.annotating.work_list import Picture, pictures_of

VIEWPOINTS = ("front", "rear", "side")
GUESSES: list[tuple[float, ...] | None] = [
    (0.97, 0.02, 0.01),  # by hand: front
    (0.01, 0.96, 0.03),  # by hand: side, so V-Net is wrong
    (0.60, 0.30, 0.10),  # by hand: front
    (0.01, 0.01, 0.98),  # skipped
    (0.95, 0.03, 0.02),
    (0.02, 0.94, 0.04),
    (0.00, 0.00, 1.00),
    None,  # broken
]


def pictures(folder: Path) -> list[Picture]:
    manifest = folder / "manifest.csv"
    manifest.write_text("path,scene\n" + "".join(f"{n}.jpg,s{n}\n" for n in range(len(GUESSES))))
    found = pictures_of(read_manifest(manifest, required=("path",)), folder / "labels.csv")
    given = [replace(picture, guess=p) for picture, p in zip(found, GUESSES, strict=True)]
    with open_label_file(folder / "labels.csv", viewpoints=VIEWPOINTS, carried=["scene"]) as labels:
        for picture, viewpoint in zip(given, ["front", "side", "front"], strict=False):
            labels.add(Label(place=picture.place, viewpoint=viewpoint, source="hand", decision=1))
    with open_label_file(folder / "labels.skipped.csv", viewpoints=()) as skipped:
        skipped.add(Label(place=given[3].place, viewpoint="", source="hand", decision=2))
    return given


def filled(folder: Path, given: list[Picture], confidence: float, *, dry_run: bool = False) -> Filling:
    with (
        open_label_file(folder / "labels.csv", viewpoints=VIEWPOINTS) as labels,
        open_label_file(folder / "labels.skipped.csv", viewpoints=()) as skipped,
    ):
        return fill(given, labels, skipped, viewpoints=VIEWPOINTS, confidence=confidence, dry_run=dry_run)


def auto(folder: Path) -> dict[str, tuple[str | None, object, object]]:
    rows = read_manifest(folder / "labels.csv", required=("path",))
    return {
        row.path.name: (row.viewpoint, row.attributes["confidence"], row.attributes["scene"])
        for row in rows
        if row.attributes["source"] == "auto"
    }


def test_the_sure_ones_are_filled_and_the_rest_is_left(tmp_path: Path) -> None:
    given = pictures(tmp_path)
    report = filled(tmp_path, given, 0.95)
    assert auto(tmp_path) == {"4.jpg": ("front", 0.95, "s4"), "6.jpg": ("side", 1, "s6")}
    assert report.chosen == Line(confidence=0.95, fills=2, hand=2, right=1)
    assert (report.hand, report.skipped, report.broken, report.left) == (3, 1, 1, 1)
    assert report.by_viewpoint == {"front": 1, "rear": 0, "side": 1}
    text = str(report)
    assert "filled 2 at confidence 0.95 or above: front 1, rear 0, side 1" in text
    assert "left for a person: 1" in text
    assert "1 of 2 = 50.0% (9.5%–90.5%)" in text


def test_the_table_lets_one_choose(tmp_path: Path) -> None:
    table = {line.confidence: line for line in filled(tmp_path, pictures(tmp_path), 0.94, dry_run=True).table}
    assert table[0.5] == Line(confidence=0.5, fills=3, hand=3, right=2)
    assert table[0.94] == Line(confidence=0.94, fills=3, hand=2, right=1)
    assert table[0.99] == Line(confidence=0.99, fills=1, hand=0, right=0)
    assert table[0.99].accuracy is None
    assert table[0.99].interval is None


def test_another_run_replaces_what_the_last_one_wrote(tmp_path: Path) -> None:
    given = pictures(tmp_path)
    filled(tmp_path, given, 0.5)
    assert auto(tmp_path).keys() == {"4.jpg", "5.jpg", "6.jpg"}
    before = (tmp_path / "labels.csv").read_bytes()
    assert "would fill 1" in str(filled(tmp_path, given, 0.99, dry_run=True))
    assert (tmp_path / "labels.csv").read_bytes() == before
    report = filled(tmp_path, given, 0.99)
    assert report.replaced == 3
    assert auto(tmp_path).keys() == {"6.jpg"}
    assert "no hand label is that sure" in str(report)
    with open_label_file(tmp_path / "labels.csv", viewpoints=VIEWPOINTS) as labels:
        assert [label.source for label in labels.labels.values()] == ["hand"] * 3 + ["auto"]


def test_auto_labels_of_pictures_that_are_not_in_this_manifest_stay(tmp_path: Path) -> None:
    given = pictures(tmp_path)
    filled(tmp_path, given, 0.5)
    filled(tmp_path, given[:5], 0.99)
    assert auto(tmp_path).keys() == {"5.jpg", "6.jpg"}


def test_the_interval_is_wilsons() -> None:
    assert Line(confidence=0.9, fills=0, hand=10, right=9).interval == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert Line(confidence=0.9, fills=0, hand=20, right=20).interval == pytest.approx((0.8389, 1), abs=1e-4)


@pytest.mark.parametrize("confidence", [0, -1, 1.01, float("nan")])
def test_a_confidence_that_is_none_is_refused(tmp_path: Path, confidence: float) -> None:
    with pytest.raises(InvalidValue, match="--auto"):
        filled(tmp_path, [], confidence)
