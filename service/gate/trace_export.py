"""Requests as OpenTelemetry spans, where the usual ``OTEL_*`` settings ask for it; else nothing of it is imported.

A span a request, named by method and route, below the caller's (``traceparent``); below it one for each stage that the
request's pictures went through. They are sent by a thread of the SDK; a collector that is away costs no request.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.errors import VehicleSearchError
from service.gate.middleware import route_of
from service.watching import request_trace
from service.watching.metrics import METHODS, NO_ROUTE
from service.watching.request_trace import RequestTrace, TraceParent
from service.wire.problems import shown_path

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

NAME: Final = "vehicle-search"
MOST_STAGES: Final = 256  # spans below one request; a batch of thousands of pictures has no more
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"


class TraceExportUnavailable(VehicleSearchError):
    """Traces are asked for and cannot be exported."""


class TraceExport:
    """Where spans go, from construction to ``close``, as the environment says; see OpenTelemetry's specification."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(NAME, version(NAME))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """None where nothing asks for it; raises TraceExportUnavailable."""
        if not _wanted(environment):
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TraceExportUnavailable(
                f"{_asking(environment)} asks for traces, which the extra otel sends: "
                "pip install 'vehicle-search[otel]', or set OTEL_SDK_DISABLED=true"
            ) from error
        own = Resource.create({"service.name": NAME, "service.version": version(NAME)})
        try:
            provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as error:
            raise TraceExportUnavailable(f"traces cannot be sent as the OTEL_* settings say: {error}") from error
        return cls(provider)

    def begin(self, scope: Scope, parent: TraceParent | None) -> "Span":
        """The span of a request that came just now."""
        from opentelemetry.trace import SpanKind

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        return self._tracer.start_span(
            _method_name(scope), context=_context_of(parent), kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method, "url.path": shown_path(scope), "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
            },
        )  # fmt: skip

    def end(self, span: "Span", scope: Scope, status: int, trace: RequestTrace) -> None:
        """End it, and tell what it was made of."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        span.set_attribute("http.response.status_code", status)
        span.set_attribute("vehicle_search.request_id", trace.request_id)
        if (route := route_of(scope)) != NO_ROUTE:
            span.set_attribute("http.route", route)
            span.update_name(f"{_method_name(scope)} {route}")
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        if span.is_recording():
            inside = set_span_in_context(span)
            for stage in trace.stages[:MOST_STAGES]:
                began = stage.ended - int(stage.seconds * 1e9)
                attributes = {"vehicle_search.pictures": stage.pictures}
                self._tracer.start_span(stage.name, inside, attributes=attributes, start_time=began).end(stage.ended)
        span.end()

    def close(self) -> None:
        """Send what waits, for as long as the exporter's time-out allows, and stop."""
        self._provider.shutdown()


class TraceSpans:
    """Has a span made of every request, and its trace's id logged."""

    def __init__(self, app: ASGIApp, export: TraceExport) -> None:
        self.app, self._export = app, export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = request_trace.current()
        if scope["type"] != "http" or trace is None:
            await self.app(scope, receive, send)
            return
        status = 500  # of what ends without an answer
        span = self._export.begin(scope, trace.parent)
        trace.trace_id = f"{span.get_span_context().trace_id:032x}"

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            self._export.end(span, scope, status, trace)


def _wanted(environment: Mapping[str, str]) -> bool:
    """Whether spans are to be sent; raises TraceExportUnavailable for what is no way of ours to send them."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or exporter == "none" or not (exporter or _set_of(environment, _ENDPOINTS)):
        return False
    if exporter not in ("", "otlp"):
        raise TraceExportUnavailable(f"OTEL_TRACES_EXPORTER = {exporter[:40]!a}: otlp or none is expected")
    name = _set_of(environment, _PROTOCOLS)
    if name is not None and environment[name].strip().lower() != _PROTOCOL:
        raise TraceExportUnavailable(f"{name} = {environment[name][:40]!a}: traces are sent as {_PROTOCOL} only")
    return True


def _set_of(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of these that is set; what is empty is not."""
    return next((name for name in names if environment.get(name, "").strip()), None)


def _asking(environment: Mapping[str, str]) -> str:
    return _set_of(environment, _ENDPOINTS) or "OTEL_TRACES_EXPORTER"


def _method_name(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "HTTP"


def _context_of(parent: TraceParent | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

    if parent is None:
        return Context()
    caller = SpanContext(
        trace_id=int(parent.trace_id, 16), span_id=int(parent.span_id, 16), is_remote=True,
        trace_flags=TraceFlags(parent.flags), trace_state=TraceState.from_header([parent.state]),
    )  # fmt: skip
    return set_span_in_context(NonRecordingSpan(caller), Context())
