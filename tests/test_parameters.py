"""Reading query strings."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request

from index.errors import InvalidValue
from service.wire.parameters import BOX, COMBINE, PAGE, SEARCH, SELECTED, filters_of, read_parameters, search_options_of
from service.wire.parameters import Values as ReadValues

VIEWPOINTS = ("front", "rear", "side")


def read(query: str | bytes, known: Any = (BOX, COMBINE, *SEARCH), *, attributes: bool = True) -> ReadValues:
    data = query.encode() if isinstance(query, str) else query
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": data})
    return read_parameters(request, known, attributes=attributes)


def test_nothing_said_is_the_default() -> None:
    options = search_options_of(read(""), VIEWPOINTS)
    assert options.top_k == 10
    assert options.filters.empty
    assert options.max_distance is None


def test_options_are_read() -> None:
    query = (
        "top_k=7&max_distance=1.5e-1&group_by=vehicle_id&viewpoint=rear&viewpoint=side&box=1,2,3,4&attribute.a%26b=1"
    )
    values = read(query)
    options = search_options_of(values, VIEWPOINTS, exclude=["own"])
    assert (options.top_k, options.max_distance, options.group_by) == (7, 0.15, "vehicle_id")
    assert options.filters.viewpoint == ("rear", "side")
    assert options.filters.attributes == {"a&b": (1,)}
    assert options.exclude_image_ids == {"own"}
    assert values.one("box") == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-1", -1), ("0", 0), ("1.0", 1.0), ("1e2", 100.0), ("01", "01"), ("+1", "+1"), ("1.", "1."),
        (".5", ".5"), ("0x1", "0x1"), ("1_000", "1_000"), ("", ""), ("red", "red"), ('"1"', "1"), ('""', ""),
        ('"', '"'), ('"a', '"a'), ('""a""', '"a"'), ("NaN", "NaN"), ("Infinity", "Infinity"), ("1e999", "1e999"),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("9223372036854775808", 2.0**63),
        ("٣", "٣"), ("true", "true"), ("null", "null"), ("1" * 400, "1" * 400),
    ],
)  # fmt: skip
def test_an_attribute_is_a_number_where_json_says_so(text: str, value: object) -> None:
    (read_value,) = read(f"attribute.x={text.replace('+', '%2B')}").attributes["x"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_a_space_in_a_time_is_a_plus() -> None:
    filters = filters_of(
        read("captured_after=2026-05-04T12:00:00+02:00&captured_before=2026-05-04 12:00:00Z"), VIEWPOINTS
    )
    assert filters.captured_after == datetime(2026, 5, 4, 10, tzinfo=UTC)
    assert filters.captured_before == datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("a/b~c=1", "/query/a~1b~0c"), ("top_k=1&top_k=1", "/query/top_k"), ("=1", "/query/"),
        ("top_k", "/query/top_k"),
        (b"camera_id=%FF", "/query"), (b"camera_id=\xff", "/query"), ("&".join(["camera_id=a"] * 257), "/query"),
        ("attribute.=1", "/query/attribute."), ("attribute." + "x" * 129 + "=1", "/query/attribute." + "x" * 50),
        ("attribute.a=%00", "/query/attribute.a"), ("viewpoint=top", "/query/viewpoint"), ("Top_K=1", "/query/Top_K"),
    ],
)  # fmt: skip
def test_a_refusal_points_to_the_parameter(query: str | bytes, pointer: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        filters_of(read(query), VIEWPOINTS)
    assert caught.value.pointer == pointer
    assert str(caught.value).isascii() or "–" in str(caught.value)


def test_attributes_are_unknown_where_a_route_takes_none() -> None:
    with pytest.raises(InvalidValue, match="unknown parameter"):
        read("attribute.a=1", attributes=False)


@pytest.mark.parametrize("known", [SEARCH, PAGE, SELECTED])
def test_every_parameter_says_what_it_is(known: Any) -> None:
    for parameter in known:
        document = parameter.document()
        assert document["in"] == "query"
        assert document["description"].endswith(".")
        assert document["schema"]["type"] in ("array", "string", "integer", "number")
