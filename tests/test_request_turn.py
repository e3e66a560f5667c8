"""Deadlines, clients that leave and slow senders, in a service in this process that is asked by its ASGI door."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message

from index.bulk.import_job import ImportFolder
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec, NewImage
from service.application import create_app
from service.context import Context
from service.settings import Settings
from tests.pictures import jpeg

SEARCH, IMAGE = "/v1/galleries/default/search", "/v1/galleries/default/images/a"


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu", threads=1)


Maker = Callable[..., FastAPI]


@pytest.fixture
def app_of(embedder: Embedder, tmp_path: Path) -> Maker:
    """A service with one worker and one place to wait."""

    def make(**settings: Any) -> FastAPI:
        home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
        return create_app(
            settings=Settings(queue_size=1, **settings), embedder=embedder, home=home, workers=1,
            imports=ImportFolder(home.path),
        )  # fmt: skip

    return make


class Exchange:
    """A request whose body is sent, and whose client leaves, when the test says so."""

    def __init__(self, app: FastAPI, method: str, path: str, headers: dict[str, str]) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in headers.items())],
            "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
        }  # fmt: skip
        self.task = asyncio.create_task(app(scope, self._messages.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def body(self, data: bytes, *, more: bool = False) -> None:
        self._messages.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        await asyncio.wait_for(self.task, 30)
        headers = {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        return self.sent[0]["status"], headers, json.loads(body) if body else None


class Service:
    """A running one, whose only worker can be kept busy."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.context: Context = app.state.context

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Exchange:
        exchange = Exchange(self.app, method, path, {name.replace("_", "-"): value for name, value in headers.items()})
        if body is not None:
            exchange.body(body)
        return exchange

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        begun, go_on = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            assert go_on.wait(30)

        blocked = asyncio.create_task(self.context.engine.run(work))
        await asyncio.to_thread(begun.wait, 30)
        try:
            yield
        finally:
            go_on.set()
            await blocked

    async def until_taken(self, count: int) -> None:
        while self.context.engine._taken != count:
            await asyncio.sleep(0)

    def decoded(self) -> float:
        seconds: float = self.context.metrics._by_stage["decode"]._sum.get()
        return seconds


def run(app: FastAPI, work: Callable[[Service], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with app.router.lifespan_context(app), asyncio.timeout(60):
            await work(Service(app))

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("settings", "headers", "says"),
    [
        ({}, {"X_Request_Timeout_Ms": "50"}, r"within 0.05 s, set by the header X-Request-Timeout-Ms"),
        ({"request_seconds": 0.05}, {}, r"within 0.05 s, set by request_seconds"),
        ({"request_seconds": 0.05}, {"X_Request_Timeout_Ms": "60000"}, r"within 0.05 s, set by request_seconds"),
    ],
)
def test_past_its_deadline_a_request_is_told_so_and_nothing_is_done(
    app_of: Maker, settings: dict[str, float], headers: dict[str, str], says: str
) -> None:
    async def work(service: Service) -> None:
        async with service.busy():
            for exchange in (
                service.send("POST", SEARCH, jpeg(0), **headers),
                service.send("PUT", IMAGE, jpeg(0), **headers),
            ):
                status, _, problem = await exchange.answer()
                assert (status, problem["type"]) == (503, "urn:vehicle-search:problem:deadline-passed")
                assert says in problem["detail"]
            assert service.context.engine._taken == 0
        await service.context.engine.run(lambda: None)  # the worker is through with what waited
        assert service.decoded() == 0
        assert service.context.gallery("default").count() == 0

    run(app_of(**settings), work)


def test_a_request_in_time_is_answered(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        status, _, _ = await service.send("POST", SEARCH, jpeg(0), X_Request_Timeout_Ms="20000").answer()
        assert status == 200

    run(app_of(), work)


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "soon", "", "86400001", "1" * 40, "٣"])
def test_a_deadline_that_is_none_is_refused(app_of: Maker, value: str) -> None:
    async def work(service: Service) -> None:
        exchange = service.send("POST", SEARCH, jpeg(0), X_Request_Timeout_Ms=value)
        status, _, problem = await exchange.answer()
        assert status == 422
        assert "X-Request-Timeout-Ms" in problem["detail"]
        assert problem["errors"][0]["pointer"] == "/header/X-Request-Timeout-Ms"

    run(app_of(), work)


