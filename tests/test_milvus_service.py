"""Services whose galleries are on a Milvus server: what one takes in another finds; and a server that goes away."""

import time
from pathlib import Path

import httpx
import pytest

from tests.http_client import AnswerCheck, parts
from tests.milvus_homes import QUICK, milvus_uri, new_prefix, started_milvus
from tests.pictures import jpeg
from tests.server_process import refused, serving, started

IMAGES = "/v1/galleries/default/images"
SEARCH = "/v1/galleries/default/search"


def test_what_one_service_takes_in_another_finds(tiny_model: Path, tmp_path: Path) -> None:
    options = ("--milvus-uri", milvus_uri(), "--milvus-prefix", new_prefix(), "--crops-url", str(tmp_path / "crops"))
    with (
        serving(tmp_path / "one", tiny_model, *options) as first,
        serving(tmp_path / "two", tiny_model, *options) as second,
        httpx.Client(event_hooks={"response": [AnswerCheck(first)]}, timeout=60) as client,
    ):
        said = [{"image_id": f"i{n}", "camera_id": "c 1\"'\\", "attributes": {"lane": n}} for n in range(3)]
        pictures = [jpeg(n) for n in range(3)]
        taken = client.post(first + IMAGES, files=parts(*pictures, metadata=said))
        assert [each["status"] for each in taken.json()["results"]] == ["created"] * 3

        found = client.post(second + SEARCH, content=pictures[1], headers={"content-type": "image/jpeg"})
        assert found.json()["matches"][0]["image_id"] == "i1"
        assert found.json()["matches"][0]["distance"] < 1e-3
        filtered = client.post(
            second + SEARCH, content=pictures[1], headers={"content-type": "image/jpeg"}, params={"attribute.lane": 2}
        )
        assert [match["image_id"] for match in filtered.json()["matches"]] == ["i2"]
        assert client.get(f"{second}{IMAGES}/i1/crop").content == client.get(f"{first}{IMAGES}/i1/crop").content
        patched = client.patch(
            f"{second}{IMAGES}/i1", json={"vehicle_id": "v"}, headers={"content-type": "application/merge-patch+json"}
        )
        assert patched.json()["vehicle_id"] == "v"

        assert client.delete(f"{second}{IMAGES}/i1").status_code == 204
        left = client.post(first + SEARCH, content=pictures[1], headers={"content-type": "image/jpeg"})
        assert sorted(match["image_id"] for match in left.json()["matches"]) == ["i0", "i2"]
        assert client.get(f"{first}{IMAGES}/i1").status_code == 404
        assert client.get(f"{first}/v1/galleries/default").json()["images"] == 2
        assert client.get(f"{first}/v1/galleries/default/facets").json()["images"] == 2
        for path in ("/readyz", "/metrics"):
            assert httpx.get(first + path).status_code == 200

        assert client.put(f"{first}/v1/galleries/yard", json={"kind": "hnsw"}).status_code == 201
        assert client.get(f"{second}/v1/galleries/yard").json()["kind"] == "hnsw"
        odd = client.put(f"{first}/v1/galleries/odd", json={"kind": "hnsw", "vectors": "sq8"})
        assert (odd.status_code, "cannot be hnsw with vectors sq8" in odd.text) == (422, True)
        moved = client.post(f"{first}/v1/galleries/default/migrations")
        assert (moved.status_code, "nothing to do" in moved.text) == (409, True)
        said_same = {"gallery": "default", "image_id": "i0", "query_image_id": "i2", "same": True}
        given = client.post(f"{first}/v1/feedback", json=said_same)
        assert (given.status_code, given.json()["image_id"]) == (201, "i0")
        for service, has in ((first, [given.json()]), (second, [])):  # which have no database in common
            assert client.get(f"{service}/v1/feedback", params={"gallery": "default"}).json()["feedback"] == has
        for name in ("default", "yard"):
            client.delete(f"{first}/v1/galleries/{name}", params={"confirm": name})


