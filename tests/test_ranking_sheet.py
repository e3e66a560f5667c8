"""A case as a picture: frames where the right and the wrong ones are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.reporting.cases import Case, Match, Ranking
from model_export.reporting.drawing import FRAMES, Frame
from model_export.reporting.ranking_sheet import ranking_sheet, title


@pytest.fixture
def case(tmp_path: Path) -> Case:
    Image.new("RGB", (60, 40), (100, 100, 100)).save(tmp_path / "p.png")

    def match(place: int, *, right: bool) -> Match:
        row = ManifestRow(line=2, path=tmp_path / "p.png", vehicle_id="vehicle-with-a-long-name-0001", camera_id="c2")
        return Match(row=row, place=place, distance=place / 10, right=right)

    wrong = tuple(match(place, right=False) for place in range(1, 11))
    ranking = Ranking(model="m", matches=wrong, first_right=match(37, right=True), first_wrong=wrong[0])
    return Case(probe=replace(wrong[0].row, camera_id=None), ranking=ranking, baseline=None)


def frames(sheet: Image.Image) -> Callable[[Frame], int]:
    """How many frames of a kind there are: pieces of their colour in a line through the middle of the pictures."""
    pixels = np.asarray(sheet)

    def count(kind: Frame) -> int:
        alike = (pixels == np.array(FRAMES[kind])).all(2)
        line = alike[alike.sum(1).argmax()]
        return int((np.diff(line.astype(int)) == 1).sum())

    return count


def test_ten_and_the_first_right_one_beyond(case: Case) -> None:
    count = frames(ranking_sheet(case))
    assert (count("probe"), count("wrong"), count("right")) == (1, 10, 1)


def test_the_baseline_stands_above(case: Case) -> None:
    alone = ranking_sheet(case)
    both = ranking_sheet(
        replace(
            case, baseline=replace(case.ranking, model="old", first_right=replace(case.ranking.matches[0], right=True))
        )
    )
    assert both.height > 1.7 * alone.height
    rows = np.flatnonzero((np.asarray(both) == np.array(FRAMES["right"])).all(2).any(1))
    assert rows.min() > both.height / 2  # only the model's own row shows one beyond


def test_the_title_says_how_wrong(case: Case) -> None:
    assert title(case) == "first right match at rank 37, 3.600 behind the first wrong one"
    right = replace(
        case.ranking,
        first_right=replace(case.ranking.first_right, place=1, distance=0.05),
        first_wrong=replace(case.ranking.matches[1]),
    )
    assert title(replace(case, ranking=right)) == "right at rank 1, 0.150 ahead of the first wrong one"
    assert (
        title(replace(case, ranking=replace(right, first_wrong=None)))
        == "right at rank 1, nothing wrong in the gallery"
    )


def test_a_picture_that_is_gone_is_named(case: Case) -> None:
    case.probe.path.unlink()
    with pytest.raises(InvalidValue, match=r"p\.png"):
        ranking_sheet(case)
