"""Workers, their queue, and what reaches a client when they are full or stopped; the service runs in this process."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from index.bulk.import_job import ImportFolder
from index.data_folder import DataFolder
from index.embedder import Embedded, Embedder
from index.errors import BoxOutsidePicture, ModelError, PictureTooLarge, UnsupportedPicture
from index.gallery import GallerySpec
from service.application import create_app
from service.capacity.worker_pool import Urgency
from service.context import Context
from service.embedding.engine import Engine
from service.embedding.loaded_models import LoadedModels
from service.embedding.picture_looker import Seen
from service.settings import Settings
from service.watching.metrics import Metrics
from service.wire.problems import NotReady, QueueFull
from tests.host_device import AilingDevice
from tests.http_client import parts, refused
from tests.index_kinds import build_early
from tests.pictures import jpeg

_file = io.BytesIO()
Image.new("RGB", (64, 64)).save(_file, "PNG")
BLACK = _file.getvalue()


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model, device="cpu", threads=1)


@pytest.fixture
def engine(embedder: Embedder) -> Iterator[Engine]:
    made = Engine(LoadedModels(present=embedder), Metrics(), workers=2, queue_size=1, max_pixels=10_000)
    yield made
    made.close()


@pytest.fixture
def app(embedder: Embedder, tmp_path: Path) -> FastAPI:
    """A service with one worker and one place to wait."""
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    return create_app(
        settings=Settings(queue_size=1), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path)
    )


@asynccontextmanager
async def calling(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work(), 60)

    return asyncio.run(bounded())


def test_a_picture_is_seen_alone_as_in_a_batch(engine: Engine) -> None:
    pictures = [(jpeg(number), None) for number in range(19)]
    together, waited = run(lambda: engine.look_at_all(pictures, keep=True))
    assert waited >= 0
    for (data, _), seen in zip(pictures, together, strict=True):
        assert isinstance(seen, Seen)
        assert seen.stored == data  # an upright JPEG is kept as it came
        (alone,) = engine.look_at([(data, None)], keep=False)
        assert isinstance(alone, Seen)
        np.testing.assert_allclose(alone.embedding, seen.embedding, atol=1e-4)


def test_a_bad_picture_is_an_error_in_its_place(engine: Engine) -> None:
    pictures = [(jpeg(0), None), (b"text", None), (jpeg(1), (90, 0, 40, 40)), (jpeg(2), (0, 0, 8, 8))]
    looked, _ = run(lambda: engine.look_at_all(pictures, keep=False))
    kinds = [type(seen) for seen in looked]
    assert kinds == [Seen, UnsupportedPicture, BoxOutsidePicture, Seen]
    assert run(lambda: engine.look_at_all([], keep=True)) == ([], 0)


def test_an_exception_reaches_whoever_waits(engine: Engine) -> None:
    def fail() -> None:
        raise ModelError("broken")

    with pytest.raises(ModelError, match="broken"):
        run(lambda: engine.run(fail))


def test_what_is_left_of_a_batch_that_failed_is_not_done(engine: Engine) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[list[int]] = []

    def work(part: list[int]) -> None:
        done.append(part)
        if part == [1]:
            begun.set()
            assert go_on.wait(30)
        elif part == [0]:
            assert begun.wait(30)
            raise ModelError("the device is gone")

    async def ask() -> None:
        before, engine._chunk_most = asyncio.all_tasks(), 1
        with pytest.raises(ModelError, match="the device is gone"):
            await engine.in_chunks(list(range(32)), work)
        go_on.set()
        await asyncio.gather(*asyncio.all_tasks() - before, return_exceptions=True)

    run(ask)
    assert len(done) <= 3  # both that were begun, and one that may have taken the place of the first
    with engine._turn:  # a worker may still be at the end of what nobody waits for any more
        assert engine._turn.wait_for(lambda: engine._asked == 0, timeout=30)


def test_a_place_is_given_back_whatever_happens(engine: Engine) -> None:
    async def work() -> None:
        async with engine.place(), engine.place(), engine.place():
            with pytest.raises(QueueFull, match=r"3 requests.*queue_size"):
                async with engine.place():
                    pass
        for _ in range(5):
            with pytest.raises(KeyError):
                async with engine.place():
                    raise KeyError
        async with engine.place(), engine.place(), engine.place():
            pass

    run(work)


def test_two_workers_work_at_the_same_time(engine: Engine) -> None:
    both = threading.Barrier(2, timeout=30)

    async def work() -> None:
        await asyncio.gather(engine.run(both.wait), engine.run(both.wait))

    run(work)


def test_nothing_is_taken_after_the_end(engine: Engine) -> None:
    engine.close()

    async def work() -> None:
        async with engine.place():
            pass

    with pytest.raises(NotReady):
        run(work)


def test_a_full_queue_is_told_to_come_back(app: FastAPI) -> None:
    context: Context = app.state.context
    working, go_on = threading.Event(), threading.Event()

    def block() -> None:
        working.set()
        go_on.wait(60)

    async def work() -> None:
        async with calling(app) as client, context.engine.place():
            blocked = asyncio.create_task(context.engine.run(block))
            await asyncio.to_thread(working.wait, 60)
            path = "/v1/galleries/default"
            waiting = asyncio.create_task(client.post(f"{path}/search", content=jpeg(0)))
            while context.metrics.queue._value.get() < 2:  # until it has its place
                await asyncio.sleep(0)
            for request in (
                client.post(f"{path}/search", content=jpeg(0)), client.post(f"{path}/images", files=parts(jpeg(0))),
                client.post(f"{path}/search/batch", files=parts(jpeg(0))), client.put(f"{path}/images/a", content=b"x"),
                client.post("/v1/embeddings", content=jpeg(0)), client.get(f"{path}/images/a/similar"),
            ):  # fmt: skip
                full = await request
                refused(full, 429, "queue_size")
                assert int(full.headers["retry-after"]) >= 1
            assert (await client.get("/livez")).status_code == 200  # and what needs no worker goes on
            assert (await client.get(path)).status_code == 200
            go_on.set()
            await blocked
            assert (await waiting).status_code == 200
            assert (await client.post(f"{path}/search", content=jpeg(0))).status_code == 200

    run(work)


def test_a_picture_of_too_many_pixels_is_told_the_setting(engine: Engine) -> None:
    (refused,) = engine.look_at([(jpeg(0, (200, 100)), None)], keep=False)
    assert isinstance(refused, PictureTooLarge)
    assert "the limit is 10,000 pixels, set by max_pixels" in str(refused)


@pytest.fixture(scope="module")
def broken_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding is infinite wherever its first number is positive."""
    model = onnx.load(tiny_model)
    (last,) = [node for node in model.graph.node if "embedding" in node.output]
    last.output[list(last.output).index("embedding")] = "finite"
    zero = onnx.numpy_helper.from_array(np.zeros(32, dtype=np.float32), "zero")
    model.graph.initializer.append(zero)
    model.graph.node.append(onnx.helper.make_node("Div", ["finite", "zero"], ["embedding"]))
    path = tmp_path_factory.mktemp("broken") / "broken.onnx"
    onnx.save(model, path)
    return path


