"""Both clients against a running service."""

import asyncio
import inspect
import io
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.archives import pack
from tests.http_client import AnswerCheck
from tests.key_holder import kept_key
from tests.pictures import jpeg, photograph
from tests.server_process import free_port, serving
from vehicle_search_client import (
    AsyncVehicleSearch,
    BatchSize,
    Camera,
    Conflict,
    Forbidden,
    InvalidRequest,
    NewImage,
    NotFound,
    Patience,
    Problem,
    TimedOut,
    Unauthorized,
    Unreachable,
    UnusableInput,
    VehicleSearch,
    to_pandas,
)
from vehicle_search_client.clients import Routes

NOW = Patience(retries=0)


class Awaited:
    """An asynchronous client that blocks, so that one test tells of both."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncVehicleSearch(url)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def blocking(*args: Any, **kwargs: Any) -> Any:
            made = method(*args, **kwargs)
            if not inspect.isasyncgen(made):
                return self._runner.run(made)

            async def listed() -> list[Any]:
                return [one async for one in made]

            return iter(self._runner.run(listed()))

        return blocking

    def end(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=["called", "awaited"])
def search(request: pytest.FixtureRequest, server: str) -> Iterator[Any]:
    """A client of each kind."""
    if request.param == "called":
        with VehicleSearch(server) as client:
            yield client
        return
    awaited = Awaited(server)
    yield awaited
    awaited.end()


@pytest.fixture
def yard(search: Any) -> Iterator[str]:
    """An empty gallery."""
    name = f"yard-{free_port()}"
    assert search.create_gallery(name).name == name
    yield name
    search.drop_gallery(name, confirm=name)


def test_an_image_from_its_cradle_to_its_grave(search: Any, yard: str) -> None:
    taken = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
    stored = search.put_image(
        "a:1", jpeg(0), gallery=yard, vehicle_id="v1", camera_id="c1", captured_at=taken, attributes={"n": 5, "s": "5"}
    )
    assert (stored.status, stored.vehicle_id, stored.captured_at) == ("created", "v1", taken)
    assert search.put_image("a:1", photograph(0), gallery=yard, box=(0, 0, 30, 20)).status == "updated"
    changed = search.update_image("a:1", gallery=yard, camera_id="c2", attributes={"n": 5, "s": "5"})
    assert search.image("a:1", gallery=yard) == changed
    assert changed.attributes == {"n": 5, "s": "5"}
    assert search.update_image("a:1", gallery=yard, camera_id=None).camera_id is None
    crop = search.crop("a:1", gallery=yard)
    assert (crop.media_type, Image.open(io.BytesIO(crop.data)).size) == ("image/png", (30, 20))
    small = search.crop("a:1", gallery=yard, max_side=16)
    assert (small.media_type, Image.open(io.BytesIO(small.data)).size) == ("image/jpeg", (16, 11))
    for attributes, found in (({"n": 5}, 1), ({"n": "5"}, 0), ({"s": "5"}, 1), ({"s": 5}, 0), ({"n": [4, 5]}, 1)):
        assert len(list(search.images(gallery=yard, attributes=attributes))) == found, attributes
    assert search.delete_image("a:1", gallery=yard) is None
    with pytest.raises(NotFound) as caught:
        search.delete_image("a:1", gallery=yard)
    assert caught.value.problem.kind == "image-not-found"


def test_a_trail_of_placed_cameras(search: Any, yard: str) -> None:
    here, there = Camera(camera_id="c1", name="Gate", x=0, y=0), Camera(camera_id="c2", x=300, y=400)
    placed = search.set_cameras([here, there])
    assert (placed.cameras, placed.plan) == ((here, there), None)
    plan = search.set_plan(photograph(0), width=600)
    assert (plan.width, list(plan.pixels)) == (600, [96, 72])
    assert search.cameras().plan == plan
    assert Image.open(io.BytesIO(search.plan(max_side=48).data)).size == (48, 36)
    for number, camera in enumerate(("c1", "c2")):
        search.put_image(
            f"i{number}", jpeg(number), gallery=yard, camera_id=camera,
            captured_at=datetime(2026, 5, 4, 10, 0, 6 * number, tzinfo=UTC),
        )  # fmt: skip
    trail = search.trail(["i1", "i0"], gallery=yard, query_image_ids=["i0"], title="Red", max_speed_kmh=200)
    assert ([each["image_id"] for each in trail.sightings], trail.title) == (["i0", "i1"], "Red")
    assert (trail.legs[0]["kmh"], trail.legs[0]["impossible"]) == (300.0, True)
    assert search.trail_file(["i1"], gallery=yard, asked_by="Ł").startswith(b"%PDF-")
    assert search.trail_file(["i1"], gallery=yard, kind="csv").count(b"\n") == 2
    assert search.trail_file(["i1"], gallery=yard, kind="zip").startswith(b"PK")
    with pytest.raises(TypeError, match="max_speed_kmh"):
        search.trail(["i1"], speed=3)
    search.delete_plan()
    assert search.set_cameras([]).cameras == ()


def test_pictures_are_found(search: Any, yard: str) -> None:
    added = search.add_images(
        [NewImage(picture=jpeg(n), image_id=f"i{n}", vehicle_id=f"v{n % 2}", camera_id=f"c{n}") for n in range(4)],
        gallery=yard,
    )
    assert (added.created, [one.image_id for one in added]) == (4, ["i0", "i1", "i2", "i3"])
    found = search.search(jpeg(2), gallery=yard, include="embedding", group_by="vehicle_id")
    assert (found[0].image_id, found[0].distance, len(found)) == ("i2", 0.0, 2)
    assert len(found[0].embedding) == len(found.embedding) == 32
    assert found[0].best_viewpoint in found.viewpoint
    pixels = np.asarray(photograph(2))
    for picture in (pixels, photograph(2), io.BytesIO(jpeg(2))):
        assert search.search(picture, gallery=yard, camera_id=["c2", "c3"])[0].image_id == "i2"
    both = search.search([jpeg(0), jpeg(1)], gallery=yard, exclude_camera_id="c3", top_k=2)
    assert (both.queries, len(both)) == (2, 2)
    assert [match.image_id for match in search.similar("i2", gallery=yard, max_distance=1e9)][:1] != ["i2"]
    kept = search.keep_query(jpeg(2))
    assert (kept.width, kept.height, search.query(kept.query_id)) == (96, 72, kept)
    assert kept.kept_until > datetime.now(UTC)
    found = search.search_kept(kept.query_id, boxes=[(0, 0, 96, 72)], gallery=yard, top_k=1)
    assert [match.image_id for match in found] == ["i2"]
    both = search.search_kept([kept.query_id], image_ids=["i2", "i1"], gallery=yard)
    assert (both.queries, {"i1", "i2"} & {match.image_id for match in both}) == (3, set())
    with pytest.raises(UnusableInput, match="image_ids"):
        search.search_kept(kept.query_id, gallery=yard, image_id="i2")
    small = search.query_picture(kept.query_id, max_side=48)
    assert Image.open(io.BytesIO(small.data)).size == (48, 36)
    assert search.delete_query(kept.query_id) is None
    with pytest.raises(NotFound, match="168 hours"):
        search.search_kept(kept.query_id, gallery=yard)
    good, bad = search.search_batch([jpeg(1), b"no picture"], gallery=yard)
    assert good[0].image_id == "i1"
    assert isinstance(bad, Problem)
    assert bad.kind == "unsupported-picture"
    one, none = search.embeddings([jpeg(0), b"no picture"])
    assert (len(one.embedding), none.status) == (32, 415)
    assert len(search.embeddings(jpeg(0))) == 1


def test_answers_are_tables(search: Any, yard: str) -> None:
    search.put_image("i0", jpeg(0), gallery=yard, camera_id="c0", attributes={"colour": "red"})
    table = search.search(jpeg(0), gallery=yard).to_pandas()
    assert table.loc[0, ["rank", "image_id", "distance", "camera_id", "attribute.colour"]].tolist() == [
        1, "i0", 0.0, "c0", "red",
    ]  # fmt: skip
    nothing = search.search(jpeg(0), gallery=yard, camera_id="nowhere").to_pandas()
    assert (len(nothing), nothing.columns[:3].tolist()) == (0, ["rank", "distance", "image_id"])
    assert search.search_batch([jpeg(0), jpeg(1)], gallery=yard).to_pandas()["query"].tolist() == [0, 1]
    assert to_pandas(search.images(gallery=yard))["image_id"].tolist() == ["i0"]


def test_images_are_paged_and_erased(search: Any, yard: str) -> None:
    search.add_images(
        [NewImage(picture=jpeg(n), image_id=f"i{n}", camera_id=f"c{n % 2}") for n in range(5)], gallery=yard
    )
    assert [one.image_id for one in search.images(gallery=yard, limit=2)] == [f"i{n}" for n in range(5)]
    page = search.page(gallery=yard, limit=2, offset=1, order="newest", total=True, image_id=["i1", "i2", "i4"])
    assert ([one.image_id for one in page.images], page.next, page.total) == (["i2", "i1"], None, 3)
    assert search.page(gallery=yard, limit=1).total is None
    assert search.update_images({"vehicle_id": "v", "attributes": {"n": 1}}, gallery=yard, camera_id="c1") == 2
    with pytest.raises(InvalidRequest, match="at least one filter"):
        search.update_images({}, gallery=yard)
    assert search.update_images({"captured_at": datetime(2026, 5, 4, tzinfo=UTC)}, gallery=yard, everything=True) == 5
    facets = search.facets(yard)
    assert (facets.images, facets.vehicles, facets.first_captured_at) == (5, 1, datetime(2026, 5, 4, tzinfo=UTC))
    assert facets.cameras[0] == {"camera_id": "c0", "images": 3}
    assert search.delete_images(gallery=yard, camera_id="c1") == 2
    with pytest.raises(InvalidRequest, match="at least one filter"):
        search.delete_images(gallery=yard)
    assert search.delete_images(gallery=yard, everything=True) == 3
    assert list(search.images(gallery=yard)) == []


def test_galleries_models_and_probes(search: Any, yard: str) -> None:
    assert yard in [one.name for one in search.galleries()]
    described = search.gallery(yard)
    assert (described.images, described.kind, described.retention_days) == (0, "flat", None)
    with pytest.raises(Conflict):
        search.create_gallery(yard, retention_days=3)
    with pytest.raises(InvalidRequest, match="confirm"):
        search.drop_gallery(yard, confirm="other")
    assert search.model().contract["embedding_dim"] == 32
    assert search.alive()
    assert search.ready()
    assert "vehicle_search_requests_total" in search.metrics()


def test_an_import_is_sent_watched_and_removed(search: Any, yard: str, tmp_path: Path) -> None:
    archive = pack(tmp_path / "crops.zip", {"a.jpg": jpeg(0), "b.jpg": b"no picture"})
    job = search.import_archive(archive, gallery=yard)
    ended = search.wait_for_import(job.id)
    assert (ended.state, ended.created, ended.failed, ended.source) == ("done", 1, 1, {"archive": "crops.zip"})
    assert job.id in [one.id for one in search.imports()]
    (failure,) = search.import_failures(job.id)
    assert failure["path"].endswith("b.jpg")
    assert search.import_job(job.id).ended
    assert search.delete_import(job.id) is None
    with pytest.raises(NotFound):
        search.import_job(job.id)
    with pytest.raises(InvalidRequest, match="import_root"):
        search.import_path("below", gallery=yard)


def test_migrations(search: Any, yard: str) -> None:
    assert search.migrations(yard) == []
    with pytest.raises(Conflict, match="space"):
        search.migrate(yard)  # it is the loaded model's already
    for ask in (search.migration, search.cancel_migration):
        with pytest.raises(NotFound):
            ask("none", gallery=yard)


def test_a_gallery_moves_and_is_watched(tiny_model: Path, next_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model) as address, VehicleSearch(address) as search:
        search.put_image("a", jpeg(0))
    with serving(tmp_path, next_model) as address, VehicleSearch(address) as search:
        moved = search.wait_for_migration(search.migrate().id, progress=False)
        assert (moved.state, moved.total, [one.id for one in search.migrations()]) == ("finished", 1, [moved.id])
        assert search.search(jpeg(0))[0].image_id == "a"


@pytest.mark.parametrize("count", [0, 1, 23])
def test_an_upload_tells_of_each_picture_in_order(search: Any, yard: str, count: int) -> None:
    def pictures() -> Iterator[NewImage | bytes | str]:
        for number in range(count):
            if number == 3:
                yield b"no picture"
            elif number == 7:
                yield "missing.jpg"
            elif number == 11:
                yield NewImage(picture=jpeg(number), captured_at="yesterday")
            else:
                yield NewImage(picture=jpeg(number), image_id=f"i{number}")

    results = list(search.upload(pictures(), gallery=yard, size=BatchSize(images=5), in_flight=3, progress=False))
    assert [one.number for one in results] == list(range(count))
    failed = {one.number: one.problem.kind for one in results if one.status == "failed"}
    assert failed == ({} if count < 4 else {3: "unsupported-picture", 7: "unusable-input", 11: "invalid-value"})
    assert search.gallery(yard).images == count - len(failed)


def test_the_later_of_two_of_one_id_stays(search: Any, yard: str) -> None:
    twice = [NewImage(picture=jpeg(n), image_id=f"i{n % 2}", attributes={"n": n}) for n in range(9)]
    results = list(search.upload(twice, gallery=yard, size=BatchSize(images=2), in_flight=4, progress=False))
    assert [one.status for one in results] == ["created"] * 2 + ["updated"] * 7
    assert [one.attributes["n"] for one in search.images(gallery=yard)] == [8, 7]


def test_a_folder_that_is_uploaded_twice_is_there_once(search: Any, yard: str, tmp_path: Path) -> None:
    (tmp_path / "cam1").mkdir()
    for number in range(3):
        (tmp_path / "cam1" / f"{number}.jpg").write_bytes(jpeg(number))
    for status in ("created", "updated"):
        results = list(search.upload(tmp_path, gallery=yard, progress=False))
        assert [(one.image_id, one.status) for one in results] == [(f"cam1:{n}.jpg", status) for n in range(3)]
        assert results[0].source == str(tmp_path / "cam1" / "0.jpg")


def test_what_befalls_every_picture_ends_the_upload(search: Any) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        list(search.upload([jpeg(n) for n in range(9)], gallery="nowhere", size=BatchSize(images=2), progress=False))


def test_an_upload_reads_no_further_than_what_is_on_its_way(server: str) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            assert taken < 100, "it reads on and on"
            yield jpeg(taken)

    with VehicleSearch(server) as search:
        search.create_gallery("endless")
        going = search.upload(endless(), gallery="endless", size=BatchSize(images=2), in_flight=3, progress=False)
        for _ in range(6):
            next(going)
        assert (
            taken <= 6 + 2 * 4
        )  # what was told, three batches on their way and one that is read, and one picture more
        going.close()
        search.drop_gallery("endless", confirm="endless")


def test_an_awaited_upload_reads_no_further_and_can_be_left(server: str) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            assert taken < 100, "it reads on and on"
            yield jpeg(taken)

    async def some() -> None:
        async with AsyncVehicleSearch(server) as search:
            await search.create_gallery("endless-too")
            going = search.upload(
                endless(), gallery="endless-too", size=BatchSize(images=2), in_flight=3, progress=False
            )
            for _ in range(6):
                await anext(going)
            assert taken <= 6 + 2 * 4
            await going.aclose()
            await search.drop_gallery("endless-too", confirm="endless-too")

    asyncio.run(some())


def test_a_service_that_takes_less_is_sent_less(tiny_model: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path, tiny_model, "--max-images", "4", "--max-body-bytes", "60000") as address,
        VehicleSearch(address) as search,
    ):
        noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        pictures = [jpeg(n) for n in range(11)]
        pictures[6] = noise  # type: ignore[call-overload]  # 120 kB as PNG
        results = list(search.upload(pictures, progress=False))
        assert [one.status for one in results].count("created") == 10
        assert results[6].problem is not None
        assert "max_body_bytes" in results[6].problem.detail


def test_a_full_queue_is_waited_out(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--threads", "1", "--queue-size", "1")
    with serving(tmp_path, tiny_model, *options) as address, VehicleSearch(address) as search:
        search.put_image("a", jpeg(0))
        picture = photograph(0, (2000, 1500))

        def ask(_: int) -> str:
            patient = Patience(retries=50, first=0.05, longest=2.0)
            with VehicleSearch(address, patience=patient) as own:
                return own.search(picture)[0].image_id

        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(ask, range(24))) == ["a"] * 24
        assert 'status="429"' in search.metrics(), "nobody was refused: the test tells nothing"


def test_where_nothing_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with VehicleSearch(url, patience=NOW) as search, pytest.raises(Unreachable, match="is the service running there"):
        search.search(jpeg(0))
    with VehicleSearch(url) as search, pytest.raises(Unreachable, match=url):
        search.alive()


def test_an_answer_that_does_not_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with VehicleSearch(url, timeout=0.2) as search, pytest.raises(TimedOut, match="larger timeout"):
            search.search(jpeg(0))


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://x:port"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UnusableInput, match="is not the address of a service"):
        VehicleSearch(url)


@pytest.mark.parametrize("key", ["", " ", "vsk_secret\nX: y", "vsk_secret vsk_secret", "vsk_sécret", "vsk_secret\0"])
def test_what_is_no_key_is_not_sent_and_not_shown(key: str) -> None:
    for kind in (VehicleSearch, AsyncVehicleSearch):
        with pytest.raises(UnusableInput, match="api_key") as caught:
            kind(api_key=key)
        assert "cret" not in str(caught.value)


def test_a_key_of_a_file_has_a_line_end(tiny_model: Path, tmp_path: Path) -> None:
    token = kept_key(tmp_path / "data", "read")
    with serving(tmp_path / "data", tiny_model) as server, VehicleSearch(server, api_key=f"{token}\r\n") as search:
        assert search.model().provider


def test_what_no_request_can_carry(server: str) -> None:
    with VehicleSearch(server) as search:
        for bad in ("", ".", ".."):
            with pytest.raises(UnusableInput, match="names nothing"):
                search.delete_image(bad)
            with pytest.raises(UnusableInput, match="names nothing"):
                search.drop_gallery(bad, confirm=bad)
        with pytest.raises(NotFound):
            search.image("a/../b")
        with pytest.raises(TypeError, match="camera"):
            search.search(jpeg(0), camera="c1")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="vehicle"):
            search.put_image("a", jpeg(0), vehicle="v1")  # type: ignore[call-arg]
        with pytest.raises(UnusableInput, match="no time zone"):
            search.search(jpeg(0), captured_after=datetime(2026, 5, 4))
        with pytest.raises(UnusableInput, match="attribute n = True"):
            search.search(jpeg(0), attributes={"n": True})
        with pytest.raises(UnusableInput, match="attribute n = None"):
            search.search(jpeg(0), attributes={"n": None})  # type: ignore[dict-item]
        with pytest.raises(UnusableInput, match="list of pictures"):
            search.search_batch("car.jpg")
        with pytest.raises(UnusableInput, match="empty"):
            search.search([])
        with pytest.raises(UnusableInput, match="no archive"):
            search.import_archive("none.zip")
        with pytest.raises(UnusableInput, match="in_flight = 0"):
            next(search.upload([jpeg(0)], in_flight=0))
    with pytest.raises(UnusableInput, match="at least one image"):
        BatchSize(images=0)


def test_a_key_is_sent_as_a_bearer_token(server: str) -> None:
    with VehicleSearch(server, api_key="secret") as search:
        assert search._http.headers["authorization"] == "Bearer secret"


def test_connections_are_kept(server: str) -> None:
    with VehicleSearch(server) as search:
        seen = set()
        for _ in range(5):
            search.alive()
            (connection,) = search._http._transport._pool.connections  # type: ignore[attr-defined]
            seen.add(id(connection))
    assert len(seen) == 1


def test_every_route_that_clients_need_is_a_method(client: httpx.Client, answer_check: AnswerCheck) -> None:
    """The other way round from the service: what it serves and no method asks is named here."""
    served = {
        (method.upper(), path)
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for method in operations
        if not path.startswith("/v2")
    }
    asked = set()
    for name, route in vars(Routes).items():
        if name.startswith("_"):
            continue
        needed = [one for one in inspect.signature(route.__wrapped__).parameters.values() if one.default is one.empty]
        values = {"image_id": "IMAGE", "import_id": "IMPORT", "migration_id": "MIGRATION", "name": "GALLERY", "confirm": "x", "changes": {}, "key_id": "KEY",
                  "scopes": "read", "query_id": "QUERY", "picture": jpeg(0), "pictures": [jpeg(0)], "images": [jpeg(0)], "path": "x", "archive": __file__,
                  "same": True, "query_image_id": "y", "feedback_id": "FEEDBACK", "gallery": "default", "cameras": [], "width": 1.0,
                  "image_ids": ["IMAGE"]}  # fmt: skip
        given = {one.name: values[one.name] for one in needed if one.name in values and one.kind is not one.VAR_KEYWORD}
        call = route.__wrapped__(**given)
        path = call.path
        for value, part in (("galleries/default", "galleries/{gallery}"), ("galleries/GALLERY", "galleries/{gallery}"),
                            ("IMAGE", "{image_id}"), ("IMPORT", "{import_id}"), ("KEY", "{key_id}"), ("MIGRATION", "{migration_id}"),
                            ("QUERY", "{query_id}"), ("FEEDBACK", "{feedback_id}")):  # fmt: skip
            path = path.replace(value, part)
        asked.add((call.method, path))
    assert asked == served


def test_a_key_opens_what_it_is_for(tiny_model: Path, tmp_path: Path) -> None:
    def made(*scopes: str) -> str:
        words = [word for scope in scopes for word in ("--scope", scope)]
        command = [sys.executable, "-m", "service.vehicle_search", "keys", "create", "k", "--data-dir", str(tmp_path)]
        return subprocess.run([*command, *words], capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    reader, admin = made("read"), made("admin")
    with serving(tmp_path, tiny_model, "--audit") as address:
        with VehicleSearch(address) as search, pytest.raises(Unauthorized, match="key"):
            search.search(jpeg(0))
        with VehicleSearch(address, api_key=reader) as search:
            assert len(search.search(jpeg(0))) == 0
            with pytest.raises(Forbidden, match="write"):
                list(search.upload([jpeg(0)], progress=False))
            with pytest.raises(Forbidden, match="admin"):
                search.audit()
        with VehicleSearch(address, api_key=admin) as search:
            page = search.audit(action="search", limit=1)
            assert [entry["action"] for entry in page.entries] == ["search"]
            infer = f"{address}/v2/models/tiny/infer"
        refused = httpx.post(infer, json={})
        assert (refused.status_code, list(refused.json())) == (401, ["error"])
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert httpx.post(infer, json={}, headers={"Authorization": f"Bearer {reader}"}).status_code == 422
