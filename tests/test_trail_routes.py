"""Trails over HTTP."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pypdf import PdfReader

from service.access.audit_log import audit_files
from tests.http_client import AnswerCheck, parts, refused
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving

PLACES = [
    {"camera_id": "gate", "name": "South gate", "latitude": 48.0, "longitude": 11.0},
    {"camera_id": "bridge", "latitude": 48.01, "longitude": 11.0},
]


@pytest.fixture
def yard(client: httpx.Client, gallery: str) -> Iterator[str]:
    """A gallery in which a vehicle was seen at two cameras, once without a time; and where they stand."""
    metadata = [
        {"image_id": "b", "camera_id": "bridge", "captured_at": "2026-05-04T12:01:05+02:00"},
        {"image_id": "a", "camera_id": "gate", "captured_at": "2026-05-04T10:01:00Z", "vehicle_id": "v1"},
        {"image_id": "c", "camera_id": "gate"},
    ]
    client.post(f"{gallery}/images", files=parts(jpeg(1), jpeg(2), jpeg(3), metadata=metadata)).raise_for_status()
    client.put("/v1/cameras", json={"cameras": PLACES}).raise_for_status()
    yield gallery
    client.put("/v1/cameras", json={"cameras": []})


def test_a_trail_as_json(client: httpx.Client, yard: str) -> None:
    wish = {"image_ids": ["c", "b", "a", "gone"], "query_image_ids": ["a"], "title": "Red", "asked_by": "M. Łukasik"}
    answer = client.post(f"{yard}/trail", json=wish, headers={"X-Request-ID": "mine-7"})
    assert answer.status_code == 200
    trail = answer.json()
    assert [(each["number"], each["image_id"]) for each in trail["sightings"]] == [(1, "a"), (2, "b")]
    assert [each["image_id"] for each in trail["untimed"]] == ["c"]
    assert trail["missing"] == ["gone"]
    (leg,) = trail["legs"]
    assert (leg["seconds"], leg["metres"], leg["impossible"]) == (5, 1112.0, True)
    assert leg["reason"] == "1.11 km in 5 s would be 801 km/h, more than 150 km/h"
    assert (trail["title"], trail["asked_by"], trail["note"], trail["key"]) == ("Red", "M. Łukasik", None, None)
    assert trail["request_id"] == "mine-7"
    assert trail["model"] == client.get("/v1/model").json()["fingerprint"]
    first = trail["sightings"][0]
    assert (first["camera"]["name"], first["vehicle_id"]) == ("South gate", "v1")
    assert first["sha256"] == hashlib.sha256(client.get(first["crop"]).content).hexdigest()
    found = client.get(f"{yard}/images/a/similar").json()["matches"]
    distances = {each["image_id"]: each["distance"] for each in [*trail["sightings"], *trail["untimed"]]}
    assert distances == {each["image_id"]: each["distance"] for each in found} | {"a": 0.0}


def test_distances_to_kept_pictures_and_stored_ones_together(client: httpx.Client, yard: str) -> None:
    picture = jpeg(7, (200, 150))
    query = client.post("/v1/queries", content=picture).json()["query_id"]
    box, asked = [10, 20, 100, 80], {"query_id": query, "box": "10,20,100,80", "image_id": "c"}
    wish = {"image_ids": ["a", "b"], "query_ids": [query], "boxes": [box], "query_image_ids": ["c"]}
    trail = client.post(f"{yard}/trail", json=wish).json()
    found = client.get(f"{yard}/search", params=asked).json()["matches"]
    assert {each["image_id"]: each["distance"] for each in trail["sightings"]} == {
        each["image_id"]: each["distance"] for each in found
    }
    crop = hashlib.sha256(client.get(f"{yard}/images/c/crop").content).hexdigest()
    assert trail["queries"] == [
        {"query_id": query, "image_id": None, "box": box, "sha256": hashlib.sha256(picture).hexdigest()},
        {"query_id": None, "image_id": "c", "box": None, "sha256": crop},
    ]
    record = client.post(f"{yard}/trail?format=pdf", json=wish)
    reader = PdfReader(io.BytesIO(record.content))
    sizes = {image.image.size for page in reader.pages for image in page.images if image.image is not None}
    assert sizes == {(100, 80), (96, 72)}
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    assert "What was looked for, taken together" in text
    assert "[10, 20, 100, 80]" in text
    for change, status, pointer in (
        ({"boxes": [box, box]}, 422, "/boxes"), ({"boxes": [[0, 0, 999, 1]]}, 422, "/boxes"),
        ({"query_ids": ["0" * 32]}, 404, None),
    ):  # fmt: skip
        problem = refused(client.post(f"{yard}/trail", json=wish | change), status)
        assert pointer is None or problem["errors"][0]["pointer"] == pointer


def test_a_trail_as_a_table_and_as_a_record(client: httpx.Client, yard: str) -> None:
    wish = {"image_ids": ["a", "b"], "query_image_ids": ["a"], "title": "=cmd|x", "max_speed_kmh": 900}
    table = client.post(f"{yard}/trail", params={"format": "csv"}, json=wish)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.headers["content-disposition"].startswith('attachment; filename="trail-test-')
    rows = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"), newline="")))
    assert [(row["image_id"], row["impossible"], row["title"]) for row in rows] == [
        ("a", "", "'=cmd|x"),
        ("b", "no", "'=cmd|x"),
    ]
    record = client.post(f"{yard}/trail", params={"format": "pdf"}, json=wish)
    assert record.headers["content-type"] == "application/pdf"
    assert record.headers["content-disposition"].endswith('.pdf"')
    reader = PdfReader(io.BytesIO(record.content))
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    for words in (
        "=cmd|x",
        "South gate",
        client.get("/v1/model").json()["fingerprint"],
        record.headers["x-request-id"],
    ):
        assert words in text, words
    assert sum(len(page.images) for page in reader.pages) >= 2


def opened(archive: bytes) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    """The rows of an archive's table, and what else is in it; every member is whole."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        assert file.testzip() is None
        members = {name: file.read(name) for name in file.namelist()}
    table = members.pop("trail.csv").decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(table, newline=""))), members