def test_an_answer_that_is_not_finite_fails_its_picture(broken_model: Path, tmp_path: Path) -> None:
    embedder = Embedder(broken_model, device="cpu", threads=1)
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))

    async def work() -> None:
        async with calling(app) as client:
            path = "/v1/galleries/default"
            refused(await client.post(f"{path}/search", content=jpeg(0)), 422, "not finite")
            refused(await client.put(f"{path}/images/a", content=jpeg(0)), 422, "not finite")
            batch = (await client.post(f"{path}/images", files=parts(jpeg(0), jpeg(1)))).json()
            assert (batch["created"], batch["failed"]) == (0, 2)
            results = (await client.post(f"{path}/search/batch", files=parts(jpeg(0)))).json()["results"]
            assert results[0]["problem"]["status"] == 422

    run(work)


def test_a_model_that_begins_to_fail_ends_readiness_until_it_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(engine.check)  # fresh from its warming up
    monkeypatch.setattr("service.embedding.engine.FRESH_SECONDS", 0)
    whole = engine.embedder

    class Failing(Embedder):
        """The same model after a fault of its device."""

        def __init__(self) -> None:
            self.__dict__.update(vars(whole))

        def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
            raise ModelError("the device is gone")

    engine._models.replace(Failing())
    for _ in range(2):
        with pytest.raises(NotReady, match="the device is gone"):
            run(engine.check)
    with pytest.raises(ModelError):
        run(lambda: engine.look_at_all([(jpeg(0), None)], keep=False))
    engine._models.replace(whole)
    run(engine.check)


