"""HTTP/1.1 as uvicorn reads it with httptools, and what has to be said before there is a request to route.

Heads are bounded, in bytes and in time, bytes that are no HTTP are told so as a problem document, and offers to change
the protocol are passed over: curl ``--http2`` and Java's client send ``Upgrade: h2c`` with every request, and the
parser would stop before their bodies.
"""

import asyncio
import re
from typing import Any, ClassVar

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.capacity.open_connections import OpenConnections
from service.context import Context
from service.watching.metrics import NO_ROUTE, OTHER_METHOD
from service.wire.problems import MEDIA_TYPE, plain_problem, problem_response
from service.wire.streamed_answer import SLOWEST

MAX_HEAD = 2**16  # bytes of request line and header fields; of what stands between the pieces of a body, too

_OFFERS = (b"connection", b"upgrade", b"http2-settings")


def http_protocol(sender_seconds: float, connections: OpenConnections) -> "type[HttpProtocol]":
    """The protocol with a time within which a head must arrive, and what of a body comes after its answer.

    Each connection is among ``connections``.
    """
    return type("HttpProtocol", (HttpProtocol,), {"sender_seconds": sender_seconds, "all_open": connections})


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    A client has ``sender_seconds`` to send a head, and to take what was written, at ``SLOWEST`` beyond that.
    """

    sender_seconds: ClassVar[float]
    all_open: ClassVar[OpenConnections]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._in_message = False
        self._heard = 0  # beginnings and ends of heads, and pieces of bodies, on this connection
        self._in_head = self._refused = False
        self._unheard = 0  # bytes since the last of them: of a head, or of what stands between and after the pieces

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect()
        self.all_open.waits(self, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._expect_taker(None)
        self.all_open.ends(self)
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True  # uvicorn tells the request that came last, which waits for this one
            self._answering.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        before = self._heard
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_offer(data[offer.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"the bytes are not an HTTP/1.1 request: {error}")
            return
        if before != self._heard:
            self._unheard = 0
        elif self._in_message:
            self._unheard += len(data)
            if self._unheard > MAX_HEAD:
                self._refuse_head() if self._in_head else self._refuse_trailers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heard += 1
        self._in_head = self._in_message = True
        self._expect()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what follows a body in pieces is nobody's: it would come among the fields of the head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heard += 1
        self._expect_nothing()
        self.all_open.works(self)
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._refuse_head()
        self._in_head = False
        if not self._skipped():
            super().on_headers_complete()
            # for whoever has to give up an answer that has begun
            self.scope["abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]

    def on_body(self, body: bytes) -> None:
        self._heard += 1
        if not self._skipped():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._expect_nothing()
        if not self._skipped():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message and not self.transport.is_closing():
            self._expect()  # the rest of a body that was answered before its end
        if self.transport.is_closing():
            self._expect_taker(self.sender_seconds)
        if self.cycle.response_complete and not self.transport.is_closing():
            self.all_open.waits(self, self._close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taker(self.sender_seconds + self.transport.get_write_buffer_size() / SLOWEST)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect_taker(self.sender_seconds if self.transport.is_closing() else None)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _close(self) -> None:
        """Close when what was written is taken, or soon."""
        if not self.transport.is_closing():
            self.transport.close()
            self._expect_taker(self.sender_seconds)

    def _expect_taker(self, seconds: float | None) -> None:
        """Cut a client off that does not take what was written within this time: it would be kept for ever."""
        if self._untaken is not None:
            self._untaken.cancel()
        self._untaken = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _expect(self) -> None:
        """Wait for the sender from now on: who sends nothing, or a byte now and then, would hold a file for ever."""
        self._expect_nothing()
        self._late = self.loop.call_later(self.sender_seconds, self._give_up)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect()  # an answer to an earlier request is under way
        elif self._in_head:
            self._refuse(
                408, f"the head did not arrive within {self.sender_seconds:g} s, the limit set by body_seconds"
            )
        else:
            self._close()

    def _skipped(self) -> bool:
        """Whether this message gets no answer from the application: not at all, or not in this form."""
        return self._refused or bool(self.parser.should_upgrade())

    def _pass_over_offer(self, rest: bytes) -> None:
        """Begin the message again as if it had not offered another protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(400, "CONNECT is for proxies")
            return
        close = any(
            name == b"connection" and re.search(rb"\bclose\b", value, re.IGNORECASE) for name, value in self.headers
        )
        fields = [(name, value) for name, value in self.headers if name not in _OFFERS]
        head = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in [*fields, *([(b"connection", b"close")] if close else [])]:
            head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"".join(head) + b"\r\n" + rest)

    def _refuse_head(self) -> None:
        self._refuse(431, f"request line and header fields are larger than {MAX_HEAD:,} bytes")

    def _refuse_trailers(self) -> None:
        self._refuse(431, f"what stands between or after the pieces of the body is larger than {MAX_HEAD:,} bytes")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, unless an answer is on its way, and close: what follows on this connection cannot be understood."""
        self._refused = True
        self.logger.warning("refused with %d: %s", status, detail)
        context: Context = self.config.app.state.context  # type: ignore[union-attr]  # the application that we serve
        context.metrics.answered(OTHER_METHOD, NO_ROUTE, status, 0.0)
        if self._in_message and not self._in_head and self.cycle is not None and self.cycle.response_started:
            self._close()
            return
        body = bytes(problem_response(plain_problem(status, detail)).body)
        head = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            head += [name, b": ", value, b"\r\n"]
        head.append(f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode())
        self.transport.write(b"".join(head) + body)
        self._close()
