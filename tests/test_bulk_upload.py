"""Pictures are cut into batches as they come; the conversation about one is held by hand."""

import json
import re
from collections.abc import Sequence

import httpx
import pytest

from vehicle_search_client import AddedImage, BatchSize, NewImage, Patience, Unavailable
from vehicle_search_client.bulk_upload import Batch, batches, must_wait, uploaded
from vehicle_search_client.calls import Call
from vehicle_search_client.conversation import Wait


def new(name: str, size: int = 1) -> NewImage:
    return NewImage(picture=b"x" * size, image_id=name)


def shapes(images: Sequence[NewImage | str], size: BatchSize) -> list[list[str | None]]:
    """The ids of each batch, what was not read with None."""
    cut = []
    for batch in batches(images, size):
        places = [(entry.number, entry.image_id) for entry in batch.entries]
        cut.append([name for _, name in sorted([*places, *((one.number, None) for one in batch.unread)])])
    return cut


def test_a_batch_ends_where_it_is_full() -> None:
    three = BatchSize(images=3, bytes=100)
    assert shapes([], three) == []
    assert shapes([new(n) for n in "abcdefg"], three) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert shapes([new("a", 60), new("b", 41), new("c", 59)], three) == [["a"], ["b", "c"]]
    assert shapes([new("a"), new("b", 500), new("c")], three) == [["a"], ["b"], ["c"]]  # one that is larger goes alone
    assert shapes([new("a"), new("b"), new("a")], three) == [["a", "b"], ["a"]]
    assert shapes(["none.jpg", new("a"), "none.jpg", new("b")], three) == [[None, "a", None], ["b"]]


def test_a_batch_waits_for_room_and_for_its_ids() -> None:
    (first,), (second,), (again,) = (list(batches([new(name)], BatchSize())) for name in "aba")
    assert not must_wait(second, [first], 2)
    assert must_wait(second, [first], 1)
    assert must_wait(again, [first, second], 9)
    assert not must_wait(Batch(), [first], 2)


def answered(call: Call[object], most: int) -> httpx.Response:
    """A service that takes ``most`` pictures a request, and refuses a request with one called bad."""
    request = httpx.Request("POST", "http://127.0.0.1:8000/x")
    assert call.files is not None
    names = [one["image_id"] for one in json.loads(call.files[-1][1][1])]
    status = 413 if len(names) > most else 422 if "bad" in names else 200
    if status != 200:
        problem = {"type": "urn:x:y", "title": "t", "status": status, "detail": f"{len(names)}"}
        return httpx.Response(status, json=problem, request=request)
    results = [{"image_id": name, "status": "created"} for name in names]
    document = {"created": len(names), "updated": 0, "failed": 0, "results": results}
    return httpx.Response(200, json=document, request=request)


def told(names: Sequence[str], most: int) -> tuple[list[AddedImage], int]:
    """What becomes of a batch of these, and how many requests it took."""
    (batch,) = batches([new(name) for name in names], BatchSize(images=99))
    talk, requests = uploaded(batch, "yard", Patience()), 0
    step = next(talk)
    try:
        while True:
            assert not isinstance(step, Wait)
            requests += 1
            step = talk.send(answered(step, most))
    except StopIteration as end:
        results: list[AddedImage] = end.value
        return results, requests


def test_a_batch_that_is_refused_is_halved_until_the_picture_at_fault_is_alone() -> None:
    results, requests = told(["a", "b", "bad", "d", "e"], most=9)
    assert [(one.number, one.status) for one in results] == [
        (0, "created"), (1, "created"), (2, "failed"), (3, "created"), (4, "created"),
    ]  # fmt: skip
    assert results[2].problem is not None
    assert results[2].problem.status == 422
    assert requests == 5  # abXde, ab, Xde, X, de
    results, _ = told([f"i{n}" for n in range(10)], most=3)
    assert [one.image_id for one in results] == [f"i{n}" for n in range(10)]
    assert {one.status for one in results} == {"created"}


def test_what_befalls_every_batch_is_raised() -> None:
    (batch,) = batches([new("a")], BatchSize())
    talk = uploaded(batch, "yard", Patience(retries=0))
    next(talk)
    problem = {"type": "urn:x:y", "title": "t", "status": 503, "detail": "stopping"}
    with pytest.raises(Unavailable, match="stopping"):
        talk.send(httpx.Response(503, json=problem, request=httpx.Request("POST", "http://x")))


def test_every_image_has_an_id_so_that_it_may_be_sent_twice() -> None:
    (batch,) = batches([b"1", NewImage(picture=b"2"), b"3"], BatchSize())
    assert len({entry.image_id for entry in batch.entries}) == 3
    assert all(re.fullmatch(r"[0-9a-f-]{36}", entry.image_id) for entry in batch.entries)
    assert [entry.metadata["image_id"] for entry in batch.entries] == [entry.image_id for entry in batch.entries]
