"""Every status that the OpenAPI file declares for a route is one that the route answers with: each is provoked here.

The tests are drawn up from the file itself. Most statuses come about in the same way whatever the route, the others
have theirs in ``OWN``; one that has neither fails. The answers are held against the file by ``AnswerCheck``, and what it
does not declare no test of ours may see.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from index.bulk.import_job import ImportFolder
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec
from service.application import create_app
from service.settings import Settings
from tests.archives import pack
from tests.http_client import AnswerCheck, exchange, parts, status_of
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving
from tests.small_disk import fill, small_disk
from tests.test_import_routes import ended
from tests.test_inference_routes import document
from tests.test_openapi_document import OPERATIONS

GALLERY = "/v1/galleries/{gallery}"
IMAGE = f"{GALLERY}/images/{{image_id}}"
MIGRATION = f"{GALLERY}/migrations/{{migration_id}}"
PLAN = "/v1/cameras/plan"
QUERY = "/v1/queries/{query_id}"
NEW_KEY = {"name": "camera", "scopes": ["write"]}
HERE = {
    "gallery": "default", "image_id": "a", "import_id": "none", "key_id": "none", "migration_id": "none", "model": "tiny",
    "query_id": "none", "feedback_id": "none",
}  # fmt: skip
FILLED = 200  # images of a gallery that takes a while to move, or an import to come in


@dataclass
class Stage:
    """Services in the states that statuses come of; each is started when it is first asked for."""

    models: tuple[Path, Path]
    folder: Path
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @cached_property
    def plain(self) -> httpx.Client:
        """One that lacks nothing: gallery ``default`` with the images a, b, c and one of a vehicle, and an audit log."""
        address = self._serving("plain", "--audit")
        client = self._client(address)
        names = [{"image_id": name} for name in ("a", "b", "c")]
        client.post(
            f"{_path(GALLERY)}/images", files=parts(jpeg(0), jpeg(1), jpeg(2), metadata=names)
        ).raise_for_status()
        return client

    @cached_property
    def keeps_no_queries(self) -> httpx.Client:
        """One that keeps no pictures to search with."""
        return self._client(self._serving("keeps-no-queries", "--query-hours", "0"))

    @cached_property
    def strict(self) -> str:
        """One that waits a moment for a body, and takes a small one."""
        return self._serving(
            "strict", "--body-seconds", "0.3", "--max-body-bytes", "2000", "--max-import-bytes", "2000"
        )

    @cached_property
    def guarded(self) -> tuple[httpx.Client, str]:
        """One that asks for keys, and a key that may send nothing more."""
        token = kept_key(self.folder / "guarded", "admin", rate=0.001, burst=1)
        client = self._client(self._serving("guarded"))
        assert client.get("/v1/model", headers=bearer(token)).status_code == 200
        return client, token

    @cached_property
    def keyed(self) -> tuple[httpx.Client, str]:
        """One that asks for keys, and the key of a client that may do everything, which it sends."""
        token = kept_key(self.folder / "keyed", "admin")
        client = self._client(self._serving("keyed"))
        client.headers.update(bearer(token))
        return client, token

    @cached_property
    def keyed_and_crowded(self) -> tuple[httpx.Client, str]:
        """One that asks for keys, on a full disk, and the id of the key that its client sends."""
        disk = self._small_disk("keyed-and-crowded")
        token = kept_key(disk / "data", "admin")
        client = self._crowded(disk, self.models[0])
        client.headers.update(bearer(token))
        return client, token.split("_")[1]

    @cached_property
    def keys_gone(self) -> tuple[httpx.Client, str]:
        """One whose keys cannot be read any more, and a key that worked until then."""
        data = self.folder / "keys-gone"
        token = kept_key(data, "read", "write", "admin")
        client = self._client(self._serving("keys-gone"))
        (data / "keys.sqlite").write_bytes(b"noise" * 2000)
        deadline = time.monotonic() + 60
        while client.get("/v1/model", headers=bearer(token)).status_code != 503:
            assert time.monotonic() < deadline
        return client, token

    @cached_property
    def moved_on(self) -> httpx.Client:
        """One whose model is another than its galleries': some of one image, ``lean`` without crops, and ``full``."""
        with serving(self.folder / "moved-on", self.models[0]) as address, httpx.Client(base_url=address) as client:
            self._fill(client, "full")
            for name in ("default", "begun", "watched", "ended", "lean"):
                client.put(f"/v1/galleries/{name}", json={"keep_crops": name != "lean"}).raise_for_status()
                client.put(f"/v1/galleries/{name}/images/a", content=jpeg(0)).raise_for_status()
        return self._client(self._serving("moved-on", model=1))

    @cached_property
    def replaced(self) -> httpx.Client:
        """One whose model file is another than was loaded, of another embedding space than its gallery's."""
        model = self.folder / "replaced.onnx"
        shutil.copy(self.models[0], model)
        client = self._client(self.closing.enter_context(serving(self.folder / "replaced", model)))
        client.put(_path(IMAGE), content=jpeg(0)).raise_for_status()
        shutil.copy(self.models[1], self.folder / "next.onnx")
        (self.folder / "next.onnx").replace(model)
        return client

    @cached_property
    def crowded(self) -> tuple[httpx.Client, str]:
        """One on a full disk, and the path of a migration that waits for another model."""
        disk = self._small_disk("crowded")
        embedder = Embedder(self.models[1], device="cpu", threads=1)
        home = DataFolder(disk / "data", default_spec=GallerySpec.for_model(embedder.contract))
        begun, _ = home.get("full").begin_migration(embedder.contract, embedder.fingerprint)
        home.close()
        return self._crowded(disk, self.models[0]), f"/v1/galleries/full/migrations/{begun.migration_id}"

    @cached_property
    def moved_on_and_crowded(self) -> httpx.Client:
        """One on a full disk whose model is another than its galleries'."""
        return self._crowded(self._small_disk("moved-on-and-crowded"), self.models[1])

    @cached_property
    def planned_and_crowded(self) -> httpx.Client:
        """One on a full disk that has a plan."""
        disk = self._small_disk("planned-and-crowded")
        with serving(disk / "data", self.models[0]) as address:
            httpx.put(f"{address}{PLAN}?width=1", content=jpeg(0)).raise_for_status()
        return self._crowded(disk, self.models[0])

    def stopping(self, path: str) -> httpx.Response:
        """What a service that is about to stop answers; it runs in this process."""
        embedder = Embedder(self.models[0], device="cpu", threads=1)
        home = DataFolder(self.folder / "stopping", default_spec=GallerySpec.for_model(embedder.contract))
        app = create_app(settings=Settings(), embedder=embedder, home=home, workers=1, imports=ImportFolder(home.path))

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
            ):
                app.state.stopping = True
                return await client.get(path)

        return asyncio.run(ask())

    def _small_disk(self, name: str) -> Path:
        """A data folder on a disk of its own, with two images and feedback in ``default``, and many in ``full``."""
        self.folder.joinpath(name).mkdir()
        disk = self.closing.enter_context(small_disk(self.folder / name, megabytes=12))
        with serving(disk / "data", self.models[0]) as address, httpx.Client(base_url=address) as client:
            self._fill(client, "full")
            for number, image_id in enumerate("ab"):
                client.put(f"/v1/galleries/default/images/{image_id}", content=jpeg(number)).raise_for_status()
            _said(client, "a").raise_for_status()
        return disk

    def _crowded(self, disk: Path, model: Path) -> httpx.Client:
        """A service on this disk, which is full from now on; a clean end before has left no room in any log."""
        client = self._client(self.closing.enter_context(serving(disk / "data", model)))
        fill(disk)
        return client

    def _serving(self, name: str, *options: str, model: int = 0) -> str:
        return self.closing.enter_context(serving(self.folder / name, self.models[model], *options))

    def _client(self, address: str) -> httpx.Client:
        check = AnswerCheck(address)
        client = httpx.Client(base_url=address, timeout=60, event_hooks={"response": [check]})
        return self.closing.enter_context(client)

    def _fill(self, client: httpx.Client, name: str) -> None:
        client.put(f"/v1/galleries/{name}").raise_for_status()
        pictures = [jpeg(number, (32, 24)) for number in range(FILLED)]
        client.post(f"/v1/galleries/{name}/images", files=parts(*pictures), timeout=60).raise_for_status()


