"""Charts that a browser can read, with what they should say."""

from xml.etree import ElementTree

import numpy as np
import pytest

from index.overview.svg_chart import bars, cells, short, steps, ticks

SPACE = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(each.itertext()) for each in root.iter() if each.tag == "text"]


def titles(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter() if each.tag == "title"]


def test_cells_tell_each_count_and_the_sums() -> None:
    svg = cells(["<north> & co", "a name that is far too long to fit"], ["00", "01"], np.array([[0, 1500], [7, 2]]))
    assert texts(svg) == ["00", "01", "sum", "<north> & co", "1.5k", "1,500", "…far too long to fit", "7", "2", "9"]
    assert "<north> & co, 01: 1,500" in titles(svg)


def test_cells_get_deeper_with_the_count() -> None:
    root = ElementTree.fromstring(cells(["a"], ["0", "1", "2"], np.array([[0, 1, 100]])))
    fills = [each.attrib["fill"] for each in root.iter() if each.tag == "rect"]
    depths = [int(fill[1:3], 16) for fill in fills]
    assert depths == sorted(depths, reverse=True)
    assert len(set(depths)) == 3


def test_bars_have_their_shares() -> None:
    svg = bars({"all": {"front": 3, "rear": 1}, "none": {"front": 0, "rear": 0}}, ["front", "rear"])
    assert texts(svg) == ["front", "rear", "all", "75 %", "25 %", "4", "none", "0"]
    assert "all, front: 3 (75.0 %)" in titles(svg)
    widths = [float(each.attrib["width"]) for each in ElementTree.fromstring(svg).iter() if each.tag == "rect"]
    assert widths[2] == pytest.approx(3 * widths[3], abs=3)


def test_steps_lie_where_the_distances_do() -> None:
    svg = steps(
        np.array([0.0, 1.0, 2.0]), {"within": np.array([0.75, 0.25]), "between": np.array([0.0, 1.0])}, {"1.00": 1.0}
    )
    (within, between) = (each.attrib["d"] for each in ElementTree.fromstring(svg).iter() if each.tag == "path")
    assert within.endswith("Z")
    assert "V34.0" in between  # the highest bin reaches the top
    assert "V34.0" not in within
    assert {"within", "between", "1.00", "distance", "100 %"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.094, [n / 100 for n in range(10)]),
        (4.2, [0, 1, 2, 3, 4]),
        (25, [0, 5, 10, 15, 20, 25]),
    ],
)
def test_ticks_are_round(largest: float, expected: list[float]) -> None:
    assert ticks(largest) == expected


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (9949, "9.9k"), (9960, "10k"), (999_600, "1.0M"), (12_345_678, "12M")],
)
def test_short_counts(count: int, told: str) -> None:
    assert short(count) == told