def test_a_gallery_moves_to_the_next_model_under_two_services(
    tiny_model: Path, next_model: Path, tmp_path: Path
) -> None:
    options = ("--milvus-uri", milvus_uri(), "--milvus-prefix", new_prefix(), "--crops-url", str(tmp_path / "crops"))
    pictures = [jpeg(n) for n in range(12)]
    jpegs = {"content-type": "image/jpeg"}
    with serving(tmp_path / "one", tiny_model, *options) as first:
        said = [{"image_id": f"i{n}"} for n in range(len(pictures))]
        assert httpx.post(first + IMAGES, files=parts(*pictures, metadata=said), timeout=60).status_code == 200
    both = (*options, "--previous-model", str(tiny_model))
    with (
        serving(tmp_path / "one", next_model, *both) as first,
        serving(tmp_path / "two", next_model, *both) as second,
        httpx.Client(event_hooks={"response": [AnswerCheck(first)]}, timeout=60) as client,
    ):
        begun = client.post(f"{first}/v1/galleries/default/migrations")
        assert begun.status_code == 202
        where = f"{second}/v1/galleries/default/migrations/{begun.json()['id']}"
        extra, again = 0, 0
        while (state := client.get(where).json()["state"]) != "finished" or extra < 3:
            assert state in ("waiting", "running", "switched", "finished")
            new = jpeg(100 + extra)
            taken = client.post(
                (first, second)[extra % 2] + IMAGES, files=parts(new, metadata=[{"image_id": f"n{extra}"}])
            )
            (told,) = taken.json()["results"]
            assert told["status"] in ("created", "updated")  # the latter where it was done again
            again += told["status"] == "updated"
            found = client.post((second, first)[extra % 2] + SEARCH, content=new, headers=jpegs)
            assert found.json()["matches"][0]["image_id"] == f"n{extra}"
            assert found.json()["matches"][0]["distance"] < 1e-3
            extra += 1
        assert again <= 1
        for service in (first, second):
            about = client.get(f"{service}/v1/galleries/default").json()
            assert about["images"] == len(pictures) + extra
            assert about["embedding_space"] == client.get(f"{service}/v1/model").json()["contract"]["embedding_space"]
            for n, picture in enumerate(pictures):
                found = client.post(service + SEARCH, content=picture, headers=jpegs)
                assert found.json()["matches"][0]["image_id"] == f"i{n}"
        client.delete(f"{first}/v1/galleries/default", params={"confirm": "default"})


def test_a_server_that_is_not_there_ends_the_start(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pymilvus")
    line = refused("--model", str(tiny_model), "--data-dir", str(tmp_path), "--milvus-uri", "http://127.0.0.1:9")
    assert "the Milvus server http://127.0.0.1:9 did not" in line


def test_a_server_that_goes_and_comes_back(tiny_model: Path, tmp_path: Path) -> None:
    """Meanwhile every request is told so in time, and what was acknowledged is there again.

    A server that was killed waits for its own dead parts until their leases in etcd end (``common.session.ttl``, 30 s as it
    comes): before that its root coordinator cannot tell the proxy that died of roles, and collections belong to nodes that
    are no more. So it answers after some 40 s, and with a lease of 10 s after some 15.
    """
    server = started_milvus(authorization=True, settings=QUICK | {"common.session.ttl": "10"})
    (tmp_path / "token").write_text("root:Milvus\n")
    options = ["--milvus-uri", server.uri, "--milvus-token-file", str(tmp_path / "token")]
    with started(tmp_path / "data", tiny_model, *options) as (address, _), httpx.Client(timeout=60) as client:
        assert client.post(address + IMAGES, files=parts(jpeg(1), metadata=[{"image_id": "x"}])).json()["created"] == 1
        server.kill()
        began = time.monotonic()
        gone = client.get(f"{address}{IMAGES}/x")
        assert (gone.status_code, f"the Milvus server {server.uri} did not" in gone.text) == (503, True)
        assert time.monotonic() - began < 50
        assert client.get(address + "/livez").status_code == 200
        server.start()
        until = time.monotonic() + 120
        while (back := client.get(f"{address}{IMAGES}/x")).status_code == 503 and time.monotonic() < until:
            time.sleep(0.2)
        assert back.status_code == 200
        found = client.post(address + SEARCH, content=jpeg(1), headers={"content-type": "image/jpeg"})
        assert found.json()["matches"][0]["distance"] < 1e-3
    (tmp_path / "token").write_text("root:wrong\n")
    line = refused("--model", str(tiny_model), "--data-dir", str(tmp_path / "data"), *options)
    assert "takes the token in milvus_token_file" in line
    server.kill()
