"""Import jobs over HTTP, on a running service."""

import csv
import io
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.access_key import key_id_of
from index.data_folder import DataFolder
from index.maintenance.verification import examine
from index.storage.key_database import KeyDatabase
from tests.archives import KINDS, pack
from tests.http_client import form, refused
from tests.key_holder import bearer, kept_key
from tests.pictures import jpeg
from tests.server_process import serving, started
from tests.small_disk import fill, small_disk

FILES = {
    "manifest.csv": b"path,vehicle_id,captured_at\ncam1/a.jpg,v1,2026-05-04T10:11:12Z\nb.jpg,v2,\nnone.jpg,v3,\nbad.jpg,v4,\n",
    "cam1/a.jpg": jpeg(1), "b.jpg": jpeg(2), "bad.jpg": b"\xff\xd8\xff", "unnamed.jpg": jpeg(3),
}  # fmt: skip


def ended(client: httpx.Client, location: str, *, state: str = "done") -> dict[str, Any]:
    """The job when it has ended."""
    deadline = time.monotonic() + 280
    while True:
        job: dict[str, Any] = client.get(location).json()
        if job["state"] not in ("queued", "running"):
            assert job["state"] == state, job
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def sent(client: httpx.Client, gallery: str, archive: Path) -> str:
    with archive.open("rb") as file:
        answer = client.post(f"{gallery}/imports", files={"archive": (archive.name, file)})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["state"], job["source"]) == ("queued", {"archive": archive.name})
    assert answer.headers["location"] == f"/v1/imports/{job['id']}"
    return answer.headers["location"]


def failures(client: httpx.Client, location: str) -> list[dict[str, str]]:
    answer = client.get(f"{location}/failures")
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_imported(client: httpx.Client, gallery: str, tmp_path: Path, kind: str) -> None:
    location = sent(client, gallery, pack(tmp_path / f"x{kind}", FILES))
    job = ended(client, location)
    counts = {name: job[name] for name in ("total", "done", "created", "updated", "unchanged", "failed")}
    assert counts == {"total": 4, "done": 4, "created": 2, "updated": 0, "unchanged": 0, "failed": 2}
    assert (job["problem"], job["gallery"]) == (None, gallery.rpartition("/")[2])
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["images_per_second"] > 0
    stored = client.get(f"{gallery}/images").json()["images"]
    assert [(image["image_id"], image["vehicle_id"]) for image in stored] == [("b.jpg", "v2"), ("cam1:a.jpg", "v1")]
    (found, *_) = client.post(f"{gallery}/search", content=jpeg(1)).json()["matches"]
    assert (found["image_id"], found["distance"] < 1e-3) == ("cam1:a.jpg", True)
    missing, damaged = failures(client, location)
    assert (missing["path"], missing["vehicle_id"]) == ("none.jpg", "v3")
    assert "the archive has no such entry" in missing["import_failure"]
    assert (damaged["path"], damaged["image_id"], damaged["vehicle_id"]) == ("bad.jpg", "bad.jpg", "v4")
    assert job in client.get("/v1/imports").json()["imports"]


def test_what_failed_is_imported_when_it_is_mended(client: httpx.Client, gallery: str, tmp_path: Path) -> None:
    location = sent(client, gallery, pack(tmp_path / "x.zip", FILES))
    ended(client, location)
    manifest = client.get(f"{location}/failures").content
    mended = pack(tmp_path / "y.zip", {"manifest.csv": manifest, "bad.jpg": jpeg(4), "none.jpg": jpeg(5)})
    assert ended(client, sent(client, gallery, mended))["created"] == 2
    assert ended(client, sent(client, gallery, mended))["unchanged"] == 2
    assert client.get(f"{gallery}/images/bad.jpg").json()["vehicle_id"] == "v4"


def test_a_job_that_has_ended_is_removed(client: httpx.Client, gallery: str, tmp_path: Path) -> None:
    location = sent(client, gallery, pack(tmp_path / "x.zip", {"a.jpg": jpeg(1)}))
    ended(client, location)
    assert client.delete(location).status_code == 204
    for answer in (client.get(location), client.delete(location), client.get(f"{location}/failures")):
        refused(answer, 404, "there is no import")
    assert client.get(f"{gallery}/images/a.jpg").status_code == 200


