"""A limit of requests a second."""

from service.capacity.token_bucket import TokenBucket


def test_a_burst_then_the_rate() -> None:
    now = 100.0
    bucket = TokenBucket(rate=2, burst=3, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now += 0.25
    assert bucket.take() == 0.25
    now += 0.25
    assert [bucket.take(), bucket.take()] == [0, 0.5]
    now += 1000
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def test_less_than_one_a_second() -> None:
    now = 0.0
    bucket = TokenBucket(rate=0.01, burst=1, clock=lambda: now)
    assert (bucket.take(), bucket.take()) == (0, 100)
    now = 99.0
    assert 0 < bucket.take() <= 1.0001
    now = 100.1
    assert bucket.take() == 0
