"""Cameras and their plan over HTTP."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.http_client import AnswerCheck, parts, raw, refused, status_of
from tests.key_holder import bearer, kept_key
from tests.pictures import encoded, jpeg, photograph, png
from tests.server_process import serving, started

GATE = {"camera_id": "c1", "name": "Überführung 北", "latitude": 48.5, "longitude": 11}
YARD = {"camera_id": "c2", "x": 3.5, "y": 7}
ABSENT = {"name": None, "latitude": None, "longitude": None, "x": None, "y": None}


@pytest.fixture
def cameras(client: httpx.Client) -> Iterator[httpx.Client]:
    """A client of a service whose cameras are nobody else's at the moment."""
    yield client
    assert client.put("/v1/cameras", json={"cameras": []}).status_code == 200
    client.delete("/v1/cameras/plan")


def test_cameras_are_named_and_placed_all_at_once(cameras: httpx.Client) -> None:
    placed = cameras.put("/v1/cameras", json={"cameras": [GATE, YARD]})
    assert placed.status_code == 200
    told = cameras.get("/v1/cameras").json()
    assert told == placed.json()
    assert told["cameras"] == [{**ABSENT, **GATE}, {**ABSENT, **YARD}]
    assert (told["plan"], told["map_tiles"]) == (None, None)
    again = cameras.put("/v1/cameras", json={"cameras": told["cameras"][1:]}).json()
    assert again["cameras"] == [{**ABSENT, **YARD}]
    assert again["updated_at"] > told["updated_at"]


def test_what_is_wrong_changes_nothing(cameras: httpx.Client) -> None:
    cameras.put("/v1/cameras", json={"cameras": [GATE]})
    for body, status, pointer in (
        (b"{", 400, ""), (b"[]", 422, ""), (b"{}", 422, "/cameras"), (b'{"cameras": 7}', 422, "/cameras"),
        (b'{"cameras": [], "plan": null}', 422, "/plan"), (b'{"cameras": [{"camera_id": "c", "x": 1}]}', 422, "/cameras/0"),
        (b'{"cameras": [{"camera_id": "c", "latitude": 91, "longitude": 1}]}', 422, "/cameras/0/latitude"),
        (b'{"cameras": [], "cameras": []}', 422, ""), (b"", 400, ""),
    ):  # fmt: skip
        problem = refused(cameras.put("/v1/cameras", content=body), status)
        assert problem["errors"][0]["pointer"] == pointer, body
    refused(cameras.put("/v1/cameras", content=b" " * (2**20 + 1)), 413, "JSON document")
    refused(cameras.put("/v1/cameras?colour=red", json={"cameras": []}), 422, "colour")
    assert [each["camera_id"] for each in cameras.get("/v1/cameras").json()["cameras"]] == ["c1"]


def test_a_plan_is_set_fetched_and_removed(cameras: httpx.Client) -> None:
    refused(cameras.get("/v1/cameras/plan"), 404, "there is no plan")
    refused(cameras.delete("/v1/cameras/plan"), 404, "there is no plan")
    cameras.put("/v1/cameras", json={"cameras": [YARD]})
    made = cameras.put("/v1/cameras/plan", params={"width": 120.5}, content=jpeg(1, (400, 300)))
    assert made.status_code == 201
    told = cameras.get("/v1/cameras").json()
    assert told["plan"] == made.json()
    assert (told["plan"]["pixels"], told["plan"]["width"], told["plan"]["height"]) == ([400, 300], 120.5, 90.375)
    assert [each["camera_id"] for each in told["cameras"]] == ["c2"]
    picture = cameras.get(told["plan"]["picture"])
    assert hashlib.sha256(picture.content).hexdigest() == told["plan"]["sha256"]
    assert picture.headers["content-type"] == "image/jpeg"
    tag = {"If-None-Match": picture.headers["etag"]}
    assert cameras.get("/v1/cameras/plan", headers=tag).status_code == 304
    small = cameras.get("/v1/cameras/plan", params={"max_side": 100}, headers=tag)
    assert Image.open(io.BytesIO(small.content)).size == (100, 75)
    replaced = cameras.put("/v1/cameras/plan", params={"width": 80}, files=parts(png(2)))
    assert (replaced.status_code, replaced.json()["width"]) == (200, 80)
    assert cameras.get("/v1/cameras/plan").headers["content-type"] == "image/png"
    assert cameras.delete("/v1/cameras/plan").status_code == 204
    assert cameras.get("/v1/cameras").json()["plan"] is None


