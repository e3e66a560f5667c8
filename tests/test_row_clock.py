"""Row ids: unique among writers that do not ask each other, and growing."""

from index.milvus.row_clock import LAST, RowClock


def test_ids_grow_also_where_the_clock_stands_or_goes_back() -> None:
    now = [1_800_000_000_000_000]
    clock = RowClock(lambda: now[0])
    taken = [*clock.take(300), *clock.take(1)]
    now[0] -= 10**9
    taken += clock.take(2)
    assert taken == sorted(set(taken))
    assert all(each % 2**18 == clock.writer for each in taken)
    now[0] += 10**12
    (later,) = clock.take(1)
    assert later > taken[-1]
    assert later > clock.ago(1) > taken[-1]


def test_ids_are_greater_than_those_that_they_replace() -> None:
    slow, quick = RowClock(lambda: 1_800_000_000_000_000), RowClock(lambda: 1_900_000_000_000_000)
    (first,) = quick.take(1)
    (second,) = slow.take(1, above=first)
    assert second > first
    assert next(iter(slow.take(1))) > second


def test_writers_do_not_meet_and_ids_last_for_a_life() -> None:
    clocks = [RowClock(lambda: 1_800_000_000_000_000) for _ in range(5)]
    for number, clock in enumerate(clocks):
        clock.writer = number
    taken = [each for clock in clocks for each in clock.take(50)]
    assert len(set(taken)) == 250
    (in_2090,) = RowClock(lambda: 3_786_912_000_000_000).take(1)
    assert in_2090 < LAST
