"""Feedback over HTTP, with the real server: kept, listed, erased, given out, and only to whom it may be."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from model_export.data_sets.data_set import open_data_set
from model_export.data_sets.picture_check import check_pictures
from tests.http_client import AnswerCheck, parts, refused
from tests.key_holder import bearer, kept_key
from tests.milvus_homes import milvus_uri, new_prefix
from tests.pictures import encoded, jpeg, photograph
from tests.server_process import serving, started

IDS = ("a", "b", "c", "d")
ONE_IS_ENOUGH = pytest.mark.parametrize("server", ["folder"], indirect=True)  # to read what is sent


@pytest.fixture(scope="session", params=["folder", "replica"])
def server(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with all in its folder, and one with all where replicas share it."""
    if request.param == "folder":
        yield request.getfixturevalue("server")
        return
    folder = tmp_path_factory.mktemp("replica")
    (folder / "url").write_text(request.getfixturevalue("postgres").new_database())
    options = (
        "--milvus-uri", milvus_uri(), "--milvus-prefix", new_prefix(), "--database-url-file", str(folder / "url"), "--crops-url", str(folder / "crops"),
    )  # fmt: skip
    with serving(folder / "data", tiny_model, *options) as address:
        yield address


def fill(client: httpx.Client, gallery: str) -> str:
    """Add pictures of two vehicles and two of nobody; the gallery's name."""
    about: list[dict[str, Any]] = [
        {"image_id": name, "camera_id": f"c{n % 2}", "captured_at": "2026-05-04T10:11:12Z"}
        for n, name in enumerate(IDS)
    ]
    about[0]["vehicle_id"], about[1]["vehicle_id"] = "v1", "v2"
    client.post(f"{gallery}/images", files=parts(*map(jpeg, range(len(IDS))), metadata=about)).raise_for_status()
    return gallery.rpartition("/")[2]


def turned() -> bytes:
    """EXIF of a picture that lies on its side."""
    about = Image.Exif()
    about[0x0112] = 6
    return about.tobytes()


def say(client: httpx.Client, gallery: str, image_id: str, query: str, same: bool, **more: object) -> httpx.Response:
    body = {"gallery": gallery, "image_id": image_id, "query_image_id": query, "same": same, **more}
    return client.post("/v1/feedback", json=body)


def test_what_is_said_is_kept_listed_and_erased(client: httpx.Client, gallery: str) -> None:
    name = fill(client, gallery)
    given = say(client, name, "c", "a", True, distance=0.25)
    assert given.status_code == 201, given.text
    first = given.json()
    assert first == first | {"gallery": name, "image_id": "c", "query_image_id": "a", "same": True, "distance": 0.25}
    second = say(client, name, "d", "a", False).json()
    again = say(client, name, "a", "c", False)
    assert (again.status_code, again.json()["feedback_id"], again.json()["same"]) == (200, first["feedback_id"], False)
    listed = client.get("/v1/feedback", params={"gallery": name}).json()
    assert ([each["feedback_id"] for each in listed["feedback"]], listed["next"]) == (
        [second["feedback_id"], first["feedback_id"]], None,
    )  # fmt: skip
    page = client.get("/v1/feedback", params={"gallery": name, "limit": 1}).json()
    rest = client.get("/v1/feedback", params={"gallery": name, "limit": 1, "cursor": page["next"]}).json()
    assert page["feedback"] + rest["feedback"] == listed["feedback"]
    of_c = client.get("/v1/feedback", params={"gallery": name, "query_image_id": "c"}).json()
    assert ([each["image_id"] for each in of_c["feedback"]], of_c["next"]) == (["a"], None)
    refused(client.get("/v1/feedback", params={"gallery": name, "query_image_id": "not/one"}), 422, "query_image_id")
    assert client.delete(f"/v1/feedback/{first['feedback_id']}").status_code == 204
    refused(client.delete(f"/v1/feedback/{first['feedback_id']}"), 404, first["feedback_id"])
    assert client.delete("/v1/feedback", params={"gallery": name}).json() == {"deleted": 1}
    assert client.get("/v1/feedback", params={"gallery": name}).json() == {"feedback": [], "next": None}


