"""Which key opens which route, every one of them, with the real server."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import httpx
import pytest
from fastapi import Depends, FastAPI

from index.access_key import Scope, new_token
from index.errors import VehicleSearchError
from service.access.caller import Caller
from service.gate.route_access import OPEN, ROUTES, Access, is_open, open_paths, require_access
from service.watching.metrics import Metrics
from service.wire.problems import on_known_error
from tests.archives import pack
from tests.http_client import AnswerCheck, refused
from tests.key_holder import a_key, bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving

PAST = datetime.now(UTC) - timedelta(days=1)
PAGES = {  # not in the OpenAPI file
    "GET /docs", "GET /openapi.json", "GET /", "GET /trail", "GET /gallery", "GET /model", "GET /console/{folder}/{file}",
}  # fmt: skip
GUARDED = sorted(route for route, access in ROUTES.items() if access is not OPEN)


@dataclass(frozen=True)
class Guarded:
    """A service with keys, and tokens by what they are for."""

    address: str
    tokens: dict[str, str]
    data: Path


@pytest.fixture(scope="module")
def guarded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("guarded") / "data"
    tokens = {scope: kept_key(data, scope) for scope in get_args(Scope)}
    for scope in get_args(Scope):
        tokens[f"{scope} yard"] = kept_key(data, scope, galleries=("yard",))
    tokens["spent"] = kept_key(data, "admin", rate=0.001, burst=1)
    tokens["expired"] = kept_key(data, "admin", expires_at=PAST)
    tokens["revoked"] = kept_key(data, "admin", revoked_at=PAST)
    with serving(data, tiny_model, log=data.parent / "log") as address:
        made = Guarded(address, tokens, data)
        for name in ("yard", "lane"):
            assert httpx.put(f"{address}/v1/galleries/{name}", headers=bearer(tokens["admin"])).status_code == 201
        assert httpx.get(f"{address}/v1/model", headers=bearer(tokens["spent"])).status_code == 200
        yield made
    assert "Traceback" not in (data.parent / "log").read_text()
    for token in tokens.values():
        assert token.rpartition("_")[2] not in (data.parent / "log").read_text()


@pytest.fixture
def client(guarded: Guarded) -> Iterator[httpx.Client]:
    """One that sends no key by itself and checks each answer."""
    check = AnswerCheck(guarded.address)
    with httpx.Client(base_url=guarded.address, timeout=60, event_hooks={"response": [check]}) as opened:
        yield opened


def call(client: httpx.Client, route: str, token: str | None, *, gallery: str = "default") -> httpx.Response:
    """Call a route with this key, its parts filled in with what is not there."""
    method, _, template = route.partition(" ")
    path = re.sub(r"\{\w+\}", "none", template.replace("{gallery}", gallery))
    return client.request(method, path, headers={} if token is None else bearer(token))


def test_every_route_of_the_openapi_file_has_its_scope_and_the_other_way_round(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    served = {f"{method.upper()} {path}" for path, each in document["paths"].items() for method in each}
    assert served | PAGES == ROUTES.keys()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            access = ROUTES[f"{method.upper()} {path}"]
            scopes = [] if access.scope is None else [access.scope]
            assert operation["security"] == ([] if access is OPEN else [{"key": scopes}, {}])
            for status in () if access is OPEN else ("401", "403", "429", "503"):
                (content,) = operation["responses"][status]["content"].values()
                assert content["example"].get("status", int(status)) == int(status)


@pytest.mark.parametrize("route", GUARDED)
def test_a_route_asks_for_a_key_that_works(guarded: Guarded, client: httpx.Client, route: str) -> None:
    for token, error in (
        (None, ""), (new_token()[0], "invalid_token"), ("x", "invalid_token"), (guarded.tokens["read"] + "0", "invalid_token"),
        (guarded.tokens["expired"], "invalid_token"), (guarded.tokens["revoked"], "invalid_token"),
    ):  # fmt: skip
        answer = call(client, route, token)
        refused(answer, 401)
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="vehicle-search"')
        assert (f'error="{error}"' in challenge) is bool(error)


@pytest.mark.parametrize("route", GUARDED)
def test_a_route_asks_for_its_scope(guarded: Guarded, client: httpx.Client, route: str) -> None:
    access = ROUTES[route]
    for scope in get_args(Scope):
        answer = call(client, route, guarded.tokens[scope])
        if access.scope is None or scope in (access.scope, "admin"):
            assert answer.status_code not in (401, 403, 429), answer.text
        else:
            refused(answer, 403, f"asks for {access.scope}")
            assert f'scope="{access.scope}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("route", [route for route in GUARDED if "{gallery}" in route])
def test_a_key_of_one_gallery_opens_that_one(guarded: Guarded, client: httpx.Client, route: str) -> None:
    token = guarded.tokens[f"{ROUTES[route].scope} yard"]
    for other in ("default", "lane", "nowhere", "yard%20", "Yard"):
        refused(call(client, route, token, gallery=other), 403, "not for this gallery")
    answer = call(client, route, token, gallery="yard")
    assert answer.status_code not in (401, 403), answer.text


@pytest.mark.parametrize("route", GUARDED)
def test_a_spent_key_is_told_when_to_come_back(guarded: Guarded, client: httpx.Client, route: str) -> None:
    answer = call(client, route, guarded.tokens["spent"])
    document = refused(answer, 429, "0.001 requests a second")
    if " /v2" not in route:
        assert document["type"] == "urn:vehicle-search:problem:rate-exceeded"
    assert 0 < int(answer.headers["retry-after"]) <= 1000  # some of it has come back since it was spent


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - set(GUARDED)))
def test_probes_and_the_page_need_none(guarded: Guarded, client: httpx.Client, route: str) -> None:
    known = route.replace("{folder}", "shared").replace("{file}", "style.css")
    for token in (None, "x", guarded.tokens["revoked"], guarded.tokens["spent"]):
        assert call(client, known, token).status_code == 200
    method, _, path = known.partition(" ")
    assert (
        client.request(method, path, headers={"Host": "cars.example", "Origin": "https://x.example"}).status_code == 200
    )


def test_what_is_about_all_galleries_needs_a_key_of_all(guarded: Guarded, client: httpx.Client) -> None:
    everywhere = {route: access.scope for route, access in ROUTES.items() if access.everywhere}
    assert everywhere == {
        "POST /v1/model/reload": "admin", "GET /metrics": "read", "GET /v1/keys": "admin", "POST /v1/keys": "admin",
        "DELETE /v1/keys/{key_id}": "admin", "PUT /v1/cameras": "write", "PUT /v1/cameras/plan": "write",
        "DELETE /v1/cameras/plan": "write",
    }  # fmt: skip
    for route, scope in everywhere.items():
        refused(call(client, route, guarded.tokens[f"{scope} yard"]), 403, "some galleries only")
        assert call(client, route, guarded.tokens[str(scope)]).status_code not in (401, 403)


def test_a_key_sees_its_galleries_alone(guarded: Guarded, client: httpx.Client) -> None:
    listed = client.get("/v1/galleries", headers=bearer(guarded.tokens["read yard"])).json()["galleries"]
    assert [each["name"] for each in listed] == ["yard"]
    assert len(client.get("/v1/galleries", headers=bearer(guarded.tokens["read"])).json()["galleries"]) == 3


def test_a_key_sees_the_imports_of_its_galleries_alone(guarded: Guarded, client: httpx.Client, tmp_path: Path) -> None:
    files = {"archive": ("a.zip", pack(tmp_path / "a.zip", {"a.jpg": jpeg(0)}).read_bytes())}
    everywhere, yard = bearer(guarded.tokens["write"]), bearer(guarded.tokens["write yard"])
    own = client.post("/v1/galleries/yard/imports", files=files, headers=yard).json()["id"]
    other = client.post("/v1/galleries/lane/imports", files=files, headers=everywhere).json()["id"]
    assert [each["id"] for each in client.get("/v1/imports", headers=yard).json()["imports"]] == [own]
    assert len(client.get("/v1/imports", headers=everywhere).json()["imports"]) == 2
    assert client.get(f"/v1/imports/{own}", headers=yard).status_code == 200
    for method, path in (("GET", other), ("DELETE", other), ("GET", f"{other}/failures")):
        document = refused(client.request(method, f"/v1/imports/{path}", headers=yard), 404)
        assert document["detail"] == f"there is no import '{other}'"
    assert client.get(f"/v1/imports/{other}", headers=everywhere).status_code == 200


@pytest.mark.parametrize("path", ["/docs/assets/../../v1/galleries", "/docs/assetsX", "/livez/", "//livez", "/docs/assets/%2e%2e/%2e%2e/v1/galleries"])  # fmt: skip
def test_no_other_path_is_open(guarded: Guarded, path: str) -> None:
    answer = httpx.get(httpx.URL(guarded.address).copy_with(raw_path=path.encode()))
    assert answer.status_code in (401, 404), answer.text


def test_a_route_that_is_in_no_table_opens_to_no_key() -> None:
    app = FastAPI(dependencies=[Depends(require_access)], exception_handlers={VehicleSearchError: on_known_error})
    app.state.context = SimpleNamespace(metrics=Metrics())
    app.add_api_route("/v1/new", lambda: None)
    key, _ = a_key("admin")

    async def called(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "caller": Caller(key)}, receive, send)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(called), base_url="http://localhost") as client:
            return await client.get("/v1/new")

    refused(asyncio.run(ask()), 403, "no scope is stated")


def test_open_paths_are_those_of_the_table() -> None:
    assert open_paths(metrics=False) == {
        "/livez", "/readyz", "/", "/trail", "/gallery", "/model", "/console/{folder}/{file}", "/docs", "/openapi.json", "/v2", "/v2/health/live", "/v2/health/ready",
    }  # fmt: skip
    assert open_paths(metrics=True) - open_paths(metrics=False) == {"/metrics"}
    assert is_open("/docs/assets/x.js", frozenset())
    for path in ("/v1/galleries", "/docs/x", "/docsx", "/docs/assets"):
        assert not is_open(path, open_paths(metrics=True))
    assert Access("read") != OPEN


@pytest.mark.parametrize(
    "fields", [["Basic {}"], ["{}"], ["Bearer"], ["bearer{}"], ["Bearer {}", "Bearer {}"], ["Bearer {},"], ["Bearer x {}"]]
)  # fmt: skip
def test_the_header_is_read_strictly(guarded: Guarded, client: httpx.Client, fields: list[str]) -> None:
    headers = [("Authorization", field.format(guarded.tokens["read"])) for field in fields]
    refused(client.get("/v1/model", headers=headers), 401, "Authorization: Bearer TOKEN")


@pytest.mark.parametrize("field", ["Bearer {}", "bearer {}", "BEARER   {}"])
def test_the_scheme_is_written_as_one_likes(guarded: Guarded, client: httpx.Client, field: str) -> None:
    answer = client.get("/v1/model", headers={"Authorization": field.format(guarded.tokens["read"])})
    assert answer.status_code == 200


def test_what_is_wrong_with_a_key_is_told_to_its_holder_alone(guarded: Guarded, client: httpx.Client) -> None:
    for state in ("expired", "revoked"):
        token = guarded.tokens[state]
        refused(client.get("/v1/model", headers=bearer(token)), 401, f"is {state}")
        guessed = token[:-1] + ("0" if token[-1] != "0" else "1")
        assert state not in refused(client.get("/v1/model", headers=bearer(guessed)), 401)["detail"]


def test_requests_are_counted_by_key_and_no_token_is_told(guarded: Guarded, client: httpx.Client) -> None:
    call(client, "GET /v1/model", guarded.tokens["write"])
    call(client, "GET /v1/model", guarded.tokens["spent"])
    call(client, "GET /v1/model", None)
    text = client.get("/metrics", headers=bearer(guarded.tokens["read"])).text
    key_id = guarded.tokens["write"].split("_")[1]
    for outcome in ("admitted", "forbidden"):
        assert f'vehicle_search_key_requests_total{{key="{key_id}",outcome="{outcome}"}}' in text
    spent = guarded.tokens["spent"].split("_")[1]
    assert f'vehicle_search_key_requests_total{{key="{spent}",outcome="limited"}}' in text
    assert re.search(r"vehicle_search_unauthenticated_requests_total [1-9]", text)
    for token in guarded.tokens.values():
        assert token.rpartition("_")[2] not in text


def test_a_refusal_comes_before_the_body_is_read(guarded: Guarded, client: httpx.Client) -> None:
    picture = bytes(200_000_000 // 10)
    refused(client.post("/v1/galleries/default/images", content=picture, headers=bearer("x")), 401)
    refused(client.post("/v1/galleries/default/images", content=picture, headers=bearer(guarded.tokens["read"])), 403)


def test_a_probe_names_galleries_only_to_who_may_see_them(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model) as server:
        assert httpx.put(f"{server}/v1/galleries/yard").status_code == 201
    (data / "galleries/yard/gallery.sqlite").write_bytes(b"damage" * 10_000)
    tokens = {
        name: kept_key(data, "read", galleries=galleries) for name, galleries in (("all", None), ("lane", ("lane",)))
    }
    limited = kept_key(data, "write", galleries=("yard",), rate=0.001)
    with serving(data, tiny_model, "--metrics-open") as server:
        for headers, seen in (
            ({}, []), (bearer("x"), []), (bearer(tokens["lane"]), []), (bearer(tokens["all"]), ["yard"]), (bearer(limited), ["yard"]),
            (bearer(limited), ["yard"]),
        ):  # fmt: skip
            ready = httpx.get(f"{server}/readyz", headers=headers)
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert list(ready.json()["damaged"]) == seen
            assert httpx.get(f"{server}/metrics", headers=headers).status_code == 200
