"""The running service over real HTTP: what each route answers, and what bad input gets."""

import io
import json
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.server_process import free_port, refused, serving

PICTURES = Path("examples/demo-gallery/images")


def picture(seed: int = 0, size: tuple[int, int] = (80, 60), kind: str = "JPEG", **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 10 + 1, size[0] // 10 + 1, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=30) as opened:
        yield opened


@pytest.fixture
def gallery(client: httpx.Client, request: pytest.FixtureRequest) -> str:
    name = f"g{abs(hash(request.node.nodeid)) % 10**12}"
    assert client.put(f"/v1/galleries/{name}").status_code in (200, 201)
    return f"/v1/galleries/{name}"


def images(*data: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", ("x.jpg", one)) for one in data]


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["detail"]
    return document


def test_ingest_search_and_similar(client: httpx.Client, gallery: str) -> None:
    data = [picture(n) for n in range(4)]
    metadata = json.dumps([{"image_id": f"i{n}", "vehicle_id": f"v{n % 2}", "camera_id": f"c{n}"} for n in range(4)])
    answer = client.post(f"{gallery}/images", files=images(*data), data={"metadata": metadata}).json()
    assert (answer["created"], answer["updated"], answer["failed"]) == (4, 0, 0)
    found = client.post(
        f"{gallery}/search", content=data[2], params={"top_k": 3, "include": "embedding,attention"}
    ).json()
    assert found["matches"][0]["image_id"] == "i2"
    assert found["matches"][0]["distance"] <= 1e-3
    assert found["queries"] == 1
    assert len(found["embedding"]) == len(found["matches"][0]["embedding"]) == 32
    assert len(found["attention"]["global"]) == 8
    assert set(found["timing_ms"]) == {"decode", "queue", "embed", "search", "total"}
    assert [m["rank"] for m in found["matches"]] == [1, 2, 3]
    similar = client.get(f"{gallery}/images/i2/similar").json()
    assert [m["image_id"] for m in similar["matches"]][:2] == [m["image_id"] for m in found["matches"]][1:]
    grouped = client.post(f"{gallery}/search", content=data[2], params={"group_by": "vehicle_id"}).json()
    assert len(grouped["matches"]) == 2
    filtered = client.post(f"{gallery}/search", content=data[2], params={"exclude_camera_id": ["c2", "c1"]}).json()
    assert {m["image_id"] for m in filtered["matches"]} == {"i0", "i3"}
    batch = client.post(f"{gallery}/search/batch", files=images(data[0], b"no picture", data[1])).json()["results"]
    assert batch[0]["matches"][0]["image_id"] == "i0"
    assert batch[1]["problem"]["status"] == 415
    assert batch[2]["matches"][0]["image_id"] == "i1"
    combined = client.post(f"{gallery}/search", files=images(data[0], data[1]), params={"combine": "mean"}).json()
    assert combined["queries"] == 2
    problem(client.post(f"{gallery}/search", files=images(data[0], data[1])), 422)
    assert (
        "8 pictures" in problem(client.post(f"{gallery}/search?combine=mean", files=images(*data * 3)), 413)["detail"]
    )


def test_one_bad_picture_or_object_fails_alone(client: httpx.Client, gallery: str) -> None:
    metadata = json.dumps(
        [{"image_id": "a"}, {"image_id": "b", "box": [70, 0, 20, 20]}, {"colour": "red"}, {"image_id": "d"}]
    )
    data = [picture(0), picture(1), picture(2), picture(3)[:300]]
    answer = client.post(f"{gallery}/images", files=images(*data), data={"metadata": metadata}).json()
    assert [one["status"] for one in answer["results"]] == ["created", "failed", "failed", "failed"]
    assert [one["problem"]["status"] for one in answer["results"][1:]] == [422, 422, 400]
    assert "colour" in answer["results"][2]["problem"]["detail"]
    assert answer["results"][2]["problem"]["errors"][0]["pointer"] == "/metadata/2/colour"


def test_put_get_patch_delete(client: httpx.Client, gallery: str) -> None:
    path = f"{gallery}/images/cam:1.a"
    assert client.put(path, content=picture(1)).status_code == 201
    again = client.put(
        path, files=images(picture(2)), data={"metadata": '{"vehicle_id": "v", "attributes": {"a": 1, "b": "x"}}'}
    )
    assert (again.status_code, again.json()["status"]) == (200, "updated")
    patched = client.patch(path, json={"vehicle_id": None, "attributes": {"a": None, "c": 2.5}}).json()
    assert (patched["vehicle_id"], patched["attributes"]) == (None, {"b": "x", "c": 2.5})
    problem(client.patch(path, json={"image_id": "z"}), 422)
    problem(client.patch(path, content=b"{", headers={"content-type": "application/json"}), 400)
    problem(client.patch(path, content=b"{}", headers={"content-type": "text/plain"}), 415)
    crop = client.get(f"{path}/crop")
    assert crop.headers["content-type"] == "image/jpeg"
    assert client.get(f"{path}/crop", headers={"if-none-match": crop.headers["etag"]}).status_code == 304
    assert client.get(patched["crop"]).content == crop.content
    assert client.delete(path).status_code == 204
    for method in ("GET", "DELETE"):
        problem(client.request(method, path), 404)
    problem(client.put(path, content=picture(1), params={"box": "1"}), 422)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"hello, this is text", 415),
        (picture()[:400], 400),
        (b"%PDF-1.7 nothing", 415),
        (picture(kind="TIFF"), 415),
        (picture(kind="PNG")[:-30], 400),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0) + b"\0" * 40, 413),
    ],
)  # fmt: skip
def test_what_is_no_picture(client: httpx.Client, gallery: str, data: bytes, status: int) -> None:
    if status == 413:
        header = data[12:29]
        data = (
            data[:29]
            + struct.pack(">I", zlib.crc32(header))
            + struct.pack(">I4s", 0, b"IDAT")
            + struct.pack(">I", zlib.crc32(b"IDAT"))
        )
        data += struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    problem(client.post(f"{gallery}/search", content=data, headers={"content-type": "image/jpeg"}), status)
    problem(client.put(f"{gallery}/images/a", content=data), status)


