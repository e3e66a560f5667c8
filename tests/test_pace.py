"""How fast a person labels."""

import pytest

from model_export.annotating.pace import Pace


def paced(*moments: float) -> Pace:
    pace = Pace()
    for moment in moments:
        pace.add(moment)
    return pace


def test_pictures_a_minute_and_the_time_left() -> None:
    pace = paced(*range(0, 20, 2))
    assert pace.per_minute == pytest.approx(30)
    assert pace.seconds_for(90) == pytest.approx(180)


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    assert paced(0, 1, 2).per_minute is None
    assert paced(0, 1, 2).seconds_for(5) is None
    assert paced(0, 1, 2, 3).per_minute == pytest.approx(60)
    assert paced(1, 1, 1, 1, 1).per_minute is None


def test_a_break_is_no_work_and_old_times_are_forgotten() -> None:
    with_break = paced(0, 1, 2, 3, 4, 3600, 3601, 3602)
    assert with_break.per_minute == pytest.approx(60 * 7 / 26)
    assert paced(*range(0, 1000, 10), *(1000 + n for n in range(30))).per_minute == pytest.approx(60)
