"""Large answers: the same bytes in pieces, little memory, and a client that does not take them is cut off."""

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.answering.searcher import MATCHES_AT_ONCE
from service.wire.streamed_answer import PIECE, Parts
from tests.http_client import form, parts
from tests.pictures import jpeg
from tests.server_process import started

IMAGES, QUERIES = 24, 24
SEARCHED_TOGETHER = MATCHES_AT_ONCE // 1000
PATIENCE = "4"  # seconds that the service lets a client take for nothing
FAT = {f"note{number}": "x" * 1000 for number in range(64)}  # attributes of one image: 64 kB in every answer


@pytest.fixture(scope="module")
def service(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, int, Path]]:
    """A client of a service that waits for nobody, its process id, and its log."""
    folder = tmp_path_factory.mktemp("streamed")
    log = folder / "log"
    with started(folder / "data", tiny_model, "--body-seconds", PATIENCE, log=log) as (address, process):
        with httpx.Client(base_url=address, timeout=60) as client:
            fill(client, "default")
            yield client, process.pid, log
        process.terminate()
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text(), log.read_text()


def fill(client: httpx.Client, gallery: str) -> None:
    metadata = [{"image_id": f"i{number:02}", "attributes": FAT} for number in range(IMAGES)]
    pictures = [jpeg(number) for number in range(IMAGES)]
    answer = client.post(f"/v1/galleries/{gallery}/images", files=parts(*pictures, metadata=metadata))
    assert answer.json()["created"] == IMAGES, answer.text


def figure(client: httpx.Client, name: str) -> int:
    """A line of /metrics."""
    line = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert line is not None
    return int(float(line[1]))


def waiting(client: httpx.Client) -> int:
    """Requests that have a place."""
    return figure(client, "vehicle_search_queue_requests")


def searched(client: httpx.Client) -> int:
    """Searches of the index, each for one query or several."""
    return figure(client, 'vehicle_search_stage_seconds_count{stage="search"}')


def until_none_is_waiting(client: httpx.Client) -> None:
    end = time.monotonic() + 30
    while waiting(client):
        assert time.monotonic() < end, "its place is still taken"