def test_what_is_no_archive_of_pictures_is_refused_or_fails(client: httpx.Client, gallery: str, tmp_path: Path) -> None:
    post = f"{gallery}/imports"
    refused(client.post(post, files={"archive": ("x.zip", jpeg(1))}), 415, "neither a ZIP nor a TAR")
    refused(client.post(post, files={"image": ("x.zip", b"")}), 422, "unknown part 'image'")
    refused(client.post(post, files=[("archive", b"1"), ("archive", b"2")]), 422, "sent twice")
    refused(client.post(post, content=jpeg(1)), 415, "multipart/form-data with a part 'archive'")
    body, headers = form(('form-data; name="archive"', b"PK\x03\x04"), last=False)
    refused(client.post(post, content=body, headers=headers), 400, "closing boundary")
    refused(client.post(post, content=b"--frontier--\r\n", headers=headers), 422, "no part 'archive'")
    refused(client.post(f"{post}?x=1", files={"archive": b""}), 422, "unknown parameter")
    refused(client.post("/v1/galleries/none/imports", files={"archive": b""}), 404)
    for data, problem in ((b"PK\x03\x04", "it is cut off"), (None, "there is no picture")):
        path = pack(tmp_path / "x.zip", {"notes.txt": b""})
        if data is not None:
            path.write_bytes(data)
        job = ended(client, sent(client, gallery, path), state="failed")
        assert problem in job["problem"]
        assert job["total"] is None
        assert failures(client, f"/v1/imports/{job['id']}") == []


def test_paths_need_the_setting(client: httpx.Client, gallery: str) -> None:
    refused(client.post(f"{gallery}/imports", json={"path": "x"}), 422, "import_root is not set")
    refused(client.post(f"{gallery}/imports", json={"paths": "x"}), 422, "the one key path")
    refused(client.post(f"{gallery}/imports", json={"path": 5}), 422, "path must be a string")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    (folder / "root/in").mkdir(parents=True)
    (folder / "secret.csv").write_text("path\nTOP SECRET\n")
    (folder / "secret.jpg").write_bytes(jpeg(9))
    return folder / "root"


@pytest.fixture(scope="module")
def rooted(root: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("rooted") / "data"
    with (
        serving(data, tiny_model, "--import-root", str(root)) as server,
        httpx.Client(base_url=server, timeout=60) as client,
    ):
        yield client


def asked(client: httpx.Client, path: str, *, gallery: str = "default", state: str = "done") -> dict[str, Any]:
    answer = client.post(f"/v1/galleries/{gallery}/imports", json={"path": path})
    assert answer.status_code == 202, answer.text
    return ended(client, answer.headers["location"], state=state)


def test_folders_manifests_and_archives_below_the_root_are_imported(rooted: httpx.Client, root: Path) -> None:
    (root / "in/a.jpg").write_bytes(jpeg(1))
    (root / "in/m.csv").write_text("path,image_id\na.jpg,one\nnone.jpg,two\n")
    pack(root / "x.tar.gz", {"b.jpg": jpeg(2)})
    job = asked(rooted, "in")
    assert (job["created"], job["failed"], job["source"]) == (1, 0, {"path": "in"})
    job = asked(rooted, "in/m.csv")
    assert (job["created"], job["failed"]) == (1, 1)
    (row,) = failures(rooted, f"/v1/imports/{job['id']}")
    assert (row["path"], row["image_id"], row["import_failure"]) == ("none.jpg", "two", "No such file or directory")
    assert asked(rooted, "x.tar.gz")["created"] == 1
    assert asked(rooted, str(root / "in/../x.tar.gz"))["unchanged"] == 1
    assert (root / "x.tar.gz").exists()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("../secret.csv", "leads out of the import root"),
        ("in/../../secret.csv", "leads out of the import root"),
        ("/etc/passwd", "leads out of the import root"),
        ("linked.csv", "leads out of the import root"),
        ("linked/secret.csv", "leads out of the import root"),
        ("none", "no such folder or file"),
        ("nul\0", "no file can have such a name"),
        ("\ud800", "no file can have such a name"),
        ("circle", "no file can have such a name"),
        ("x" * 4000, "cannot be read: File name too long"),
        ("car.jpg", "neither a folder, nor"),
    ],
)
def test_nothing_else_is(rooted: httpx.Client, root: Path, path: str, problem: str) -> None:
    (root / "car.jpg").write_bytes(jpeg(1))
    links = ("linked.csv", root.parent / "secret.csv"), ("linked", root.parent), ("circle", root / "circle")
    for name, target in links:
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    body, fields = json.dumps({"path": path}).encode(), {"Content-Type": "application/json"}
    document = refused(rooted.post("/v1/galleries/default/imports", content=body, headers=fields), 422, problem)
    assert document["errors"][0]["pointer"] == "/path"
    assert str(root.parent) not in document["detail"]


