"""Keys over HTTP, with the real server: what is made, by whom, and that it holds at once."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.access_key import key_id_of
from index.storage.key_database import KeyDatabase
from service.access.keyring import WATCH_SECONDS
from tests.http_client import AnswerCheck, raw, refused, status_of
from tests.key_holder import bearer, kept_key
from tests.server_process import serving
from tests.small_disk import fill, small_disk
from vehicle_search_client import Forbidden, NotFound, VehicleSearch

FUTURE = "2999-01-01T00:00:00Z"
NEW = {"name": "camera 7", "scopes": ["write"]}


@dataclass(frozen=True)
class Keyed:
    """A service with keys: tokens by name, and its log."""

    address: str
    data: Path
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def keyed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    data = tmp_path_factory.mktemp("keyed") / "data"
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    tokens = {
        "admin": kept_key(data, "admin", name="root"), "read": kept_key(data, "read", name="reader"),
        "yard": kept_key(data, "admin", galleries=("yard",)), "ending": kept_key(data, "admin", expires_at=soon),
        "slow": kept_key(data, "admin", rate=1000.0, burst=100),
        "expired": kept_key(data, "read", name="old", expires_at=datetime(2026, 1, 1, tzinfo=UTC)),
    }  # fmt: skip
    with serving(data, tiny_model, "--access-log", "--log-level", "debug", log=data.parent / "log") as address:
        yield Keyed(address, data, tokens)
    assert "Traceback" not in (data.parent / "log").read_text()


@pytest.fixture
def admin(keyed: Keyed) -> Iterator[httpx.Client]:
    """One that may do everything and checks each answer."""
    check = AnswerCheck(keyed.address)
    headers = bearer(keyed.tokens["admin"])
    with httpx.Client(base_url=keyed.address, timeout=60, headers=headers, event_hooks={"response": [check]}) as opened:
        yield opened


def test_a_key_works_with_the_answer_that_tells_it_and_ends_with_the_one_that_says_so(
    keyed: Keyed, admin: httpx.Client
) -> None:
    assert WATCH_SECONDS >= 0.1  # this test asks sooner than the file is looked at, most times of twenty
    for _ in range(20):
        made = admin.post("/v1/keys", json={"name": "reader", "scopes": ["read"]})
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
        token = made.json()["token"]
        assert key_id_of(token) == made.json()["id"]
        assert admin.get("/v1/model", headers=bearer(token)).status_code == 200
        ended = admin.delete(f"/v1/keys/{made.json()['id']}")
        assert (ended.status_code, ended.json()["state"], ended.json()["warning"]) == (200, "revoked", None)
        refused(admin.get("/v1/model", headers=bearer(token)), 401, "is revoked")


def test_it_is_made_as_it_was_asked_for_and_listed_without_its_token(keyed: Keyed, admin: httpx.Client) -> None:
    before = admin.get("/v1/keys").json()["keys"]
    wanted = {
        "scopes": ["write", "read"],
        "galleries": ["yard", "lane"],
        "rate": 2.5,
        "expires_at": "2998-05-04T12:00:00+02:00",
    }
    made = admin.post("/v1/keys", json={"name": "Tor 3, Kamera ü", **wanted}).json()
    token, warning = made.pop("token"), made.pop("warning")
    assert warning is None
    created = datetime.fromisoformat(made["created_at"])
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    assert made == {
        "id": key_id_of(token), "name": "Tor 3, Kamera ü", "state": "works", "scopes": ["read", "write"],
        "galleries": ["lane", "yard"], "rate": 2.5, "burst": 3, "created_at": made["created_at"],
        "expires_at": "2998-05-04T10:00:00Z", "revoked_at": None,
    }  # fmt: skip
    listed = admin.get("/v1/keys")
    assert listed.json()["keys"] == [*before, made]
    (kept,) = (key for key in KeyDatabase(keyed.data).all() if key.key_id == made["id"])
    assert kept.fits(token)
    for text in (listed.text, (keyed.data.parent / "log").read_text()):
        assert token.rpartition("_")[2] not in text
    states = {each["name"]: each["state"] for each in before}
    assert (states["root"], states["old"]) == ("works", "expired")


@pytest.mark.parametrize(
    ("fault", "pointer", "says"),
    [
        ({"name": None}, "/name", "must be a text"), ({"name": "a\nb"}, "/name", "printable"), ({"name": "x" * 81}, "/name", "1–80"),
        ({"name": "\ud800"}, "/name", "printable"), ({"scopes": None}, "/scopes", "read, write, admin"), ({"scopes": []}, "/scopes", "one or more"),
        ({"scopes": "read"}, "/scopes", "a list"), ({"scopes": ["read", "root"]}, "/scopes/1", "read, write, admin"),
        ({"scopes": [["read"]]}, "/scopes/0", "read, write, admin"), ({"galleries": []}, "/galleries", "null for all"),
        ({"galleries": "yard"}, "/galleries", "a list"), ({"galleries": ["a", "B c"]}, "/galleries/1", "name of a gallery"),
        ({"galleries": [7]}, "/galleries/0", "name of a gallery"), ({"galleries": ["a"] * 1001}, "/galleries", "1–1,000"),
        ({"rate": True}, "/rate", "a number"), ({"rate": "5"}, "/rate", "a number"), ({"rate": 0}, "/rate", "0.001"), ({"rate": 1e9}, "/rate", "1,000,000"),
        ({"rate": 10**399}, "/rate", "1,000,000"), ({"burst": 3}, "/burst", "goes with rate"), ({"rate": 1, "burst": 0}, "/burst", "from 1"),
        ({"rate": 1, "burst": 1.5}, "/burst", "whole number"), ({"expires_at": "soon"}, "/expires_at", "with an offset"),
        ({"expires_at": 7}, "/expires_at", "with an offset"), ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "is over"),
        ({"expires_at": "2027-01-01T00:00:00"}, "/expires_at", "with an offset"), ({"scope": ["read"]}, "/scope", "known are name, scopes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_stands(
    keyed: Keyed, admin: httpx.Client, fault: dict[str, Any], pointer: str, says: str
) -> None:
    before = KeyDatabase(keyed.data).all()
    document = refused(admin.post("/v1/keys", content=json.dumps(NEW | fault)), 422, says)
    assert document["errors"][0]["pointer"] == pointer
    assert KeyDatabase(keyed.data).all() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"name": NaN}', b"\xff"])
def test_what_is_no_description_is_refused(admin: httpx.Client, body: bytes) -> None:
    assert admin.post("/v1/keys", content=body).status_code in (400, 422)


def test_no_key_makes_one_that_may_do_more(keyed: Keyed, admin: httpx.Client) -> None:
    def asked(who: str, **wanted: object) -> httpx.Response:
        return admin.post("/v1/keys", json=NEW | wanted, headers=bearer(keyed.tokens[who]))

    refused(asked("read"), 403, "asks for admin")
    refused(asked("yard", galleries=["yard"]), 403, "some galleries only")
    refused(asked("ending"), 403, "cannot make a key that may do more than itself", "it ends itself")
    refused(asked("ending", expires_at=FUTURE), 403, "it ends itself")
    own = next(key for key in KeyDatabase(keyed.data).all() if key.fits(keyed.tokens["ending"])).expires_at
    assert own is not None
    assert asked("ending", expires_at=own.isoformat()).status_code == 201
    refused(asked("slow"), 403, "1000 requests a second itself, 100 at once")
    refused(asked("slow", rate=1000), 403, "100 at once")
    assert asked("slow", rate=1000, burst=100).status_code == 201


def test_a_key_that_there_is_none_of_cannot_be_revoked(admin: httpx.Client) -> None:
    refused(admin.delete("/v1/keys/3f0c6e1d2a3b"), 404, "there is no key '3f0c6e1d2a3b'")
    refused(admin.delete(f"/v1/keys/{'x' * 5000}"), 404, "there is no key")


def test_one_that_was_revoked_before_stays_as_it_is(admin: httpx.Client) -> None:
    key_id = admin.post("/v1/keys", json=NEW).json()["id"]
    first, second = (admin.delete(f"/v1/keys/{key_id}").json() for _ in range(2))
    assert first == second
    assert first["revoked_at"] is not None


def test_a_caller_is_told_what_it_may(keyed: Keyed, admin: httpx.Client) -> None:
    told = {who: admin.get("/v1/caller", headers=bearer(keyed.tokens[who])).json() for who in ("admin", "read", "yard")}
    assert told["read"] == {
        "key_id": keyed.tokens["read"].split("_")[1], "name": "reader", "scopes": ["read"], "galleries": None,
        "expires_at": None, "read_only": False,
    }  # fmt: skip
    assert told["admin"]["scopes"] == ["read", "write", "admin"]
    assert told["yard"]["galleries"] == ["yard"]
    refused(httpx.get(f"{keyed.address}/v1/caller"), 401)
    refused(admin.get("/v1/caller?verbose=1"), 422, "verbose")


def test_the_first_key_locks_out_who_has_none_and_says_so(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model, log=tmp_path / "log") as address, VehicleSearch(address) as anybody:
        assert anybody.caller().key_id is None
        assert anybody.caller().scopes == ["read", "write", "admin"]
        assert (anybody.access_keys(), anybody.status().keys) == ([], False)
        with pytest.raises(NotFound):
            anybody.revoke_key("none")
        made = anybody.create_key("root", scopes="admin")
        assert made.warning == "this is the first key: every request needs one from now on"
        assert made.token is not None
        assert made.token not in repr(made)
        refused(httpx.get(f"{address}/v1/keys"), 401)  # with no patience
        with VehicleSearch(address, api_key=made.token) as root:
            assert (root.caller().name, root.status().keys) == ("root", True)
            end = datetime(2998, 1, 1, tzinfo=UTC)
            reader = root.create_key("reader", scopes=["read"], galleries=["default"], rate=9, expires_at=end)
            assert (reader.warning, reader.burst, reader.expires_at) == (None, 9, end)
            with VehicleSearch(address, api_key=reader.token) as limited, pytest.raises(Forbidden, match="admin"):
                limited.create_key("more", scopes="read")
            assert [each.name for each in root.access_keys()] == ["root", "reader"]
            last = root.revoke_key(made.id)
        assert re.search(r"no key that works has the scope admin .*`vehicle-search keys create", last.warning or "")
        refused(httpx.get(f"{address}/v1/caller", headers=bearer(made.token)), 401, "revoked")
    log = (tmp_path / "log").read_text()
    assert "from here on every request needs one" in log
    assert made.token not in log


def test_a_first_key_that_administers_nothing_warns_twice(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as address:
        made = httpx.post(f"{address}/v1/keys", json={"name": "x", "scopes": ["admin"], "galleries": ["yard"]}).json()
        assert "the first key" in made["warning"]
        assert "no key that works has the scope admin for all galleries" in made["warning"]


def test_pages_of_others_make_no_first_key(server: str) -> None:
    body = b'{"name": "x", "scopes": ["admin"]}'
    for header in ("Origin: https://evil.example", "Sec-Fetch-Site: cross-site\r\nReferer: https://evil.example/"):
        assert status_of(raw(server, "POST", "/v1/keys", header, "Content-Type: text/plain", body=body)) == 403
    assert status_of(raw(server, "POST", "/v1/keys", body=body, host="evil.example")) == 403
    assert httpx.get(f"{server}/v1/keys").json() == {"keys": []}


def test_a_service_that_only_reads_makes_none(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model):
        pass
    token = kept_key(data, "admin")
    with serving(data, tiny_model, "--read-only") as address:
        for answer in (
            httpx.post(f"{address}/v1/keys", json=NEW, headers=bearer(token)),
            httpx.delete(f"{address}/v1/keys/{token.split('_')[1]}", headers=bearer(token)),
        ):
            assert refused(answer, 403, "only reads")["type"].endswith(":read-only")
        assert len(httpx.get(f"{address}/v1/keys", headers=bearer(token)).json()["keys"]) == 1


def test_a_full_disk_makes_none_and_locks_nobody_out(tiny_model: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=40) as disk, serving(disk / "data", tiny_model) as address:
        filler = fill(disk)
        refused(httpx.post(f"{address}/v1/keys", json=NEW, timeout=60), 507, "no space left")
        assert httpx.get(f"{address}/v1/keys").json() == {"keys": []}
        filler.unlink()
        made = httpx.post(f"{address}/v1/keys", json=NEW, timeout=60)
        assert "the first key" in made.json()["warning"]
        refused(httpx.get(f"{address}/v1/keys"), 401)
