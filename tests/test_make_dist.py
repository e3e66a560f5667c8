"""What people install: a wheel that has everything, and runs where there is no checkout."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from index.model_path import DEFAULT_MODEL, PACKAGED_MODEL, model_path
from scripts import make_dist
from tests.server_process import free_port


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    assert make_dist.main(["--out", str(folder)]) == 0
    return folder


def test_there_are_four_of_one_version(dist: Path) -> None:
    version = make_dist.VERSION.read_text().strip()
    assert sorted(path.name for path in dist.iterdir()) == [
        f"vehicle_search-{version}-py3-none-any.whl", f"vehicle_search-{version}.tar.gz",
        f"vehicle_search_client-{version}-py3-none-any.whl", f"vehicle_search_client-{version}.tar.gz",
    ]  # fmt: skip


def test_who_builds_again_gets_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    assert make_dist.main(["--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in dist.iterdir()
    }


def test_what_lacks_a_file_is_told(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("vehicle_search-*.whl")
    poor = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(poor, "w") as target:
        for name in source.namelist():
            if name not in ("index/default.onnx", "service/console/page.html"):
                target.writestr(name, source.read(name))
    problems = make_dist.problems_of_wheel(poor)
    assert problems == [f"{wheel.name} lacks service/console/page.html", f"{wheel.name} lacks the default model"]


def test_it_serves_by_its_own_model_from_an_empty_folder(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("vehicle_search-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "service.vehicle_search", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=empty, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "is ready" in process.stdout.readline()
            model = httpx.get(f"http://127.0.0.1:{port}/v1/model").json()
            assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        finally:
            process.terminate()
            assert process.wait(30) == 0
    assert model["fingerprint"] == hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()


def test_the_name_of_the_default_model_means_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_path(DEFAULT_MODEL) == DEFAULT_MODEL  # a checkout has its own
    monkeypatch.chdir(tmp_path)
    assert model_path(DEFAULT_MODEL) == (PACKAGED_MODEL if PACKAGED_MODEL.exists() else DEFAULT_MODEL)
    assert model_path(Path("other.onnx")) == Path("other.onnx")
