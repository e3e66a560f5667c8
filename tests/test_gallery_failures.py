"""A gallery whose files fail while it is served is told of where operators look."""

import asyncio
from pathlib import Path

import httpx
import pytest

from index.bulk.import_job import ImportFolder
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import ImageNotFound, StorageError, StorageFull
from index.gallery import GallerySpec
from service.application import create_app
from service.settings import Settings
from service.watching.gallery_failures import GalleryFailures
from tests.pictures import jpeg


def test_what_tells_of_files_is_kept_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = GallerySpec(embedding_space="space", embedding_dim=2, viewpoints=())
    home = DataFolder(tmp_path, default_spec=spec)
    failures = GalleryFailures(home)
    for error in (StorageFull("full"), ImageNotFound("none")):
        failures.note("default", error)
    failures.note("dropped", StorageError("of a gallery that is no more"))
    assert failures.told() == {}
    failures.note("default", StorageError("a crop is\nmissing"))
    assert failures.told() == {"default": "a crop is missing"}
    monkeypatch.setattr("service.watching.gallery_failures.REMEMBERED", 0.0)
    assert failures.told() == {}
    home.close()


def test_a_service_tells_of_it(tiny_model: Path, tmp_path: Path) -> None:
    embedder = Embedder(tiny_model, device="cpu")
    home = DataFolder(tmp_path / "data", default_spec=GallerySpec.for_model(embedder.contract))
    app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            image = "/v1/galleries/default/images/a"
            assert (await client.put(image, content=jpeg(1))).status_code == 201
            assert (await client.get("/readyz")).json()["status"] == "ready"
            (crop,) = (home.path / "galleries/default/crops").rglob("*.jpg")
            crop.unlink()
            answer = await client.get(f"{image}/crop")
            assert answer.status_code == 503
            assert "repair" in answer.json()["detail"]
            ready = (await client.get("/readyz")).json()
            assert ready["status"] == "degraded"
            assert "missing on the disk" in ready["damaged"]["default"]
            told = (await client.get("/metrics")).text
            assert 'vehicle_search_gallery_damaged{gallery="default"} 1.0' in told
            assert 'vehicle_search_gallery_images{gallery="default"} 1.0' in told

    asyncio.run(ask())