def test_rows_and_links_that_lead_out_of_the_root_fail(rooted: httpx.Client, root: Path) -> None:
    """And tell nothing of what is there."""
    folder = root / "hostile"
    folder.mkdir()
    (folder / "link.jpg").symlink_to(root.parent / "secret.jpg")
    pack(root.parent / "outside.zip", {"a.jpg": jpeg(1)})
    rows = f"link.jpg\n../../secret.jpg\n{root.parent}/secret.csv\n../../outside.zip/a.jpg\n../../none.jpg\n"
    (folder / "rows.csv").write_text(f"path\n{rows}")
    job = asked(rooted, "hostile/rows.csv")
    assert (job["created"], job["failed"]) == (0, 5)
    reasons = [row["import_failure"] for row in failures(rooted, f"/v1/imports/{job['id']}")]
    assert reasons == ["it lies outside of the import root"] * 5  # whether it is there or not
    assert asked(rooted, "hostile")["failed"] == 1
    (folder / "manifest.csv").symlink_to(root.parent / "secret.csv")
    job = asked(rooted, "hostile", state="failed")
    assert "lies outside of the import root" in job["problem"]
    assert "SECRET" not in json.dumps(job) + rooted.get(job["failures"]).text


# A service of its own


def many(folder: Path, count: int) -> Path:
    return pack(folder / "many.zip", {f"{n:05}.jpg": jpeg(n % 40, (40, 30)) for n in range(count)})


def until(client: httpx.Client, location: str, done: int) -> dict[str, Any]:
    deadline = time.monotonic() + 280
    while True:
        job: dict[str, Any] = client.get(location).json()
        if job["done"] >= done or job["state"] == "done":
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def test_a_job_survives_a_restart_and_what_was_erased_meanwhile_does_not_rise(tiny_model: Path, tmp_path: Path) -> None:
    count = 1000
    with started(tmp_path / "data", tiny_model) as (address, process), httpx.Client(base_url=address) as client:
        location = sent(client, "/v1/galleries/default", many(tmp_path, count))
        second = sent(client, "/v1/galleries/default", pack(tmp_path / "x.zip", {"z.jpg": jpeg(1)}))
        assert client.get(second).json()["state"] == "queued"
        before = until(client, location, 1)
        assert before["state"] == "running"
        assert client.delete("/v1/galleries/default/images/00000.jpg").status_code == 204
        process.kill()
    with serving(tmp_path / "data", tiny_model) as address, httpx.Client(base_url=address) as client:
        job = ended(client, location)
        assert job["total"] == job["done"] == count
        assert job["created"] >= before["created"]
        assert job["created"] + job["unchanged"] == count
        assert job["unchanged"] <= 300  # of what was written and not yet noted
        assert ended(client, second)["created"] == 1
        assert client.get("/v1/galleries/default/images/00000.jpg").status_code == 404
        assert client.get("/v1/galleries/default").json()["images"] == count  # one erased, one of the second job
    assert examine(tmp_path / "data/galleries/default").findings == []


