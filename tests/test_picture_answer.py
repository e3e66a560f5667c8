"""Stored pictures as answers: made smaller by a worker, and damaged since."""

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from index.bulk.import_job import ImportFolder
from index.crops import small_jpeg
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec
from service.answering import picture_answer
from service.application import create_app
from service.settings import Settings
from tests.http_client import AnswerCheck, refused
from tests.pictures import jpeg
from tests.server_process import serving


def test_a_damaged_picture_is_no_fault_of_who_asks_for_it(tiny_model: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path, tiny_model) as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        crop = "/v1/galleries/default/images/a/crop"
        client.put("/v1/galleries/default/images/a", content=jpeg(0, (320, 200)))
        query = client.post("/v1/queries", content=jpeg(0, (320, 200))).headers["Location"]
        stored = [*(tmp_path / "galleries/default/crops").rglob("*.jpg"), *(tmp_path / "queries").iterdir()]
        assert len(stored) == 2
        for path in stored:
            path.write_bytes(path.read_bytes()[:500])
        refused(client.get(crop, params={"max_side": 64}), 503, "is not the picture that was written")
        shown = client.get(f"{query}/picture", params={"max_side": 64})
        refused(shown, 503, "cannot be shown smaller", "send it again")
        query_id = query.rpartition("/")[2]
        answer = client.get("/v1/galleries/default/search", params={"query_id": query_id})
        refused(answer, 503, query_id, "send the picture again")


def test_a_smaller_one_is_made_once_and_by_a_worker(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = []

    def noted(*args: object, **options: object) -> bytes:
        makers.append(threading.current_thread().name)
        return small_jpeg(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(picture_answer, "small_jpeg", noted)
    embedder = Embedder(tiny_model, device="cpu", threads=1)
    home = DataFolder(tmp_path, default_spec=GallerySpec.for_model(embedder.contract))
    app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(tmp_path))

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            image = "/v1/galleries/default/images/a"
            await client.put(image, content=jpeg(0, (320, 200)))
            small = await client.get(f"{image}/crop", params={"max_side": 64})
            known = {"If-None-Match": small.headers["etag"]}
            again = await client.get(f"{image}/crop", params={"max_side": 64}, headers=known)
            assert (small.status_code, again.status_code) == (200, 304)

    asyncio.run(ask())
    assert makers == ["worker"]
