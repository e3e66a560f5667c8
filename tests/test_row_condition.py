"""What a client says stays inside its quotes."""

import json
import re

import pytest

from index.gallery import Filters
from index.milvus.row_condition import RowCondition, all_of, one_of


@pytest.mark.parametrize(
    "value", ['"', "\\", '\\"', "\n", '\\\\"] or row_id > 0 or camera_id in ["', "ü\u2028🚗", "\x00"]
)
def test_a_string_ends_where_it_should(value: str) -> None:
    written = one_of("camera_id", [value, "b"])
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', written)
    assert [json.loads(each) for each in strings] == [value, "b"]
    assert re.sub(r'"(?:[^"\\]|\\.)*"', "S", written) == "camera_id in [S, S]"
    assert not any(ord(each) < 32 for each in written)


def test_nothing_asked_is_no_expression() -> None:
    assert RowCondition(Filters(), None).expression == ""
    assert RowCondition(Filters(), 5).expression == "(ingested_at >= 5)"
    assert all_of("", "a == 1", "", "b == 2") == "(a == 1) and (b == 2)"


def test_names_of_attributes_are_not_in_it() -> None:
    written = RowCondition(Filters(attributes={'x"] or true': ("y", 1)}), None).expression
    assert re.fullmatch(r"\(array_contains_any\(tags, \[\d+, \d+\]\)\)", written)
