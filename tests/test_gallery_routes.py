"""Galleries over HTTP: create, describe, list, drop."""

import uuid
from pathlib import Path

import httpx
import pytest

from tests.http_client import parts, refused
from tests.pictures import jpeg
from tests.server_process import serving


@pytest.fixture
def name() -> str:
    return f"new_{uuid.uuid4().hex}"


def test_put_creates_once_and_refuses_other_properties(client: httpx.Client, name: str) -> None:
    path = f"/v1/galleries/{name}"
    created = client.put(path, json={"retention_days": 30})
    assert created.status_code == 201
    same = client.put(path, json={"retention_days": 30.0, "keep_crops": True, "kind": "flat"})
    assert (same.status_code, same.json()) == (200, created.json())
    refused(client.put(path, json={"retention_days": 31}), 409, "retention_days")
    refused(client.put(path), 409, "retention_days")
    document = client.get(path).json()
    assert document["name"] == name
    assert document["images"] == 0
    assert document["retention_days"] == 30
    assert document["viewpoints"] == ["front", "rear", "side"]
    assert document["embedding_dim"] == 32
    contract = client.get("/v1/model").json()["contract"]
    assert document["embedding_space"] == contract["embedding_space"]
    client.delete(path, params={"confirm": name})


@pytest.mark.parametrize(("kind", "vectors"), [("flat", "sq8"), ("ivf", "fp32"), ("hnsw", "fp16"), ("auto", "fp32")])
def test_a_gallery_of_each_kind_is_created_described_and_searched(
    client: httpx.Client, name: str, kind: str, vectors: str
) -> None:
    path = f"/v1/galleries/{name}"
    document = client.put(path, json={"kind": kind, "vectors": vectors}).json()
    assert (document["kind"], document["vectors"]) == (kind, vectors)
    refused(client.put(path, json={"kind": kind}) if vectors != "fp32" else client.put(path), 409, "is ")
    client.post(f"{path}/images", files=parts(jpeg(0), jpeg(1)))
    described = client.get(path).json()
    assert described["index"] == {
        "kind": "flat", "vectors": "fp32", "device": "cpu", "images": 2, "waiting": 0, "building": None, "problem": None,
    }  # fmt: skip
    assert len(client.post(f"{path}/search", content=jpeg(0)).json()["matches"]) == 2
    client.delete(path, params={"confirm": name})


def test_what_a_property_may_be_is_named(client: httpx.Client, name: str) -> None:
    document = refused(client.put(f"/v1/galleries/{name}", json={"kind": "tree"}), 422, "flat, ivf, hnsw, auto")
    assert document["errors"][0]["pointer"] == "/kind"
    document = refused(client.put(f"/v1/galleries/{name}", json={"vectors": "int8"}), 422, "fp32, fp16, sq8")
    assert document["errors"][0]["pointer"] == "/vectors"
    for property_, values in (("kind", ["flat", "ivf", "hnsw", "auto"]), ("vectors", ["fp32", "fp16", "sq8"])):
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        assert schemas["GalleryProperties"]["properties"][property_]["enum"] == values


def test_a_description_follows_what_is_stored(client: httpx.Client, gallery: str) -> None:
    before = client.get(gallery).json()
    client.post(f"{gallery}/images", files=parts(jpeg(0), jpeg(1)))
    after = client.get(gallery).json()
    assert after["images"] == 2
    assert after["last_change"] > before["last_change"]
    assert after["disk_bytes"] > len(jpeg(0)) + len(jpeg(1))


def test_galleries_are_listed_by_name(client: httpx.Client, gallery: str) -> None:
    names = [one["name"] for one in client.get("/v1/galleries").json()["galleries"]]
    assert names == sorted(names)
    assert {"default", gallery.rpartition("/")[2]} <= set(names)
    refused(client.get("/v1/galleries?limit=3"), 422, "none")


@pytest.mark.parametrize("path", ["UPPER", "-a", "a.b", "x" * 64, "%20", "%c3%bc", "a%00", "_a"])
def test_a_bad_name_is_refused(client: httpx.Client, path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        document = refused(client.request(method, f"/v1/galleries/{path}"), 422, "must match")
        assert document["errors"][0]["pointer"] == "/path/gallery"


PROPERTIES = [
    b'{"kind": "tree"}', b'{"kind": null}', b'{"kind": ["hnsw"]}', b'{"vectors": "int8"}', b'{"vectors": 8}', b'{"keep_crops": 1}', b'{"keep_crops": "yes"}', b'{"retention_days": 0}',
    b'{"retention_days": -1}', b'{"retention_days": true}', b'{"retention_days": "30"}', b'{"retention_days": 1e999}',
    b'{"retention_days": 40000}', b'{"retention_days": 1' + b"0" * 400 + b"}", b'{"colour": 1}', b'{"\\ud800": 1}',
    b"[]", b'"x"', b"null", b'{"embedding_dim": 5}',
]  # fmt: skip


@pytest.mark.parametrize("body", PROPERTIES)
def test_a_wrong_property_is_refused(client: httpx.Client, name: str, body: bytes) -> None:
    refused(client.put(f"/v1/galleries/{name}", content=body), 422)
    refused(client.get(f"/v1/galleries/{name}"), 404, name)


@pytest.mark.parametrize("body", [b"{", b'{"retention_days": NaN}', b"\xff"])
def test_what_is_no_json_is_malformed(client: httpx.Client, name: str, body: bytes) -> None:
    refused(client.put(f"/v1/galleries/{name}", content=body), 400, "JSON")


def test_a_body_of_properties_has_a_limit(client: httpx.Client, name: str) -> None:
    refused(client.put(f"/v1/galleries/{name}", content=b" " * (2**20 + 1)), 413, "1,048,576")


def test_dropping_asks_for_the_name(client: httpx.Client, gallery: str) -> None:
    name = gallery.rpartition("/")[2]
    client.put(f"{gallery}/images/own", content=jpeg(0))
    for query in ({}, {"confirm": "default"}, {"confirm": ""}, {"confirm": name.upper()}, {"force": name}):
        refused(client.delete(gallery, params=query), 422)
    refused(client.delete(f"{gallery}?confirm={name}&confirm={name}"), 422, "once")
    assert client.get(f"{gallery}/images/own").status_code == 200
    dropped = client.delete(gallery, params={"confirm": name})
    assert (dropped.status_code, dropped.content) == (204, b"")
    refused(client.get(gallery), 404, name)
    refused(client.delete(gallery, params={"confirm": name}), 404)
    assert client.put(gallery).status_code == 201  # the name is free again, and empty
    assert client.get(gallery).json()["images"] == 0


def test_default_cannot_be_dropped(client: httpx.Client) -> None:
    refused(client.delete("/v1/galleries/default?confirm=default"), 409, "default", "all=true")
    assert client.get("/v1/galleries/default").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/galleries/", "/v1", "/v1/galleries/default/", "/trail/", "/console/", "/console/shared/", "/v2/galleries"],
)
def test_no_slash_redirects(client: httpx.Client, path: str) -> None:
    refused(client.get(path), 404, "no route")


def test_more_galleries_than_may_be_are_refused_by_the_setting(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model, "--max-galleries", "2") as server:
        assert httpx.put(f"{server}/v1/galleries/yard").status_code == 201
        refused(httpx.put(f"{server}/v1/galleries/lane"), 409, "2 galleries", "max_galleries")
        assert httpx.put(f"{server}/v1/galleries/yard").status_code == 200
        assert httpx.delete(f"{server}/v1/galleries/yard?confirm=yard").status_code == 204
        assert httpx.put(f"{server}/v1/galleries/lane").status_code == 201