@pytest.mark.parametrize(
    "data",
    [
        picture(kind="PNG"), picture(kind="WEBP"), picture(kind="BMP"), picture(kind="GIF"), picture(size=(1, 1)),
        picture(size=(9000, 1)), picture(size=(1, 9000), kind="PNG"), picture(kind="MPO"), picture(progressive=True),
    ],
)  # fmt: skip
def test_every_kind_that_is_read_is_found_again(client: httpx.Client, gallery: str, data: bytes) -> None:
    assert client.put(f"{gallery}/images/a", content=data, headers={"content-type": "text/plain"}).status_code == 201
    assert client.post(f"{gallery}/search", content=data).json()["matches"][0]["distance"] <= 1e-3


def test_modes_and_orientation(client: httpx.Client, gallery: str) -> None:
    upright = Image.open(io.BytesIO(picture(5, size=(90, 50), kind="PNG")))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    client.put(f"{gallery}/images/upright", content=picture(5, size=(90, 50), kind="PNG"))
    for box in (None, "40,10,30,30"):
        params = {"box": box} if box else {}
        queries = [client.post(f"{gallery}/search", content=data, params=params | {"include": "embedding"}).json()["embedding"]
                   for data in (buffer.getvalue(), picture(5, size=(90, 50), kind="PNG"))]  # fmt: skip
        assert np.allclose(queries[0], queries[1], atol=1e-5)
    problem(client.post(f"{gallery}/search?box=61,10,30,30", content=buffer.getvalue()), 422)
    for mode in ("P", "CMYK", "RGBA", "LA", "L", "1", "I;16"):
        buffer = io.BytesIO()
        (upright.convert("L").convert(mode) if mode in ("I;16", "1") else upright.convert(mode)).save(
            buffer, "JPEG" if mode == "CMYK" else "PNG"
        )
        assert client.post(f"{gallery}/search", content=buffer.getvalue()).status_code == 200, mode