def test_workers_that_are_stuck_end_readiness(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.embedding.engine.FRESH_SECONDS", 0)
    monkeypatch.setattr("service.embedding.engine.PATIENCE_SECONDS", 0.05)
    go_on = threading.Event()

    async def work() -> None:
        stuck = [asyncio.create_task(engine.run(lambda: go_on.wait(60))) for _ in range(engine.threads)]
        await asyncio.sleep(0)  # both are with the workers
        for _ in range(2):
            with pytest.raises(NotReady, match="not answered"):
                await engine.check()
        go_on.set()
        await asyncio.gather(*stuck)
        monkeypatch.setattr("service.embedding.engine.PATIENCE_SECONDS", 30)
        await engine.check()

    run(work)


def test_searches_that_wait_together_go_through_the_model_together(tiny_model: Path, tmp_path: Path) -> None:
    lots: list[int] = []

    class Counted(Embedder):
        """A model that notes how many crops it is given."""

        def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
            lots.append(len(crops))
            return super().embed(crops, alone=alone)

    embedder = Counted(tiny_model, device="cpu", threads=1)
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))
    context: Context = app.state.context
    begun, go_on = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        assert go_on.wait(60)

    async def work() -> None:
        async with calling(app) as client:
            path = "/v1/galleries/default"
            files = [("image", (f"{n}.jpg", jpeg(n))) for n in range(6)]
            ids = [one["image_id"] for one in (await client.post(f"{path}/images", files=files)).json()["results"]]
            blocked = asyncio.create_task(context.engine.run(block))
            await asyncio.to_thread(begun.wait, 60)
            lots.clear()
            bodies = [*(jpeg(n) for n in range(6)), b"text"]
            asked = [asyncio.create_task(client.post(f"{path}/search?top_k=1", content=body)) for body in bodies]
            while context.engine._pool.depths()[Urgency.SINGLE][0] < len(bodies):
                await asyncio.sleep(0)
            go_on.set()
            await blocked
            *answers, bad = await asyncio.gather(*asked)
            refused(bad, 415, "text")
            assert [answer.json()["matches"][0]["image_id"] for answer in answers] == ids
            assert max(answer.json()["matches"][0]["distance"] for answer in answers) <= 1e-3
            assert lots == [4, 2]  # of seven that wait half, and then half again
            for answer in answers:
                timing = answer.json()["timing_ms"]
                assert timing["queue"] + timing["embed"] + timing["decode"] + timing["search"] <= timing["total"]

    run(work)


def test_a_picture_that_the_model_fails_with_fails_alone(tiny_model: Path) -> None:
    class Poisoned(Embedder):
        """A model that fails with whatever holds a black picture, or with all."""

        ever = False

        def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
            if self.ever or not all(crop.any() for crop in crops):
                raise ModelError("poisoned")
            return super().embed(crops, alone=alone)

    embedder = Poisoned(tiny_model, device="cpu", threads=1)
    engine = Engine(LoadedModels(present=embedder), Metrics(), workers=1, queue_size=1, max_pixels=10_000)
    pictures = [(jpeg(0), None), (BLACK, None), (b"text", None), (jpeg(1), None)]
    kinds = [type(seen) for seen in engine.look_at(pictures, keep=False)]
    assert kinds == [Seen, ModelError, UnsupportedPicture, Seen]
    embedder.ever = True
    with pytest.raises(ModelError, match="poisoned"):
        engine.look_at(pictures, keep=False)
    engine.close()


