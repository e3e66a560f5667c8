"""What reaches the server before there is a request: heads that are too large, offers of other protocols, no HTTP."""

import http.client
import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from service.gate.http_protocol import MAX_HEAD
from tests.http_client import PROBLEM, body_of, exchange, parts, status_of
from tests.pictures import jpeg
from tests.server_process import serving, started

OFFER = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    "Content-Type: image/jpeg\r\n"
)


def head(first: str, *fields: str) -> bytes:
    return "\r\n".join([first, "Host: localhost", *fields, "", ""]).encode("latin-1")


def test_a_connection_is_kept_for_whatever_comes_next(server: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=60)
    connection.connect()
    socket = connection.sock
    for method, path, body, status in (
        ("GET", "/livez", None, 200),
        ("POST", "/v1/galleries/default/search", jpeg(0), 200),
        ("POST", "/v1/galleries/default/search", b"no picture", 415),
        ("POST", "/v1/galleries/default/search?misspelt=1", jpeg(0), 422),  # before the body is read
        ("HEAD", "/v1/galleries", None, 200),
        ("POST", "/v1/galleries/default/search", jpeg(1), 200),
    ):
        connection.request(method, path, body=body, headers={"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert connection.sock is socket
    connection.close()


def test_uvloop_and_httptools_are_at_work(tiny_model: Path, tmp_path: Path) -> None:
    with started(tmp_path / "data", tiny_model) as (_, process):
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
    assert "uvloop/loop" in loaded
    assert "httptools/parser" in loaded


def test_an_offer_of_another_protocol_loses_no_body(server: str) -> None:
    picture = jpeg(0)
    whole = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n{OFFER}Content-Length: {len(picture)}\r\n\r\n".encode()
    for pieces in ([whole + picture], [whole, picture], [whole[:50], whole[50:] + picture[:100], picture[100:]]):
        answer = exchange(server, *pieces)
        assert status_of(answer) == 200
        assert len(body_of(answer)["results"]) == 1
    chunked = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n{OFFER}Transfer-Encoding: chunked\r\n\r\n".encode()
    assert status_of(exchange(server, chunked, b"%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture))) == 200


def test_a_connection_goes_on_after_an_offer(server: str) -> None:
    first = f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{OFFER}\r\n".encode()
    second = head("GET /readyz HTTP/1.1", "Connection: close")
    answers = exchange(server, first + second, whole=False)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    closing = first.replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
    assert b"connection: close" in exchange(server, closing, whole=False)


def test_a_websocket_is_answered_as_what_it_asks_for(server: str) -> None:
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    assert body_of(exchange(server, head("GET /livez HTTP/1.1", *fields))) == {"status": "alive"}


@pytest.mark.parametrize(
    "request_head",
    [
        head("GET /livez HTTP/1.1", f"X-Long: {'x' * MAX_HEAD}"),
        head("GET /livez HTTP/1.1", *["X: y"] * (MAX_HEAD // 2)),
        head(f"GET /{'x' * MAX_HEAD} HTTP/1.1"),
        head(f"GET /v1/galleries/default/images?camera_id={'x' * MAX_HEAD} HTTP/1.1"),
        head("POST /v1/embeddings HTTP/1.1", f"X-Long: {'x' * MAX_HEAD}", "Content-Length: 4") + b"text",
    ],
)
def test_a_head_has_a_limit(server: str, request_head: bytes) -> None:
    answer = exchange(server, request_head)
    assert status_of(answer) == 431
    assert "65,536" in body_of(answer)["detail"]
    assert PROBLEM.encode() in answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("piece", [1 << 20, 4096], ids=["at once", "in pieces"])
def test_a_head_that_is_too_large_is_told_so_after_an_answer_too(server: str, piece: int) -> None:
    both = head("GET /livez HTTP/1.1") + head("GET /livez HTTP/1.1", f"X-Long: {'x' * MAX_HEAD}")
    answers = exchange(server, *(both[at : at + piece] for at in range(0, len(both), piece)), whole=False)
    assert answers.count(b"HTTP/1.1 431 ") == 1
    with httpx.Client(base_url=server) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/livez", headers={"X-Long": "x" * MAX_HEAD}).status_code == 431


def test_a_head_that_never_ends_is_cut_off(server: str) -> None:
    try:
        answer = exchange(server, b"GET /livez HTTP/1.1\r\nX: ", *[b"x" * 2**20] * 64)
    except ConnectionError:  # the reset may overtake the answer
        answer = b""
    assert not answer or status_of(answer) == 431
    assert httpx.get(f"{server}/livez").status_code == 200


BESIDE_A_BODY = {
    "a trailer": b"4\r\ntext\r\n0\r\n" + b"X: " + b"x" * 2**20,
    "trailers": b"4\r\ntext\r\n0\r\n" + b"X: y\r\n" * 2**18,
    "an extension of a piece": b"4\r\ntext\r\n4;" + b"x" * 2**20,
}


@pytest.mark.parametrize("path", ["/v1/embeddings", "/livez"])  # which waits for the body, and which has its answer
@pytest.mark.parametrize("endless", BESIDE_A_BODY.values(), ids=BESIDE_A_BODY)
def test_what_stands_beside_a_body_has_a_limit(server: str, endless: bytes, path: str) -> None:
    def refusals() -> float:
        return sum(
            float(line.split()[-1])
            for line in httpx.get(f"{server}/metrics").text.splitlines()
            if line.startswith("vehicle_search_requests_total{") and 'status="431"' in line
        )

    before = refusals()
    chunked = head(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked")
    pieces = (endless[at : at + 2**14] for at in range(0, len(endless), 2**14))
    try:
        answer = exchange(server, chunked, *pieces, whole=False)
    except ConnectionError:  # the reset may overtake the answer
        answer = b""
    assert refusals() == before + 1
    assert answer.count(b"HTTP/1.1 ") <= 1  # who has an answer gets no second one
    assert not answer or path == "/livez" or "65,536 bytes" in body_of(answer)["detail"]


def test_who_sends_slowly_holds_no_connection(tiny_model: Path, tmp_path: Path) -> None:
    unread = head("POST /v1/nowhere HTTP/1.1", "Content-Length: 999999")
    with serving(tmp_path / "data", tiny_model, "--body-seconds", "0.5") as server:
        where = urlsplit(server)
        began = [b"", b"G", b"GET /livez HTTP/1.1\r\nHost: loc", head("GET /livez HTTP/1.1") + b"GET /li", unread]
        with ExitStack() as opened:
            connections = [
                opened.enter_context(socket.create_connection((where.hostname or "", where.port or 0), timeout=60))
                for _ in began
            ]
            for connection, piece in zip(connections, began, strict=True):
                connection.sendall(piece)
            silent, first, cut, second, refused = (received(connection) for connection in connections)
    assert silent == b""
    for answer in (first, cut):
        assert status_of(answer) == 408
        assert "0.5 s, the limit set by body_seconds" in body_of(answer)["detail"]
    assert (second.count(b"HTTP/1.1 200 OK"), second.count(b"HTTP/1.1 408 ")) == (1, 1)
    assert status_of(refused) == 404


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_an_answer_may_take_longer_than_a_head(tiny_model: Path, tmp_path: Path) -> None:
    """A connection that has sent the begin of the next request is not cut off under the answer to the former."""
    picture = jpeg(0)
    batch = b"".join(b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n%s\r\n' % picture for _ in range(64))
    body = batch + b"--x--\r\n"
    fields = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}")
    with serving(tmp_path / "data", tiny_model, "--body-seconds", "0.05", "--threads", "1") as server:
        answer = exchange(server, head("POST /v1/embeddings HTTP/1.1", *fields) + body + b"GET /li", whole=False)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b'"embedding"') == 64


def test_a_head_just_below_the_limit_and_a_large_body_are_taken(server: str) -> None:
    body = b"x" * 3_000_000
    answer = exchange(
        server,
        head("POST /v1/embeddings HTTP/1.1", f"X: {'x' * (MAX_HEAD - 200)}", f"Content-Length: {len(body)}"),
        body,
    )
    assert status_of(answer) == 415


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/9.9\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",  # TLS
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {'9' * 5000}\r\n\r\n",
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_so_as_a_problem(server: str, request_text: str) -> None:
    answer = exchange(server, request_text.encode("latin-1"))
    assert status_of(answer) == 400, answer
    assert body_of(answer)["status"] == 400
    assert PROBLEM.encode() in answer


def test_a_body_that_stops_being_http_is_survived(server: str) -> None:
    broken = head("POST /v1/embeddings HTTP/1.1", "Transfer-Encoding: chunked") + b"5\r\nhello\r\nzz\r\n"
    assert status_of(exchange(server, broken)) == 400
    assert httpx.get(f"{server}/livez").status_code == 200


def test_an_asterisk_is_no_path_of_ours(server: str) -> None:
    assert status_of(exchange(server, head("OPTIONS * HTTP/1.1"))) == 404


def test_who_leaves_before_the_first_of_several_answers_is_no_error(tiny_model: Path, tmp_path: Path) -> None:
    """The next request waits for the answer to this one, which is larger than what the connection holds."""
    picture = jpeg(0)
    batch = b"".join(b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n%s\r\n' % picture for _ in range(64))
    body = batch + b"--x--\r\n"
    fields = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}")
    path = "/v1/galleries/default/search/batch?top_k=1000&include=embedding"
    log = tmp_path / "log"
    with serving(tmp_path / "data", tiny_model, log=log) as server:
        stored = httpx.post(f"{server}/v1/galleries/default/images", files=parts(*[picture] * 250), timeout=60)
        assert stored.json()["created"] == 250
        with socket.create_connection((urlsplit(server).hostname, urlsplit(server).port), timeout=60) as connection:
            connection.sendall(head(f"POST {path} HTTP/1.1", *fields) + body + head("GET /livez HTTP/1.1"))
            assert connection.recv(12) == b"HTTP/1.1 200"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        while "vehicle_search_queue_requests 0.0" not in httpx.get(f"{server}/metrics").text:
            pass
    assert "ERROR" not in log.read_text()


def test_who_takes_no_answers_is_cut_off(tiny_model: Path, tmp_path: Path) -> None:
    """Each is written as a whole, until the memory of both sides for the connection holds no more."""
    asked, options = head("GET /openapi.json HTTP/1.1"), ("--body-seconds", "0.5")
    with started(tmp_path / "data", tiny_model, *options) as (server, process), socket.socket() as connection:
        whole = len(exchange(server, asked))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((urlsplit(server).hostname, urlsplit(server).port))
        connection.sendall(asked * 100)
        assert connection.recv(12) == b"HTTP/1.1 200"
        ours = connection.getsockname()
        while any(each.raddr == ours for each in psutil.Process(process.pid).net_connections("tcp")):
            pass
        assert len(received(connection)) < 100 * whole


def test_who_takes_answers_slowly_gets_all(tiny_model: Path, tmp_path: Path) -> None:
    asked = head("GET /openapi.json HTTP/1.1")
    with serving(tmp_path / "data", tiny_model, "--body-seconds", "1") as server, socket.socket() as connection:
        whole = len(exchange(server, asked))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((urlsplit(server).hostname, urlsplit(server).port))
        connection.sendall(asked * 20 + head("GET /livez HTTP/1.1", "Connection: close"))
        received = 0
        while piece := connection.recv(4096):
            received += len(piece)
    assert received > 20 * (whole - 100)