def ask(client: httpx.Client, gallery: str = "default") -> socket.socket:
    """A connection on which an answer of tens of megabytes has begun."""
    address = urlsplit(str(client.base_url))
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    body, headers = form(*(("form-data; name=image", jpeg(number)) for number in range(QUERIES)))
    head = f"POST /v1/galleries/{gallery}/search/batch?top_k=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for name, value in (headers | {"Content-Length": str(len(body))}).items():
        head += f"{name}: {value}\r\n"
    connection.sendall(f"{head}\r\n".encode() + body)
    assert b"200 OK" in connection.recv(200)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What still comes, until the other side closes or cuts."""
    connection.settimeout(60)
    received = []
    try:
        while data := connection.recv(1 << 20):
            received.append(data)
    except ConnectionResetError:
        pass
    return b"".join(received)


def test_pieces_are_whole_parts_and_hold_everything() -> None:
    made: list[int] = []

    def numbered() -> Iterator[bytes]:
        for number in range(5):
            made.append(number)
            yield bytes([number]) * (PIECE // 2)

    answer = Parts(numbered())
    first = answer.piece()
    assert (len(first), made, answer.ended) == (PIECE, [0, 1], False)  # nothing is made before it is asked for
    second, third = answer.piece(), answer.piece()
    assert answer.ended
    assert first + second + third == b"".join(bytes([number]) * (PIECE // 2) for number in range(5))
    assert answer.piece() == b""


def test_a_small_answer_has_a_length(service: tuple[httpx.Client, int, Path]) -> None:
    client, _, _ = service
    answer = client.post("/v1/galleries/default/search", content=jpeg(3), params={"top_k": 5})
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("include", [None, "embedding", "embedding,attention"])
def test_a_large_answer_in_pieces_is_that_of_small_ones(
    service: tuple[httpx.Client, int, Path], include: str | None
) -> None:
    client, _, _ = service
    options = {"top_k": 1000} | ({} if include is None else {"include": include})
    pictures = [jpeg(number) for number in range(4)] + [b"no picture"]

    large = client.post("/v1/galleries/default/search/batch", files=parts(*pictures), params=options)

    assert large.headers["transfer-encoding"] == "chunked"
    document = large.json()
    assert len(large.content) > 4 * PIECE
    assert large.content == json.dumps(document, separators=(",", ":")).encode()
    assert list(document) == ["gallery", "model", "results", "timing_ms"]
    assert document["timing_ms"].keys() == {"decode", "queue", "embed", "search", "total"}
    for number, result in enumerate(document["results"][:4]):
        alone = client.post("/v1/galleries/default/search", content=pictures[number], params=options).json()
        assert list(result) == [name for name in alone if name in ("viewpoint", "matches", "embedding", "attention")]
        for match, same in zip(result["matches"], alone["matches"], strict=True):
            assert match["distance"] == pytest.approx(same["distance"], abs=2e-4)  # embedded with others, and alone
            assert {**match, "distance": 0} == {**same, "distance": 0}
    assert document["results"][4]["problem"]["status"] == 415


def test_a_page_in_pieces_is_that_of_small_ones(service: tuple[httpx.Client, int, Path]) -> None:
    client, _, _ = service
    large = client.get("/v1/galleries/default/images")
    assert large.headers["transfer-encoding"] == "chunked"
    assert large.content == json.dumps(large.json(), separators=(",", ":")).encode()
    images: list[object] = []
    cursor = None
    while cursor is not None or not images:
        page = client.get("/v1/galleries/default/images", params={"limit": 10} | ({"cursor": cursor} if cursor else {}))
        assert "content-length" in page.headers
        images += page.json()["images"]
        cursor = page.json()["next"]
    assert large.json() == {"images": images, "next": None}


def test_memory_does_not_grow_with_the_answer(service: tuple[httpx.Client, int, Path]) -> None:
    client, process, _ = service

    def most() -> int:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        assert peak is not None
        return int(peak[1]) * 1024

    files = parts(*(jpeg(number) for number in range(60)))
    client.post("/v1/galleries/default/search/batch", files=files, params={"top_k": 1})
    before, size = most(), 0
    with client.stream("POST", "/v1/galleries/default/search/batch", files=files, params={"top_k": 1000}) as answer:
        for data in answer.iter_raw():
            size += len(data)
    assert size > 80 << 20
    assert most() - before < size / 2


def test_a_client_that_takes_nothing_holds_no_worker_and_is_cut_off(service: tuple[httpx.Client, int, Path]) -> None:
    client, _, log = service
    with ask(client) as idle:
        assert waiting(client) == 1
        found = client.post("/v1/galleries/default/search", content=jpeg(1), params={"top_k": 1})
        assert found.json()["matches"][0]["image_id"] == "i01"
        until_none_is_waiting(client)  # it has been cut off
        assert not rest(idle).endswith(b"0\r\n\r\n")
    assert "the client took it too slowly, body_seconds is 4" in log.read_text()


def test_a_client_that_leaves_frees_its_place_and_ends_the_work(service: tuple[httpx.Client, int, Path]) -> None:
    client, _, _ = service
    before = searched(client)
    with ask(client):
        assert waiting(client) == 1
    until_none_is_waiting(client)
    assert searched(client) - before < QUERIES // SEARCHED_TOGETHER


def test_an_answer_that_cannot_be_finished_is_cut_off(service: tuple[httpx.Client, int, Path]) -> None:
    client, _, log = service
    client.put("/v1/galleries/short-lived", json={})
    fill(client, "short-lived")
    with ask(client, "short-lived") as connection:
        dropped = client.delete("/v1/galleries/short-lived", params={"confirm": "short-lived"})
        assert dropped.status_code == 204
        assert not rest(connection).endswith(b"0\r\n\r\n")
    assert "an answer of /v1/galleries/{gallery}/search/batch was cut off" in log.read_text()
