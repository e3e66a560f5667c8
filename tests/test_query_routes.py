"""Pictures that are kept to search with, over HTTP."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.http_client import AnswerCheck, parts, raw, refused, status_of
from tests.key_holder import bearer, kept_key
from tests.pictures import encoded, jpeg, photograph, png, png_header
from tests.server_process import serving, started

QUERIES = "/v1/queries"


def kept(client: httpx.Client, data: bytes = jpeg(0)) -> str:
    answer = client.post(QUERIES, content=data)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


def test_a_picture_is_kept_described_shown_and_erased(client: httpx.Client) -> None:
    answer = client.post(QUERIES, content=jpeg(0, (320, 200)))
    document = answer.json()
    path = answer.headers["Location"]
    assert path == f"{QUERIES}/{document['query_id']}"
    assert (document["width"], document["height"]) == (320, 200)
    until = datetime.fromisoformat(document["kept_until"]) - datetime.now(UTC)
    assert timedelta(hours=167.9) < until <= timedelta(hours=168)
    assert client.get(path).json() == document
    whole, small = client.get(f"{path}/picture"), client.get(f"{path}/picture", params={"max_side": 64})
    assert whole.content == jpeg(0, (320, 200))
    assert Image.open(io.BytesIO(small.content)).size == (64, 40)
    for each, query in ((whole, {}), (small, {"max_side": 64})):
        assert each.headers["cache-control"] == "private, max-age=86400, immutable"
        assert (each.headers["content-type"], each.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
        tag = {"If-None-Match": each.headers["etag"]}
        assert client.get(f"{path}/picture", params=query, headers=tag).status_code == 304
    assert whole.headers["etag"] != small.headers["etag"]
    erased = client.delete(path)
    assert (erased.status_code, erased.content) == (204, b"")
    for gone in (client.get(path), client.get(f"{path}/picture"), client.delete(path)):
        refused(gone, 404, document["query_id"], "168 hours", "query_hours")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF"])
def test_whatever_is_no_jpeg_is_kept_as_a_png(client: httpx.Client, kind: str) -> None:
    shown = client.get(f"{kept(client, encoded(photograph(3), kind))}/picture")
    assert shown.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(shown.content)).size == (96, 72)


def test_it_is_upright_and_carries_no_metadata(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "the driver's name"
    sent = encoded(photograph(0), "JPEG", exif=exif, comment=b"secret")
    document = client.post(QUERIES, files=parts(sent)).json()
    assert (document["width"], document["height"]) == (72, 96)
    shown = client.get(f"{QUERIES}/{document['query_id']}/picture").content
    assert b"driver" not in shown
    assert b"secret" not in shown
    small = client.get(f"{QUERIES}/{document['query_id']}/picture", params={"max_side": 48}).content
    upright = photograph(0).transpose(Image.Transpose.ROTATE_270).resize((36, 48)).convert("L")
    assert np.abs(np.asarray(Image.open(io.BytesIO(small)).convert("L"), int) - np.asarray(upright, int)).mean() < 8


def test_the_same_picture_twice_is_two(client: httpx.Client) -> None:
    one, other = kept(client), kept(client)
    assert one != other
    assert client.delete(one).status_code == 204
    assert client.get(f"{other}/picture").status_code == 200


@pytest.mark.parametrize(
    ("data", "status"), [(b"", 400), (jpeg(0)[:200], 400), (b"text", 415), (png_header(60_000, 60_000), 413)]
)
def test_a_picture_at_fault_is_not_kept(client: httpx.Client, data: bytes, status: int) -> None:
    before = figures(client)
    document = refused(client.post(QUERIES, content=data), status)
    assert document["errors"][0]["pointer"] == "/image"
    assert figures(client) == before


def test_several_pictures_are_several_queries(client: httpx.Client) -> None:
    refused(client.post(QUERIES, files=parts(jpeg(0), jpeg(1))), 422, "2 parts", "one picture")
    refused(client.post(QUERIES, params={"box": "0,0,8,8"}, content=jpeg(0)), 422, "unknown parameter 'box'")


@pytest.mark.parametrize("name", ["..", "%2e%2e", "%2e%2e%5c..", "0" * 32, "none", "%00", "a%0ab", "x" * 300])
def test_no_other_file_is_reached(server: str, name: str) -> None:
    for method, end in (("GET", ""), ("GET", "/picture"), ("DELETE", "")):
        answer = raw(server, method, f"{QUERIES}/{name}{end}")
        assert status_of(answer) in (404, 405), answer
    assert status_of(raw(server, "GET", f"{QUERIES}/%2e%2e%2flock/picture")) == 404


def figures(client: httpx.Client) -> tuple[float, float]:
    """How many are kept and their bytes, by the service's figures."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    return float(lines["vehicle_search_kept_queries"]), float(lines["vehicle_search_kept_query_bytes"])


def test_figures_tell_how_many_and_their_bytes(client: httpx.Client) -> None:
    count, size = figures(client)
    path = kept(client, jpeg(0))
    assert figures(client) == (count + 1, size + len(jpeg(0)))
    client.delete(path)
    assert figures(client) == (count, size)


def test_they_outlive_the_service_and_not_their_bytes(tiny_model: Path, tmp_path: Path) -> None:
    limit = ("--max-query-bytes", str(len(jpeg(1)) + len(jpeg(2)) + len(jpeg(3)) - 1))
    with started(tmp_path, tiny_model, *limit) as (address, process):
        with httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client:
            paths = [kept(client, jpeg(n)) for n in (1, 2, 3)]
            refused(client.post(QUERIES, content=png(0, (300, 300))), 413, "max_query_bytes")
        process.kill()
        process.wait(30)
    with serving(tmp_path, tiny_model, *limit) as address, httpx.Client(base_url=address) as client:
        assert [client.get(f"{path}/picture").status_code for path in paths] == [404, 200, 200]
        assert client.get(f"{paths[2]}/picture").content == jpeg(3)
    with serving(tmp_path, tiny_model, "--query-hours", "0") as address, httpx.Client(base_url=address) as client:
        refused(client.get(paths[2]), 404, "none are kept here", "query_hours = 0")
        refused(client.post(QUERIES, content=jpeg(0)), 409, "not kept here", "query_hours = 0")
    assert list((tmp_path / "queries").iterdir()) == []  # swept


def test_whoever_may_search_and_knows_the_id_may_use_it(tiny_model: Path, tmp_path: Path) -> None:
    one, other, writer = (
        kept_key(tmp_path, "read", galleries=("yard",)), kept_key(tmp_path, "read"), kept_key(tmp_path, "write")
    )  # fmt: skip
    with serving(tmp_path, tiny_model) as address, httpx.Client(base_url=address) as client:
        path = client.post(QUERIES, content=jpeg(0), headers=bearer(one)).headers["Location"]
        refused(client.get(path, headers=bearer(writer)), 403, "asks for read")
        assert client.get(f"{path}/picture", headers=bearer(other)).content == jpeg(0)
        assert client.get(f"{path}/picture").status_code == 401
        assert client.delete(path, headers=bearer(other)).status_code == 204
