"""Retention at work while nobody writes."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from index.bulk.import_job import ImportFolder
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec
from index.maintenance.verification import examine
from index.storage.query_store import QueryStore
from service.application import create_app
from service.background.sweeper import Sweeper
from service.embedding.kept_queries import KeptQueries
from service.settings import Settings
from service.watching.metrics import Metrics
from tests.index_kinds import build_early
from tests.pictures import jpeg
from tests.server_process import serving
from tests.test_compaction import SPEC, secret, traces


def until(true: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Iterator[DataFolder]:
    opened = DataFolder(tmp_path / "data", default_spec=SPEC, clock=clock)
    opened.create("short", replace(SPEC, retention_days=1))[0].add([secret(n) for n in range(20)])
    opened.get("default").add([secret(100)])
    yield opened
    opened.close()


def rows(home: DataFolder, name: str) -> int:
    with home.get(name)._database.snapshot() as view:
        number: int = view.execute("SELECT count(*) FROM images").get
    return number


def test_expired_images_are_erased_though_nobody_writes(
    home: DataFolder, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.sweeper")
    sweeper = Sweeper(home, seconds=0.01, metrics=Metrics())
    clock.now += timedelta(days=2)
    until(lambda: rows(home, "short") == 0)
    until(lambda: bool(caplog.messages))
    sweeper.close()
    assert caplog.messages == ["gallery short: 20 expired images erased"]
    assert rows(home, "default") == 1
    for n in range(0, 20, 5):  # not even in the log of the database
        assert [
            trace for trace in traces(tmp_path / "data", secret(n)) if "wal" in trace[1] or "crops" in trace[1]
        ] == []


def test_a_gallery_that_cannot_be_swept_is_logged_and_the_others_are(
    home: DataFolder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    home.create("a-full-one", replace(SPEC, retention_days=1))[0].add([secret(1)])
    full = home.get("a-full-one")._database._writer
    full.set_commit_hook(lambda: True)  # SQLite turns it into a rollback
    clock.now += timedelta(days=2)
    metrics = Metrics()
    sweeper = Sweeper(home, seconds=0.01, metrics=metrics)
    until(lambda: rows(home, "short") == 0)
    assert caplog.messages[0].startswith("gallery a-full-one cannot be swept: ")
    full.set_commit_hook(None)
    until(lambda: rows(home, "a-full-one") == 0)
    sweeper.close()
    for outcome in ("done", "failed"):
        assert metrics.registry.get_sample_value("vehicle_search_sweeps_total", {"outcome": outcome}), outcome


def test_memory_that_runs_out_ends_no_sweeping(
    home: DataFolder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise MemoryError

    home.get("short")._database._writer.set_commit_hook(fail)
    clock.now += timedelta(days=2)
    sweeper = Sweeper(home, seconds=0.01, metrics=Metrics())
    until(lambda: len(caplog.messages) > 1)
    assert caplog.messages[0] == "gallery short cannot be swept: not enough memory"
    home.get("short")._database._writer.set_commit_hook(None)
    until(lambda: rows(home, "short") == 0)
    sweeper.close()


def test_queries_are_swept_too(
    home: DataFolder, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.sweeper")
    queries = KeptQueries(QueryStore(tmp_path, hours=1, max_bytes=1000, clock=clock))
    query = queries.store.keep(b"picture", width=1, height=1, digest="0" * 64, extension="jpg")
    folder = tmp_path / "queries"
    path = folder / query.file_name
    path.unlink()
    path.mkdir()  # cannot be removed as a file
    clock.now += timedelta(hours=1)
    sweeper = Sweeper(home, seconds=0.01, metrics=Metrics(), queries=queries)
    until(lambda: bool(caplog.messages))
    path.rmdir()
    until(lambda: queries.store.size() == (0, 0))
    until(lambda: "1 query pictures erased" in caplog.messages[-1])
    sweeper.close()
    assert caplog.messages[0].startswith("pictures of queries cannot be erased in ")


def test_galleries_come_and_go_under_it(home: DataFolder) -> None:
    sweeper = Sweeper(home, seconds=0.001, metrics=Metrics())
    for _ in range(30):
        home.create("guest", SPEC)
        home.drop("guest")
    assert sweeper._thread.is_alive()
    sweeper.close()
    assert not sweeper._thread.is_alive()


def test_it_sweeps_at_its_start(home: DataFolder, clock: Clock) -> None:
    clock.now += timedelta(days=2)
    sweeper = Sweeper(home, seconds=86_400, metrics=Metrics())
    until(lambda: rows(home, "short") == 0)
    sweeper.close()


def test_it_stops_at_once_however_long_it_would_wait(home: DataFolder) -> None:
    sweeper = Sweeper(home, seconds=86_400, metrics=Metrics())
    sweeper.close()
    assert not sweeper._thread.is_alive()


def test_the_service_ends_with_no_thread_at_work(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the sweeper nor those that look after indexes, whatever they are at; what they left is sound."""
    build_early(monkeypatch)
    embedder = Embedder(tiny_model, device="cpu")
    monkeypatch.setattr("index.searching.index_building._LOT", 1)  # it takes some time
    spec = replace(SPEC, kind="hnsw", retention_days=1, keep_crops=False)
    many = [secret(n) for n in range(1000)]
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    galleries = [home.create(f"g{n}", spec)[0] for n in range(3)]
    app = create_app(
        settings=Settings(sweep_seconds=0.001), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path)
    )

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            for turn in range(5):
                for gallery in galleries:
                    gallery.add([secret(n, turn) for n in range(60)])
            for gallery in galleries:
                gallery.add(many)
            names = [thread.name for thread in threading.enumerate()]
            assert "sweeper" in names
            assert any(name.startswith("index of g") for name in names)

    asyncio.run(serve())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("sweeper", "index of"))] == []
    assert caplog.messages == []
    for gallery in galleries:
        assert examine(tmp_path / "data/galleries" / gallery.name).findings == []
    again = DataFolder(tmp_path / "data")
    for name in ("g0", "g1", "g2"):
        assert again.get(name).count() == 1000 + 4 * 30  # odd ids are new in each turn
    again.close()
    assert caplog.messages == []


def test_a_service_sweeps(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model, "--sweep-seconds", "0.05") as server:
        gallery = f"{server}/v1/galleries/short"
        assert httpx.put(gallery, json={"retention_days": 1 / 86_400}).status_code == 201
        assert httpx.put(f"{gallery}/images/a", content=jpeg(1)).status_code == 201
        until(lambda: list((tmp_path / "data/galleries/short/crops").rglob("*.jpg")) == [])
        assert httpx.get(gallery).json()["images"] == 0
