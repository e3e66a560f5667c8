"""What the guides say of galleries on Milvus, typed as they say it, on real servers; skipped where Milvus' is not there."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from index.model_path import DEFAULT_MODEL
from index.vehicle_index import main as vehicle_index
from tests.guide_blocks import SERVE, Block, blocks_of, commands_of
from tests.key_holder import bearer
from tests.milvus_homes import milvus_uri, new_home, new_prefix
from tests.object_server import object_server
from tests.postgres_server import PostgresServer
from tests.server_process import started

MANIFEST = "examples/demo-gallery/manifest.csv"
IMAGES = 119
OURS = {"AWS_ACCESS_KEY_ID": "guide", "AWS_SECRET_ACCESS_KEY": "guide-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What stands in the guides, and what is here instead; collections are dropped at the end."""
    prefix = new_prefix()
    with object_server() as store:
        files = {name: tmp_path / name for name in ("milvus_token", "access-key", "secret-key", "srv")}
        for name, text in (("milvus_token", "root:Milvus"), ("access-key", "guide"), ("secret-key", "guide-secret")):
            files[name].write_text(text)
            files[name].chmod(0o600)
        for name, value in {**OURS, "AWS_ENDPOINT_URL": store, "VEHICLE_SEARCH_MILVUS_PREFIX": prefix}.items():
            monkeypatch.setenv(name, value)
        yield {
            "http://milvus.example:19530": milvus_uri(), "/run/secrets/milvus_token": str(files["milvus_token"]),
            "/srv/one": str(files["srv"]), "https://store.example": store,
            **{f"{option} {name}": f"{option} {files[name.replace('-token', '_token')]}" for option, name in (
                ("--milvus-token-file", "milvus-token"), ("--crops-access-key-file", "access-key"),
                ("--crops-secret-key-file", "secret-key"))},
        }  # fmt: skip
    new_home(prefix).close()


def block_of(page: str) -> Block:
    """The one that this module runs."""
    (block,) = (each for each in blocks_of(Path(page)) if each.run_by == "tests/test_milvus_guides.py")
    return block


def here(text: str, place: dict[str, str]) -> str:
    text = text.replace("\\\n", "")
    for said, ours in place.items():
        text = text.replace(said, ours)
    return text


def run(command: str, folder: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path.cwd()),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_a_service_past_one_machine(place: dict[str, str], tmp_path: Path) -> None:
    command = here(block_of("docs/scaling.md").text, place)
    assert command.startswith(SERVE)
    with started(tmp_path, DEFAULT_MODEL, *shlex.split(command.removeprefix(SERVE))) as (address, _):
        sent = httpx.put(f"{address}/v1/galleries/default/images/a", content=Path("examples/query.jpg").read_bytes())
        assert sent.status_code == 201
        assert (tmp_path / "srv/objects").is_dir()  # as the page says of crops


def test_there_and_back(place: dict[str, str], tmp_path: Path) -> None:
    assert vehicle_index(["add", "--data-dir", str(tmp_path / "data"), "--model", str(DEFAULT_MODEL), MANIFEST]) == 0
    there, back = here(block_of("docs/operations/exchange.md").text, place).splitlines()
    assert f"default: {IMAGES} created" in run(there, tmp_path)
    assert f"{IMAGES} there already" in run(back, tmp_path)


def test_a_replica(place: dict[str, str], tmp_path: Path, postgres: PostgresServer) -> None:
    place["postgresql://vehicle_search:…@db.example/vehicle_search"] = postgres.new_database()
    install, write, keys, serve = (here(command, place) for command, _ in commands_of(block_of("docs/operations/replicas.md").text))  # fmt: skip
    assert install.startswith("pip install")  # of the internet
    run(write, tmp_path)
    token = run(keys, tmp_path).strip()
    url = str(tmp_path / "database-url")
    options = [url if word == "database-url" else word for word in shlex.split(serve.removeprefix(SERVE))]
    with started(tmp_path / "data", DEFAULT_MODEL, *options) as (address, _):
        assert httpx.get(f"{address}/v1/galleries").status_code == 401
        sent = httpx.put(
            f"{address}/v1/galleries/default/images/a",
            content=Path("examples/query.jpg").read_bytes(),
            headers=bearer(token),
        )
        assert sent.status_code == 201
