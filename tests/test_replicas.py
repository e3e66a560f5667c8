"""Services that share keys, import jobs and archives, as processes."""

import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from tests.http_client import parts, refused
from tests.object_server import object_server
from tests.pictures import jpeg
from tests.postgres_server import PostgresServer
from tests.server_process import serving, started
from tests.test_sweeper import until

IMAGES, SEARCH = "/v1/galleries/default/images", "/v1/galleries/default/search"


@contextmanager
def shared_options(folder: Path, url: str) -> Iterator[list[str]]:
    """What tells a service of the database at ``url`` and of an object store of our own."""
    for name, text in ("url", url), ("access", "a"), ("secret", "b\n"):
        (folder / name).write_text(text)
    with object_server() as store:
        yield [
            "--database-url-file", str(folder / "url"), "--crops-url", "s3://cars/replicas", "--crops-endpoint", store,
            "--crops-access-key-file", str(folder / "access"), "--crops-secret-key-file", str(folder / "secret"),
        ]  # fmt: skip


def test_a_query_that_one_replica_keeps_is_searched_and_erased_at_the_other(
    tiny_model: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    with (
        shared_options(tmp_path, postgres.new_database()) as shared,
        serving(tmp_path / "one", tiny_model, *shared) as first,
        serving(tmp_path / "two", tiny_model, *shared) as second,
        httpx.Client(timeout=60) as client,
    ):
        for number, address in enumerate((first, second)):
            assert client.put(
                f"{address}{IMAGES}/x", files=parts(jpeg(number), metadata={"camera_id": f"c{number}"})
            ).is_success  # fmt: skip
        made = client.post(f"{first}/v1/queries", content=jpeg(1))
        path, asked = made.headers["Location"], {"query_id": made.json()["query_id"]}
        assert client.get(second + path).json() == client.get(first + path).json() == made.json()
        assert client.get(f"{second}{path}/picture").content == jpeg(1)
        for address, camera, same in (second, "c1", True), (first, "c0", False), (second, "c1", True):
            (match,) = client.get(address + SEARCH, params=asked).json()["matches"]
            assert match["camera_id"] == camera
            assert (match["distance"] < 1e-3) is same
        assert client.delete(second + path).status_code == 204
        for address in (first, second):
            for gone in (
                client.get(address + path), client.get(f"{address}{path}/picture"), client.delete(address + path),
                client.get(address + SEARCH, params=asked),
            ):  # fmt: skip
                refused(gone, 404, asked["query_id"])


def test_an_import_goes_on_in_another_process_when_its_owner_is_killed(
    tiny_model: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    """One after the other with the same galleries, because a folder of galleries is one process's alone."""
    url = postgres.new_database()
    archive = tmp_path / "cars.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for n in range(600):
            file.writestr(f"{n:03}.jpg", jpeg(n))
    with shared_options(tmp_path, url) as options:
        shared = [*options, "--audit", "--audit-required"]
        with started(tmp_path / "data", tiny_model, *shared) as (first, process):
            with archive.open("rb") as body:
                sent = httpx.post(
                    f"{first}/v1/galleries/default/imports", files={"archive": ("cars.zip", body)}, timeout=60
                )  # fmt: skip
            assert sent.status_code == 202, sent.text
            job = sent.headers["Location"]
            until(lambda: httpx.get(f"{first}{job}").json()["done"] > 0)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        with psycopg.connect(url) as connection:  # as if the lease had ended
            assert connection.execute("SELECT ended FROM vehicle_search.imports").fetchall() == [(False,)]
            connection.execute("UPDATE vehicle_search.imports SET lease_until = now()")
        with started(tmp_path / "data", tiny_model, *shared) as (second, process):
            until(lambda: httpx.get(f"{second}{job}").json()["finished_at"] is not None)
            ended = httpx.get(f"{second}{job}").json()
            assert (ended["state"], ended["total"], ended["done"], ended["failed"]) == ("done", 600, 600, 0), ended
            assert httpx.get(f"{second}/v1/galleries/default").json()["images"] == 600
            assert [each["id"] for each in httpx.get(f"{second}/v1/imports").json()["imports"]] == [ended["id"]]
            audited = httpx.get(f"{second}/v1/audit", params={"action": "import"}).json()["entries"]
            assert [each["import_id"] for each in audited] == [ended["id"]]
            assert not (tmp_path / "data" / "audit").exists()
            process.terminate()
            assert process.wait(30) == 0