@pytest.fixture(scope="module")
def stage(tiny_model: Path, next_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage((tiny_model, next_model), tmp_path_factory.mktemp("stage"))
    with made.closing:
        yield made


Answer: TypeAlias = int | httpx.Response
Way: TypeAlias = Callable[[Stage, str, str], Answer]  # method and path template to what was answered


def _path(template: str, **changes: str) -> str:
    return template.format(**{**HERE, **changes})


def _sent(method: str, template: str) -> dict[str, Any]:
    """A body that the route takes, as arguments of httpx."""
    content = OPERATIONS[f"{method} {template}"].get("requestBody", {}).get("content", {})
    if "archive" in content.get("multipart/form-data", {}).get("schema", {}).get("properties", {}):
        return {"files": {"archive": b"x"}}
    if "multipart/form-data" in content:
        return {"files": parts(jpeg(7))}
    return {"json": document() if template.endswith("/infer") else {}} if content else {}


def _of_keyed(client: httpx.Client, method: str, template: str, token: str | None) -> Answer:
    headers = {} if token is None else bearer(token)
    return client.request(method, _path(template), headers=headers)


def _unreadable(stage: Stage, method: str, template: str) -> Answer:
    kinds = OPERATIONS[f"{method} {template}"]["requestBody"]["content"]
    kind = "multipart/form-data; boundary=x" if "multipart/form-data" in kinds else "application/json"
    return stage.plain.request(method, _path(template), content=b"{", headers={"Content-Type": kind})


def _by_hand(
    address: str, method: str, template: str, *fields: str, body: bytes = b"", query: str = ""
) -> Answer:  # fmt: skip
    kinds = OPERATIONS[f"{method} {template}"].get("requestBody", {}).get("content", {"none": None})
    kind = "multipart/form-data; boundary=x" if "multipart/form-data" in kinds else next(iter(kinds))
    lines = [f"{method} {_path(template)}{query} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *fields]
    return status_of(exchange(address, "\r\n".join(lines).encode() + b"\r\n\r\n" + body))


def _nowhere(stage: Stage, method: str, template: str) -> Answer:
    missing = {"gallery": "nowhere"} if "{gallery}" in template else {"model": "none"}
    return stage.plain.request(method, _path(template, **missing))


def _of_another_model(stage: Stage, method: str, template: str) -> Answer:
    return stage.moved_on.request(method, _path(template), **_sent(method, template))


def _kind_unknown(stage: Stage, method: str, template: str) -> Answer:
    headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    return stage.plain.request(method, _path(template), content=b"text", headers=headers)


EVERYWHERE: Mapping[int, Way] = {
    200: lambda stage, method, path: stage.plain.request(method, _path(path), **_sent(method, path)),
    400: _unreadable,
    401: lambda stage, method, path: _of_keyed(stage.guarded[0], method, path, None),
    403: lambda stage, method, path: stage.plain.request(method, _path(path), headers={"Host": "cars.example"}),
    404: _nowhere,
    408: lambda stage, method, path: _by_hand(stage.strict, method, path, "Content-Length: 1000"),
    409: _of_another_model,
    413: lambda stage, method, path: _by_hand(stage.strict, method, path, "Content-Length: 99999999999"),
    415: _kind_unknown,
    422: lambda stage, method, path: stage.plain.request(method, _path(path), params={"colour": "red"}),
    429: lambda stage, method, path: _of_keyed(stage.guarded[0], method, path, stage.guarded[1]),
    431: lambda stage, method, path: stage.plain.request(method, _path(path), headers={"X": "x" * 70_000}),
    503: lambda stage, method, path: _of_keyed(stage.keys_gone[0], method, path, stage.keys_gone[1]),
    507: lambda stage, method, path: stage.crowded[0].request(method, _path(path), **_sent(method, path)),
}


def _begun_import(stage: Stage, tmp: Path, pictures: int) -> str:
    archive = pack(tmp, {f"{number}.jpg": jpeg(number, (32, 24)) for number in range(pictures)})
    answer = stage.plain.post(f"{_path(GALLERY)}/imports", files={"archive": archive.read_bytes()})
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def _ended_import(stage: Stage) -> str:
    path = _begun_import(stage, stage.folder / "few.zip", 1)
    ended(stage.plain, path)
    return path


def _waiting_import(stage: Stage) -> str:
    _begun_import(stage, stage.folder / "many.zip", FILLED)
    return _begun_import(stage, stage.folder / "few.zip", 1)


def _moving(stage: Stage, gallery: str) -> str:
    """The path of a migration that has begun."""
    begun = stage.moved_on.post(f"/v1/galleries/{gallery}/migrations")
    assert begun.status_code == 202, begun.text
    return begun.headers["Location"]


def _made_key(stage: Stage) -> str:
    return f"/v1/keys/{stage.keyed[0].post('/v1/keys', json=NEW_KEY).json()['id']}"


def _with_plan(stage: Stage) -> httpx.Client:
    """One that has a plan."""
    stage.plain.put(f"{PLAN}?width=1", content=jpeg(0)).raise_for_status()
    return stage.plain


def _without_plan(stage: Stage) -> httpx.Client:
    """The same, which has none now."""
    _with_plan(stage).delete(PLAN).raise_for_status()
    return stage.plain


def _deleted_twice(client: httpx.Client, path: str) -> httpx.Response:
    client.delete(path)
    return client.delete(path)


def _kept(stage: Stage) -> str:
    """The path of a picture that is kept."""
    answer = stage.plain.post("/v1/queries", content=jpeg(6))
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def _by_address(client: httpx.Client, image_id: str) -> httpx.Response:
    return client.get(f"{_path(GALLERY)}/search", params={"image_id": image_id})


def _dropped(stage: Stage, name: str) -> httpx.Response:
    assert _new_gallery(stage, name).status_code == 201
    return stage.plain.delete(f"/v1/galleries/{name}", params={"confirm": name})


def _said(client: httpx.Client, image_id: str, *, gallery: str = "default", query: str = "b") -> httpx.Response:
    body = {"gallery": gallery, "image_id": image_id, "query_image_id": query, "same": True}
    return client.post("/v1/feedback", json=body)


def _said_first(client: httpx.Client) -> httpx.Response:
    client.put(_path(IMAGE, image_id="said"), content=jpeg(8)).raise_for_status()
    return _said(client, "a", query="said")


def _said_twice(client: httpx.Client, image_id: str) -> httpx.Response:
    _said(client, image_id)
    return _said(client, image_id)


def _said_without_crops(stage: Stage) -> httpx.Response:
    _new_gallery(stage, "bare", keep_crops=False)
    for number, name in enumerate("ab"):
        stage.plain.put(_path(IMAGE, gallery="bare", image_id=name), content=jpeg(number)).raise_for_status()
    return _said(stage.plain, "a", gallery="bare")


def _one_said(client: httpx.Client) -> str:
    kept: str = _of_feedback(client, "GET", "/v1/feedback").json()["feedback"][0]["feedback_id"]
    return kept


def _of_feedback(client: httpx.Client, method: str, path: str, gallery: str = "default") -> httpx.Response:
    return client.request(method, path, params={"gallery": gallery})


def _new_gallery(stage: Stage, name: str, **properties: object) -> httpx.Response:
    return stage.plain.put(f"/v1/galleries/{name}", json=properties)


OWN: Mapping[tuple[str, int], Way] = {
    (f"PUT {IMAGE}", 201): lambda stage, *_: stage.plain.put(_path(IMAGE, image_id="new"), content=jpeg(3)),
    (f"PUT {IMAGE}", 200): lambda stage, *_: stage.plain.put(_path(IMAGE, image_id="b"), content=jpeg(4)),
    (f"DELETE {IMAGE}", 204): lambda stage, *_: stage.plain.delete(_path(IMAGE, image_id="c")),
    (f"DELETE {GALLERY}/images", 200): lambda stage, *_: stage.plain.delete(
        f"{_path(GALLERY)}/images", params={"vehicle_id": "none"}
    ),
    (f"DELETE {GALLERY}/images", 507): lambda stage, *_: stage.crowded[0].delete(
        f"{_path(GALLERY)}/images", params={"all": "true"}
    ),
    (f"PATCH {GALLERY}/images", 200): lambda stage, *_: stage.plain.patch(
        f"{_path(GALLERY)}/images", params={"vehicle_id": "none"}, json={}
    ),
    (f"PATCH {GALLERY}/images", 507): lambda stage, *_: stage.crowded[0].patch(
        "/v1/galleries/full/images", params={"all": "true"}, json={"vehicle_id": "v" * 200}
    ),
    (f"GET {IMAGE}/crop", 304): lambda stage, *_: stage.plain.get(
        _path(f"{IMAGE}/crop"), headers={"If-None-Match": "*"}
    ),
    ("PUT /v1/cameras", 200): lambda stage, *_: stage.plain.put("/v1/cameras", json={"cameras": []}),
    ("PUT /v1/cameras", 507): lambda stage, *_: stage.crowded[0].put("/v1/cameras", json={"cameras": []}),
    ("GET /v1/cameras/plan", 200): lambda stage, *_: _with_plan(stage).get(PLAN),
    ("GET /v1/cameras/plan", 304): lambda stage, *_: _with_plan(stage).get(PLAN, headers={"If-None-Match": "*"}),
    ("GET /v1/cameras/plan", 404): lambda stage, *_: _without_plan(stage).get(PLAN),
    ("PUT /v1/cameras/plan", 200): lambda stage, *_: _with_plan(stage).put(f"{PLAN}?width=1", content=jpeg(1)),
    ("PUT /v1/cameras/plan", 201): lambda stage, *_: _without_plan(stage).put(f"{PLAN}?width=1", content=jpeg(1)),
    ("PUT /v1/cameras/plan", 400): lambda stage, *_: stage.plain.put(f"{PLAN}?width=1", content=b""),
    ("PUT /v1/cameras/plan", 408): lambda stage, *_: _by_hand(
        stage.strict, "PUT", PLAN, "Content-Length: 1000", query="?width=1"
    ),
    ("PUT /v1/cameras/plan", 413): lambda stage, *_: _by_hand(
        stage.strict, "PUT", PLAN, "Content-Length: 99999999999", query="?width=1"
    ),
    ("PUT /v1/cameras/plan", 415): lambda stage, *_: stage.plain.put(f"{PLAN}?width=1", content=b"text"),
    ("PUT /v1/cameras/plan", 507): lambda stage, *_: stage.crowded[0].put(f"{PLAN}?width=1", content=jpeg(1)),
    ("DELETE /v1/cameras/plan", 204): lambda stage, *_: _with_plan(stage).delete(PLAN),
    ("DELETE /v1/cameras/plan", 404): lambda stage, *_: _without_plan(stage).delete(PLAN),
    ("DELETE /v1/cameras/plan", 507): lambda stage, *_: stage.planned_and_crowded.delete(PLAN),
    (f"POST {GALLERY}/trail", 200): lambda stage, *_: stage.plain.post(
        f"{_path(GALLERY)}/trail", json={"image_ids": ["a"]}
    ),
    (f"GET {GALLERY}/search", 200): lambda stage, *_: _by_address(stage.plain, "a"),
    (f"GET {GALLERY}/search", 404): lambda stage, *_: _by_address(stage.plain, "nobody"),
    (f"GET {GALLERY}/search", 409): lambda stage, *_: _by_address(stage.moved_on, "a"),
    ("POST /v1/queries", 201): lambda stage, *_: stage.plain.post("/v1/queries", content=jpeg(6)),
    ("POST /v1/queries", 409): lambda stage, *_: stage.keeps_no_queries.post("/v1/queries", content=jpeg(6)),
    (f"GET {QUERY}", 200): lambda stage, *_: stage.plain.get(_kept(stage)),
    (f"GET {QUERY}", 404): lambda stage, *_: stage.plain.get(_path(QUERY)),
    (f"GET {QUERY}/picture", 200): lambda stage, *_: stage.plain.get(f"{_kept(stage)}/picture"),
    (f"GET {QUERY}/picture", 304): lambda stage, *_: stage.plain.get(
        f"{_kept(stage)}/picture", headers={"If-None-Match": "*"}
    ),
    (f"GET {QUERY}/picture", 404): lambda stage, *_: stage.plain.get(_path(f"{QUERY}/picture")),
    (f"DELETE {QUERY}", 204): lambda stage, *_: stage.plain.delete(_kept(stage)),
    (f"DELETE {QUERY}", 404): lambda stage, *_: stage.plain.delete(_path(QUERY)),
    (f"PUT {GALLERY}", 200): lambda stage, *_: stage.plain.put(_path(GALLERY)),
    (f"PUT {GALLERY}", 201): lambda stage, *_: _new_gallery(stage, "new"),
    (f"PUT {GALLERY}", 404): lambda stage, *_: stage.plain.put("/v1/galleries/new%0A"),  # no path of this route
    (f"PUT {GALLERY}", 409): lambda stage, *_: _new_gallery(stage, "default", retention_days=1),
    (f"PUT {GALLERY}", 507): lambda stage, *_: stage.crowded[0].put("/v1/galleries/new"),
    (f"DELETE {GALLERY}", 204): lambda stage, *_: _dropped(stage, "old"),
    (f"DELETE {GALLERY}", 409): lambda stage, *_: stage.plain.delete(_path(GALLERY), params={"confirm": "default"}),
    (f"POST {GALLERY}/imports", 202): lambda stage, *_: stage.plain.post(
        f"{_path(GALLERY)}/imports",
        files={"archive": pack(stage.folder / "one.zip", {"a.jpg": jpeg(5)}).read_bytes()},
    ),
    ("GET /v1/imports/{import_id}", 200): lambda stage, *_: stage.plain.get(_ended_import(stage)),
    ("GET /v1/imports/{import_id}", 404): lambda stage, *_: stage.plain.get("/v1/imports/none"),
    ("GET /v1/imports/{import_id}/failures", 200): lambda stage, *_: stage.plain.get(
        f"{_ended_import(stage)}/failures"
    ),
    ("GET /v1/imports/{import_id}/failures", 404): lambda stage, *_: stage.plain.get("/v1/imports/none/failures"),
    ("DELETE /v1/imports/{import_id}", 200): lambda stage, *_: stage.plain.delete(_waiting_import(stage)),
    ("DELETE /v1/imports/{import_id}", 204): lambda stage, *_: stage.plain.delete(_ended_import(stage)),
    ("DELETE /v1/imports/{import_id}", 404): lambda stage, *_: stage.plain.delete("/v1/imports/none"),
    (f"POST {GALLERY}/migrations", 202): lambda stage, *_: stage.moved_on.post("/v1/galleries/begun/migrations"),
    (f"POST {GALLERY}/migrations", 409): lambda stage, *_: stage.moved_on.post("/v1/galleries/lean/migrations"),
    (f"GET {MIGRATION}", 200): lambda stage, *_: stage.moved_on.get(_moving(stage, "watched")),
    (f"DELETE {MIGRATION}", 200): lambda stage, *_: stage.moved_on.delete(_moving(stage, "full")),
    (f"DELETE {MIGRATION}", 409): lambda stage, *_: _deleted_twice(stage.moved_on, _moving(stage, "ended")),
    (f"POST {GALLERY}/migrations", 507): lambda stage, *_: stage.moved_on_and_crowded.post(f"{_path(GALLERY)}/migrations"),
    (f"DELETE {MIGRATION}", 507): lambda stage, *_: stage.crowded[0].delete(stage.crowded[1]),
    ("GET /v1/caller", 200): lambda stage, *_: stage.keyed[0].get("/v1/caller"),
    ("POST /v1/keys", 201): lambda stage, *_: stage.keyed[0].post("/v1/keys", json=NEW_KEY),
    ("POST /v1/keys", 507): lambda stage, *_: stage.keyed_and_crowded[0].post("/v1/keys", json=NEW_KEY),
    ("DELETE /v1/keys/{key_id}", 200): lambda stage, *_: stage.keyed[0].delete(_made_key(stage)),
    ("DELETE /v1/keys/{key_id}", 404): lambda stage, *_: stage.keyed[0].delete("/v1/keys/none"),
    ("DELETE /v1/keys/{key_id}", 507): lambda stage, *_: stage.keyed_and_crowded[0].delete(
        f"/v1/keys/{stage.keyed_and_crowded[1]}"
    ),
    ("POST /v1/feedback", 200): lambda stage, *_: _said_twice(stage.plain, "a"),
    ("POST /v1/feedback", 201): lambda stage, *_: _said_first(stage.plain),
    ("POST /v1/feedback", 404): lambda stage, *_: _said(stage.plain, "nobody"),
    ("POST /v1/feedback", 409): lambda stage, *_: _said_without_crops(stage),
    ("POST /v1/feedback", 507): lambda stage, *_: _said(stage.crowded[0], "a"),
    ("GET /v1/feedback", 200): lambda stage, method, path: _of_feedback(stage.plain, method, path),
    ("GET /v1/feedback", 404): lambda stage, method, path: _of_feedback(stage.plain, method, path, "nowhere"),
    ("DELETE /v1/feedback", 200): lambda stage, method, path: _of_feedback(stage.plain, method, path),
    ("DELETE /v1/feedback", 404): lambda stage, method, path: _of_feedback(stage.plain, method, path, "nowhere"),
    ("DELETE /v1/feedback", 507): lambda stage, method, path: _of_feedback(stage.crowded[0], method, path),
    ("GET /v1/feedback/export", 200): lambda stage, method, path: _of_feedback(stage.plain, method, path),
    ("GET /v1/feedback/export", 404): lambda stage, method, path: _of_feedback(stage.plain, method, path, "nowhere"),
    ("DELETE /v1/feedback/{feedback_id}", 204): lambda stage, *_: stage.plain.delete(
        f"/v1/feedback/{_said(stage.plain, 'b', query='a').json()['feedback_id']}"
    ),
    ("DELETE /v1/feedback/{feedback_id}", 404): lambda stage, *_: stage.plain.delete("/v1/feedback/none"),
    ("DELETE /v1/feedback/{feedback_id}", 507): lambda stage, *_: stage.crowded[0].delete(
        f"/v1/feedback/{_one_said(stage.crowded[0])}"
    ),
    ("POST /v1/model/reload", 409): lambda stage, *_: stage.replaced.post("/v1/model/reload"),
    ("GET /readyz", 503): lambda stage, *_: stage.stopping("/readyz"),
    ("GET /v2/health/ready", 503): lambda stage, *_: stage.stopping("/v2/health/ready"),
}  # fmt: skip

DECLARED = [(route, int(status)) for route, operation in OPERATIONS.items() for status in operation["responses"]]


@pytest.mark.parametrize(("route", "status"), DECLARED)
def test_a_route_answers_with_what_it_declares(stage: Stage, route: str, status: int) -> None:
    way = OWN.get((route, status)) or EVERYWHERE.get(status)
    assert way is not None, (
        f"nobody knows how {route} comes to answer {status}: write it into OWN, or declare it no more"
    )
    method, _, template = route.partition(" ")
    answer = way(stage, method, template)
    assert (answer if isinstance(answer, int) else answer.status_code) == status, (
        answer if isinstance(answer, int) else answer.text
    )


def test_no_way_is_left_over() -> None:
    assert OWN.keys() <= set(DECLARED)


def test_a_service_that_lets_nobody_in_is_not_ready_and_tells_strangers_nothing_of_the_machine(stage: Stage) -> None:
    client, token = stage.keys_gone
    assert client.get("/livez").status_code == 200
    for headers in ({}, bearer(token), bearer("vsk_0_x")):
        for path in ("/readyz", "/v2/health/ready", "/v1/model"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 503
            assert "keys.sqlite" not in answer.text
