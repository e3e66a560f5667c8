"""How the service's log looks: lines for people or JSON for programs, each with the request that it belongs to.

Everything goes this way: our own lines, uvicorn's, Python's warnings, and what ends a thread.
"""

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal

from service.watching import request_trace

LogFormat = Literal["console", "json"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNCAUGHT: Final = logging.getLogger("service.uncaught")


def set_up_log(form: LogFormat, level: str) -> None:
    """Log from ``level`` on to stderr. Once a process; what was set up before is replaced."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else ConsoleLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells of every library that it tries
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every table of a font that it takes apart
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every body that a client damages
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message; request_id, trace_id, exception where there are some.

    ``extra={"fields": {…}}`` adds members. ASCII throughout, so that no reader breaks a line elsewhere.
    """

    def format(self, record: logging.LogRecord) -> str:
        trace = request_trace.current()
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(), "logger": record.name, "message": _message(record),
        }  # fmt: skip
        if trace is not None:
            document["request_id"] = trace.request_id
            if trace.trace_id is not None:
                document["trace_id"] = trace.trace_id
        document |= getattr(record, "fields", {})
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = record.stack_info
        return json.dumps(document, separators=(",", ":"), default=str)


class ConsoleLines(logging.Formatter):
    """Local time, level, logger, message, and the request's id where there is one; tracebacks below.

    A message keeps to its line, so that nothing that a client sends looks like another.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(line)s")

    def format(self, record: logging.LogRecord) -> str:
        trace = request_trace.current()
        told = "" if trace is None else f" [{trace.request_id}{_of_trace(trace)}]"
        record.line = _CONTROL.sub(_escaped, _message(record)) + told
        return super().format(record)

    def usesTime(self) -> bool:  # noqa: N802  # the standard library's name
        return True


def _of_trace(trace: request_trace.RequestTrace) -> str:
    return "" if trace.trace_id is None else f" trace {trace.trace_id}"


def _message(record: logging.LogRecord) -> str:
    """What a record says; its parts where they do not fit together, because a wrong log line should cost no request."""
    try:
        return record.getMessage().rstrip("\n")
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args}"


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    _UNCAUGHT.critical("the service ends by an error of its own", exc_info=(kind, error, traceback))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        name = "unknown" if arguments.thread is None else arguments.thread.name
        _UNCAUGHT.critical(
            "thread %s ended by an error",
            name,
            exc_info=(type(arguments.exc_value), arguments.exc_value, arguments.exc_traceback),
        )