def test_a_plan_is_kept_upright_and_without_what_it_tells_of_itself(cameras: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret place"
    sent = encoded(photograph(3, (96, 72)), "JPEG", exif=exif)
    assert b"secret place" in sent
    assert cameras.put("/v1/cameras/plan?width=10", content=sent).json()["pixels"] == [72, 96]
    kept = cameras.get("/v1/cameras/plan").content
    assert b"secret place" not in kept
    assert Image.open(io.BytesIO(kept)).size == (72, 96)


def test_a_plan_that_is_none_is_refused(cameras: httpx.Client) -> None:
    for parameters, content, status, words in (
        ({}, jpeg(1), 422, "width is missing"),
        ({"width": "0"}, jpeg(1), 422, "above 0"),
        ({"width": "wide"}, jpeg(1), 422, "a number of metres"),
        ({"width": "1e9"}, jpeg(1), 422, "up to 1,000,000"),
        ({"width": "10"}, b"no picture", 415, "not a picture"),
        ({"width": "10"}, jpeg(1)[:200], 400, ""),
        ({"width": "10"}, b"", 400, ""),
    ):  # fmt: skip
        refused(cameras.put("/v1/cameras/plan", params=parameters, content=content), status, words)
    refused(cameras.put("/v1/cameras/plan?width=10", files=parts(jpeg(1), jpeg(2))), 422, "a plan is one")
    refused(cameras.get("/v1/cameras/plan"), 404)


def test_they_survive_a_kill_and_are_read_where_nothing_is_written(tiny_model: Path, tmp_path: Path) -> None:
    with started(tmp_path / "data", tiny_model) as (address, process):
        httpx.put(f"{address}/v1/cameras", json={"cameras": [GATE]}).raise_for_status()
        httpx.put(f"{address}/v1/cameras/plan?width=10", content=jpeg(1)).raise_for_status()
        process.kill()
        process.wait()
    with serving(tmp_path / "data", tiny_model):
        pass  # what was killed in the middle is mended by whoever may write
    with (
        serving(
            tmp_path / "data", tiny_model, "--read-only", "--map-tiles", "https://tiles.example/{z}/{x}/{y}.png"
        ) as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        told = client.get("/v1/cameras").json()
        assert [each["camera_id"] for each in told["cameras"]] == ["c1"]
        assert told["map_tiles"] == "https://tiles.example/{z}/{x}/{y}.png"
        assert client.get("/v1/cameras/plan").content == jpeg(1)
        for refusal in (
            client.put("/v1/cameras", json={"cameras": []}), client.put("/v1/cameras/plan?width=1", content=png(1)),
            client.delete("/v1/cameras/plan"),
        ):  # fmt: skip
            refused(refusal, 403, "read_only")


def test_damage_is_told_and_keeps_no_gallery_from_answering(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        serving(data, tiny_model) as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        client.put("/v1/cameras", json={"cameras": [GATE]})
        note = data / "cameras/cameras.json"
        note.write_text(note.read_text().replace("48.5", "49.5"))
        refused(client.get("/v1/cameras"), 503, "not what was written")
        client.put("/v1/galleries/default/images/a", content=jpeg(1))
        refused(client.post("/v1/galleries/default/trail", json={"image_ids": ["a"]}), 503, "not what was written")
        assert client.post("/v1/galleries/default/search", content=jpeg(1)).status_code == 200


def test_a_key_of_some_galleries_sees_cameras_and_changes_none(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = kept_key(data, "read", "write", galleries=("default",))
    with (
        serving(data, tiny_model) as address,
        httpx.Client(
            base_url=address, headers=bearer(token), event_hooks={"response": [AnswerCheck(address)]}
        ) as client,
    ):
        assert client.get("/v1/cameras").status_code == 200
        refused(client.put("/v1/cameras", json={"cameras": []}), 403, "about all")
        refused(client.put("/v1/cameras/plan?width=1", content=png(1)), 403, "about all")


def test_a_body_that_stops_is_not_waited_for(server: str) -> None:
    assert status_of(raw(server, "PUT", "/v1/cameras/plan?width=x", body=b"x")) == 422
