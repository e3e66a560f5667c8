"""The service in one page, as different callers see it."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import faiss
import httpx
import onnxruntime
import pytest
from fastapi import FastAPI

from index.contract import fingerprint
from service.watching.metrics import STAGES, WORK
from tests.archives import pack
from tests.http_client import AnswerCheck, refused
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving
from tests.test_engine import app, calling, embedder  # noqa: F401  # fixtures
from vehicle_search_client import VehicleSearch

Served = tuple[str, Path, dict[str, str]]


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with keys, a sound gallery besides ``default`` and a damaged one: address, data folder, tokens by name."""
    data = tmp_path_factory.mktemp("status") / "data"
    tokens = {
        "admin": kept_key(data, "admin"), "reader": kept_key(data, "read"), "writer": kept_key(data, "write"),
        "of default": kept_key(data, "read", galleries=("default",)),
    }  # fmt: skip
    (data / "galleries" / "yard").mkdir(parents=True)
    (data / "galleries" / "yard" / "gallery.sqlite").write_bytes(b"no database" * 999)
    with serving(data, tiny_model) as address:
        admin = bearer(tokens["admin"])
        assert httpx.put(f"{address}/v1/galleries/lot", json={"kind": "auto"}, headers=admin).status_code == 201
        assert httpx.put(f"{address}/v1/galleries/lot/images/a", content=jpeg(0), headers=admin).status_code == 201
        archive = pack(data.parent / "a.zip", {"b.jpg": jpeg(1)})
        with VehicleSearch(address, api_key=tokens["admin"]) as client:
            job = client.import_archive(archive, gallery="lot")
            assert client.wait_for_import(job.id, progress=False).state == "done"
        yield address, data, tokens


def status(served: Served, who: str) -> dict[str, Any]:
    with httpx.Client(event_hooks={"response": [AnswerCheck(served[0])]}) as client:
        answer = client.get(f"{served[0]}/v1/status", headers=bearer(served[2][who]))
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def test_an_admin_sees_all(served: Served, tiny_model: Path) -> None:
    _, data, _ = served
    document = status(served, "admin")
    assert (document["read_only"], document["draining"], document["previous"]) == (False, False, None)
    assert (document["keys"], document["audit"]) == (True, False)
    began = datetime.fromisoformat(document["started_at"])
    assert 0 <= document["uptime_seconds"] <= (datetime.now(UTC) - began).total_seconds() + 1
    assert document["versions"].keys() == {"vehicle-search", "python", "onnxruntime", "faiss", "sqlite"}
    assert document["versions"]["faiss"] == faiss.__version__
    assert document["versions"]["onnxruntime"] == onnxruntime.__version__
    assert document["versions"]["sqlite"] == apsw.sqlite_lib_version()
    model = document["model"]
    assert (model["name"], model["provider"]) == ("tiny", "CPUExecutionProvider")
    assert model["fingerprint"] == fingerprint(tiny_model)
    default, lot, yard = document["galleries"]
    assert (default["name"], default["images"], default["kind"], default["problem"]) == ("default", 0, "flat", None)
    assert (lot["name"], lot["images"], lot["kind"], lot["migration"]) == ("lot", 2, "auto", None)
    assert lot["embedding_space"] == model["embedding_space"]
    assert lot["wal_bytes"] == (data / "galleries" / "lot" / "gallery.sqlite-wal").stat().st_size > 0
    assert yard.keys() == {"name", "problem"}
    assert str(data / "galleries") in yard["problem"]
    assert document["imports"] == {"queued": 0, "running": 0, "done": 1, "failed": 0, "cancelled": 0}
    assert document["queue"]["taken"] == 0
    assert document["queue"]["limit"] > 64
    assert document["queue"]["workers"] >= 1
    assert document["queue"]["work"] == {kind: {"waiting": 0, "running": 0} for kind in WORK}
    assert document["recent_seconds"] == 300
    assert document["stages"].keys() == set(STAGES)
    assert {name: each["pictures"] for name, each in document["stages"].items()} | {"queue": 0} == {
        "queue": 0, "decode": 1, "embed": 1, "search": 0, "store": 1,  # imports are counted elsewhere
    }  # fmt: skip
    for name in ("decode", "embed", "store"):
        assert 0 < document["stages"][name]["p50_seconds"] <= document["stages"][name]["p99_seconds"] < 60
    assert document["stages"]["search"]["p99_seconds"] is None
    disk = os.statvfs(data)
    assert document["disk"]["folder"] == str(data)
    assert document["disk"]["total_bytes"] == disk.f_frsize * disk.f_blocks
    assert 0 < document["disk"]["free_bytes"] < document["disk"]["total_bytes"]


