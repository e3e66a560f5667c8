"""The model that answers, and the probes."""

from pathlib import Path

import httpx
import pytest

from index.contract import fingerprint
from tests.http_client import refused
from tests.pictures import jpeg


def test_the_model_says_what_it_is(client: httpx.Client, tiny_model: Path) -> None:
    document = client.get("/v1/model").json()
    assert document["fingerprint"] == fingerprint(tiny_model)
    assert document["provider"] == "CPUExecutionProvider"
    assert document["contract"]["viewpoints"] == ["front", "rear", "side"]


def test_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "damaged": {}, "problems": {}}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v1/model"])
def test_an_unknown_parameter_is_never_ignored(client: httpx.Client, path: str) -> None:
    refused(client.get(f"{path}?verbose=1"), 422, "verbose")


def test_figures_for_prometheus(client: httpx.Client, gallery: str) -> None:
    client.put(f"{gallery}/images/own", content=jpeg(0))
    client.post(f"{gallery}/search", content=jpeg(0))
    client.post(f"{gallery}/search", content=b"text")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    route = 'method="POST",route="/v1/galleries/{gallery}/search"'
    for start in (
        f'vehicle_search_requests_total{{{route},status="200"}}',
        f'vehicle_search_requests_total{{{route},status="415"}}',
        'vehicle_search_stage_seconds_count{stage="decode"}',
        'vehicle_search_stage_seconds_count{stage="embed"}',
        'vehicle_search_stage_seconds_count{stage="store"}',
        "process_resident_memory_bytes",
        "vehicle_search_model_info{",
        "vehicle_search_queue_requests 0.0",
        f'vehicle_search_index_problem{{gallery="{gallery.rpartition("/")[2]}"}} 0.0',
        f'vehicle_search_gallery_images{{gallery="{gallery.rpartition("/")[2]}"}} 1.0',
    ):
        assert any(line.startswith(start) for line in lines), start


def test_paths_that_nobody_serves_do_not_fill_the_metrics(client: httpx.Client) -> None:
    for number in range(5):
        client.get(f"/nothing/{number}")
    assert "/nothing/" not in client.get("/metrics").text
