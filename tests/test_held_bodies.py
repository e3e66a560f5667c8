"""All bodies together have a limit, with the real server."""

import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.archives import pack
from tests.http_client import refused
from tests.pictures import jpeg
from tests.server_process import serving

LIMIT = 1_000_000
SEARCH = "/v1/galleries/default/search"


def test_what_is_more_than_all_may_hold_is_told_429_and_let_go(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--max-held-bytes", str(LIMIT), "--max-body-bytes", str(LIMIT))
    with serving(tmp_path / "data", tiny_model, *options) as server, ExitStack() as opened:
        where = httpx.URL(server)
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LIMIT}\r\n\r\n"
        slow = [
            opened.enter_context(socket.create_connection((where.host, where.port or 0), timeout=60)) for _ in range(2)
        ]
        for connection in slow:
            connection.sendall(head.encode() + bytes(LIMIT // 2 - 1000))
        while (answer := httpx.post(f"{server}{SEARCH}", content=jpeg(0) + bytes(10_000))).status_code == 200:
            pass  # until both are read
        refused(answer, 429, "max_held_bytes", f"{LIMIT:,}")
        assert answer.headers["retry-after"] == "1"
        assert httpx.get(f"{server}/livez").status_code == 200
        assert httpx.put(f"{server}/v1/galleries/small", json={}).status_code == 201
        for connection in slow:
            connection.close()
        while (answer := httpx.post(f"{server}{SEARCH}", content=jpeg(0) + bytes(10_000))).status_code != 200:
            assert answer.status_code == 429


def test_one_body_may_be_as_large_as_the_largest_and_archives_are_not_held(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--max-held-bytes", "1024", "--max-body-bytes", "2000000")
    archive = pack(tmp_path / "a.zip", {"a.jpg": jpeg(0), "b.txt": bytes(range(256)) * 40_000}).read_bytes()
    large = pack(tmp_path / "b.tar", {"a.jpg": jpeg(0), "b.txt": bytes(10_000_000)}).read_bytes()
    with serving(tmp_path / "data", tiny_model, *options) as server:
        assert httpx.post(f"{server}{SEARCH}", content=jpeg(0).ljust(2_000_000, b"\0")).status_code == 200
        refused(httpx.post(f"{server}{SEARCH}", content=bytes(2_000_001)), 413, "max_body_bytes")
        for sent in (archive, large):
            answer = httpx.post(f"{server}/v1/galleries/default/imports", files={"archive": sent})
            assert answer.status_code == 202, answer.text
