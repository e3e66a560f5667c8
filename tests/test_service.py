"""The running service as a whole: what hostile clients cannot do, and what a restart keeps."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.wire.parameters import BOX, COMBINE, CONFIRM, PAGE, SEARCH, SELECTED
from tests.archives import pack
from tests.http_client import AnswerCheck, parts, refused
from tests.pictures import encoded, jpeg, photograph, png
from tests.server_process import serving, started
from tests.small_disk import fill, small_disk
from tests.test_import_routes import ended

PICTURES = [jpeg(0), png(1), *(encoded(photograph(2), kind) for kind in ("WEBP", "BMP", "GIF", "MPO"))]
NAMES = sorted({known.name for known in (BOX, COMBINE, CONFIRM, *SEARCH, *PAGE, *SELECTED)} | {"attribute.lane", "x"})
VALUES = st.one_of(
    st.text(max_size=20), st.integers().map(str), st.floats().map(str), st.sampled_from(["mean", "true", "embedding"]),
    st.datetimes().map(lambda time: f"{time.isoformat()}Z"), st.lists(st.integers(-1, 99), max_size=5).map(str),
)  # fmt: skip
FIELDS = ("image_id", "vehicle_id", "camera_id", "captured_at", "attributes", "box", "viewpoint", "x")
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=9))
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)  # fmt: skip
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "If-None-Match", "Content-Encoding", "Accept", "Origin", "Range", "Upgrade", "X"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30).map(str.strip),
    max_size=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(max_size=40),
    name=st.text(min_size=1, max_size=20),
    body=st.binary(max_size=200),
    cut=st.integers(0, 2000),
)
def test_nothing_a_client_sends_makes_a_500(client: httpx.Client, query: str, name: str, body: bytes, cut: int) -> None:
    broken = jpeg(0)[:cut] + body
    answers = [
        client.post("/v1/galleries/default/search", params={name: query}, content=broken),
        client.get("/v1/galleries/default/images", params={f"attribute.{name}": query}),
        client.post("/v1/galleries/default/images", files=[("image", ("x.jpg", jpeg(0))), ("metadata", (None, body))]),
        client.get(f"/v1/galleries/default/images/{quote(name, safe='')}"),
    ]
    for answer in answers:
        assert answer.status_code < 500, answer.text
        answer.json()


@st.composite
def damaged_pictures(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(PICTURES)))
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=8)):
        data[at] = value
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4),
    headers=HEADERS,
    documents=st.one_of(st.lists(OBJECTS, max_size=3), JSON),
    pictures=st.lists(damaged_pictures(), min_size=1, max_size=3),
)
def test_what_is_nearly_right_makes_no_500_either(
    client: httpx.Client, gallery: str, query: Any, headers: dict[str, str], documents: Any, pictures: list[bytes]
) -> None:
    """The client checks each answer: valid JSON, problem documents, statuses that the OpenAPI file names."""
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    one = documents[0] if isinstance(documents, list) and documents else documents
    client.post(f"{gallery}/search", params=query, content=pictures[0], headers=raw)
    client.post(f"{gallery}/search", params=query, files=parts(*pictures))
    client.post(f"{gallery}/search/batch", params=query, files=parts(*pictures))
    client.post(f"{gallery}/images", files=parts(*pictures, metadata=json.dumps(documents).encode()))
    client.put(f"{gallery}/images/own", files=parts(pictures[0], metadata=json.dumps(one).encode()))
    client.patch(f"{gallery}/images/own", content=json.dumps(one).encode(), headers=raw)
    client.put(f"{gallery}-x", content=json.dumps(one).encode(), headers=raw)
    for path in ("", "/images", "/images/own", "/images/own/crop", "/images/own/similar"):
        client.get(f"{gallery}{path}", params=query, headers=raw)
    client.delete(f"{gallery}/images", params=query, headers=raw)
    client.delete(f"{gallery}-x", params={"confirm": f"{gallery.rpartition('/')[2]}-x"})


def test_a_full_disk_ends_writes_alone_and_only_while_it_lasts(tiny_model: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=8) as disk, serving(disk / "data", tiny_model) as server:
        gallery = f"{server}/v1/galleries/default"
        assert httpx.put(f"{gallery}/images/a", content=jpeg(1)).status_code == 201
        filler = fill(disk)
        refused(httpx.put(f"{gallery}/images/b", content=png(2, (640, 480))), 507, "no space left")
        refused(httpx.post(f"{gallery}/images", files=parts(png(3, (640, 480)))), 507, "no space left")
        refused(httpx.put(f"{server}/v1/galleries/new"), 507)
        assert httpx.get(f"{server}/readyz").status_code == 200
        found = httpx.post(f"{gallery}/search", content=jpeg(1)).json()["matches"]
        assert [match["image_id"] for match in found] == ["a"]
        filler.unlink()
        assert httpx.put(f"{gallery}/images/b", content=png(2, (640, 480))).status_code == 201


@pytest.mark.parametrize("damaged", ["default", "yard"])
def test_a_damaged_gallery_answers_503_and_the_others_are_served(
    tiny_model: Path, tmp_path: Path, damaged: str
) -> None:
    other = {"default": "yard", "yard": "default"}[damaged]
    archive = pack(tmp_path / "many.zip", {f"{n}.jpg": jpeg(n) for n in range(200)})
    with started(tmp_path / "data", tiny_model) as (server, process):
        for name in ("default", "yard"):
            httpx.put(f"{server}/v1/galleries/{name}").raise_for_status()
            httpx.put(f"{server}/v1/galleries/{name}/images/a", content=jpeg(1)).raise_for_status()
        assert httpx.get(f"{server}/readyz").json() == {"status": "ready", "damaged": {}, "problems": {}}
        assert f'vehicle_search_gallery_damaged{{gallery="{damaged}"}} 0.0' in httpx.get(f"{server}/metrics").text
        sent = httpx.post(f"{server}/v1/galleries/{damaged}/imports", files={"archive": archive.read_bytes()})
        assert sent.status_code == 202
        process.kill()
    file = tmp_path / f"data/galleries/{damaged}/gallery.sqlite"
    whole = {path: path.read_bytes() for path in file.parent.glob("gallery.sqlite*")}
    file.write_bytes(b"damage" * 10_000)
    with serving(tmp_path / "data", tiny_model, log=tmp_path / "log") as server:
        check = AnswerCheck(server)
        with httpx.Client(base_url=server, event_hooks={"response": [check]}, timeout=60) as http:
            path, words = f"/v1/galleries/{damaged}", (f"gallery {damaged} cannot be used", "`vehicle-index repair`")
            for answer in (
                http.post(f"{path}/search", content=jpeg(1)), http.post(f"{path}/search/batch", files=parts(jpeg(1))),
                http.get(f"{path}/images/a/similar"), http.post(f"{path}/images", files=parts(jpeg(1))),
                http.put(f"{path}/images/a", content=jpeg(1)), http.get(f"{path}/images"),
                http.delete(f"{path}/images", params={"all": "true"}), http.get(f"{path}/images/a"),
                http.patch(f"{path}/images/a", json={}), http.delete(f"{path}/images/a"),
                http.get(f"{path}/images/a/crop"), http.get(path), http.put(path),
                http.delete(path, params={"confirm": damaged}), http.get(f"{path}/migrations"),
                http.post(f"{path}/migrations"), http.get(f"{path}/migrations/x"), http.delete(f"{path}/migrations/x"),
                http.post(f"{path}/imports", files={"archive": archive.read_bytes()}),
            ):  # fmt: skip
                assert refused(answer, 503, *words)["type"] == "urn:vehicle-search:problem:gallery-unavailable"
            found = http.post(f"/v1/galleries/{other}/search", content=jpeg(1)).json()["matches"]
            assert [match["image_id"] for match in found] == ["a"]
            ready = http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert str(file) in ready.json()["damaged"][damaged]
            listed = {each["name"]: each for each in http.get("/v1/galleries").json()["galleries"]}
            assert list(listed) == ["default", "yard"]
            assert listed[damaged] == {"name": damaged, "problem": ready.json()["damaged"][damaged]}
            assert (listed[other]["problem"], listed[other]["images"]) == (None, 1)
            metrics = http.get("/metrics").text
            assert f'vehicle_search_gallery_damaged{{gallery="{damaged}"}} 1.0' in metrics
            assert f'vehicle_search_gallery_damaged{{gallery="{other}"}} 0.0' in metrics
            job = http.get(sent.headers["Location"]).json()
            assert job["state"] in ("queued", "running")  # it waits until its gallery is mended
            assert str(file) in job["problem"]
            later = http.post(f"/v1/galleries/{other}/imports", files={"archive": archive.read_bytes()})
            assert ended(http, later.headers["Location"])["failed"] == 0  # and holds up no other
    assert f"gallery {damaged} answers 503, the others are served" in (tmp_path / "log").read_text()
    for sound, data in whole.items():
        sound.write_bytes(data)
    with serving(tmp_path / "data", tiny_model) as server, httpx.Client(base_url=server, timeout=60) as http:
        assert ended(http, sent.headers["Location"])["problem"] is None


def test_images_are_there_after_a_restart(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as server:
        assert httpx.put(f"{server}/v1/galleries/default/images/a", content=jpeg(1)).status_code == 201
    with serving(tmp_path / "data", tiny_model) as server:
        found = httpx.post(f"{server}/v1/galleries/default/search", content=jpeg(1)).json()
        assert found["matches"][0]["image_id"] == "a"
