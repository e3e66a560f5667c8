"""Spans of a real service, as a collector in this process gets them by OTLP over HTTP."""

import gzip
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.gate.trace_export import TraceExport, TraceExportUnavailable
from tests.guide_blocks import blocks_of
from tests.http_client import parts
from tests.pictures import jpeg
from tests.server_process import free_port, refused, serving
from tests.test_log_lines import json_lines

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Keeps what is sent to ``/v1/traces``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.received: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span for each in self.received for resource in each.resource_spans for scope in resource.scope_spans
            for span in scope.spans
        ]  # fmt: skip


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:  # the standard library's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.paths.append(self.path)
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not on the tests' stderr."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = Thread(target=collector.serve_forever, name="collector")
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def guided(collector: str) -> dict[str, str]:
    """What docs/operations/monitor.md sets before it starts the service, with our collector."""
    (block,) = (
        each for each in blocks_of(Path("docs/operations/monitor.md")) if each.run_by == "tests/test_trace_export.py"
    )
    *settings, program, command = shlex.split(block.text.replace("http://collector:4318", collector))
    assert (program, command) == ("vehicle-search", "serve")
    return dict(word.split("=", 1) for word in settings)


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes}


def server_span(spans: list[Span], request_id: str) -> Span:
    (found,) = (span for span in spans if attributes(span).get("vehicle_search.request_id") == request_id)
    return found


def test_a_request_is_a_span_and_its_stages_are_below_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        for name, value in guided(f"http://127.0.0.1:{collector.server_port}").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=yard")
        options = ("--access-log", "--log-format", "json")
        with serving(tmp_path / "data", tiny_model, *options, log=tmp_path / "log") as address:

            def ask(name: str, method: str, path: str, **more: Any) -> int:
                headers = {"X-Request-ID": name, **more.pop("headers", {})}
                return httpx.request(method, f"{address}{path}", headers=headers, **more).status_code

            there = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "rojo=1,congo=t61"}
            gallery = "/v1/galleries/default"
            assert ask("put", "PUT", f"{gallery}/images/a", content=jpeg(0)) == 201
            assert ask("search", "POST", f"{gallery}/search", content=jpeg(0), headers=there) == 200
            assert ask("batch", "POST", f"{gallery}/search/batch", files=parts(*map(jpeg, range(3)))) == 200
            assert ask("lost", "GET", "/no/such/route") == 404
            assert ask("bad", "GET", f"{gallery}/images/b") == 404
            assert ask("odd", "TRACE", "/livez") == 405
            left = {"traceparent": f"00-{TRACE}-{SPAN}-00"}  # the caller keeps no trace
            assert ask("unsampled", "GET", "/livez", headers=left) == 200
    assert set(collector.paths) == {"/v1/traces"}
    (about,) = {str(each.resource) for request in collector.received for each in request.resource_spans}
    for words in ("yard-search", "service.version", "deployment.environment"):
        assert words in about
    spans = collector.spans
    search = server_span(spans, "search")
    assert search.name == "POST /v1/galleries/{gallery}/search"
    assert search.kind == Span.SPAN_KIND_SERVER
    assert (search.trace_id.hex(), search.parent_span_id.hex(), search.trace_state) == (TRACE, SPAN, "rojo=1,congo=t61")
    told = attributes(search)
    assert told["http.request.method"] == "POST"
    assert told["http.route"] == "/v1/galleries/{gallery}/search"
    assert told["http.response.status_code"] == 200
    assert told["url.path"] == "/v1/galleries/default/search"
    below = {span.name: span for span in spans if span.parent_span_id == search.span_id}
    assert below.keys() == {"queue", "decode", "embed", "search"}
    for span in below.values():
        assert span.trace_id.hex() == TRACE
        assert search.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= search.end_time_unix_nano
        assert attributes(span) == {"vehicle_search.pictures": 1}
    order = sorted(below.values(), key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in order] == ["queue", "decode", "embed", "search"]
    put, batch = server_span(spans, "put"), server_span(spans, "batch")
    assert put.parent_span_id == b""
    assert {span.name for span in spans if span.parent_span_id == put.span_id} == {"queue", "decode", "embed", "store"}
    pictures = [
        attributes(span)["vehicle_search.pictures"]
        for span in spans if span.parent_span_id == batch.span_id and span.name == "embed"
    ]  # fmt: skip
    assert sum(pictures) == 3
    assert server_span(spans, "lost").name == "GET"
    assert "http.route" not in attributes(server_span(spans, "lost"))
    bad = server_span(spans, "bad")
    assert bad.name == "GET /v1/galleries/{gallery}/images/{image_id}"
    assert bad.status.code == Status.STATUS_CODE_UNSET  # the client's fault is none of the server's
    odd = server_span(spans, "odd")
    assert (odd.name, attributes(odd)["http.request.method"]) == ("HTTP /livez", "_OTHER")
    assert "unsampled" not in str(spans)
    logged = {
        line["request_id"]: line["trace_id"] for line in json_lines((tmp_path / "log").read_text()) if "key" in line
    }
    for name, span in (("search", search), ("put", put), ("batch", batch)):
        assert logged[name] == span.trace_id.hex()


