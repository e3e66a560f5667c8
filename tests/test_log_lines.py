"""The log of a real service, for people and for programs."""

import asyncio
import io
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.watching.log_lines import JsonLines
from tests.http_client import exchange, strict_json
from tests.server_process import COMMAND, free_port, refused, serving
from tests.test_engine import app, embedder  # noqa: F401  # fixtures

CONSOLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +[a-z_.]+: .+")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line, each of which must be an object of JSON with what each line has."""
    lines = [strict_json(line.encode("ascii")) for line in text.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys(), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"]), line
    return lines


def logged(form: str, model: Path, folder: Path) -> str:
    """What a service logs of a request that meets a damaged gallery, and of bytes that are no HTTP."""
    (folder / "data" / "galleries" / "yard").mkdir(parents=True)
    (folder / "data" / "galleries" / "yard" / "gallery.sqlite").write_bytes(b"no database" * 999)
    with serving(folder / "data", model, "--log-format", form, log=folder / "log") as address:
        headers = {"X-Request-ID": "mine-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        assert httpx.get(f"{address}/v1/galleries/yard", headers=headers).status_code == 503
        exchange(address, b"NO HTTP\r\n\r\n")
    return (folder / "log").read_text()


def test_json_lines(tiny_model: Path, tmp_path: Path) -> None:
    lines = json_lines(logged("json", tiny_model, tmp_path))
    within = [line for line in lines if line.get("request_id") == "mine-1"]
    assert [(line["logger"], line["level"], line["trace_id"]) for line in within] == [("service", "error", TRACE)]
    assert "GalleryUnavailable" in within[0]["message"]
    assert [line["level"] for line in lines if line["logger"] == "uvicorn.error"] == ["warning"]
    assert any("request_id" not in line for line in lines)  # of the start


def test_lines_for_people(tiny_model: Path, tmp_path: Path) -> None:
    lines = logged("console", tiny_model, tmp_path).splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert CONSOLE.fullmatch(line), line
    assert sum(line.endswith(f" [mine-1 trace {TRACE}]") for line in lines) == 1


def test_what_ends_the_start_is_a_json_line_too(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "layout").write_text("99\n")
    places = ("--port", str(free_port()), "--model", str(tiny_model), "--data-dir", str(tmp_path))
    (line,) = json_lines(refused(*places, "--log-format", "json"))
    assert (line["level"], line["logger"]) == ("critical", "service")
    assert "layout '99'" in line["message"]


def test_both_streams_together_are_json_lines(tiny_model: Path, tmp_path: Path) -> None:
    """As a container's log has them."""
    places = ("--port", str(free_port()), "--model", str(tiny_model), "--data-dir", str(tmp_path / "data"))
    command = [*COMMAND, *places, "--log-format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.terminate()
        lines = json_lines(first + process.stdout.read())
        assert process.wait(30) == 0
    assert lines[0]["message"].startswith("vehicle-search is ready after ")
    assert (lines[0]["level"], lines[0]["logger"]) == ("info", "service")


_MISHAPS = """
import logging, threading, warnings, sys
from service.watching.log_lines import set_up_log
set_up_log(sys.argv[1], "info")
log = logging.getLogger("service.tried")
log.info("first\\nsecond \\x1b[31m \\u2028 \\ud800")
log.info("%d images", "no number")
log.info("fields", extra={"fields": {"path": "a\\nb", "size": 5}})
warnings.warn("old", DeprecationWarning)
def broken():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=broken, name="worker-1")
thread.start()
thread.join()
try:
    broken()
except RuntimeError:
    log.exception("caught")
raise ValueError("at the end")
"""


def mishaps(form: str) -> str:
    command = [sys.executable, "-W", "always", "-c", _MISHAPS, form]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr


def test_whatever_goes_wrong_is_a_json_line() -> None:
    lines = json_lines(mishaps("json"))
    first, misfit, fields, old, thread, caught, last = lines
    assert first["message"] == "first\nsecond \x1b[31m \u2028 \ud800"
    assert "no number" in misfit["message"]
    assert (fields["path"], fields["size"]) == ("a\nb", 5)
    assert (old["logger"], old["level"]) == ("py.warnings", "warning")
    assert "DeprecationWarning: old" in old["message"]
    assert (thread["level"], thread["message"]) == ("critical", "thread worker-1 ended by an error")
    for line, what in ((thread, "in a thread"), (caught, "in a thread"), (last, "at the end")):
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith(f": {what}") or line["exception"].endswith(what)


def test_a_message_for_people_keeps_to_its_line() -> None:
    text = mishaps("console")
    first = text.splitlines()[0]
    assert first.endswith(r"service.tried: first\nsecond \x1b[31m \u2028 \ud800")
    assert "CRITICAL service.uncaught: thread worker-1 ended by an error\nTraceback" in text
    assert text.rstrip().endswith("ValueError: at the end")


@pytest.mark.parametrize("form", ["xml", "JSON"])
def test_a_format_that_is_none(form: str) -> None:
    line = refused("--log-format", form)
    assert "log_format" in line or "log-format" in line
    assert form in line


def test_a_bug_is_logged_whole_with_its_request(app: FastAPI) -> None:  # noqa: F811
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("service")

    async def broken() -> None:
        raise RuntimeError("our own fault")

    app.add_api_route("/broken", broken)

    async def ask() -> httpx.Response:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.get("/broken", headers={"X-Request-ID": "mine-1"})

    logger.addHandler(handler)
    try:
        answer = asyncio.run(ask())
    finally:
        logger.removeHandler(handler)
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine-1")
    assert "our own fault" not in answer.text
    (line,) = json_lines(lines.getvalue())
    assert (line["request_id"], line["message"]) == ("mine-1", "GET /broken failed")
    assert line["exception"].endswith("RuntimeError: our own fault")
