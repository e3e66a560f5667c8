"""What clients may ask of a trail."""

from typing import Any

import pytest

from index.errors import InvalidValue
from service.trails.trail_wish import MAX_SPEED, TrailWish, check_wish


def test_what_is_asked() -> None:
    assert check_wish({"image_ids": ["a"]}) == TrailWish(image_ids=("a",), max_speed=MAX_SPEED)
    everything = {
        "image_ids": ["b", "a"], "query_image_ids": ["q"], "query_ids": ["0" * 32], "boxes": [[1, 2, 3, 4]],
        "max_speed_kmh": 80, "title": " Red car ", "note": "one\ntwo",
        "asked_by": "Ł",
    }  # fmt: skip
    assert check_wish(everything) == TrailWish(
        image_ids=("b", "a"), query_image_ids=("q",), query_ids=("0" * 32,), boxes=((1, 2, 3, 4),), max_speed=80,
        title="Red car", note="one\ntwo", asked_by="Ł",
    )  # fmt: skip
    absent = {name: None for name in everything if name != "image_ids"}
    assert check_wish({"image_ids": ["a"], **absent}) == check_wish({"image_ids": ["a"], "title": "  "})


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ([], "", "the body must be a JSON object"),
        ({}, "/image_ids", "image_ids must be an array of 1 to 256, not null"),
        ({"image_ids": []}, "/image_ids", "1 to 256"),
        ({"image_ids": ["a"] * 257}, "/image_ids", "1 to 256"),
        ({"image_ids": ["a", "/"]}, "/image_ids/1", "must match"),
        ({"image_ids": ["a", "b", "a"]}, "/image_ids/2", "has a twice"),
        ({"image_ids": ["a"], "query_image_ids": ["a"] * 9}, "/query_image_ids", "0 to 8"),
        (
            {"image_ids": ["a"], "query_ids": ["0" * 32] * 4, "query_image_ids": ["q"] * 5},
            "/query_ids",
            "are 9 together",
        ),
        ({"image_ids": ["a"], "query_ids": ["0" * 31]}, "/query_ids/0", "32 hexadecimal digits"),
        ({"image_ids": ["a"], "query_ids": [7]}, "/query_ids/0", "not 7"),
        ({"image_ids": ["a"], "boxes": [[1, 2, 3]]}, "/boxes/0", "box must be"),
        ({"image_ids": ["a"], "boxes": "1,2,3,4"}, "/boxes", "0 to 8"),
        ({"image_ids": ["a"], "images": 1}, "/images", "not a known field"),
        ({"image_ids": ["a"], "max_speed_kmh": 0}, "/max_speed_kmh", "above 0 and up to 2,000, not 0"),
        ({"image_ids": ["a"], "max_speed_kmh": True}, "/max_speed_kmh", "not true"),
        ({"image_ids": ["a"], "max_speed_kmh": 10**400}, "/max_speed_kmh", "more than 64 bits"),
        ({"image_ids": ["a"], "max_speed_kmh": float("nan")}, "/max_speed_kmh", "nan"),
        ({"image_ids": ["a"], "title": "t" * 201}, "/title", "at most 200 characters"),
        ({"image_ids": ["a"], "note": "\0"}, "/note", "without NUL"),
        ({"image_ids": ["a"], "asked_by": "\ud800"}, "/asked_by", "lone surrogates"),
        ({"image_ids": ["a"], "asked_by": 7}, "/asked_by", "not 7"),
    ],
)
def test_what_is_wrong_is_named(document: Any, pointer: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_wish(document)
    assert caught.value.pointer == pointer
    assert words in str(caught.value)
