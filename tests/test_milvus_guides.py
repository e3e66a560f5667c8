"""What the guides say of galleries on Milvus, typed as they say it, on real servers; skipped where Milvus' is not there."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from index.model_path import DEFAULT_MODEL
from index.vehicle_index import main as vehicle_index
from tests.guide_blocks import Block, Workplace, blocks_of, commands_of
from tests.key_holder import bearer
from tests.milvus_homes import milvus_uri, new_home, new_prefix
from tests.object_server import object_server
from tests.postgres_server import PostgresServer
from tests.test_guides import in_miniature

MANIFEST = "examples/demo-gallery/manifest.csv"
IMAGES = 119
SECRETS = {"milvus-token": "root:Milvus", "access-key": "guide", "secret-key": "guide-secret"}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What stands in the guides, and what is here instead; collections are dropped at the end."""
    prefix = new_prefix()
    for name, text in SECRETS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with object_server() as store:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "guide", "AWS_SECRET_ACCESS_KEY": "guide-secret", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": store, "VEHICLE_SEARCH_MILVUS_PREFIX": prefix,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield {
            "http://milvus.example:19530": milvus_uri(), "https://store.example": store,
            "/run/secrets/milvus_token": str(tmp_path / "milvus-token"), "/srv/one": str(tmp_path / "srv"),
        }  # fmt: skip
    new_home(prefix).close()


@pytest.fixture
def workplace(here: dict[str, str], tmp_path: Path) -> Iterator[Workplace]:
    (tmp_path / "models").mkdir()
    shutil.copy(DEFAULT_MODEL, tmp_path / "models/default.onnx")
    place = Workplace(tmp_path, "", {}, trainer=in_miniature)
    yield place
    place.stop()


def block_of(page: str, here: dict[str, str]) -> Block:
    """The one that this module runs, of this place."""
    (block,) = (each for each in blocks_of(Path(page)) if each.run_by == "tests/test_milvus_guides.py")
    text = block.text
    for said, ours in here.items():
        text = text.replace(said, ours)
    return replace(block, text=text)


def stored(address: str, **headers: str) -> int:
    """How a service answers who stores an image."""
    content = Path("examples/query.jpg").read_bytes()
    return httpx.put(f"http://{address}/v1/galleries/default/images/a", content=content, headers=headers).status_code


def test_a_service_past_one_machine(workplace: Workplace, here: dict[str, str], tmp_path: Path) -> None:
    workplace.run(block_of("docs/scaling.md", here))
    assert stored(workplace.address) == 201
    assert (tmp_path / "srv/objects").is_dir()  # as the page says of crops


def test_there_and_back(workplace: Workplace, here: dict[str, str], tmp_path: Path) -> None:
    assert vehicle_index(["add", "--data-dir", str(tmp_path / "data"), "--model", str(DEFAULT_MODEL), MANIFEST]) == 0
    block = block_of("docs/operations/exchange.md", here)
    there, back = block.text.splitlines()
    workplace.run(replace(block, text=there, printed=f"…default: {IMAGES} created"))
    workplace.run(replace(block, text=back, printed=f"…{IMAGES} there already"))


def test_a_replica(workplace: Workplace, here: dict[str, str], tmp_path: Path, postgres: PostgresServer) -> None:
    here["postgresql://vehicle_search:…@db.example/vehicle_search"] = postgres.new_database()
    block = block_of("docs/operations/replicas.md", here)
    install, write, keys, serve = (command for command, _ in commands_of(block.text))
    assert install.startswith("pip install")  # of the internet
    for command in (write, f"{keys} > token", serve):
        workplace.run(Block("sh", command, block.line))
    assert httpx.get(f"http://{workplace.address}/v1/galleries").status_code == 401
    assert stored(workplace.address, **bearer((tmp_path / "token").read_text().strip())) == 201