@pytest.mark.parametrize(
    "query",
    [
        "topk=5", "top_k=0", "top_k=1001", "top_k=x", "top_k=5&top_k=6", "camera=c1", "box=1,2,3", "box=0,0,0,5",
        "max_distance=nan", "max_distance=-1", "max_distance=1e999", "captured_after=2026-05-04", "viewpoint=top",
        "captured_before=2026-13-01T00:00:00Z", "group_by=camera_id", "include=vectors", "combine=max", "camera_id=",
        "attribute.=1", "camera_id=" + "x" * 300, "camera_id=%00",
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_never_ignored(client: httpx.Client, gallery: str, query: str) -> None:
    document = problem(client.post(f"{gallery}/search?{query}", content=picture()), 422)
    assert document["errors"][0]["pointer"].startswith("/query/")


def test_times_take_a_space_for_a_plus_and_attributes_compare_by_type(client: httpx.Client, gallery: str) -> None:
    metadata = json.dumps(
        [
            {"image_id": "a", "captured_at": "2026-05-04T12:00:00+02:00", "attributes": {"n": 5}},
            {"image_id": "b", "attributes": {"n": "5"}},
        ]
    )
    client.post(f"{gallery}/images", files=images(picture(1), picture(2)), data={"metadata": metadata})

    def passing(query: str) -> list[str]:
        return [one["image_id"] for one in client.get(f"{gallery}/images?{query}").json()["images"]]

    assert passing("captured_after=2026-05-04T12:00:00+02:00") == ["a"]
    assert passing("captured_before=2026-05-04T12:00:00+02:00") == []
    assert passing("attribute.n=5") == ["a"]
    assert passing("attribute.n=5.0") == ["a"]
    assert passing("attribute.n=%225%22") == ["b"]
    assert client.get(f"{gallery}/images/a").json()["captured_at"] == "2026-05-04T10:00:00Z"


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        (b"[{}, {}]", 422), (b"{}", 422), (b"[", 400), (b'[{"attributes": {"x": NaN}}]', 400), (b"\xff\xfe[]", 400),
        (b'[{"a": 1, "a": 2}]', 400), (b"[" * 100_000, 400), (b"[" + b"9" * 5000 + b"]", 400), (b"null", 422),
    ],
)  # fmt: skip
def test_metadata_that_makes_no_sense_fails_the_request(
    client: httpx.Client, gallery: str, metadata: bytes, status: int
) -> None:
    files = [*images(picture()), ("metadata", (None, metadata))]
    problem(client.post(f"{gallery}/images", files=files), status)
    assert client.get(gallery).json()["images"] == 0


@pytest.mark.parametrize(
    "said",
    [
        '{"vehicle_id": ""}', '{"vehicle_id": 5}', '{"vehicle_id": "\\ud800"}', '{"vehicle_id": "a\\u0000b"}', "[]", "7",
        '{"attributes": {"x": true}}', '{"attributes": {"x": 1e999}}', '{"attributes": {"x": [1]}}', '{"image_id": ".."}',
        '{"attributes": {"x": 99999999999999999999999}}', '{"captured_at": "yesterday"}', '{"box": [0, 0, 1.5, 1]}',
        '{"image_id": "a\\n"}', '{"box": [0, 0, 1e3, true]}',
    ],
)  # fmt: skip
def test_hostile_values_fail_their_image(client: httpx.Client, gallery: str, said: str) -> None:
    answer = client.post(f"{gallery}/images", files=images(picture()), data={"metadata": f"[{said}]"})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["problem"]["status"] == 422


