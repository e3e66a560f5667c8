"""A line a request, of the real server."""

from pathlib import Path
from typing import Any

import httpx

from tests.http_client import raw
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving
from tests.test_log_lines import CONSOLE, json_lines


def asked(model: Path, folder: Path, *options: str) -> tuple[str, str]:
    """The log of a service with a key that got some requests, and the token."""
    token = kept_key(folder / "data", "read")
    with serving(folder / "data", model, *options, log=folder / "log") as address:
        search = f"{address}/v1/galleries/default/search"
        headers = {"X-Request-ID": "mine-1", **bearer(token)}
        found = httpx.post(f"{search}?vehicle_id=whom-i-look-for", content=jpeg(0), headers=headers)
        assert found.status_code == 200
        assert httpx.post(search, content=jpeg(0)).status_code == 401
        assert httpx.head(f"{address}/v1/model", headers=bearer(token)).status_code == 200
        assert httpx.get(f"{address}/livez").status_code == 200
        raw(address, "GET", "/odd%0aINFO%1b[31m", f"Authorization: Bearer {token}")
        (folder / "size").write_text(str(len(found.content)))
    return (folder / "log").read_text(), token


def test_requests_as_json_lines(tiny_model: Path, tmp_path: Path) -> None:
    text, token = asked(tiny_model, tmp_path, "--access-log", "--log-format", "json", "--log-level", "error")
    lines = [line for line in json_lines(text) if line["logger"] == "service.access"]
    found, stranger, head, alive, odd = lines
    own: dict[str, Any] = {
        "method": "POST", "path": "/v1/galleries/default/search", "route": "/v1/galleries/{gallery}/search", "status": 200,
        "bytes": int((tmp_path / "size").read_text()), "request_id": "mine-1", "key": found["key"], "level": "info",
    }  # fmt: skip
    assert {name: found[name] for name in own} == own
    assert f"_{found['key']}_" in token
    assert 0 < found["seconds"] < 60
    assert (stranger["status"], stranger["key"], stranger["route"]) == (401, "none", "none")
    assert (head["method"], head["status"], head["bytes"], head["key"]) == ("HEAD", 200, 0, found["key"])
    assert (alive["path"], alive["key"]) == ("/livez", "none")
    assert (odd["path"], odd["status"]) == (r"/odd\nINFO\x1b[31m", 404)
    assert "whom-i-look-for" not in text
    assert token not in text


def test_requests_for_people(tiny_model: Path, tmp_path: Path) -> None:
    text, _ = asked(tiny_model, tmp_path, "--access-log")
    lines = [line for line in text.splitlines() if "service.access" in line]
    assert len(lines) == 5
    for line in lines:
        assert CONSOLE.fullmatch(line), line
    assert "POST /v1/galleries/default/search 200, " in lines[0]
    assert lines[0].endswith(" [mine-1]")


def test_none_where_nobody_asked_for_them(tiny_model: Path, tmp_path: Path) -> None:
    text, _ = asked(tiny_model, tmp_path, "--log-level", "debug")
    assert "/search" not in text
    assert "/livez" not in text


def test_the_lines_in_the_docs_are_such_lines(tiny_model: Path, tmp_path: Path) -> None:
    chapter = Path("docs/operations/monitor.md").read_text(encoding="utf-8").split("## Logs")[1].split("\n## ")[0]
    console, as_json = (block.partition("\n")[2].strip() for block in chapter.split("```")[1::2])
    assert CONSOLE.fullmatch(console)
    (shown,) = json_lines(as_json)
    headers = {"traceparent": f"00-{shown['trace_id']}-00f067aa0ba902b7-01"}
    with serving(
        tmp_path / "data", tiny_model, "--access-log", "--log-format", "json", log=tmp_path / "log"
    ) as address:
        httpx.post(f"{address}{shown['path']}", content=jpeg(0), headers=headers).raise_for_status()
    (line,) = json_lines((tmp_path / "log").read_text())
    assert list(line) == list(shown)
    own = ("request_id", "bytes", "seconds", "time", "message")
    assert [line[name] for name in line if name not in own] == [shown[name] for name in shown if name not in own]