def test_a_trail_as_a_table_with_every_picture_as_it_is_stored(client: httpx.Client, yard: str) -> None:
    sent = jpeg(7, (200, 150))
    query = client.post("/v1/queries", content=sent).json()["query_id"]
    wish = {"image_ids": ["c", "b", "a", "gone"], "query_ids": [query], "query_image_ids": ["c"], "asked_by": "Ł"}
    answer = client.post(f"{yard}/trail?format=zip", json=wish)
    assert answer.headers["content-type"] == "application/zip"
    assert re.fullmatch(
        r'attachment; filename="trail-test-\w+-\d{8}T\d{6}Z\.zip"', answer.headers["content-disposition"]
    )
    rows, members = opened(answer.content)
    assert [(row["image_id"], row["picture"]) for row in rows] == [
        ("a", "pictures/001.jpg"), ("b", "pictures/002.jpg"), ("c", "pictures/003.jpg"), ("gone", ""),
    ]  # fmt: skip
    for row in rows[:3]:
        data = members[row["picture"]]
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert data == client.get(row["crop"]).content
    assert {row["query_pictures"] for row in rows} == {"looked-for/1.jpg; looked-for/2.jpg"}
    assert members["looked-for/1.jpg"] == client.get(f"/v1/queries/{query}/picture").content
    assert members["looked-for/2.jpg"] == client.get(f"{yard}/images/c/crop").content
    assert len(members) == 5
    assert {row["asked_by"] for row in rows} == {"Ł"}


def test_a_gallery_without_pictures_has_trails_all_the_same(client: httpx.Client, gallery: str) -> None:
    name = f"{gallery}-lean"
    client.put(name, json={"keep_crops": False}).raise_for_status()
    client.put(f"{name}/images/a", content=jpeg(1)).raise_for_status()
    assert client.post(f"{name}/trail", json={"image_ids": ["a"]}).json()["untimed"][0]["sha256"] is None
    record = client.post(f"{name}/trail?format=pdf", json={"image_ids": ["a"], "query_image_ids": ["a"]})
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(record.content)).pages)
    assert text.count("no picture is kept") == 3
    table = client.post(f"{name}/trail?format=zip", json={"image_ids": ["a"], "query_image_ids": ["a"]})
    ((row,), members) = opened(table.content)
    assert (row["image_id"], row["picture"], row["query_pictures"], members) == ("a", "", "", {})
    client.delete(name, params={"confirm": name.rpartition("/")[2]})


