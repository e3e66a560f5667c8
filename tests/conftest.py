"""Fixtures that every room shares: one tiny real model, exported once a run."""

import csv
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from index.data_folder import DataFolder
from index.local_gallery import LocalGallery
from index.postgres.postgres_database import PostgresDatabase
from model_export.exporting.onnx_export import check_crops, export_model
from model_export.network.mvan import MVAN, MVANConfig, VNet
from model_export.training.checkpoint import save_checkpoint
from model_export.training.configuration import as_mapping
from model_export.training.mnet_training import Restored, Source, Training
from tests.http_client import AnswerCheck
from tests.index_kinds import OnDevice, device_of
from tests.postgres_server import PostgresServer, postgres_server, programs
from tests.server_process import serving

TINY = MVANConfig(
    backbone="tiny", vnet="tiny", vnet_size=32, input_size=64, lam="standardized", embedding="fused", neck=True,
    normalized=True,
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Let processes that tests start hear SIGINT, also where the shell that runs the tests in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def untrained(shape: MVANConfig = TINY, *, seed: int = 0) -> Restored:
    """A model with seeded weights as a checkpoint would give it; its V-Net is sure of itself, as trained ones are."""
    torch.manual_seed(seed)
    model = MVAN(shape)
    if model.vnet is not None:
        be_sure(model.vnet, shape)
    config = Training(
        out=Path("none.pt"), sources=(Source(data="tiny/manifest.csv"),), name="tiny", model=shape,
        vnet=Path("vnet.pt"),
    )  # fmt: skip
    return Restored(model.eval(), config, {}, ("tiny",), "tiny")


def be_sure(vnet: VNet, shape: MVANConfig) -> None:
    """Stretch V-Net's logits over test pictures, so that each viewpoint wins on some and p is nearly one-hot."""
    vnet.eval()
    last = list(vnet.head.children())[-1]
    assert isinstance(last, nn.Linear)
    crops = torch.from_numpy(check_crops(64, (shape.input_size, shape.input_size))).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        logits = vnet.logits(crops)
        scale = 12 / logits.std(0)
        last.weight.mul_(scale[:, None])
        last.bias.copy_((last.bias - logits.mean(0)) * scale)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX file: 64 × 64 px, 32-d unit embeddings, front/rear/side."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export_model(untrained(), path)
    return path


@pytest.fixture(scope="session")
def next_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``tiny_model``, of another training: its vectors may not be compared with that one's."""
    path = tmp_path_factory.mktemp("model") / "next.onnx"
    export_model(untrained(seed=1), path)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of a process; skips where none is installed."""
    if programs() is None:
        pytest.skip("PostgreSQL's server is not installed (Debian's package postgresql)")
    with postgres_server() as server:
        yield server


@pytest.fixture
def shared_database(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database of this test's own."""
    with closing(PostgresDatabase(postgres.new_database())) as opened:
        yield opened


def write_checkpoint(path: Path, restored: Restored) -> Path:
    """What training would have left of this model."""
    content = {
        "kind": "mvan", "config": as_mapping(restored.config), "weights": restored.model.state_dict(),
        "metrics": restored.metrics, "trained_on": list(restored.trained_on),
        "viewpoint_labels_from": restored.viewpoint_labels_from,
    }  # fmt: skip
    save_checkpoint(path, content)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that ``tiny_model`` could have been exported from."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.pt", untrained())


@pytest.fixture(scope="session")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base address of a running service; tests use galleries of their own. Nothing they do is logged as a bug."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "data", tiny_model, log=folder / "log") as address:
        yield address
    log = (folder / "log").read_text()
    assert "Traceback" not in log, log


@pytest.fixture(scope="session")
def answer_check(server: str) -> AnswerCheck:
    """What every answer of the running service is held against."""
    return AnswerCheck(server)


@pytest.fixture
def client(server: str, answer_check: AnswerCheck) -> Iterator[httpx.Client]:
    """A client of the running service that checks each answer."""
    with httpx.Client(base_url=server, timeout=60, event_hooks={"response": [answer_check]}) as opened:
        yield opened


@pytest.fixture
def gallery(client: httpx.Client) -> Iterator[str]:
    """Path of an empty gallery of this test's own."""
    name = f"test-{uuid.uuid4().hex}"
    assert client.put(f"/v1/galleries/{name}").status_code == 201
    yield f"/v1/galleries/{name}"
    client.delete(f"/v1/galleries/{name}", params={"confirm": name})


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 vehicles (a colour each), 2 cameras (bright, dark), 3 viewpoints (where a white bar is)."""
    folder = tmp_path_factory.mktemp("cars")
    rng = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "vehicle_id", "camera_id", "viewpoint", "part"))
        for vehicle in range(12):
            colour = rng.integers(30, 225, 3)
            for camera in range(2):
                for view, name in enumerate(("front", "rear", "side")):
                    pixels = np.full((40, 40, 3), colour, np.float64) * (1.0 if camera else 0.7)
                    pixels[4 + 12 * view : 10 + 12 * view] = 250
                    noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
                    path = f"v{vehicle}_{camera}_{name}.png"
                    Image.fromarray(noisy).save(folder / path)
                    writer.writerow((path, f"v{vehicle}", f"c{camera}", name, "test" if vehicle < 3 else "train"))
    return folder


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files and folders that are flushed, in order; they are, too."""
    names: list[str] = []
    flush = os.fsync

    def noted(handle: int) -> None:
        names.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        flush(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return names


@pytest.fixture(autouse=True)
def galleries_on_a_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Galleries of a test whose ``kind`` is ``OnDevice`` are searched there; the test need not know."""
    kinds = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    for kind in kinds:
        if isinstance(kind, OnDevice):
            device = device_of(kind)
            for each in (DataFolder, LocalGallery):
                monkeypatch.setitem(each.__init__.__kwdefaults__ or {}, "device", device)