def test_a_service_that_is_stopped_goes_on_later(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as address, httpx.Client(base_url=address) as client:
        location = sent(client, "/v1/galleries/default", many(tmp_path, 1000))
        until(client, location, 1)
    with serving(tmp_path / "data", tiny_model) as address, httpx.Client(base_url=address) as client:
        job = ended(client, location)
        assert (job["created"], job["unchanged"], job["failed"]) == (1000, 0, 0)


def test_cancelling_keeps_what_is_done_and_leaves_no_archive(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tiny_model) as address, httpx.Client(base_url=address, timeout=60) as client:
        location = sent(client, "/v1/galleries/default", many(tmp_path, 1000))
        waiting = sent(client, "/v1/galleries/default", pack(tmp_path / "x.zip", {"waiting.jpg": jpeg(1)}))
        assert client.delete(waiting).json()["state"] == "cancelled"
        until(client, location, 1)
        job = client.delete(location).json()
        assert job["state"] == "cancelled"
        assert 0 < job["done"] < 1000
        assert client.get("/v1/galleries/default").json()["images"] == job["created"]
        metrics = client.get("/metrics").text
        assert 'vehicle_search_import_jobs{state="cancelled"} 2.0' in metrics
        assert f'vehicle_search_imported_images_total{{status="created"}} {float(job["created"])}' in metrics
    assert not list(data.glob("imports/*/archive"))
    left = [path for path in data.rglob("*") if path.is_file() and b"00999.jpg" in path.read_bytes()]
    assert left == []  # of what was never imported
    with serving(data, tiny_model) as address, httpx.Client(base_url=address) as client:
        assert client.get(location).json() == job


def test_a_gallery_that_is_dropped_ends_its_jobs(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as address, httpx.Client(base_url=address, timeout=60) as client:
        client.put("/v1/galleries/yard").raise_for_status()
        location = sent(client, "/v1/galleries/yard", many(tmp_path, 1000))
        until(client, location, 1)
        assert client.delete("/v1/galleries/yard", params={"confirm": "yard"}).status_code == 204
        assert "gallery" in ended(client, location, state="failed")["problem"]
        assert ended(client, sent(client, "/v1/galleries/default", pack(tmp_path / "x.zip", {"a.jpg": jpeg(1)})))


def test_a_full_disk_refuses_archives_until_there_is_space(tiny_model: Path, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path, megabytes=8) as disk,
        serving(disk / "data", tiny_model) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        filler = fill(disk)
        archive = pack(tmp_path / "x.zip", {"a.jpg": jpeg(1, (400, 300))})
        refused(client.post("/v1/galleries/default/imports", files={"archive": archive.read_bytes()}), 507)
        assert client.get("/v1/imports").json() == {"imports": []}
        filler.unlink()
        assert ended(client, sent(client, "/v1/galleries/default", archive))["created"] == 1


def test_an_archive_that_is_too_large_is_refused_as_it_comes(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model, "--max-import-bytes", "5000") as address:
        answer = httpx.post(f"{address}/v1/galleries/default/imports", files={"archive": bytes(6000)})
        refused(answer, 413, "5,000 bytes, the limit set by max_import_bytes")
        assert not list((tmp_path / "data/imports").iterdir())


def test_searches_go_first(tiny_model: Path, tmp_path: Path) -> None:
    """While searches come without a pause, an import goes on, and more slowly than alone."""
    with (
        serving(tmp_path / "data", tiny_model, "--threads", "1") as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        location = sent(client, "/v1/galleries/default", many(tmp_path, 1500))
        until(client, location, 1)
        before = client.get(location).json()["done"]
        began = time.monotonic()
        searches = 0
        while time.monotonic() - began < 3:
            assert client.post("/v1/galleries/default/search", content=jpeg(1)).status_code == 200
            searches += 1
        busy = (client.get(location).json()["done"] - before) / (time.monotonic() - began)
        assert searches > 30
        assert ended(client, location)["created"] == 1500
        assert busy < ended(client, location)["images_per_second"]


def test_a_data_folder_that_a_job_waits_in_is_a_data_folder(tiny_model: Path, tmp_path: Path) -> None:
    with started(tmp_path / "data", tiny_model) as (address, process), httpx.Client(base_url=address) as client:
        sent(client, "/v1/galleries/default", many(tmp_path, 500))
        process.kill()
    home = DataFolder(tmp_path / "data")
    assert home.names() == ["default"]
    home.close()


def test_one_archive_more_than_may_arrive_at_once_is_told_so(tiny_model: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.jpg": jpeg(0)}).read_bytes()
    with serving(tmp_path / "data", tiny_model, "--max-uploads", "1", "--body-seconds", "3600") as server:
        path = f"{server}/v1/galleries/default/imports"
        where = httpx.URL(server)
        with socket.create_connection((where.host, where.port or 0), timeout=60) as slow:
            head = "POST /v1/galleries/default/imports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n"
            slow.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode())
            while (answer := httpx.post(path, files={"archive": archive})).status_code != 429:
                assert answer.status_code == 202
            refused(answer, 429, "1 archives", "max_uploads")
            assert answer.headers["retry-after"] == "1"
        while (answer := httpx.post(path, files={"archive": archive})).status_code != 202:
            assert answer.status_code == 429


def test_an_archive_that_outlives_its_key_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = kept_key(data, "write")
    body = parts_of(pack(tmp_path / "a.zip", {"a.jpg": jpeg(0)}).read_bytes())
    fields = f"Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    head = f"POST /v1/galleries/default/imports HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    with serving(data, tiny_model) as server:
        where = httpx.URL(server)
        with socket.create_connection((where.host, where.port or 0), timeout=60) as slow:
            slow.sendall(head.encode() + body[:-1])
            KeyDatabase(data).revoke(str(key_id_of(token)), datetime.now(UTC))
            while httpx.get(f"{server}/v1/imports", headers=bearer(token)).status_code != 401:
                pass
            slow.sendall(body[-1:])
            assert slow.recv(65536).startswith(b"HTTP/1.1 401 ")
        admin = bearer(kept_key(data, "admin"))
        while (answer := httpx.get(f"{server}/v1/imports", headers=admin)).status_code == 401:
            pass
        assert answer.json() == {"imports": []}


def parts_of(archive: bytes) -> bytes:
    """A multipart body with the boundary x."""
    return b'--x\r\nContent-Disposition: form-data; name="archive"\r\n\r\n' + archive + b"\r\n--x--\r\n"
