"""What becomes of requests in the audit log, with the real server."""

import asyncio
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import httpx
import pytest

from index.access_key import Scope
from service.access.audit_log import AuditLog, audit_files
from service.gate.audit_trail import ACTIONS, AUDITED, MOST_IDS, AuditTrail
from service.gate.route_access import OPEN, ROUTES
from service.watching.metrics import Metrics
from tests.http_client import AnswerCheck, parts, raw, refused
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import refused as refused_start
from tests.server_process import serving, started
from tests.small_disk import fill, small_disk

GALLERY = "/v1/galleries/default"


@dataclass(frozen=True)
class Audited:
    """A service that keeps a log, and tokens by their scope; ``yard`` administers one gallery."""

    address: str
    tokens: dict[str, str]
    folder: Path

    def entries(self) -> list[dict[str, Any]]:
        """Every entry on the disk, oldest first."""
        return [json.loads(line) for path in audit_files(self.folder) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def audited(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    data = tmp_path_factory.mktemp("audited") / "data"
    tokens = {scope: kept_key(data, scope) for scope in get_args(Scope)}
    tokens["yard"] = kept_key(data, "admin", galleries=("yard",))
    with serving(data, tiny_model, "--audit", "--audit-required", log=data.parent / "log") as address:
        yield Audited(address, tokens, data / "audit")
    assert "Traceback" not in (data.parent / "log").read_text()


@pytest.fixture
def client(audited: Audited) -> Iterator[httpx.Client]:
    """One that may do everything and checks each answer."""
    check = AnswerCheck(audited.address)
    headers = bearer(audited.tokens["admin"])
    with httpx.Client(
        base_url=audited.address, timeout=60, headers=headers, event_hooks={"response": [check]}
    ) as opened:
        yield opened


def test_whatever_changes_something_and_whoever_searches_is_audited() -> None:
    assert AUDITED.keys() <= ROUTES.keys()
    changing = {route for route, access in ROUTES.items() if access is not OPEN and not route.startswith("GET ")}
    gallery = GALLERY.replace("default", "{gallery}")
    looking = {
        f"GET {gallery}/search", f"GET {gallery}/images/{{image_id}}/similar", "GET /v1/audit", "GET /v1/feedback/export",
    }  # fmt: skip
    assert AUDITED.keys() == changing | looking


def test_a_search_is_told_with_the_hash_of_its_picture_and_not_the_picture(
    audited: Audited, client: httpx.Client
) -> None:
    client.put(f"{GALLERY}/images/a", content=jpeg(0))
    picture = jpeg(0)
    found = client.post(
        f"{GALLERY}/search", params={"top_k": 3, "camera_id": ["", "c1"][1:], "attribute.lane": "2"}, content=picture,
        headers={"X-Request-ID": "mine-1", **bearer(audited.tokens["read"])},
    )  # fmt: skip
    assert found.headers["x-request-id"] == "mine-1"
    entry = audited.entries()[-1]
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "action": "search", "key": audited.tokens["read"].split("_")[1], "address": "127.0.0.1", "gallery": "default",
        "filters": {"top_k": ["3"], "camera_id": ["c1"], "attribute.lane": ["2"]},
        "pictures": [hashlib.sha256(picture).hexdigest()], "matches": 0, "status": 200, "request_id": "mine-1",
    }  # fmt: skip
    client.post(f"{GALLERY}/search", content=picture)
    assert audited.entries()[-1]["matches"] == 1
    batch = client.post(f"{GALLERY}/search/batch", files=parts(picture, b"no picture", jpeg(1)))
    entry = audited.entries()[-1]
    assert (entry["matches"], len(entry["pictures"])) == (2, 3)
    assert entry["request_id"] == batch.headers["x-request-id"]
    client.get(f"{GALLERY}/images/a/similar")
    assert (audited.entries()[-1]["action"], audited.entries()[-1]["image_id"]) == ("search", "a")
    client.head(f"{GALLERY}/images/a/similar")
    assert audited.entries()[-2]["action"] == audited.entries()[-1]["action"] == "search"
    client.post("/v1/embeddings", content=picture)
    assert (audited.entries()[-1]["action"], audited.entries()[-1]["gallery"]) == ("embed", None)
    large = bytes(3_000_000)
    refused(client.post(f"{GALLERY}/search", content=large), 415)
    entry = audited.entries()[-1]
    assert (entry["status"], entry["pictures"]) == (415, [hashlib.sha256(large).hexdigest()])


def test_a_kept_picture_is_told_as_the_same_picture(audited: Audited, client: httpx.Client) -> None:
    client.put(f"{GALLERY}/images/a", content=jpeg(0))
    digest = hashlib.sha256(jpeg(0)).hexdigest()
    query_id = client.post("/v1/queries", content=jpeg(0)).json()["query_id"]
    entry = audited.entries()[-1]
    assert (entry["action"], entry["pictures"], entry["query_id"]) == ("keep-query", [digest], query_id)
    for matches, names in ((1, {"query_id": query_id}), (0, {"query_id": query_id, "image_id": "a"})):
        client.get(f"{GALLERY}/search", params=names)
        entry = audited.entries()[-1]
        assert (entry["action"], entry["pictures"], entry["matches"]) == ("search", [digest], matches)
        assert entry["filters"] == {name: [value] for name, value in names.items()}
    client.delete(f"/v1/queries/{query_id}")
    entry = audited.entries()[-1]
    assert (entry["action"], entry["query_id"], entry["status"]) == ("erase-query", query_id, 204)
    refused(client.get(f"{GALLERY}/search", params={"query_id": query_id}), 404)
    assert audited.entries()[-1]["status"] == 404


def test_what_is_written_and_erased_is_told(audited: Audited, client: httpx.Client) -> None:
    gallery = "/v1/galleries/lane"
    client.put(gallery)
    assert (audited.entries()[-1]["action"], audited.entries()[-1]["status"]) == ("create-gallery", 201)
    metadata = [{"image_id": f"i{n}", "vehicle_id": "v"} for n in range(3)]
    client.post(f"{gallery}/images", files=parts(jpeg(0), b"none", jpeg(1), metadata=metadata))
    entry = audited.entries()[-1]
    assert (entry["action"], entry["count"], entry["images"]) == ("add", 2, ["i0", "i2"])
    client.patch(f"{gallery}/images/i0", json={"camera_id": "c"})
    assert audited.entries()[-1]["action"] == "change"
    client.patch(f"{gallery}/images", params={"vehicle_id": "v"}, json={"vehicle_id": "w"})
    entry = audited.entries()[-1]
    assert (entry["action"], entry["filters"], entry["count"]) == ("change", {"vehicle_id": ["v"]}, 2)
    client.delete(f"{gallery}/images/i0")
    entry = audited.entries()[-1]
    assert (entry["action"], entry["image_id"], entry["status"]) == ("erase", "i0", 204)
    client.delete(f"{gallery}/images", params={"vehicle_id": "w"})
    entry = audited.entries()[-1]
    assert (entry["action"], entry["filters"], entry["count"]) == ("erase", {"vehicle_id": ["w"]}, 1)
    client.post(f"{gallery}/migrations")
    assert (audited.entries()[-1]["action"], audited.entries()[-1]["status"]) == ("migrate", 409)
    refused(client.delete("/v1/imports/none"), 404)
    assert (audited.entries()[-1]["action"], audited.entries()[-1]["import_id"]) == ("cancel-import", "none")
    client.delete(gallery, params={"confirm": "lane"})
    assert (audited.entries()[-1]["action"], audited.entries()[-1]["gallery"]) == ("drop-gallery", "lane")
    assert len(metadata) <= MOST_IDS


def test_keys_that_are_made_and_revoked_are_told_without_their_tokens(audited: Audited, client: httpx.Client) -> None:
    wanted = {"name": "camera-7", "scopes": ["write", "read"], "galleries": ["lane", "default"]}
    made = client.post("/v1/keys", json=wanted).json()
    entry = audited.entries()[-1]
    assert (entry["action"], entry["status"], entry["key_id"]) == ("create-key", 201, made["id"])
    assert (entry["name"], entry["scopes"], entry["galleries"]) == ("camera-7", ["read", "write"], ["default", "lane"])
    assert entry["key"] == audited.tokens["admin"].split("_")[1]
    client.delete(f"/v1/keys/{made['id']}")
    entry = audited.entries()[-1]
    assert (entry["action"], entry["key_id"], entry["name"]) == ("revoke-key", made["id"], "camera-7")
    refused(client.post("/v1/keys", json=wanted | {"name": "x", "scopes": []}), 422)
    assert (audited.entries()[-1]["status"], "name" in audited.entries()[-1]) == (422, False)
    text = "".join(path.read_text() for path in audit_files(audited.folder))
    assert made["token"].rpartition("_")[2] not in text
    assert made["token"].rpartition("_")[2] not in (audited.folder.parent.parent / "log").read_text()


def test_what_a_key_may_not_is_told_and_who_has_none_is_not(audited: Audited, client: httpx.Client) -> None:
    before = len(audited.entries())
    refused(httpx.delete(f"{audited.address}{GALLERY}/images/a"), 401)
    assert len(audited.entries()) == before
    refused(client.delete(f"{GALLERY}/images/a", headers=bearer(audited.tokens["read"])), 403)
    entry = audited.entries()[-1]
    assert (entry["action"], entry["status"], entry["key"]) == ("erase", 403, audited.tokens["read"].split("_")[1])
    client.get("/v1/galleries")
    assert len(audited.entries()) == before + 1


def test_no_token_is_in_the_log(audited: Audited, client: httpx.Client) -> None:
    client.post(f"{GALLERY}/search", content=jpeg(0))
    text = "".join(path.read_text() for path in audit_files(audited.folder))
    for token in audited.tokens.values():
        assert token.rpartition("_")[2] not in text


def test_hostile_requests_stay_on_their_line(audited: Audited) -> None:
    before = len(audited.entries())
    token = f"Authorization: Bearer {audited.tokens['admin']}"
    query = "&".join(f"{n}{'x' * 400}=%0a%22%ff{'y' * 400}" for n in range(70))
    raw(audited.address, "DELETE", f"/v1/galleries/%0A%7B%22/images?{query}", token, 'X-Request-ID: a"}\t{')
    (entry,) = audited.entries()[before:]
    assert entry["gallery"] == '\n{"'
    assert len(entry["filters"]) <= 64
    assert max(len(text) for name, (value,) in entry["filters"].items() for text in (name, value)) == 256
    assert len(entry["request_id"]) == 32


def test_admins_read_it_a_page_at_a_time(audited: Audited, client: httpx.Client) -> None:
    for name in ("yard", "lawn"):
        client.put(f"/v1/galleries/{name}")
        client.post(f"/v1/galleries/{name}/search", content=jpeg(0))
    page = client.get("/v1/audit", params={"limit": 2}).json()
    written = audited.entries()
    assert written[-1]["action"] == "read-audit"
    assert page["entries"] == written[-2:-4:-1]
    older = client.get("/v1/audit", params={"limit": 2, "cursor": page["next"]}).json()
    assert older["entries"] == written[-4:-6:-1]
    for params, name, value in (
        ({"action": "search"}, "action", "search"), ({"gallery": "yard"}, "gallery", "yard"),
        ({"key": audited.tokens["admin"].split("_")[1]}, "key", audited.tokens["admin"].split("_")[1]),
    ):  # fmt: skip
        found = client.get("/v1/audit", params=params).json()["entries"]
        assert {each[name] for each in found} == {value}
    since = written[-3]["time"]
    found = client.get("/v1/audit", params={"since": since, "until": written[-1]["time"]}).json()["entries"]
    assert found == written[-2:-4:-1]
    assert client.get("/v1/audit", params={"until": "2020-01-01T00:00:00Z"}).json() == {"entries": [], "next": None}


def test_an_admin_of_one_gallery_reads_of_that_alone(audited: Audited, client: httpx.Client) -> None:
    for name in ("yard", "lawn"):
        client.put(f"/v1/galleries/{name}")
    yard = bearer(audited.tokens["yard"])
    entries = client.get("/v1/audit", params={"limit": 1000}, headers=yard).json()["entries"]
    assert {each["gallery"] for each in entries} == {"yard"}
    assert client.get("/v1/audit", params={"gallery": "lawn"}, headers=yard).json()["entries"] == []
    refused(client.get("/v1/audit", headers=bearer(audited.tokens["write"])), 403)


@pytest.mark.parametrize(
    ("params", "word"),
    [({"cursor": "x"}, "cursor"), ({"since": "yesterday"}, "since"), ({"action": "nothing"}, "action"), ({"limit": 0}, "limit"),
     ({"keys": "x"}, "keys"), ({"cursor": "20261101T000000000000Z-"}, "cursor")],
)  # fmt: skip
def test_what_is_asked_wrongly_is_named(client: httpx.Client, params: dict[str, Any], word: str) -> None:
    refused(client.get("/v1/audit", params=params), 422, word)
    assert "entries-missing" in ACTIONS


def test_an_erasure_is_told_on_the_disk_although_the_service_is_killed(tiny_model: Path, tmp_path: Path) -> None:
    with started(tmp_path / "data", tiny_model, "--audit", "--audit-dir", str(tmp_path / "log")) as (server, process):
        httpx.put(f"{server}{GALLERY}/images/a", content=jpeg(0))
        assert httpx.delete(f"{server}{GALLERY}/images/a").status_code == 204
        process.kill()
    (last,) = audit_files(tmp_path / "log")
    entry = json.loads(last.read_text().splitlines()[-1])
    assert (entry["action"], entry["key"], entry["status"]) == ("erase", "keyless", 204)
    assert not (tmp_path / "data" / "audit").exists()


@pytest.mark.parametrize("required", [False, True])
def test_a_full_disk(tiny_model: Path, tmp_path: Path, required: bool) -> None:
    options = ["--audit-required"] if required else []
    with small_disk(tmp_path) as disk:
        folder = str(disk / "audit")
        with serving(
            tmp_path / "data", tiny_model, "--audit", "--audit-dir", folder, *options, log=tmp_path / "err"
        ) as server:
            httpx.put(f"{server}{GALLERY}/images/a", content=jpeg(0))
            filler = fill(disk)
            params = {f"attribute.{n}": "x" * 250 for n in range(64)}  # more than is left of the last page
            answers = [httpx.post(f"{server}{GALLERY}/search", params=params, content=jpeg(0)) for _ in range(2)]
            assert [each.status_code for each in answers] == ([503, 503] if required else [200, 200])
            if required:
                refused(answers[0], 503, "could not be written to the audit log")
                refused(answers[1], 503, "audit_required", "small/audit")
            assert httpx.get(f"{server}{GALLERY}/images/a").status_code == 200
            erased = httpx.delete(f"{server}{GALLERY}/images/a").status_code
            assert erased == (503 if required else 204)
            assert httpx.get(f"{server}{GALLERY}/images/a").status_code == (200 if required else 404)
            filler.unlink()
            while httpx.post(f"{server}{GALLERY}/search", content=jpeg(0)).status_code != 200:
                pass
        text = "".join(path.read_text() for path in audit_files(disk / "audit"))
        assert ('"action":"entries-missing"' in text) or not required
    assert "not in the audit log" in (tmp_path / "err").read_text()


@pytest.mark.parametrize(("options", "address"), [((), "127.0.0.1"), (("--trusted-proxies", "127.0.0.1"), "6.6.6.6")])
def test_only_a_proxy_that_is_named_says_where_a_request_comes_from(
    tiny_model: Path, tmp_path: Path, options: tuple[str, ...], address: str
) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model, "--audit", *options) as server:
        forwarded = {"X-Forwarded-For": "7.7.7.7, 6.6.6.6", "X-Real-IP": "8.8.8.8", "Forwarded": "for=9.9.9.9"}
        assert httpx.delete(f"{server}{GALLERY}/images/a", headers=forwarded).status_code == 404
    (entry,) = [json.loads(line) for file in audit_files(data / "audit") for line in file.read_text().splitlines()]
    assert entry["address"] == address