def test_what_is_wrong_is_refused(client: httpx.Client, yard: str) -> None:
    for wish, status, pointer in (
        ({}, 422, "/image_ids"), ({"image_ids": ["a", "a"]}, 422, "/image_ids/1"), ({"image_ids": "a"}, 422, "/image_ids"),
        ({"image_ids": ["a"], "speed": 1}, 422, "/speed"),
    ):  # fmt: skip
        assert refused(client.post(f"{yard}/trail", json=wish), status)["errors"][0]["pointer"] == pointer
    refused(client.post(f"{yard}/trail", content=b"{"), 400, "not JSON")
    refused(client.post(f"{yard}/trail?format=doc", json={"image_ids": ["a"]}), 422, "json or csv or zip or pdf")
    refused(client.post(f"{yard}/trail", json={"image_ids": ["gone"]}), 404, "none of the 1 images")
    refused(client.post(f"{yard}/trail", json={"image_ids": ["a"], "query_image_ids": ["gone"]}), 404, "gone")
    refused(client.post("/v1/galleries/nowhere/trail", json={"image_ids": ["a"]}), 404, "nowhere")


def test_who_asked_is_known_by_the_key_and_audited(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token, writer = kept_key(data, "read", galleries=("default",), name="desk 7"), kept_key(data, "write")
    with (
        serving(data, tiny_model, "--audit") as address,
        httpx.Client(
            base_url=address, headers=bearer(token), event_hooks={"response": [AnswerCheck(address)]}
        ) as client,
    ):
        client.put("/v1/galleries/default/images/a", content=jpeg(1), headers=bearer(writer)).raise_for_status()
        wish = {"image_ids": ["a", "gone"], "asked_by": "Officer Ł"}
        trail = client.post("/v1/galleries/default/trail", json=wish).json()
        assert trail["key"]["name"] == "desk 7"
        assert trail["key"]["key_id"] in token
        refused(client.post("/v1/galleries/default/trail", json=wish, headers=bearer(writer)), 403, "asks for read")
        refused(client.post("/v1/galleries/other/trail", json=wish), 403, "not for this gallery")
    entries = [json.loads(line) for path in audit_files(data / "audit") for line in path.read_text().splitlines()]
    (entry,) = (each for each in entries if each["action"] == "trail" and each["status"] == 200)
    assert (entry["key"], entry["images"], entry["count"]) == (trail["key"]["key_id"], ["a", "gone"], 1)
    assert (entry["asked_by"], entry["format"], entry["request_id"]) == ("Officer Ł", "json", trail["request_id"])


def test_a_picture_that_is_damaged_is_not_shown(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model) as address, httpx.Client(base_url=address, timeout=60) as client:
        client.put("/v1/galleries/default/images/a", content=jpeg(1)).raise_for_status()
        client.put("/v1/galleries/default/images/b", content=jpeg(2)).raise_for_status()
        (crop,) = (data / "galleries/default/crops").rglob(
            client.get("/v1/galleries/default/images/a/crop").headers["etag"][1:-1]
        )
        crop.write_bytes(jpeg(9))
        record = client.post("/v1/galleries/default/trail?format=pdf", json={"image_ids": ["a", "b"]})
        reader = PdfReader(io.BytesIO(record.content))
        assert sum(len(page.images) for page in reader.pages) == 1
        assert "the picture cannot be shown" in " ".join(page.extract_text() for page in reader.pages)
        table = client.post("/v1/galleries/default/trail?format=zip", json={"image_ids": ["a", "b"]})
        rows, members = opened(table.content)
        assert [row["picture"] for row in rows] == ["", "pictures/002.jpg"]
        assert list(members) == ["pictures/002.jpg"]