def test_a_reader_learns_nothing_of_the_machine(served: Served) -> None:
    document = status(served, "reader")
    assert document["disk"]["folder"] is None
    assert document["disk"]["free_bytes"] > 0
    (yard,) = (each for each in document["galleries"] if each["name"] == "yard")
    assert "galleries/yard" in yard["problem"]
    assert str(served[1].parent) not in str(document)
    assert {each["name"] for each in document["galleries"]} == {"default", "lot", "yard"}


@pytest.mark.parametrize("path", ["/v1/galleries", "/readyz", "/v1/galleries/yard", "/v1/galleries/yard/images/a"])
def test_nor_elsewhere_where_damage_is_told(served: Served, path: str) -> None:
    address, data, tokens = served
    admins, readers = (httpx.get(f"{address}{path}", headers=bearer(tokens[who])) for who in ("admin", "reader"))
    assert admins.status_code == readers.status_code
    assert f"{data}/galleries/yard/gallery.sqlite" in admins.text
    assert "galleries/yard/gallery.sqlite" in readers.text
    assert str(data.parent) not in readers.text


def test_a_key_of_some_galleries_sees_those(served: Served) -> None:
    document = status(served, "of default")
    assert [each["name"] for each in document["galleries"]] == ["default"]
    assert document["imports"]["done"] == 0
    assert "yard" not in str(document)
    assert "lot" not in str(document["galleries"])


def test_who_may_ask(served: Served) -> None:
    address, _, tokens = served
    refused(httpx.get(f"{address}/v1/status"), 401)
    refused(httpx.get(f"{address}/v1/status", headers=bearer(tokens["writer"])), 403, "read")
    refused(httpx.get(f"{address}/v1/status?verbose=1", headers=bearer(tokens["admin"])), 422, "verbose")


def test_the_client_reads_it(served: Served) -> None:
    with VehicleSearch(served[0], api_key=served[2]["reader"]) as client:
        told = client.status()
    assert told.model["name"] == "tiny"
    assert told.started_at.tzinfo is not None
    assert [each["name"] for each in told.galleries] == ["default", "lot", "yard"]
    assert told.disk["folder"] is None
    assert (told.keys, told.stages["embed"]["pictures"]) == (True, 1)


def test_a_service_that_stops_says_so(app: FastAPI) -> None:  # noqa: F811
    async def ask() -> list[bool]:
        async with calling(app) as client:
            before = (await client.get("/v1/status")).json()
            app.state.stopping = True
            return [before["draining"], (await client.get("/v1/status")).json()["draining"]]

    assert asyncio.run(ask()) == [False, True]


def test_what_waits_and_runs_is_told(app: FastAPI) -> None:  # noqa: F811
    async def ask() -> list[dict[str, Any]]:
        from threading import Event

        engine, begun, go_on = app.state.context.engine, Event(), Event()

        def work() -> None:
            begun.set()
            assert go_on.wait(60)

        async with calling(app) as client:
            async with engine.place():
                running = asyncio.create_task(engine.run(work))
                await asyncio.to_thread(begun.wait, 60)
                waiting = asyncio.create_task(engine.run(lambda: None))
                await asyncio.sleep(0)  # it is handed in by now
                told = [(await client.get("/v1/status")).json()["queue"]]
                go_on.set()
                await asyncio.gather(running, waiting)
            told.append((await client.get("/v1/status")).json()["queue"])
        return told

    busy, idle = asyncio.run(ask())
    resting = {kind: {"waiting": 0, "running": 0} for kind in WORK}
    assert busy == {"taken": 1, "limit": 2, "workers": 1, "work": {**resting, "single": {"waiting": 1, "running": 1}}}
    assert idle == {"taken": 0, "limit": 2, "workers": 1, "work": resting}