def test_an_erasure_is_answered_when_its_entry_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search is not held up by the disk."""
    reached, flush = threading.Event(), threading.Event()

    def held(handle: int) -> None:
        reached.set()
        assert flush.wait(60)

    log = AuditLog(tmp_path / "audit", Metrics(), days=1)
    monkeypatch.setattr(os, "fsync", held)
    sent: list[str] = []

    async def ask(route: str) -> None:
        method, _, path = route.partition(" ")

        async def answered(scope: Any, receive: Any, send: Any) -> None:
            scope["route"] = SimpleNamespace(path=path)
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def told(message: Any) -> None:
            sent.append(route)

        scope = {"type": "http", "method": method, "query_string": b"", "path": path}
        await AuditTrail(answered, log=log, required=False)(scope, None, told)  # type: ignore[arg-type]

    search, erasure = "POST /v1/galleries/{gallery}/search", "DELETE /v1/galleries/{gallery}/images/{image_id}"

    async def both() -> None:
        await ask(search)
        erasing = asyncio.create_task(ask(erasure))
        assert await asyncio.to_thread(reached.wait, 60)
        await ask(search)
        assert sent == [search, search]
        flush.set()
        await erasing

    asyncio.run(both())
    assert sent == [search, search, erasure]
    monkeypatch.undo()
    log.close()


def test_a_service_that_only_reads_needs_a_folder_of_its_own(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model):
        pass
    line = refused_start(
        "--model", str(tiny_model), "--data-dir", str(tmp_path / "data"), "--read-only", "--audit", "--port", "1"
    )
    assert "audit_dir" in line or "cannot listen" in line
    options = ("--read-only", "--audit", "--audit-dir", str(tmp_path / "log"))
    with serving(tmp_path / "data", tiny_model, *options) as server:
        httpx.post(f"{server}{GALLERY}/search", content=jpeg(0))
    assert len(audit_files(tmp_path / "log")) == 1
    assert (
        subprocess.run(["ls", str(tmp_path / "data")], capture_output=True, text=True, check=True).stdout.count("audit")
        == 0
    )


def test_without_it_nothing_is_kept(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as server:
        httpx.post(f"{server}{GALLERY}/search", content=jpeg(0))
        assert httpx.get(f"{server}/v1/audit").json() == {"entries": [], "next": None}
    assert not (tmp_path / "data" / "audit").exists()
