"""Migrations over HTTP, by a real service with one model or two, killed and started again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.contract import fingerprint
from index.maintenance.verification import examine
from tests.http_client import AnswerCheck, parts, refused
from tests.pictures import jpeg
from tests.server_process import refused as refused_start
from tests.server_process import serving, started

GALLERY = "/v1/galleries/default"


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    """A data folder that a service with the tiny model filled with sixty images."""
    with serving(tmp_path / "data", tiny_model) as server:
        fill(server, range(60))
        httpx.put(f"{server}/v1/galleries/lean", json={"keep_crops": False})
    return tmp_path / "data"


def fill(server: str, numbers: range) -> None:
    metadata = [{"image_id": f"i{number}"} for number in numbers]
    pictures = [jpeg(number) for number in numbers]
    answer = httpx.post(f"{server}{GALLERY}/images", files=parts(*pictures, metadata=metadata), timeout=60)
    assert answer.json()["failed"] == 0, answer.text


def ended(client: httpx.Client, path: str) -> dict[str, Any]:
    """The migration when nothing is left to do."""
    deadline = time.monotonic() + 60
    while True:
        document: dict[str, Any] = client.get(path).json()
        if document["state"] not in ("waiting", "running", "switched"):
            return document
        assert time.monotonic() < deadline, document
        time.sleep(0.05)


def check(client: httpx.Client, model: Path, numbers: range) -> None:
    """Each image is found by its own picture, and the model that looked is this one."""
    for number in numbers:
        answer = client.post(f"{GALLERY}/search", params={"top_k": 1}, content=jpeg(number)).json()
        (match,) = answer["matches"]
        assert (answer["model"], match["image_id"]) == (fingerprint(model), f"i{number}")
        assert match["distance"] < 1e-3


def checked(server: str) -> httpx.Client:
    return httpx.Client(base_url=server, timeout=60, event_hooks={"response": [AnswerCheck(server)]})


def test_with_both_models_searches_go_on_until_it_has_moved(folder: Path, tiny_model: Path, next_model: Path) -> None:
    with serving(folder, next_model, "--previous-model", str(tiny_model)) as server, checked(server) as client:
        model = client.get("/v1/model").json()
        assert (model["fingerprint"], model["previous"]["fingerprint"]) == (
            fingerprint(next_model), fingerprint(tiny_model)
        )  # fmt: skip
        check(client, tiny_model, range(0, 60, 20))
        fill(server, range(60, 64))  # by the gallery's own model
        assert client.put(GALLERY).status_code == 200
        stop = threading.Event()

        def search() -> set[str]:
            models: set[str] = set()
            with httpx.Client(base_url=server, timeout=60) as own:
                while not (stop.is_set() and fingerprint(next_model) in models):
                    for path, content in (
                        ("/search", jpeg(7)),
                        ("/images/i7/similar", None),
                        ("/images/new", jpeg(99)),
                    ):
                        method = "PUT" if path == "/images/new" else "GET" if content is None else "POST"
                        answer = own.request(method, f"{GALLERY}{path}", content=content)
                        assert answer.status_code in (200, 201), answer.text
                        if path == "/search":
                            assert answer.json()["matches"][0]["image_id"] == "i7"
                            models.add(answer.json()["model"])
                    batch = own.post(f"{GALLERY}/search/batch", files=parts(jpeg(8), jpeg(9))).json()
                    assert [one["matches"][0]["image_id"] for one in batch["results"]] == ["i8", "i9"]
            return models

        with ThreadPoolExecutor(2) as pool:
            searching = [pool.submit(search) for _ in range(2)]
            try:
                begun = client.post(f"{GALLERY}/migrations")
                assert begun.status_code == 202
                path = begun.headers["Location"]
                assert path == f"{GALLERY}/migrations/{begun.json()['id']}"
                again = client.post(f"{GALLERY}/migrations", json={})
                assert again.status_code in (202, 409)  # 409: it has ended
                document = ended(client, path)
            finally:
                stop.set()
            assert all(done.result() for done in searching)
        assert document["state"] == "finished", document
        assert document["done"] == document["total"] >= 64
        assert (document["failures"], document["failed"], document["problem"]) == (0, [], None)
        check(client, next_model, range(64))
        listed = client.get(f"{GALLERY}/migrations").json()["migrations"]
        assert [one["id"] for one in listed] == [document["id"]]
        refused(client.post(f"{GALLERY}/migrations"), 409, "nothing to do")
        refused(client.delete(path), 409, "is finished")
        assert client.get("/metrics").text.count("vehicle_search_migration_remaining_images{") == 0
    assert examine(folder / "galleries/default").findings == []


def test_without_the_old_model_it_is_told_and_moves_all_the_same(folder: Path, next_model: Path) -> None:
    with serving(folder, next_model) as server, checked(server) as client:
        refused(client.post(f"{GALLERY}/search", content=jpeg(0)), 409, "--previous-model", f"{GALLERY}/migrations")
        refused(client.put(f"{GALLERY}/images/x", content=jpeg(0)), 409, "migrations")
        document = ended(client, client.post(f"{GALLERY}/migrations").headers["Location"])
        assert document["state"] == "finished"
        check(client, next_model, range(0, 60, 7))
        refused(client.post("/v1/galleries/lean/migrations"), 409, "keeps no crops")


def test_it_goes_on_after_kill(folder: Path, tiny_model: Path, next_model: Path) -> None:
    both = ("--previous-model", str(tiny_model))
    states = set()
    for _ in range(3):
        with started(folder, next_model, *both) as (server, process):
            answer = httpx.post(f"{server}{GALLERY}/migrations")
            states.add(answer.status_code)
            process.kill()
            process.wait(30)
    assert states <= {202, 409}
    with serving(folder, next_model, *both) as server, checked(server) as client:
        (known,) = client.get(f"{GALLERY}/migrations").json()["migrations"]
        document = ended(client, f"{GALLERY}/migrations/{known['id']}")
        assert (document["state"], document["done"]) == ("finished", 60)
        check(client, next_model, range(0, 60, 7))
    assert examine(folder / "galleries/default").findings == []


def test_what_waits_for_another_model_says_so_and_can_be_cancelled(
    folder: Path, tiny_model: Path, next_model: Path
) -> None:
    crop = next((folder / "galleries/default/crops").glob("??/*"))
    content = crop.read_bytes()
    crop.unlink()
    with serving(folder, next_model) as server, checked(server) as client:
        failed = ended(client, client.post(f"{GALLERY}/migrations").headers["Location"])
        assert (failed["state"], failed["failures"], failed["done"]) == ("failed", 1, 59)
        assert failed["failed"][0]["detail"] == "its crop is missing"
        crop.write_bytes(content)
    with started(folder, next_model) as (server, process):
        path = httpx.post(f"{server}{GALLERY}/migrations").headers["Location"]
        process.kill()
    with serving(folder, tiny_model) as server, checked(server) as client:
        document = client.get(path).json()
        if document["state"] != "finished":  # it was killed in time
            assert "load tiny" in document["problem"]
            check(client, tiny_model, range(0, 60, 20))
            assert "vehicle_search_migration_remaining_images{" in client.get("/metrics").text
            assert client.delete(path).json()["state"] == "cancelled"
            refused(client.delete(path), 409, "is cancelled")


def test_what_is_asked_wrongly_is_refused(client: httpx.Client, gallery: str) -> None:
    refused(client.post(f"{gallery}/migrations"), 409, "nothing to do")
    refused(client.post(f"{gallery}/migrations", content=b"["), 400)
    refused(client.post(f"{gallery}/migrations", json={"model": "x"}), 422, "no properties")
    refused(client.post(f"{gallery}/migrations?force=1"), 422, "none")
    refused(client.get(f"{gallery}/migrations/none"), 404, "knows no migration")
    refused(client.delete(f"{gallery}/migrations/none"), 404, "knows no migration")
    refused(client.get("/v1/galleries/nowhere/migrations"), 404)
    assert client.get(f"{gallery}/migrations").json() == {"migrations": []}


def test_two_models_of_one_space_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    line = refused_start(
        "--model", str(tiny_model), "--previous-model", str(tiny_model), "--data-dir", str(tmp_path), "--port", "0"
    )
    assert "port" in line or "same embedding space" in line
