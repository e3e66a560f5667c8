"""Ids and stages of a request, from its headers to the workers and back."""

import io
import logging
import re
import threading

import httpx
import pytest
from fastapi import Request

from service.context import context_of
from service.watching.log_lines import JsonLines
from service.watching.request_trace import LONGEST_STATE, TraceParent, current
from tests.http_client import parts, strict_json
from tests.pictures import jpeg
from tests.test_engine import app, calling, embedder  # noqa: F401  # fixtures

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "flags"),
    [(GOOD, 1), (f"00-{TRACE}-{SPAN}-00", 0), (f"cc-{TRACE}-{SPAN}-03-what-will-be", 3), (f" {GOOD} ", 1)],
)
def test_a_place_in_a_trace_is_read(header: str, flags: int) -> None:
    found = TraceParent.read([header], ["rojo=1,congo=t61", "a@b=2"])
    assert found == TraceParent(trace_id=TRACE, span_id=SPAN, flags=flags, state="rojo=1,congo=t61,a@b=2")


@pytest.mark.parametrize(
    "headers",
    [
        [], [""], [GOOD, GOOD], [GOOD.upper()], [f"ff-{TRACE}-{SPAN}-01"], [f"{GOOD}-more"], [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"], [f"00-{TRACE}-{SPAN}"], [f"00-{TRACE[1:]}-{SPAN}-01"], [f"0-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-0x"], [f"cc-{TRACE}-{SPAN}-01what"], [GOOD.replace("4", "\u0664", 1)],
    ],
)  # fmt: skip
def test_what_is_no_place_in_a_trace_is_passed_over(headers: list[str]) -> None:
    assert TraceParent.read(headers, ["rojo=1"]) is None


@pytest.mark.parametrize("state", ["x" * (LONGEST_STATE + 1), "a=\u00e9", "a=1\nb=2"])
def test_a_state_that_cannot_go_along_is_left_behind(state: str) -> None:
    found = TraceParent.read([GOOD], [state])
    assert found is not None
    assert (found.trace_id, found.state) == (TRACE, "")


async def answer_from_a_worker(app, headers: dict[str, str]) -> tuple[httpx.Response, list[dict[str, object]]]:  # type: ignore[no-untyped-def]  # noqa: F811
    """What two log lines of one request say, one of them from a worker's thread."""
    logger, lines = logging.getLogger("tests.worker"), io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)

    async def route(request: Request) -> dict[str, str]:
        def work() -> str:
            logger.warning("at work")
            return threading.current_thread().name

        name, _ = await context_of(request).engine.run(work)
        logger.warning("answering")
        return {"thread": name}

    app.add_api_route("/tried", route)
    try:
        async with calling(app) as client:
            answer = await client.get("/tried", headers=headers)
    finally:
        logger.removeHandler(handler)
    return answer, [strict_json(line.encode()) for line in lines.getvalue().splitlines()]


@pytest.mark.parametrize("given", ["mine-1", None])
def test_lines_of_a_worker_have_the_request_too(app, given: str | None) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    import asyncio

    headers = {"traceparent": GOOD} | ({} if given is None else {"X-Request-ID": given})
    answer, lines = asyncio.run(answer_from_a_worker(app, headers))
    assert answer.json()["thread"] != threading.current_thread().name
    own = answer.headers["x-request-id"]
    assert given in (None, own)
    assert [line["message"] for line in lines] == ["at work", "answering"]
    for line in lines:
        assert (line["request_id"], line["trace_id"]) == (own, TRACE)
    assert current() is None


def stages_of(answer: httpx.Response) -> dict[str, float]:
    """The header Server-Timing, as its grammar has it."""
    assert answer.is_success, answer.text
    header = answer.headers["server-timing"]
    assert re.fullmatch(r"[a-z]+;dur=\d+\.\d{3}(, [a-z]+;dur=\d+\.\d{3})*", header), header
    return {each.split(";")[0]: float(each.split("=")[1]) for each in header.split(", ")}


def test_an_answer_tells_what_its_stages_took(client: httpx.Client, gallery: str) -> None:
    ingested = {"queue", "decode", "embed", "store", "total"}
    searched = {"queue", "decode", "embed", "search", "total"}
    assert stages_of(client.put(f"{gallery}/images/own", content=jpeg(0))).keys() == ingested
    assert stages_of(client.post(f"{gallery}/images", files=parts(jpeg(1), jpeg(2)))).keys() == ingested
    assert stages_of(client.get(f"{gallery}/images/own/similar")).keys() == {"queue", "search", "total"}
    assert stages_of(client.post("/v1/embeddings", content=jpeg(0))).keys() == searched - {"search"}
    assert stages_of(client.post(f"{gallery}/search/batch", files=parts(jpeg(1), jpeg(2)))).keys() == searched
    found = client.post(f"{gallery}/search", content=jpeg(0))
    stages, told = stages_of(found), found.json()["timing_ms"]
    assert stages.keys() == searched
    for name, tolerated in {"queue": 0.6, "decode": 0.002, "embed": 0.002, "search": 0.002}.items():
        assert stages[name] == pytest.approx(told[name], abs=tolerated), name
    assert stages["total"] >= told["total"]
    assert stages["total"] >= stages["queue"] + stages["decode"] + stages["embed"] + stages["search"]


def test_an_answer_without_stages_tells_none(client: httpx.Client, gallery: str) -> None:
    for path in ("/v1/model", gallery, f"{gallery}/images", "/nowhere"):
        assert "server-timing" not in client.get(path).headers, path
