"""When a request is sent again: the conversation is held by hand, without a network."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from vehicle_search_client import (
    Busy,
    NotFound,
    Patience,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    calls,
)
from vehicle_search_client.calls import Call
from vehicle_search_client.conversation import Talk, Wait, asked

REQUEST = httpx.Request("GET", "http://127.0.0.1:8000/v1/model")
PATIENT = Patience(retries=3, first=1.0, longest=8.0, draw=lambda: 0.0)
ONCE = Call(method="POST", path="/x", read=lambda response: response.json(), repetition="unless begun")
ALWAYS = Call(method="GET", path="/x", read=lambda response: response.json())
NEVER = Call(method="GET", path="/x", read=lambda response: response.json(), repetition="never")


def reply(status: int, retry_after: str | None = None, **document: object) -> httpx.Response:
    problem = {"type": "urn:x:y", "title": "t", "status": status, "detail": "because"}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json=document or problem, headers=headers, request=REQUEST)


def mishap(kind: type[httpx.TransportError]) -> httpx.TransportError:
    return kind("cut", request=REQUEST)


def held(talk: Talk[Any], *events: httpx.Response | httpx.TransportError) -> tuple[object, list[float]]:
    """What the talk comes to when these happen to its requests, and the pauses it made."""
    pauses: list[float] = []
    coming: Iterator[httpx.Response | httpx.TransportError] = iter(events)
    step = next(talk)
    try:
        while True:
            if isinstance(step, Wait):
                pauses.append(step.seconds)
                step = next(talk)
            else:
                step = talk.send(next(coming))
    except StopIteration as end:
        assert next(coming, None) is None, "something was not asked for"
        return end.value, pauses


OK = reply(200, answer=1)
LOST, UNSENT = mishap(httpx.ReadError), mishap(httpx.ConnectError)


@pytest.mark.parametrize("call", [ONCE, ALWAYS])
@pytest.mark.parametrize("event", [reply(429), UNSENT, mishap(httpx.ConnectTimeout)])
def test_what_was_not_begun_is_sent_again(call: Call[object], event: httpx.Response | httpx.TransportError) -> None:
    answer, pauses = held(asked(call, PATIENT), event, event, OK)
    assert answer == {"answer": 1}
    assert pauses == [0.5, 1.0]  # half of what doubles, where nothing is drawn


@pytest.mark.parametrize("event", [reply(503), LOST, mishap(httpx.RemoteProtocolError)])
def test_what_may_have_been_done_is_sent_again_only_where_twice_is_once(
    event: httpx.Response | httpx.TransportError,
) -> None:
    assert held(asked(ALWAYS, PATIENT), event, OK)[0] == {"answer": 1}
    with pytest.raises((Unavailable, Unreachable)):
        held(asked(ONCE, PATIENT), event)


@pytest.mark.parametrize("event", [reply(429), reply(503), UNSENT, LOST])
def test_some_are_asked_once(event: httpx.Response | httpx.TransportError) -> None:
    with pytest.raises((Busy, Unavailable, Unreachable)):
        held(asked(NEVER, PATIENT), event)


def test_who_is_slow_is_not_asked_a_second_time_beside_the_first() -> None:
    with pytest.raises(TimedOut, match="larger timeout"):
        held(asked(ALWAYS, PATIENT), mishap(httpx.ReadTimeout))


def test_patience_ends_and_the_last_refusal_is_told() -> None:
    with pytest.raises(Busy, match="because") as caught:
        held(asked(ALWAYS, PATIENT), *[reply(429, "2")] * 4)
    assert (caught.value.status, caught.value.retry_after) == (429, 2.0)


def test_retry_after_is_waited_at_least() -> None:
    assert held(asked(ALWAYS, PATIENT), reply(429, "7"), OK)[1] == [7.0]
    with pytest.raises(Busy):
        held(asked(ALWAYS, PATIENT), reply(429, "9"))  # longer than anybody waits
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    ((pause,),) = (held(asked(ALWAYS, PATIENT), reply(503, soon), OK)[1],)
    assert 2 < pause <= 5
    assert held(asked(ALWAYS, PATIENT), reply(503, "tomorrow"), OK)[1] == [0.5]


def test_pauses_are_drawn_and_bounded() -> None:
    patience = Patience(retries=10, first=0.5, longest=4.0, draw=random.Random(0).random)
    pauses = [patience.pause(attempt, None) for attempt in range(10)]
    for attempt, pause in enumerate(pauses):
        whole = min(4.0, 0.5 * 2**attempt)
        assert pause is not None
        assert whole / 2 <= pause <= whole
    assert len(set(pauses)) == 10
    assert patience.pause(10, None) is None


def test_an_image_whose_erasure_was_lost_on_the_way_is_erased() -> None:
    held(asked(calls.delete_image("a"), PATIENT), LOST, reply(404))
    with pytest.raises(NotFound):
        held(asked(calls.delete_image("a"), PATIENT), reply(404))


@pytest.mark.parametrize(
    "response",
    [httpx.Response(200, text="<html>", request=REQUEST), httpx.Response(404, text="nginx", request=REQUEST),
     httpx.Response(500, json=[], request=REQUEST), reply(200, other=1), httpx.Response(302, request=REQUEST)],
)  # fmt: skip
def test_another_program_answers(response: httpx.Response) -> None:
    with pytest.raises(UnexpectedAnswer, match="is that a vehicle search service"):
        held(asked(calls.model(), PATIENT), response)


def test_a_proxy_that_says_503_is_waited_for() -> None:
    busy = httpx.Response(503, text="<html>", request=REQUEST)
    assert held(asked(ALWAYS, PATIENT), busy, OK)[0] == {"answer": 1}
    with pytest.raises(Unavailable, match="503"):
        held(asked(ALWAYS, PATIENT), *[busy] * 4)
