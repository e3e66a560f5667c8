"""Migrations in the background: they leave the workers to searches, and a fault of one gallery is told."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.data_folder import DataFolder
from index.embedder import Embedded, Embedder
from index.errors import ModelError
from index.gallery import GallerySpec, Metadata, NewImage
from service.background.migrator import Migrator
from service.embedding.engine import Engine
from service.embedding.loaded_models import LoadedModels
from service.watching.metrics import Metrics
from tests.pictures import jpeg
from tests.test_sweeper import until


class Watched(Embedder):
    """The model, whose work can be held up, made to fail, and is counted."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, device="cpu", threads=1)
        self.lots: list[int] = []
        self.failing: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.watching = True

    def embed(self, crops: NDArray[np.uint8], *, alone: bool = False) -> Embedded:
        if getattr(self, "watching", False):
            self.go_on.wait(60)
            if self.failing is not None:
                raise self.failing
            self.lots.append(len(crops))
        return super().embed(crops)


@pytest.fixture
def model(next_model: Path) -> Watched:
    return Watched(next_model)


@pytest.fixture
def home(tmp_path: Path, tiny_model: Path) -> Iterator[DataFolder]:
    old = Embedder(tiny_model, device="cpu", threads=1)
    opened = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(old.contract))
    vector = np.zeros(old.contract.embedding_dim, dtype=np.float32)
    opened.get("default").add(
        [
            NewImage(image_id=f"i{n}", metadata=Metadata(), crop=jpeg(n), embedding=vector, viewpoint=None)
            for n in range(40)
        ]
    )
    yield opened
    opened.close()


@pytest.fixture
def engine(model: Watched) -> Iterator[Engine]:
    made = Engine(LoadedModels(present=model), Metrics(), workers=2, queue_size=4, max_pixels=10_000)
    yield made
    made.close()


def state(home: DataFolder) -> str:
    return home.get("default").migrations()[0].state


async def beside_a_request(engine: Engine, migrator: Migrator, home: DataFolder, seen: Callable[[], bool]) -> None:
    """Begin to migrate while a request is at work, until ``seen``."""
    answered = threading.Event()
    request = asyncio.create_task(engine.run(answered.wait))
    while not engine._asked:
        await asyncio.sleep(0)
    migrator.begin(home.get("default"))
    migrator.start()
    try:
        while not seen():
            await asyncio.sleep(0.01)
    finally:
        answered.set()
        await request


def test_it_waits_for_requests(
    home: DataFolder, engine: Engine, model: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.embedding.engine.SPARE_PATIENCE_SECONDS", 3600)
    migrator = Migrator(home, LoadedModels(present=model), engine)

    def seen() -> bool:
        """While the request is still at work: from its end on the migration may look at pictures."""
        assert model.lots == []
        return state(home) == "running"

    asyncio.run(beside_a_request(engine, migrator, home, seen))
    until(lambda: state(home) == "finished")
    assert sum(model.lots) == 40
    assert max(model.lots) <= 8
    migrator.close()


def test_among_requests_without_end_it_goes_on_all_the_same(
    home: DataFolder, engine: Engine, model: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.embedding.engine.SPARE_PATIENCE_SECONDS", 0.01)
    migrator = Migrator(home, LoadedModels(present=model), engine)
    asyncio.run(asyncio.wait_for(beside_a_request(engine, migrator, home, lambda: state(home) == "finished"), 60))
    migrator.close()


def test_a_worker_stays_free_for_searches(
    home: DataFolder, engine: Engine, model: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.embedding.engine.QUIET_SECONDS", 3600)
    asyncio.run(engine.run(lambda: None))  # somebody asked not long ago
    model.go_on.clear()
    migrator = Migrator(home, LoadedModels(present=model), engine)
    migrator.begin(home.get("default"))
    migrator.start()
    until(lambda: engine._spare == 1)
    free, _ = asyncio.run(asyncio.wait_for(engine.run(lambda: "free"), 30))
    assert free == "free"
    model.go_on.set()
    until(lambda: state(home) == "finished")
    migrator.close()


def test_closing_ends_it_and_the_next_one_goes_on(home: DataFolder, engine: Engine, model: Watched) -> None:
    model.go_on.clear()
    migrator = Migrator(home, LoadedModels(present=model), engine)
    migrator.begin(home.get("default"))
    migrator.start()
    until(lambda: state(home) == "running")
    closing = threading.Thread(target=migrator.close)
    closing.start()
    until(migrator._stop.is_set)
    model.go_on.set()
    closing.join(30)
    assert not closing.is_alive()
    assert state(home) == "waiting"
    again = Migrator(home, LoadedModels(present=model), engine)
    again.start()
    until(lambda: state(home) == "finished")
    again.close()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ModelError("the device is gone"), "the device is gone"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("Error in faiss"), "Error in faiss"),
    ],
)
def test_a_fault_is_told_and_tried_again(
    home: DataFolder, engine: Engine, model: Watched, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: str
) -> None:
    monkeypatch.setattr("service.background.migrator._REST", 0.05)
    model.failing = fault
    migrator = Migrator(home, LoadedModels(present=model), engine)
    migrator.begin(home.get("default"))
    migrator.start()
    (known,) = home.get("default").migrations()
    until(lambda: migrator.problem("default", known) == told)
    model.failing = None
    until(lambda: state(home) == "finished")
    (known,) = home.get("default").migrations()
    assert migrator.problem("default", known) is None
    migrator.close()