def test_bodies_of_all_shapes(client: httpx.Client, gallery: str, server: str) -> None:
    twice = json.dumps([{"image_id": "a"}, {"image_id": "a"}])
    problem(client.post(f"{gallery}/images", files=images(picture(1), picture(2)), data={"metadata": twice}), 422)
    large = json.dumps([{"attributes": {f"k{n}": "x" * 1000 for n in range(60)}} for _ in range(20)])
    assert len(large) > 1_200_000
    parts = images(*[picture(n) for n in range(20)])
    assert client.post(f"{gallery}/images", files=parts, data={"metadata": large}).json()["created"] == 20
    bare = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + picture(3) + b"\r\n--b--\r\n"
    form = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post(f"{gallery}/images", content=bare, headers=form).json()["created"] == 1
    problem(client.post(f"{gallery}/images", content=bare[:-8], headers=form), 400)
    problem(client.post(f"{gallery}/images", content=b"junk", headers=form), 400)
    problem(client.post(f"{gallery}/images", content=bare, headers={"content-type": "multipart/form-data"}), 400)
    problem(client.post(f"{gallery}/images", files=[("picture", ("x", picture()))]), 422)
    problem(client.post(f"{gallery}/images", data={"metadata": "[]"}, files=[("metadata", (None, b"[]"))]), 422)
    assert "max_images = 256" in problem(client.post(f"{gallery}/images", files=images(*[b"x"] * 257)), 413)["detail"]
    assert (
        "max_queries = 64" in problem(client.post(f"{gallery}/search/batch", files=images(*[b"x"] * 65)), 413)["detail"]
    )


def raw(server: str, request: bytes) -> bytes:
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_ids_of_dots_never_become_another_routes_action(client: httpx.Client, gallery: str, server: str) -> None:
    client.put(f"{gallery}/images/a", content=picture())
    for method in ("GET", "DELETE", "PUT", "PATCH"):
        for last in (".", "..", "%2e", "%2e%2e"):
            line = f"{method} {gallery}/images/{last} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            assert raw(server, line.encode()).split()[1] in (b"404", b"422"), (method, last)
        for folded in (f"{gallery}/images/", f"{gallery}/"):
            problem(client.request(method, folded), 404)
    assert client.get(gallery).json()["images"] == 1


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_only_this_machine_may_call(client: httpx.Client, server: str, host: str) -> None:
    problem(client.get("/livez", headers={"host": host}), 403)
    problem(client.get("/livez", headers={"origin": f"https://{host}"}), 403)
    assert client.get("/livez", headers={"origin": "http://localhost:3000"}).status_code == 200


def test_galleries(client: httpx.Client) -> None:
    assert client.put("/v1/galleries/yard", json={"retention_days": 30}).status_code == 201
    assert client.put("/v1/galleries/yard", json={"retention_days": 30}).status_code == 200
    problem(client.put("/v1/galleries/yard"), 409)
    for body in ({"kind": "ivf"}, {"retention_days": 0}, {"keep_crops": 1}, {"color": 1}, [1]):
        problem(client.put("/v1/galleries/other", json=body), 422)
    problem(client.put("/v1/galleries/Bad%20Name"), 422)
    problem(client.get("/v1/galleries/nowhere"), 404)
    problem(client.post("/v1/galleries/nowhere/search", content=picture()), 404)
    assert "yard" in [one["name"] for one in client.get("/v1/galleries").json()["galleries"]]
    problem(client.delete("/v1/galleries/yard"), 422)
    assert client.delete("/v1/galleries/yard?confirm=yard").status_code == 204
    problem(client.delete("/v1/galleries/default?confirm=default"), 409)
    problem(client.delete("/v1/galleries/default/images"), 422)
    assert client.delete("/v1/galleries/default/images?all=true").json() == {"deleted": 0}


def test_pages(client: httpx.Client, gallery: str) -> None:
    metadata = json.dumps([{"image_id": f"i{n}"} for n in range(5)])
    client.post(f"{gallery}/images", files=images(*[picture(n) for n in range(5)]), data={"metadata": metadata})
    first = client.get(f"{gallery}/images?limit=3").json()
    second = client.get(f"{gallery}/images", params={"limit": 3, "cursor": first["next"]}).json()
    assert [one["image_id"] for page in (first, second) for one in page["images"]] == [f"i{n}" for n in range(5)]
    assert second["next"] is None
    problem(client.get(f"{gallery}/images?cursor=!"), 422)


