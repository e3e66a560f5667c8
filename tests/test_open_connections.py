"""Connections that say nothing, and the limit of open files: who asks is answered all the same."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from service.capacity.open_connections import ENOUGH_FILES, FILES_KEPT, OpenConnections
from tests.pictures import jpeg
from tests.server_process import COMMAND, started


def limited(files: str) -> list[str]:
    """The service's command in a process that may open so many files, as ``ulimit`` takes it."""
    return ["sh", "-c", f'ulimit {files} && exec "$0" "$@"', *COMMAND]


def test_many_who_say_nothing_keep_nobody_out(tiny_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        started(tmp_path / "data", tiny_model, log=log, door=limited("-n 240")) as (server, process),
        ExitStack() as opened,
    ):
        where = urlsplit(server).hostname, urlsplit(server).port
        silent = []
        for _ in range(300):
            connection = opened.enter_context(socket.create_connection(where, timeout=60))
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: local")
            silent.append(connection)
            assert httpx.get(f"{server}/livez").status_code == 200
        for number in range(30):  # which open files of their own
            image = f"{server}/v1/galleries/default/images/i{number}"
            assert httpx.put(image, content=jpeg(number)).status_code == 201
        assert silent[0].recv(1) == b""  # closed
        silent[-1].sendall(b"host\r\n\r\n")
        assert silent[-1].recv(65536).startswith(b"HTTP/1.1 200 OK")
        process.terminate()
        assert process.wait(30) == 0
    lines = log.read_text().splitlines()
    assert len([line for line in lines if "120 connections are open" in line]) == 1
    assert "ERROR" not in log.read_text()


def test_the_service_may_open_what_it_may_let_itself(tiny_model: Path, tmp_path: Path) -> None:
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], ENOUGH_FILES)
    with started(tmp_path / "data", tiny_model, door=limited("-S -n 240")) as (server, _):
        lines = httpx.get(f"{server}/metrics").text.splitlines()
    assert [float(line.split()[1]) for line in lines if line.startswith("process_max_fds ")] == [float(most)]


def test_who_waits_longest_goes() -> None:
    closed: list[str] = []
    connections = OpenConnections(2)
    connections.waits("a", lambda: closed.append("a"))
    connections.waits("b", lambda: closed.append("b"))
    connections.works("a")
    connections.waits("a", lambda: closed.append("a"))  # it has its answer, so b waits longer now
    assert closed == []
    connections.waits("c", lambda: closed.append("c"))
    assert closed == ["b"]
    connections.ends("b")
    connections.works("a")
    connections.works("c")
    connections.waits("d", lambda: closed.append("d"))  # nobody else waits
    assert closed == ["b", "d"]
    connections.ends("a")
    connections.waits("e", lambda: closed.append("e"))
    assert closed == ["b", "d"]


def test_files_are_kept_for_other_things() -> None:
    for files, most in ((1024, 1024 - FILES_KEPT), (100, 50)):
        assert OpenConnections.within(files)._most == most