def test_what_is_being_stored_is_stored_and_answered_though_the_time_is_over(
    app_of: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(service: Service) -> None:
        gallery = service.context.gallery("default")
        begun, go_on, add = threading.Event(), threading.Event(), gallery.add

        def slowly(images: list[NewImage]) -> Any:
            begun.set()
            assert go_on.wait(30)
            return add(images)

        monkeypatch.setattr(gallery, "add", slowly)
        late = service.send("PUT", IMAGE, jpeg(0), X_Request_Timeout_Ms="3000")
        await asyncio.to_thread(begun.wait, 30)
        late.leave()
        await asyncio.sleep(3.1)
        go_on.set()
        status, _, document = await late.answer()
        assert (status, document["status"]) == (201, "created")
        assert gallery.count() == 1

    run(app_of(), work)


def test_a_client_that_leaves_frees_its_place_and_leaves_nothing(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        async with service.busy():
            for method, path in (
                ("POST", SEARCH),
                ("PUT", IMAGE),
                ("GET", f"{IMAGE}/similar"),
                ("POST", "/v1/embeddings"),
            ):
                gone = service.send(method, path, jpeg(0) if method != "GET" else b"")
                await service.until_taken(1)
                gone.leave()
                await gone.answer()
                assert service.context.engine._taken == 0  # though the worker is busy still
            assert service.context.bodies.taken == 0
        await service.context.engine.run(lambda: None)
        assert service.decoded() == 0
        assert service.context.gallery("default").count() == 0
        text = service.context.metrics.text().decode()
        assert f'route="{SEARCH.replace("default", "{gallery}")}",status="499"' in text

    run(app_of(), work)


def test_slow_senders_keep_no_place(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        data = jpeg(0)
        slow = [service.send("POST", SEARCH) for _ in range(10)]  # there are two places
        for exchange in slow:
            exchange.body(data[:100], more=True)
        while service.context.bodies.taken < 1000:
            await asyncio.sleep(0)
        status, _, _ = await service.send("POST", SEARCH, data).answer()
        assert status == 200
        for exchange in slow[:2]:
            exchange.body(data[100:])
            assert (await exchange.answer())[0] == 200
        for exchange in slow[2:]:
            exchange.leave()
            assert (await exchange.answer())[0] == 400
        assert service.context.bodies.taken == 0

    run(app_of(), work)


def test_bodies_together_are_bounded(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        held = service.send("POST", SEARCH)
        held.body(b"x" * 1500, more=True)
        while service.context.bodies.taken < 1500:
            await asyncio.sleep(0)
        status, headers, problem = await service.send("POST", SEARCH, b"x" * 600).answer()
        assert status == 429
        assert "max_buffered_bytes" in problem["detail"]
        assert int(headers["retry-after"]) >= 1
        held.body(b"")
        assert (await held.answer())[0] == 415
        assert (await service.send("POST", SEARCH, b"x" * 600).answer())[0] == 415

    run(app_of(max_body_bytes=2000, max_buffered_bytes=2000), work)


def test_requests_of_all_kinds_are_bounded_and_probes_are_not(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        held = [service.send("PUT", "/v1/galleries/new"), service.send("POST", SEARCH)]
        for exchange in held:
            exchange.body(b" ", more=True)
        while service.context.bodies.taken < 2:
            await asyncio.sleep(0)
        status, headers, problem = await service.send("GET", "/v1/galleries").answer()
        assert (status, "max_requests" in problem["detail"], headers["retry-after"]) == (429, True, "1")
        for probe in ("/livez", "/readyz", "/v2/health/live"):
            assert (await service.send("GET", probe).answer())[0] == 200
        for exchange in held:
            exchange.leave()
            await exchange.answer()
        assert (await service.send("GET", "/v1/galleries").answer())[0] == 200

    run(app_of(max_requests=2), work)


def test_bodies_of_json_are_among_them(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        held = service.send("PUT", "/v1/galleries/new")
        held.body(b" " * 1500, more=True)
        while service.context.bodies.taken < 1500:
            await asyncio.sleep(0)
        status, _, problem = await service.send("PUT", "/v1/galleries/other", b" " * 598 + b"{}").answer()
        assert (status, "max_buffered_bytes" in problem["detail"]) == (429, True)
        held.body(b"{}")
        assert (await held.answer())[0] == 201
        assert service.context.bodies.taken == 0

    run(app_of(max_body_bytes=2000, max_buffered_bytes=2000), work)


def test_a_full_service_refuses_before_the_body_comes(app_of: Maker) -> None:
    async def work(service: Service) -> None:
        async with service.busy(), service.context.engine.place():
            waiting = service.send("POST", SEARCH, jpeg(0))
            await service.until_taken(2)
            status, headers, problem = await service.send("POST", SEARCH).answer()  # it never sends one
            assert (status, headers["retry-after"]) == (429, "1")
            assert "queue_size" in problem["detail"]
        assert (await waiting.answer())[0] == 200

    run(app_of(), work)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_leaves_whenever_nothing_is_counted_for_ever(app_of: Maker, seed: int) -> None:
    """Clients that leave, or are late, at drawn moments: every count is what it was, and the workers are all there."""
    draws = random.Random(seed)

    async def client(service: Service, data: bytes) -> int:
        method, path = draws.choice(
            [("POST", SEARCH), ("PUT", IMAGE), ("GET", f"{IMAGE}/similar"), ("POST", "/v1/embeddings")]
        )
        headers = {"X_Request_Timeout_Ms": str(draws.randint(1, 40))} if draws.random() < 0.3 else {}
        exchange = service.send(method, path, None, **headers)
        exchange.body(data[: len(data) // 2], more=True)
        for _ in range(draws.randint(0, 30)):
            await asyncio.sleep(0)
        if draws.random() < 0.7:
            exchange.body(data[len(data) // 2 :])
        if draws.random() < 0.6:
            await asyncio.sleep(draws.random() / 50)
            exchange.leave()
        else:
            exchange.body(data[len(data) // 2 :])
        return (await exchange.answer())[0]

    async def work(service: Service) -> None:
        assert (await service.send("PUT", IMAGE, jpeg(0)).answer())[0] == 201
        statuses: set[int] = set()
        for _ in range(10):
            statuses.update(await asyncio.gather(*(client(service, jpeg(draws.randint(0, 9))) for _ in range(40))))
        assert statuses <= {200, 201, 400, 404, 429, 499, 503}
        assert 200 in statuses
        engine = service.context.engine
        while engine._asked:
            await asyncio.sleep(0.001)
        assert (engine._taken, engine._spare, service.context.bodies.taken, engine._pool.missing) == (0, 0, 0, 0)
        assert set(engine._pool.depths().values()) == {(0, 0)}
        depth = service.context.metrics.depth()
        assert {number for states in depth.values() for number in states.values()} == {0}
        assert (await service.send("POST", SEARCH, jpeg(1)).answer())[0] == 200

    run(app_of(), work)