def test_probes_model_and_docs(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    model = client.get("/v1/model").json()
    assert model["provider"] == "CPUExecutionProvider"
    assert model["contract"]["viewpoints"] == ["front", "rear", "side"]
    text = client.get("/metrics").text
    assert "vehicle_search_requests_total" in text
    assert 'vehicle_search_gallery_images{gallery="default"}' in text
    page = client.get("/docs").text
    assert "cdn" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert client.get(f"/docs/assets/{asset}").status_code == 200
    problem(client.get("/nowhere"), 404)
    refused_method = client.post("/livez")
    problem(refused_method, 405)
    assert "GET" in refused_method.headers["allow"]


def test_embeddings(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", files=images(picture(), b"x")).json()
    assert len(answer["results"][0]["embedding"]) == 32
    assert "problem" in answer["results"][1]
    problem(client.post("/v1/embeddings", content=b"text"), 415)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(max_size=40),
    name=st.text(min_size=1, max_size=20),
    body=st.binary(max_size=200),
    cut=st.integers(0, 2000),
)
def test_nothing_a_client_sends_makes_a_500(client: httpx.Client, query: str, name: str, body: bytes, cut: int) -> None:
    broken = picture()[:cut] + body
    answers = [
        client.post("/v1/galleries/default/search", params={name: query}, content=broken),
        client.get("/v1/galleries/default/images", params={f"attribute.{name}": query}),
        client.post("/v1/galleries/default/images", files=[*images(picture()), ("metadata", (None, body))]),
        client.get(f"/v1/galleries/default/images/{quote(name, safe='')}"),
    ]
    for answer in answers:
        assert answer.status_code < 500, answer.text
        answer.json()


def test_limits_hold_while_a_body_arrives(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model, "--max-body-bytes", "2000", "--max-pixels", "5000") as server:
        path = f"{server}/v1/galleries/default/search"
        assert "max_body_bytes" in problem(httpx.post(path, content=b"x" * 2001), 413)["detail"]
        assert problem(httpx.post(path, content=iter([b"x" * 1500] * 2)), 413)
        assert "5,000 pixels" in problem(httpx.post(path, content=picture(size=(100, 60), quality=5)), 413)["detail"]


def test_what_ends_the_start_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    data = ["--data-dir", str(tmp_path / "data")]
    assert "none.onnx" in refused("--model", str(tmp_path / "none.onnx"), *data, "--port", str(free_port()))
    proto = onnx.load(str(tiny_model))
    del proto.metadata_props[:]
    onnx.save(proto, str(tmp_path / "bare.onnx"))
    assert "contract" in refused("--model", str(tmp_path / "bare.onnx"), *data, "--port", str(free_port()))
    (tmp_path / "file").write_text("")
    model = ["--model", str(tiny_model)]
    assert "cannot be used" in refused(*model, "--data-dir", str(tmp_path / "file"), "--port", str(free_port()))
    assert "ALLOW_UNAUTHENTICATED_REMOTE" in refused(*model, *data, "--host", "0.0.0.0")
    assert "VEHICLE_SEARCH_PROT" in refused(*model, *data, env={**os.environ, "VEHICLE_SEARCH_PROT": "1"})
    with serving(tmp_path / "data", tiny_model) as server:
        assert "in use" in refused(*model, "--data-dir", str(tmp_path / "other"), "--port", server.rsplit(":", 1)[1])
        assert "in use by process" in refused(*model, *data, "--port", str(free_port()))


def test_images_are_there_after_a_restart(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as server:
        assert httpx.put(f"{server}/v1/galleries/default/images/a", content=picture(1)).status_code == 201
    with serving(tmp_path / "data", tiny_model) as server:
        found = httpx.post(f"{server}/v1/galleries/default/search", content=picture(1)).json()
        assert found["matches"][0]["image_id"] == "a"
