"""Filters as SQL; what they select is tested with the gallery."""

from datetime import UTC, datetime

from index.gallery import Filters
from index.row_filter import Condition, passing

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_no_filter_passes_all() -> None:
    assert passing(Filters(), space_id=1, since=None) == Condition("TRUE")


def test_values_are_bound_and_never_written_into_the_sql() -> None:
    hostile = "'); DROP TABLE images; --"
    condition = passing(
        Filters(
            camera_id=(hostile,),
            exclude_camera_id=(hostile, hostile),
            vehicle_id=(hostile,),
            viewpoint=(hostile,),
            captured_after=NOON,
            captured_before=NOON,
            attributes={hostile: (hostile, 1, 2.5)},
        ),
        space_id=7,
        since=5,
    )
    assert "DROP" not in condition.sql
    assert condition.sql.count("?") == len(condition.bindings) == 13
    assert condition.bindings[-1] == 5


def test_both_must_hold() -> None:
    assert Condition("a = ?", (1,)) & Condition("b = ?", (2,)) == Condition("a = ? AND b = ?", (1, 2))