def test_the_export_is_a_data_set(client: httpx.Client, gallery: str, tmp_path: Path) -> None:
    name = fill(client, gallery)
    say(client, name, "c", "a", True)
    say(client, name, "b", "a", False)
    say(client, name, "d", "c", True)
    export = client.get("/v1/feedback/export", params={"gallery": name})
    assert export.headers["content-type"] == "application/zip"
    assert export.headers["content-disposition"] == f'attachment; filename="feedback-{name}.zip"'
    with zipfile.ZipFile(io.BytesIO(export.content)) as archive:
        archive.extractall(tmp_path)
    data = open_data_set(f"manifest:{tmp_path / 'manifest.csv'}")
    assert {row.image_id: row.vehicle_id for row in data.part("train")} == {"a": "v1", "c": "v1", "d": "v1", "b": "v2"}
    assert not any(finding.fatal or finding.skipped for finding in (*data.findings, *check_pictures(data)))
    say(client, name, "b", "d", True)
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/feedback/export", params={"gallery": name}).content)) as archive:
        assert len(archive.read("conflicts.csv").splitlines()) == 5


def test_a_query_that_is_kept_for_a_while_is_kept_with_what_was_said_of_it(
    client: httpx.Client, gallery: str, tmp_path: Path
) -> None:
    name = fill(client, gallery)
    photo = encoded(photograph(7, (120, 90)), "JPEG", quality=92, exif=turned())
    query_id = client.post("/v1/queries", content=photo).json()["query_id"]
    whole = {"gallery": name, "image_id": "c", "same": True, "query_id": query_id}
    boxed = whole | {"box": [10, 20, 40, 50], "distance": 0.5}
    first, second = (client.post("/v1/feedback", json=each).json() for each in (whole, boxed))
    assert first["feedback_id"] != second["feedback_id"]  # two pictures
    assert second == second | boxed | {"query_image_id": None}
    assert client.post("/v1/feedback", json=boxed | {"same": True}).status_code == 200
    for asked, expected in ((query_id, [second["feedback_id"], first["feedback_id"]]), ("0" * 32, [])):
        listed = client.get("/v1/feedback", params={"gallery": name, "query_id": asked}).json()["feedback"]
        assert [each["feedback_id"] for each in listed] == expected
    refused(client.post("/v1/feedback", json=boxed | {"box": [100, 0, 40, 50]}), 422, "100")
    assert client.delete(f"/v1/queries/{query_id}").status_code == 204
    refused(client.post("/v1/feedback", json=boxed), 404, query_id)
    export = client.get("/v1/feedback/export", params={"gallery": name})
    with zipfile.ZipFile(io.BytesIO(export.content)) as archive:
        archive.extractall(tmp_path)
    data = open_data_set(f"manifest:{tmp_path / 'manifest.csv'}")
    rows = {row.image_id or row.path.name: row for row in data.part("train")}
    sizes = sorted(Image.open(io.BytesIO(row.path.read_bytes())).size for name, row in rows.items() if name != "c")
    assert sizes == [(40, 50), (90, 120)]  # the part, and the whole upright
    assert len({row.vehicle_id for row in rows.values()}) == 1
    assert not any(finding.fatal or finding.skipped for finding in (*data.findings, *check_pictures(data)))


@ONE_IS_ENOUGH
@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"gallery": "nowhere"}, 404, ["nowhere"]),
        ({"gallery": "No"}, 422, ["No"]),
        ({"gallery": None}, 422, ["gallery"]),
        ({"image_id": "x"}, 404, ["x"]),
        ({"query_image_id": "x"}, 404, ["x"]),
        ({"query_image_id": "c"}, 422, ["both c"]),
        ({"query_image_id": None}, 422, ["one of query_id and query_image_id"]),
        ({"query_id": "0" * 32}, 422, ["one of query_id and query_image_id"]),
        ({"query_image_id": None, "query_id": "0" * 32}, 404, ["0" * 32, "query_hours"]),
        ({"query_image_id": None, "query_id": "x"}, 422, ["query_id must be"]),
        ({"query_image_id": None, "query_id": 5}, 422, ["query_id must be"]),
        ({"box": [0, 0, 9, 9]}, 422, ["box goes with query_id"]),
        ({"query_image_id": None, "query_id": "0" * 32, "box": [0, 0, 0, 9]}, 422, ["box must be"]),
        ({"image_id": 5}, 422, ["image_id", "5"]),
        ({"same": "yes"}, 422, ["same must be true or false"]),
        ({"same": None}, 422, ["same"]),
        ({"distance": -1}, 422, ["distance"]),
        ({"distance": True}, 422, ["distance"]),
        ({"distance": 10**309}, 422, ["distance"]),
        ({"vehicle": "v1"}, 422, ["'vehicle' is not a field"]),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: httpx.Client, gallery: str, change: dict[str, object], status: int, words: list[str]
) -> None:
    name = fill(client, gallery)
    body = {"gallery": name, "image_id": "c", "query_image_id": "a", "same": True} | change
    refused(client.post("/v1/feedback", json=body), status, *words)
    assert client.get("/v1/feedback", params={"gallery": name}).json()["feedback"] == []


