"""Times as the database keeps them."""

from datetime import UTC, datetime

import pytest

from index.storage.stored_time import microseconds, moment


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 5, 4, 10, 11, 12, 345_678, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_times_come_back(time: datetime) -> None:
    assert moment(microseconds(time)) == time