def test_a_model_that_hangs_is_told_of_and_comes_back(tiny_model: Path, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Hanging(Embedder):
        """A model whose device does not answer a picture that is black."""

        def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
            if not crops.any():
                begun.set()
                assert go_on.wait(60)
            return super().embed(crops, alone=alone)

    embedder = Hanging(tiny_model, device="cpu", threads=1)
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    settings, imports = Settings(stuck_seconds=1), ImportFolder(home.path)
    app = create_app(settings=settings, embedder=embedder, home=home, workers=1, imports=imports)

    async def work() -> None:
        async with calling(app) as client:
            path = "/v1/galleries/default"
            stuck = asyncio.create_task(client.put(f"{path}/images/a", content=BLACK))
            await asyncio.to_thread(begun.wait, 30)
            behind = asyncio.create_task(client.post(f"{path}/search", content=jpeg(0)))
            refused(await stuck, 503, "stuck_seconds")
            refused(await client.get("/readyz"), 503, "lost and not replaced")
            assert (await client.get("/livez")).status_code == 200
            assert 'vehicle_search_lost_workers_total{how="hung"} 1.0' in (await client.get("/metrics")).text
            assert (await behind).status_code == 200  # by the one that took its place
            assert (await client.get("/readyz")).status_code == 200
            go_on.set()
            assert (await client.post(f"{path}/search", content=jpeg(0))).json()["matches"] == []  # nothing was stored
            assert (await client.get(path)).json()["images"] == 0

    run(work)


def test_a_device_that_fails_is_told_of_and_searches_go_on(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_early(monkeypatch)
    device = AilingDevice()
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract), device=device)
    gallery = home.get("default")
    app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))

    async def work() -> None:
        async with calling(app) as client:
            files = [("image", (f"{n}.jpg", jpeg(n))) for n in range(4)]
            assert (await client.post("/v1/galleries/default/images", files=files)).json()["created"] == 4
            gallery._upkeep.rest()
            assert (await client.get("/v1/galleries/default")).json()["index"]["device"] == device.name
            before = await client.post("/v1/galleries/default/search", content=jpeg(2))
            assert (await client.get("/readyz")).json() == {"status": "ready", "damaged": {}, "problems": {}}
            device.ails = "memory"
            after = await client.post("/v1/galleries/default/search", content=jpeg(2))
            assert after.json()["matches"] == before.json()["matches"]
            problems = (await client.get("/readyz")).json()["problems"]
            assert "the GPU failed in a search" in problems["default"]
            described = (await client.get("/v1/galleries/default")).json()["index"]
            assert (described["device"], described["problem"]) == ("cpu", problems["default"])
            assert 'vehicle_search_index_problem{gallery="default"} 1.0' in (await client.get("/metrics")).text

    run(work)
    assert device.taken == 0


def test_readiness_ends_with_the_service(app: FastAPI) -> None:
    async def work() -> None:
        async with calling(app) as client:
            assert (await client.get("/readyz")).status_code == 200
            app.state.stopping = True
            refused(await client.get("/readyz"), 503)
            assert (await client.get("/livez")).status_code == 200
            app.state.context.engine.close()
            refused(await client.post("/v1/embeddings", content=jpeg(0)), 503, "stopping")

    run(work)


def test_a_host_header_that_is_no_host_is_survived_without_the_guard(embedder: Embedder, tmp_path: Path) -> None:
    settings = Settings(host="0.0.0.0", allow_unauthenticated_remote=True)
    home = DataFolder(tmp_path / "open", default_spec=GallerySpec.for_model(embedder.contract))
    app = create_app(settings=settings, embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))

    async def work() -> None:
        async with calling(app) as client:
            for host in ("[", "example.org", "[::1", ""):
                refused(await client.get("/nothing", headers={"Host": host}), 404, "/nothing")
                refused(await client.post("/livez", headers={"Host": host}), 405, "/livez")

    run(work)


def test_spare_work_waits_for_requests_and_leaves_them_a_worker(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.embedding.engine.SPARE_PATIENCE_SECONDS", 60)
    monkeypatch.setattr("service.embedding.engine.QUIET_SECONDS", 60)
    order: list[str] = []
    at_work, go_on = threading.Event(), threading.Event()

    def request() -> None:
        at_work.set()
        assert go_on.wait(30)
        order.append("request")

    async def serve() -> None:
        asked = asyncio.create_task(engine.run(request))
        await asyncio.to_thread(at_work.wait, 30)
        spare = asyncio.create_task(asyncio.to_thread(lambda: engine.spare(lambda: order.append("spare")).result()))
        go_on.set()
        await asyncio.gather(asked, spare)

    run(serve)
    assert order == ["request", "spare"]

    held, both = threading.Event(), threading.Event()
    first = engine.spare(lambda: held.wait(30))
    second = threading.Thread(target=lambda: (engine.spare(both.set).result(), None)[1])
    second.start()
    run(lambda: engine.run(lambda: order.append("another")))  # there is a worker for it
    assert order[-1] == "another"
    assert not both.is_set()  # a request came just now: one worker is kept free
    held.set()
    second.join(30)
    assert first.result()
    assert both.is_set()


def test_spare_work_goes_on_although_requests_never_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.embedding.engine.SPARE_PATIENCE_SECONDS", 0.01)
    go_on = threading.Event()

    async def serve() -> int:
        asked = asyncio.create_task(engine.run(lambda: go_on.wait(30)))
        done = await asyncio.to_thread(lambda: engine.spare(lambda: 5).result(30))
        go_on.set()
        await asked
        return done

    assert run(serve) == 5


def test_a_closed_engine_takes_no_spare_work(engine: Engine) -> None:
    engine.close()
    with pytest.raises(NotReady):
        engine.spare(lambda: None)