@ONE_IS_ENOUGH
@pytest.mark.parametrize("field", ["gallery", "image_id", "same"])
def test_a_field_that_is_missing_is_named(client: httpx.Client, gallery: str, field: str) -> None:
    body = {"gallery": gallery.rpartition("/")[2], "image_id": "c", "query_image_id": "a", "same": True}
    del body[field]
    refused(client.post("/v1/feedback", json=body), 422, f"lacks the field {field}")


def test_a_gallery_must_be_named_and_without_crops_there_is_nothing_to_learn(client: httpx.Client) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/export")):
        refused(client.request(method, f"/v1/feedback{path}"), 422, "parameter gallery is missing")
        refused(client.request(method, f"/v1/feedback{path}", params={"gallery": "nowhere"}), 404)
        refused(client.request(method, f"/v1/feedback{path}", params={"gallery": "No"}), 422, "'No'")
    refused(client.get("/v1/feedback", params={"gallery": "default", "cursor": "AAAA"}), 422, "cursor")
    for path, methods in (("default.0123456789abcdef", "DELETE"), ("", "GET, HEAD, POST, DELETE")):
        answer = client.put(f"/v1/feedback/{path}".rstrip("/"))
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
    for unknown in ("x", "nowhere.0123456789abcdef", "default.0123456789abcdef", "default.x"):
        refused(client.delete(f"/v1/feedback/{unknown}"), 404, unknown)
    client.put("/v1/galleries/lean-feedback", json={"keep_crops": False}).raise_for_status()
    fill(client, "/v1/galleries/lean-feedback")
    refused(say(client, "lean-feedback", "c", "a", True), 409, "keep_crops")
    client.delete("/v1/galleries/lean-feedback", params={"confirm": "lean-feedback"})


def test_limits_keys_and_the_audit_log(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    tokens = {name: kept_key(data, "write", "read", galleries=(name,)) for name in ("default", "yard")}
    admin = bearer(kept_key(data, "admin"))
    with (
        serving(data, tiny_model, "--max-feedback", "1", "--audit") as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        client.headers.update(bearer(tokens["default"]))
        fill(client, "/v1/galleries/default")
        given = say(client, "default", "c", "a", True).json()["feedback_id"]
        refused(say(client, "default", "d", "a", True), 409, "max_feedback")
        assert say(client, "default", "c", "a", False).status_code == 200
        client.headers.update(bearer(tokens["yard"]))
        refused(say(client, "default", "c", "a", True), 403, "not for this gallery")
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/export")):
            answer = client.request(method, f"/v1/feedback{path}", params={"gallery": "default"})
            refused(answer, 403, "not for this gallery")
        refused(client.delete(f"/v1/feedback/{given}"), 404)
        client.headers.update(admin)
        client.get("/v1/feedback/export", params={"gallery": "default"}).raise_for_status()
        assert client.delete(f"/v1/feedback/{given}").status_code == 204
        entries = client.get("/v1/audit").json()["entries"]
        told = [(each["action"], each["gallery"], each["status"]) for each in entries if "feedback" in each["action"]]
        assert told[:2] == [("erase-feedback", "default", 204), ("export-feedback", "default", 200)]
        assert told[-1] == ("give-feedback", "default", 201)
        assert [each for each in entries if each["action"] == "give-feedback"][-1]["image_id"] == "c"


def test_a_killed_service_has_what_it_answered(tiny_model: Path, tmp_path: Path) -> None:
    with started(tmp_path, tiny_model) as (address, process), httpx.Client(base_url=address) as client:
        fill(client, "/v1/galleries/default")
        given = [say(client, "default", name, "a", True).json() for name in ("b", "c", "d")]
        process.kill()
        process.wait(30)
    with serving(tmp_path, tiny_model) as address:
        found = httpx.get(f"{address}/v1/feedback", params={"gallery": "default"}).json()["feedback"]
    assert found == given[::-1]


def test_a_service_that_only_reads_gives_out_and_takes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model) as address, httpx.Client(base_url=address) as client:
        fill(client, "/v1/galleries/default")
        given = say(client, "default", "b", "a", True).json()
    with (
        serving(tmp_path, tiny_model, "--read-only") as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        refused(say(client, "default", "c", "a", True), 403, "only reads")
        refused(client.delete(f"/v1/feedback/{given['feedback_id']}"), 403, "only reads")
        assert client.get("/v1/feedback", params={"gallery": "default"}).json()["feedback"] == [given]
        assert client.get("/v1/feedback/export", params={"gallery": "default"}).status_code == 200