def test_a_fault_of_the_service_is_an_error(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "galleries" / "yard").mkdir(parents=True)
    (tmp_path / "data" / "galleries" / "yard" / "gallery.sqlite").write_bytes(b"no database" * 999)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{collector.server_port}/v1/traces")
        with serving(tmp_path / "data", tiny_model) as address:
            assert httpx.get(f"{address}/v1/galleries/yard", headers={"X-Request-ID": "mine"}).status_code == 503
    span = server_span(collector.spans, "mine")
    assert (span.status.code, attributes(span)["error.type"]) == (Status.STATUS_CODE_ERROR, "503")
    assert 'string_value: "vehicle-search"' in str(
        collector.received[0].resource_spans[0].resource
    )  # unless it is named


def test_a_collector_that_is_away_costs_no_request(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with serving(tmp_path / "data", tiny_model, "--log-format", "json", log=tmp_path / "log") as address:
        assert httpx.get(f"{address}/v1/model").status_code == 200
    assert any(line["logger"].startswith("opentelemetry") for line in json_lines((tmp_path / "log").read_text()))


@pytest.mark.parametrize(
    "environment",
    [
        {}, {"OTEL_SERVICE_NAME": "cars"}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
    ],
)  # fmt: skip
def test_nothing_is_sent_where_nothing_asks_for_it(environment: dict[str, str]) -> None:
    assert TraceExport.from_environment(environment) is None


def test_nothing_is_imported_where_nothing_asks_for_it() -> None:
    code = (
        "import sys, service.vehicle_search, service.application\n"
        "from service.gate.trace_export import TraceExport\n"
        "assert TraceExport.from_environment({}) is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"  # FastAPI has the API
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, ("OTEL_TRACES_EXPORTER", "'zipkin'", "otlp or none")),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "'grpc'", "http/protobuf"),
        ),
    ],
)
def test_what_cannot_be_sent_is_told(environment: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(TraceExportUnavailable) as caught:
        TraceExport.from_environment(environment)
    for word in words:
        assert word in str(caught.value)


def test_without_the_extra_one_line_says_what_to_install(tiny_model: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n"  # as if it were not installed
        "from service.vehicle_search import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "serve", "--data-dir", str(tmp_path / "data"), "--model", str(tiny_model)]
    environment = {"PATH": "/usr/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line
    assert "pip install 'vehicle-search[otel]'" in line


def test_a_setting_that_is_wrong_is_told(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")  # of batches of 512
    line = refused("--model", str(tiny_model), "--data-dir", str(tmp_path / "data"), "--port", str(free_port()))
    assert "OTEL_" in line
    assert "queue" in line
