"""Times of stages, lately."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.watching.recent_times import Quantiles, RecentTimes


def test_quantiles_are_times_that_were_seen() -> None:
    times = RecentTimes(["embed", "search"])
    for number in range(200, 0, -1):
        times.add("embed", number / 1000)
    assert times.told() == {"embed": Quantiles(200, 0.1, 0.198), "search": Quantiles(0, None, None)}
    times.add("search", 0.5)
    assert times.told()["search"] == Quantiles(1, 0.5, 0.5)


def test_pictures_that_took_a_time_together_count_each() -> None:
    times = RecentTimes(["embed"])
    times.add("embed", 1.0)
    times.add("embed", 0.25, 3)
    assert times.told()["embed"] == Quantiles(4, 0.25, 1.0)


def test_what_is_long_ago_is_left_out() -> None:
    now = 0.0
    times = RecentTimes(["embed"], seconds=10, clock=lambda: now)
    times.add("embed", 5.0)
    now = 6.0
    times.add("embed", 1.0)
    assert times.told()["embed"] == Quantiles(2, 1.0, 5.0)
    now = 10.5
    assert times.told()["embed"] == Quantiles(1, 1.0, 1.0)
    now = 17.0
    assert times.told()["embed"] == Quantiles(0, None, None)


def test_the_latest_are_kept() -> None:
    times = RecentTimes(["embed"], most=100)
    times.add("embed", 9.0, 100_000_000)
    assert times.told()["embed"] == Quantiles(100, 9.0, 9.0)
    times.add("embed", 1.0, 99)
    assert times.told()["embed"] == Quantiles(100, 1.0, 1.0)


def test_it_can_be_asked_while_it_is_told() -> None:
    times = RecentTimes(["embed"], most=500)

    def tell() -> None:
        for _ in range(2000):
            times.add("embed", 0.5)

    def ask() -> None:
        for _ in range(200):
            times.told()

    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(work) for work in (tell, tell, ask)]:
            each.result(60)
    assert times.told()["embed"] == Quantiles(500, 0.5, 0.5)


def test_a_stage_that_there_is_none_of_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        RecentTimes(["embed"]).add("draw", 1.0)
