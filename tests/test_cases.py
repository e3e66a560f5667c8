"""Failures first, sorted by how wrong."""

from pathlib import Path

import numpy as np
import pytest

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.measuring.protocols import Draw, Plan
from model_export.reporting.cases import Ranking, worst_cases


def planned(rows: list[tuple[str, str]]) -> Plan:
    """Every row probes the others' cameras."""
    made = tuple(
        ManifestRow(line=n + 2, path=Path(f"{n}.png"), vehicle_id=v, camera_id=c) for n, (v, c) in enumerate(rows)
    )
    everything = np.arange(len(rows))
    return Plan(
        data_set="x", protocol="cross-camera", rows=made, draws={"": (Draw(everything, everything),)}, tested=everything
    )


#                0            1            2            3            4            5
ROWS = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1"), ("c", "2")]
AT = np.array([[0.0], [10.0], [9.0], [1.0], [20.0], [20.5]], np.float32)
# From camera 1: a0 sees 3 (wrong, 1), 1 (right, 10), 5: rank 2, gap 9. b2 sees 1 (wrong, 1), 3 (right, 8): rank 2, gap 7.
# c4: rank 1, gap 0.5 − 10. From camera 2: a1 sees 2 (1), 4 and 0 (both 10; the wrong one stands first): rank 3, gap 9.
# b3 sees 0 (1), 2 (8): rank 2, gap 7. c5: rank 1, gap 0.5 − 11.5.


def lines(ranking: Ranking) -> list[tuple[str, int, float, bool]]:
    return [(match.row.path.stem, match.place, match.distance, match.right) for match in ranking.matches]


def test_the_latest_first_match_comes_first_then_the_largest_gap() -> None:
    cases, scores = worst_cases(planned(ROWS), {"m": AT}, count=10, progress=False)
    assert [case.probe.path.stem for case in cases] == ["1", "0", "2", "3", "4", "5"]
    assert [case.ranking.first_right.place for case in cases] == [3, 2, 2, 2, 1, 1]
    assert [case.ranking.gap for case in cases] == pytest.approx([9, 9, 7, 7, -9.5, -11])
    assert [case.ranking.failed for case in cases] == [True, True, True, True, False, False]
    assert len(scores.first) == 6
    assert [case.probe.path.stem for case in worst_cases(planned(ROWS), {"m": AT}, count=2, progress=False)[0]] == [
        "1",
        "0",
    ]


def test_a_ranking_shows_what_the_figures_count() -> None:
    (case, *_), _ = worst_cases(planned(ROWS), {"m": AT}, count=1, progress=False)
    assert lines(case.ranking) == [("2", 1, 1.0, False), ("4", 2, 10.0, False), ("0", 3, 10.0, True)]
    assert case.ranking.first_wrong is not None
    assert case.ranking.first_wrong.row.path.stem == "2"
    assert case.baseline is None


def test_ten_are_shown_and_the_first_right_one_wherever_it_is() -> None:
    rows = [("a", "1"), *((f"w{n}", "2") for n in range(30)), ("a", "2")]
    vectors = np.arange(32, dtype=np.float32)[:, None]
    (case,), _ = worst_cases(planned(rows), {"m": vectors}, count=1, progress=False)
    assert [match.place for match in case.ranking.matches] == list(range(1, 11))
    assert (case.ranking.first_right.place, case.ranking.first_right.distance) in {(31, 31.0), (1, 31.0)}


def test_the_baseline_ranks_the_same_probes() -> None:
    cases, _ = worst_cases(planned(ROWS), {"m": AT, "old": -AT[::-1].copy()}, count=3, progress=False)
    assert [case.probe.path.stem for case in cases] == ["1", "0", "2"]
    for case in cases:
        assert case.baseline is not None
        assert case.baseline.model == "old"
        assert lines(case.baseline) != lines(case.ranking)


def test_without_a_match_there_is_nothing_to_show() -> None:
    with pytest.raises(InvalidValue, match="no ranking to show"):
        worst_cases(planned([("a", "1"), ("b", "2")]), {"m": AT[:2]}, count=3, progress=False)
