"""Figures for Prometheus: which there are, what they count, and what never becomes a label."""

import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from index.bulk.import_plan import COUNTS
from service.capacity.worker_pool import Loss
from service.settings import Settings
from service.watching.metrics import WORK, Metrics
from tests.archives import pack
from tests.http_client import exchange, parts, raw
from tests.pictures import jpeg
from tests.server_process import serving
from vehicle_search_client import VehicleSearch

PAGE = "https://cars.example"
GUIDE = Path("docs/operations/monitor.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def own(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A service that nobody else asks, which a page may call: its address and data folder."""
    data = tmp_path_factory.mktemp("figures") / "data"
    with serving(data, tiny_model, "--cors-origins", PAGE, "--audit") as address:
        yield address, data


def figures(address: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    text = httpx.get(f"{address}/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(address: str, name: str, **labels: str) -> float:
    return figures(address).get((name, frozenset(labels.items())), 0.0)


def served_names(address: str) -> set[str]:
    """As a query has them; of histograms the base, and not the times at which each series began."""
    text = httpx.get(f"{address}/metrics").text
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name for name, _ in kinds if not name.endswith("_created")}


def test_the_table_has_every_figure_and_no_other(own: tuple[str, Path]) -> None:
    chapter = GUIDE.split("## Figures")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `((?:vehicle_search|process)_\w+)", chapter, re.MULTILINE)) == served_names(own[0])


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("lost_workers", "how", get_args(Loss)),
        ("imported_images", "status", COUNTS),
        ("audit_entries", "outcome", ("written", "lost")),
        ("sweeps", "outcome", ("done", "failed")),
    ],
)
def test_what_is_lost_is_counted_from_nought(name: str, label: str, values: tuple[str, ...]) -> None:
    """An alert on an increase would miss the first of a kind that begins at one."""
    text = Metrics().text().decode()
    for value in values:
        assert f'vehicle_search_{name}_total{{{label}="{value}"}} 0.0' in text


def test_how_full_the_limits_are(own: tuple[str, Path]) -> None:
    address, _ = own
    limits = {dict(labels)["limit"] for name, labels in figures(address) if name == "vehicle_search_limit_used_ratio"}
    assert limits <= Settings.model_fields.keys()
    httpx.post(f"{address}/v1/queries", content=jpeg(0)).raise_for_status()
    kept = figure(address, "vehicle_search_kept_query_bytes") / Settings().max_query_bytes
    assert figure(address, "vehicle_search_limit_used_ratio", limit="max_query_bytes") == pytest.approx(kept) != 0
    assert figure(address, "vehicle_search_limit_used_ratio", limit="max_galleries") == 1 / Settings().max_galleries
    assert figure(address, "vehicle_search_memory_free_bytes") > 2**20


def test_a_body_and_its_request_take_their_part_while_they_arrive(own: tuple[str, Path]) -> None:
    address, _ = own
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/galleries/default/search HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\n"
        client.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 65_536)
        deadline = time.monotonic() + 30
        while not (held := figure(address, "vehicle_search_limit_used_ratio", limit="max_buffered_bytes")):
            assert time.monotonic() < deadline
        assert held <= 100_000 / Settings().max_buffered_bytes
        assert figure(address, "vehicle_search_limit_used_ratio", limit="max_requests") == 1 / Settings().max_requests


def test_labels_of_the_table_are_those_that_there_are(own: tuple[str, Path]) -> None:
    address, _ = own
    with VehicleSearch(address) as client:
        client.put_image("a", jpeg(0))
    chapter = GUIDE.split("## Figures")[1].split("\n## ")[0]
    told = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(vehicle_search_\w+)` \| ([^|]*) \|", chapter, re.MULTILINE)
    }
    seen: dict[str, set[str]] = {}
    for name, pairs in figures(address):
        base = re.sub(r"_(?:bucket|sum|count)$", "", name) if name not in told else name
        seen.setdefault(base, set()).update(label for label, _ in pairs if label != "le")
    assert len(told) > 15
    for name, labels in told.items():
        assert seen.get(name, labels) == labels, name


@pytest.mark.parametrize(
    ("request_line", "headers", "route", "status"),
    [
        ("GET /nothing/{odd}", [], "none", "404"),
        ("GET /v1/galleries/{odd}", [], "/v1/galleries/{gallery}", "404"),
        ("GET /v1/galleries/default/images/{odd}", [], "/v1/galleries/{gallery}/images/{image_id}", "404"),
        ("GET /v1/galleries/default%2Fimages/{odd}", [], "none", "404"),
        ("GET /docs/assets/{odd}", [], "none", "404"),
        ("POST /v1/galleries/{odd}/images/x", [], "/v1/galleries/{gallery}/images/{image_id}", "405"),
        ("OPTIONS /v1/galleries/{odd}", [], "/v1/galleries/{gallery}", "405"),
        ("OPTIONS /v1/{odd}", [f"Origin: {PAGE}", "Access-Control-Request-Method: POST"], "none", "204"),
        ("GET /v1/{odd}", ["Origin: https://evil.example"], "none", "403"),
        ("TRACE /v1/galleries/{odd}", [], "/v1/galleries/{gallery}", "405"),
        ("GET /v1/galleries?{odd}=1", [], "/v1/galleries", "422"),
    ],
)
def test_requests_are_counted_by_template(
    own: tuple[str, Path], request_line: str, headers: list[str], route: str, status: str
) -> None:
    odd = uuid.uuid4().hex
    method, target = request_line.replace("{odd}", odd).split()
    known = "other" if method == "TRACE" else method
    before = figure(own[0], "vehicle_search_requests_total", method=known, route=route, status=status)
    raw(own[0], method, target, *headers)
    assert figure(own[0], "vehicle_search_requests_total", method=known, route=route, status=status) == before + 1
    assert odd not in httpx.get(f"{own[0]}/metrics").text


@pytest.mark.parametrize(
    ("data", "status"), [(b"NO HTTP\r\n\r\n", "400"), (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "431")]
)
def test_bytes_that_are_no_request_are_counted(own: tuple[str, Path], data: bytes, status: str) -> None:
    labels = {"method": "other", "route": "none", "status": status}
    before = figure(own[0], "vehicle_search_requests_total", **labels)
    exchange(own[0], data)
    assert figure(own[0], "vehicle_search_requests_total", **labels) == before + 1


def test_what_the_model_gets_at_a_time(own: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = own

    def got(work: str) -> float:
        return figure(address, "vehicle_search_batch_images_sum", work=work)

    requests, spare = got("request"), got("spare")
    embedded = figure(address, "vehicle_search_stage_seconds_count", stage="embed")
    httpx.post(f"{address}/v1/embeddings", files=parts(*map(jpeg, range(5)))).raise_for_status()
    assert got("request") == requests + 5
    assert figure(address, "vehicle_search_stage_seconds_count", stage="embed") == embedded + 5
    archive = pack(tmp_path / "a.zip", {f"{number}.jpg": jpeg(number) for number in range(3)})
    with VehicleSearch(address) as client:
        client.wait_for_import(client.import_archive(archive).id, progress=False)
    assert (got("request"), got("spare")) == (requests + 5, spare + 3)


def test_one_figure_a_picture_that_is_stored(own: tuple[str, Path]) -> None:
    before = figure(own[0], "vehicle_search_stage_seconds_count", stage="store")
    httpx.post(f"{own[0]}/v1/galleries/default/images", files=parts(*map(jpeg, range(3)))).raise_for_status()
    assert figure(own[0], "vehicle_search_stage_seconds_count", stage="store") == before + 3


def test_the_disk_and_the_logs_on_it(own: tuple[str, Path]) -> None:
    address, data = own
    httpx.put(f"{address}/v1/galleries/default/images/a", content=jpeg(0)).raise_for_status()
    log = (data / "galleries" / "default" / "gallery.sqlite-wal").stat().st_size
    assert figure(address, "vehicle_search_gallery_wal_bytes", gallery="default") == log > 0
    disk = os.statvfs(data)
    assert figure(address, "vehicle_search_disk_size_bytes") == disk.f_frsize * disk.f_blocks
    free = disk.f_frsize * disk.f_bavail
    assert figure(address, "vehicle_search_disk_free_bytes") == pytest.approx(free, rel=0.1)


def test_the_queue_has_a_limit(own: tuple[str, Path]) -> None:
    assert figure(own[0], "vehicle_search_queue_limit_requests") > 64
    for work in WORK:
        for state in ("waiting", "running"):
            assert ("vehicle_search_work", frozenset({("work", work), ("state", state)})) in figures(own[0])


def test_work_that_ends_before_it_began_waits_no_more() -> None:
    metrics = Metrics()
    first, second = metrics.piece("spare"), metrics.piece("spare")
    second.began()
    assert metrics.depth()["spare"] == {"waiting": 1, "running": 1}
    first.ended()
    assert metrics.depth()["spare"] == {"waiting": 0, "running": 1}
    second.ended()
    assert metrics.depth() == {work: {"waiting": 0, "running": 0} for work in WORK}


def test_who_answers(own: tuple[str, Path]) -> None:
    text = httpx.get(f"{own[0]}/metrics").text
    assert re.search(
        r'^vehicle_search_model_info\{fingerprint="[0-9a-f]{64}",name="tiny",.*provider="CPUEx', text, re.M
    )
    for library in ("faiss", "onnxruntime", "python", "sqlite", "version"):
        assert re.search(rf'^vehicle_search_build_info\{{.*{library}="\d+\.\d+', text, re.M), library
