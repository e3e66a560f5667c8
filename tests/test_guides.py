"""The guides' commands are run, in their order, and what they print is as the guide says."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.vehicle_index import main as vehicle_index
from model_export.vehicle_model import main as vehicle_model
from service.wire.problems import _STATUS, TYPES, problem_of
from tests.data_set_trees import coloured_vehicles, veri776
from tests.guide_blocks import Workplace, blocks_of, commands_of
from tests.server_process import serving

MODEL = Path("models/default.onnx").resolve()
PAGES = [
    Path("README.md"), Path("deploy/README.md"), Path("vehicle_search_client/README.md"),
    *sorted(each for each in Path("docs").rglob("*.md") if each.name != "api.md"),
]  # fmt: skip
RUN = [page for page in PAGES if any(not (each.not_run or each.run_by) for each in blocks_of(page))]
_TINY = ("fit.iterations=2", "fit.warm_up=1", "fit.precision=fp32", "frozen_stages=0")
SMALLER = {
    "train": (
        *_TINY,
        "model.backbone=tiny",
        "model.vnet=tiny",
        "model.vnet_size=32",
        "model.input_size=64",
        "pretrained=",
    ),
    "train-vnet": (*_TINY, "model.vnet=tiny", "model.vnet_size=32", "pretrained="),
    "adapt": _TINY,
}


def in_miniature(words: list[str]) -> int:
    """``vehicle-model``, whose trainings are small."""
    return vehicle_model([*words, *(word for key in SMALLER.get(words[0], ()) for word in ("--set", key))])


# A block more or fewer that is not run: say so here, too.
NOT_RUN = {
    "Docker": 4, "VeRi-776 and a GPU": 3, "a GPU": 1, "a cluster of Kubernetes": 12, "a person": 1,
    "run on the page of upgrades": 1, "systemd": 2, "the internet": 7,
    "what was measured": 8,
}  # fmt: skip


def test_every_block_is_run_or_says_why_not() -> None:
    blocks = [(page, block) for page in PAGES for block in blocks_of(page)]
    assert Counter(block.not_run for _, block in blocks if block.not_run) == NOT_RUN
    for page, block in blocks:
        if block.run_by:
            assert page.name in Path(block.run_by).read_text(encoding="utf-8"), f"{page}:{block.line}"
        if block.language == "console":
            assert list(commands_of(block.text)), f"{page}:{block.line}: nothing is typed"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the demo gallery."""
    folder = tmp_path_factory.mktemp("guide") / "data"
    assert vehicle_index(["add", "--data-dir", str(folder), "--model", str(MODEL), "examples/demo-gallery/manifest.csv"]) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def shared(filled: Path) -> Iterator[str]:
    """A service with the demo gallery: its host and port."""
    log = filled.parent / "log"
    with serving(shutil.copytree(filled, filled.parent / "shared"), MODEL, log=log) as address:
        yield address.removeprefix("http://")
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def places(filled: Path, next_model: Path) -> dict[str, str]:
    """Where commands that are run first find what a person would have, by the names of variables."""
    cars = filled.parent / "cars"
    cars.mkdir()
    coloured_vehicles(cars, 110)
    return {"NEXT_MODEL": str(next_model), "VEHICLES": str(cars), "VERI": str(veri776(filled.parent / "VeRi"))}


@pytest.mark.parametrize("page", RUN, ids=str)
def test_a_guide_does_what_it_says(
    page: Path, filled: Path, shared: str, places: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree("examples", tmp_path / "examples")
    shutil.copytree(filled, tmp_path / "data")
    shutil.copy("examples/query.jpg", tmp_path / "car.jpg")
    (tmp_path / "models").mkdir()
    shutil.copy(MODEL, tmp_path / "models/default.onnx")
    workplace = Workplace(tmp_path, shared, places, trainer=in_miniature)
    try:
        for block in blocks_of(page):
            if not (block.not_run or block.run_by):
                workplace.run(block)
    finally:
        workplace.stop()


def test_the_table_of_errors_is_whole() -> None:
    text = Path("docs/integrating.md").read_text(encoding="utf-8").split("## Errors")[1].split("## Keys")[0]
    rows = {int(status): set(re.findall(r"`([a-z-]+)`", kinds)) for status, kinds in re.findall(r"^\| (\d{3}) \| ([^|]*) \|", text, re.MULTILINE)}  # fmt: skip
    rows[499] = {"client-left"}
    known: dict[int, set[str]] = {}
    for kind, (status, _) in _STATUS.items():
        known.setdefault(status, set()).add(problem_of(kind("x"))["type"].removeprefix(TYPES))
    assert rows == known
