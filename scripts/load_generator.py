"""Many clients in one light process: each sends a prepared request over a connection of its own, waits, sends the next.

    python -m scripts.load_generator < job.json > figures.json

The clients share the machine with the server that they measure, so they must cost little: the bytes of requests are
prepared, sockets are plain, one `epoll` waits for all, and an answer is looked at as far as its status and length. Its
own processor time is among the figures. Imports nothing that is not in Python.
"""

import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

_TIMING: Final = b'"timing_ms":'
_LENGTH: Final = b"content-length:"
_CHUNKED: Final = b"transfer-encoding: chunked"
_MOST_TIMINGS: Final = 2000  # that are kept
_READ: Final = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Job:
    """``requests`` is a file of prepared requests, each after its length as 8 bytes."""

    port: int
    requests: str
    clients: int
    seconds: float
    warm_up: float = 0.0  # seconds before that, which do not count


@dataclass(kw_only=True)
class Load:
    """What came of it: seconds of each answer, and of the generator's own processor time."""

    seconds: float = 0.0
    processor: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answers: int = 0  # of all kinds, those of the warm-up too
    refused: int = 0  # 429
    failed: int = 0
    failure: str = ""  # the first that was neither 2xx nor 429
    timings: list[str] = field(default_factory=list)  # the server's own account of a request, where it gives one


class _Client:
    """One connection, and where its answer is."""

    def __init__(self, port: int, first: int) -> None:
        self.number = first
        self.data, self.wanted, self.head, self.began = b"", 0, 0, 0.0
        self.socket = self.connect(port)

    def connect(self, port: int) -> socket.socket:
        """A new connection, instead of any before."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.socket

    def ask(self, request: bytes) -> None:
        self.data, self.wanted = b"", 0
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Read what there is; whether the answer is complete."""
        more = self.socket.recv(_READ)
        if not more:
            raise ConnectionError(
                f"the server closed a connection {time.perf_counter() - self.began:.1f} s after a request"
            )
        self.data = self.data + more if self.data else more
        if not self.wanted:
            self.head = self.data.find(b"\r\n\r\n")
            if self.head < 0:
                return False
            head = self.data[: self.head].lower()
            at = head.find(_LENGTH)
            if at < 0:
                if _CHUNKED not in head:
                    raise ConnectionError(f"an answer without a length: {head[:200]!r}")
                return self.data.endswith(b"0\r\n\r\n")
            self.wanted = self.head + 4 + int(head[at + len(_LENGTH) :].partition(b"\r\n")[0])
        return len(self.data) >= self.wanted


def run(job: Job) -> Load:
    """Send requests from all clients until the time is over; what is under way then is still waited for."""
    requests = _requests(Path(job.requests))
    load = Load()
    clients: dict[int, _Client] = {}
    poll = select.epoll()
    for number in range(job.clients):
        client = _Client(job.port, number * len(requests) // job.clients)
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
    began, end = _begin(clients, requests, job)
    counted = began + job.warm_up
    processor: float | None = None
    waiting = len(clients)
    while waiting:
        for descriptor, _ in poll.poll():
            client = clients[descriptor]
            try:
                if not client.answered():
                    continue
            except ConnectionError as error:
                load.failed, load.failure = load.failed + 1, load.failure or str(error)
                del clients[descriptor]
                client.socket.close()  # leaves the poll, too
                poll.register(client.connect(job.port), select.EPOLLIN)
                clients[client.socket.fileno()] = client
                client.data = b""
            now = time.perf_counter()
            load.answers += 1
            if now >= counted and client.data:
                processor = time.process_time() if processor is None else processor
                _note(load, client, now)
            if now < end:
                client.number += 1
                client.ask(requests[client.number % len(requests)])
            else:
                waiting -= 1
    load.processor = time.process_time() - (processor or 0.0)
    load.seconds = time.perf_counter() - counted
    for client in clients.values():
        client.socket.close()
    return load


def _begin(clients: dict[int, _Client], requests: list[bytes], job: Job) -> tuple[float, float]:
    began = time.perf_counter()
    for client in clients.values():
        client.ask(requests[client.number % len(requests)])
    return began, began + job.warm_up + job.seconds


def _note(load: Load, client: _Client, now: float) -> None:
    status = client.data[9:12]
    if status[:1] == b"2":
        load.latencies.append(now - client.began)
        if len(load.timings) < _MOST_TIMINGS and (at := client.data.rfind(_TIMING)) > 0:
            load.timings.append(client.data[at + len(_TIMING) : client.data.find(b"}", at) + 1].decode())
    elif status == b"429":
        load.refused += 1
    else:
        load.failed += 1
        load.failure = load.failure or client.data[:600].decode("utf-8", "replace")


def _requests(file: Path) -> list[bytes]:
    data, at, requests = file.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 8])
        requests.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return requests


def write_requests(file: Path, requests: list[bytes]) -> Path:
    """Requests as :class:`Job` wants them."""
    file.write_bytes(b"".join(len(request).to_bytes(8) + request for request in requests))
    return file


if __name__ == "__main__":
    json.dump(asdict(run(Job(**json.load(sys.stdin)))), sys.stdout)
