"""Services that share keys, import jobs and archives, as processes."""

import signal
import zipfile
from pathlib import Path

import httpx
import psycopg

from tests.object_server import object_server
from tests.pictures import jpeg
from tests.postgres_server import PostgresServer
from tests.server_process import started
from tests.test_sweeper import until


def test_an_import_goes_on_in_another_process_when_its_owner_is_killed(
    tiny_model: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    """One after the other with the same galleries, because a folder of galleries is one process's alone."""
    url = postgres.new_database()
    for name, text in ("url", url), ("access", "a"), ("secret", "b\n"):
        (tmp_path / name).write_text(text)
    archive = tmp_path / "cars.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for n in range(600):
            file.writestr(f"{n:03}.jpg", jpeg(n))
    with object_server() as store:
        shared = (
            "--database-url-file", str(tmp_path / "url"), "--crops-url", "s3://cars/replicas", "--crops-endpoint", store,
            "--audit", "--audit-required", "--crops-access-key-file", str(tmp_path / "access"), "--crops-secret-key-file", str(tmp_path / "secret"),
        )  # fmt: skip
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
