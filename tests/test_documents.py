"""JSON in and out."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from index.contract import MatchProbability
from index.errors import InvalidValue
from index.gallery import Match, Metadata, StoredImage
from service.wire.documents import (
    answer,
    image_document,
    match_document,
    read_json,
    read_json_lenient,
    require_distinct_keys,
    time_text,
    viewpoint_document,
)
from service.wire.problems import MalformedRequest

STORED = StoredImage(
    image_id="cam1:7", metadata=Metadata(vehicle_id="v", attributes={"n": 1}),
    ingested_at=datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC), viewpoint={"front": 0.123456}, crop_name="ab.jpg",
)  # fmt: skip


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "ü", null, true]}', "5", '"\\ud800"', " [] ", "1e999"])
def test_json_is_read(text: str) -> None:
    assert read_json(text.encode(), what="it") == json.loads(text)


@pytest.mark.parametrize(
    "data",
    [b"", b"NaN", b"[Infinity]", b"\xff", b"\xef\xbb\xbf{}", b"{} 1", b"[" * 100_000, "{}".encode("utf-16")],
)  # fmt: skip
def test_what_is_no_json_is_refused_in_words_that_can_be_sent(data: bytes) -> None:
    with pytest.raises(MalformedRequest, match="it is not JSON") as caught:
        read_json(data, what="it")
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"\\ud800": 1, "\\ud800": 2}', '[{"b": [{"a": 1, "a": 2}]}]'])
def test_a_key_that_stands_twice_is_told_where_the_caller_says(text: str) -> None:
    with pytest.raises(InvalidValue, match="stands twice") as caught:
        read_json(text.encode(), what="it", pointer="/here")
    assert str(caught.value).isascii()
    assert caught.value.pointer == "/here"
    lenient = read_json_lenient(f"[{text}, 1]".encode(), what="it")
    assert isinstance(lenient, list)
    require_distinct_keys(lenient[1], pointer="/1")
    with pytest.raises(InvalidValue, match="stands twice"):
        require_distinct_keys(lenient[0], pointer="/0")


def test_an_integer_of_any_length_is_json() -> None:
    assert read_json(b"-" + b"9" * 100_000, what="it") < -(2**1000)  # type: ignore[operator]


def test_an_answer_is_strict_json() -> None:
    assert answer({"a": "ü\ud800"}).body == b'{"a":"\\u00fc\\ud800"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        answer({"a": float("nan")})


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC), "2026-05-04T10:11:12Z"),
        (datetime(2026, 5, 4, 10, 11, 12, 5, tzinfo=UTC), "2026-05-04T10:11:12.000005Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(time: datetime, text: str) -> None:
    assert time_text(time) == text
    assert datetime.fromisoformat(text).astimezone(timezone(timedelta(hours=2))) == time


def test_an_image_as_clients_see_it() -> None:
    document = image_document(STORED, "g")
    assert document["crop"] == "/v1/galleries/g/images/cam1%3A7/crop"
    assert document["viewpoint"] == {"front": 0.1235}
    assert document["captured_at"] is None


def test_a_match_shows_its_vector_where_it_came_with_it() -> None:
    match = Match(rank=1, distance=0.1235, image=STORED, embedding=np.ones(2, np.float32))
    assert match_document(match, "g", None)["embedding"] == [1.0, 1.0]
    plain = match_document(replace(match, embedding=None), "g", None)
    assert "embedding" not in plain
    assert "probability" not in plain
    assert plain["distance"] == 0.1235


def test_a_model_with_one_viewpoint_has_none_to_tell() -> None:
    assert viewpoint_document(("whole",), None) == {}


def test_a_match_tells_its_probability_where_the_model_says_what_its_distances_mean() -> None:
    meaning = MatchProbability(
        form="logistic", parameters={"intercept": 0.0, "slope": 1.0}, ranks=10, prior=0.1, data_set="roads"
    )
    match = Match(rank=1, distance=0.0, image=STORED)
    assert match_document(match, "g", meaning)["probability"] == 0.5
