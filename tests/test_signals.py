"""What signals do to a real process: before it is ready, while it works, and when they come twice."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.archives import pack
from tests.http_client import parts, refused
from tests.pictures import jpeg
from tests.server_process import free_port, serving, started
from tests.test_sweeper import until

STUCK = [sys.executable, "-m", "tests.stuck_service", "serve"]
LARGE = (4000, 3000)  # pixels of a picture that takes a while


@contextlib.contextmanager
def opening(model: Path, folder: Path, stuck: str) -> Iterator[tuple["subprocess.Popen[str]", str, Path]]:
    """A process that opens its model, its address to be, and its log."""
    port, log = free_port(), folder / "log"
    command = [*STUCK, "--port", str(port), "--data-dir", str(folder / "data"), "--model", str(model)]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, "STUCK": stuck}
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "opening\n"
            yield process, f"http://127.0.0.1:{port}", log
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_it_is_ready_ends_it_with_0_whatever_it_is_at(
    tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with opening(tiny_model, tmp_path, "for ever") as (process, _, log):
        process.send_signal(signal.SIGHUP)  # which ends nothing
        process.send_signal(number)
        assert process.wait(30) == 0
    (line,) = log.read_text().splitlines()
    assert line.endswith("told to stop before it was ready")
    with serving(tmp_path / "data", tiny_model):
        pass


def test_sighup_before_it_is_ready_is_remembered(tiny_model: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    with opening(tiny_model, tmp_path, str(go_on)) as (process, address, log):
        process.send_signal(signal.SIGHUP)
        go_on.touch()
        assert process.stdout is not None
        assert process.stdout.readline().startswith("vehicle-search is ready")
        until(lambda: "is the file that is loaded already" in log.read_text())
        assert httpx.get(f"{address}/readyz").status_code == 200
        process.terminate()
        assert process.wait(30) == 0


def begun(address: str) -> None:
    """Wait until a worker has decoded a picture."""

    def decoded() -> bool:
        lines = httpx.get(f"{address}/metrics", timeout=30).text.splitlines()
        (count,) = (line for line in lines if line.startswith('vehicle_search_stage_seconds_count{stage="decode"}'))
        return float(count.split()[1]) > 0

    until(decoded)


def embed(address: str, pictures: int) -> httpx.Response:
    """A request that takes a worker a tenth of a second and more a picture."""
    return httpx.post(f"{address}/v1/embeddings", files=parts(*[jpeg(0, LARGE)] * pictures), timeout=120)


def test_what_is_under_way_is_finished_and_nothing_new_begun(tiny_model: Path, tmp_path: Path) -> None:
    with started(tmp_path / "data", tiny_model, "--threads", "1") as (address, process), ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(embed, address, 12)
        begun(address)
        process.terminate()
        until(lambda: not listens(address))
        assert not under_way.done()
        answer = under_way.result()
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == 12
        assert process.wait(60) == 0


def listens(address: str) -> bool:
    try:
        httpx.get(f"{address}/readyz", timeout=10)
    except httpx.TransportError:
        return False
    return True


@contextlib.contextmanager
def stalled(address: str) -> Iterator[socket.socket]:
    """A connection on which a body is waited for and never comes."""
    port = int(address.rpartition(":")[2])
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def require_told(answer: httpx.Response, connection: socket.socket) -> None:
    """Both say that the service stopped, as problems."""
    document = refused(answer, 503, "stopped before the answer was ready")
    assert document["type"].endswith("not-ready")
    told = rest(connection)
    assert told.startswith(b"HTTP/1.1 503")
    assert b"application/problem+json" in told


def test_what_is_not_finished_in_the_grace_time_is_told_so(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--threads", "1", "--grace-seconds", "1")
    with (
        started(tmp_path / "data", tiny_model, *options) as (address, process), ThreadPoolExecutor(1) as pool,
        stalled(address) as connection,
    ):  # fmt: skip
        unfinished = pool.submit(embed, address, 60)
        begun(address)
        process.terminate()
        require_told(unfinished.result(), connection)
        assert process.wait(60) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_one_ends_it_at_once(tiny_model: Path, tmp_path: Path, second: signal.Signals) -> None:
    log = tmp_path / "log"
    options = ("--threads", "1", "--grace-seconds", "3600")
    with (
        started(tmp_path / "data", tiny_model, *options, log=log) as (address, process), ThreadPoolExecutor(1) as pool,
        stalled(address) as connection,
    ):  # fmt: skip
        httpx.put(f"{address}/v1/galleries/default/images/a", content=jpeg(1)).raise_for_status()
        unfinished = pool.submit(embed, address, 60)
        until(lambda: "vehicle_search_queue_requests 1.0" in httpx.get(f"{address}/metrics", timeout=30).text)
        process.terminate()
        until(lambda: not listens(address))
        assert process.poll() is None
        process.send_signal(second)
        require_told(unfinished.result(), connection)
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()
    with serving(tmp_path / "data", tiny_model) as address:
        found = httpx.post(f"{address}/v1/galleries/default/search", content=jpeg(1)).json()["matches"]
        assert [match["image_id"] for match in found] == ["a"]


def test_an_import_is_parked_and_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    count = 80
    archive = pack(tmp_path / "a.zip", {f"i{n}.jpg": jpeg(n % 5, (1200, 900)) for n in range(count)})
    with started(tmp_path / "data", tiny_model, "--threads", "1") as (address, process):
        files = {"archive": ("a.zip", archive.read_bytes())}
        accepted = httpx.post(f"{address}/v1/galleries/default/imports", files=files, timeout=60)
        path = accepted.headers["location"]
        until(lambda: httpx.get(f"{address}{path}").json()["state"] == "running")
        process.terminate()
        assert process.wait(60) == 0
    with serving(tmp_path / "data", tiny_model) as address:
        document = httpx.get(f"{address}{path}").json()
        assert document["state"] in ("queued", "running")
        until(lambda: httpx.get(f"{address}{path}").json()["state"] == "done")
        assert httpx.get(f"{address}/v1/galleries/default").json()["images"] == count
