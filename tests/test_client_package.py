"""The client as integrators get it: alone, small, typed, and its README says what it does."""

import inspect
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vehicle_search_client
from tests.archives import pack
from tests.pictures import jpeg
from vehicle_search_client import AsyncVehicleSearch, VehicleSearch
from vehicle_search_client.clients import Routes

PACKAGE = Path(vehicle_search_client.__file__).parent
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEAVY = ("torch", "faiss", "onnxruntime", "apsw", "fastapi", "pydantic", "numpy", "PIL", "pandas", "index", "service")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples find their pictures."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("car.jpg", "car2.jpg")):
        (tmp_path / name).write_bytes(jpeg(number))
    (tmp_path / "crops" / "cam1").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "crops" / "cam1" / f"{number}.jpg").write_bytes(jpeg(10 + number))
    (tmp_path / "crops" / "bad.jpg").write_bytes(b"no picture")
    pack(tmp_path / "crops.zip", {"a.jpg": jpeg(20), "b.jpg": jpeg(21)})
    return tmp_path


@pytest.mark.parametrize("text", [README, Path("README.md").read_text(encoding="utf-8")], ids=["own", "main"])
def test_the_examples_run(text: str, server: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = FENCE.findall(text)
    assert blocks
    with VehicleSearch(server) as search:
        search.put_image("car1", "car.jpg", vehicle_id="v17", camera_id="c002")
        search.create_gallery("yard", retention_days=30)
        try:
            names: dict[str, object] = {}
            for block in blocks:
                exec(compile(block.replace("http://127.0.0.1:8000", server), "README", "exec"), names)
            opened = names["search"]
            assert isinstance(opened, VehicleSearch)
            opened.close()
        finally:
            search.drop_gallery("yard", confirm="yard")
            search.delete_images(everything=True)
    shown = capsys.readouterr().out
    assert "1 car1 0.0 v17" in shown


def test_the_readme_names_every_method() -> None:
    for kind in (VehicleSearch, AsyncVehicleSearch):
        methods = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
        for name in methods - {"ask", "close"}:
            assert re.search(rf"\b{name}\b", README), name


def test_every_request_is_a_method_with_its_own_signature() -> None:
    for name, route in vars(Routes).items():
        if name.startswith("_"):
            continue
        with VehicleSearch() as search:
            method = getattr(search, name)
            assert inspect.signature(method) == inspect.signature(route.__wrapped__)
            assert inspect.getdoc(method) == inspect.getdoc(route.__wrapped__) != ""


def test_it_brings_nothing_heavy() -> None:
    code = f"import vehicle_search_client, sys; print([n for n in {HEAVY!r} if n in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == "[]"


def test_it_is_a_distribution_of_its_own(tmp_path: Path) -> None:
    source = shutil.copytree(PACKAGE, tmp_path / "vehicle_search_client", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", tmp_path / "wheels", source], check=True, timeout=120, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("vehicle_search_client-*.whl")
    with zipfile.ZipFile(wheel) as files:
        packed = {name for name in files.namelist() if name.startswith("vehicle_search_client/")}
        (metadata,) = (files.read(name).decode() for name in files.namelist() if name.endswith("/METADATA"))
    modules = {f"vehicle_search_client/{path.name}" for path in PACKAGE.glob("*.py")}
    assert packed == modules | {"vehicle_search_client/py.typed"}
    needed = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert sorted(needed) == ["httpx", "tqdm"]
