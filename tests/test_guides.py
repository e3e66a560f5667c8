"""The guides' commands are run, in their order, and what they print is as the guide says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from index.vehicle_index import main as vehicle_index
from service.wire.problems import _STATUS, TYPES, problem_of
from tests.server_process import serving

DOCS = Path("docs")
MODEL = Path("models/default.onnx").resolve()
ADDRESS = "http://127.0.0.1:8000"
COMMANDS, OUTPUT = ("sh", "python"), "text"
HTTP_ERROR = 22  # with which curl ends


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and text, the line it begins at, and what it is said to print."""

    language: str
    text: str
    line: int
    printed: str | None


def blocks_of(page: Path) -> list[Block]:
    """Blocks that are run; a block of output belongs to the one before it."""
    found: list[Block] = []
    text = page.read_text(encoding="utf-8")
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        language, content = fence.groups()
        line = text.count("\n", 0, fence.start()) + 1
        assert language in (*COMMANDS, OUTPUT), f"{page}:{line}: a block of {language or 'no language'}"
        if language in COMMANDS:
            found.append(Block(language, content, line, None))
        else:
            before = found.pop()
            assert before.printed is None, f"{page}:{line}: output of no command"
            found.append(Block(before.language, before.text, before.line, content))
    return found


def as_printed(told: str) -> re.Pattern[str]:
    """What matches a text in which … stands for anything."""
    return re.compile(".*?".join(map(re.escape, told.strip().split("…"))), re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the examples, and a service with the demo gallery."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copytree("examples", folder / "examples")
    assert vehicle_index(["add", "--data-dir", str(folder / "data"), "--model", str(MODEL), "examples/demo-gallery/manifest.csv"]) == 0  # fmt: skip
    with serving(folder / "data", MODEL, log=folder / "log") as address:
        yield folder, address
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.parametrize("page", ["integrating.md", "scaling.md"])
def test_a_guide_does_what_it_says(page: str, workplace: tuple[Path, str]) -> None:
    folder, address = workplace
    (folder / ".curlrc").write_text("silent\nfail-with-body\n")
    environment = {
        **os.environ, "CURL_HOME": str(folder), "PYTHONPATH": str(Path.cwd()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    blocks = blocks_of(DOCS / page)
    assert blocks
    for block in blocks:
        run = subprocess.run(
            command_of(block, address), cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        refused = block.printed is not None and TYPES in block.printed
        assert run.returncode == (HTTP_ERROR if refused else 0), f"line {block.line}: {run.stderr or run.stdout}"
        if block.printed is not None:
            assert as_printed(block.printed).match(run.stdout.strip()), f"line {block.line}: {run.stdout}"


def command_of(block: Block, address: str) -> list[str]:
    """What runs a block; variables of a shell are there in the next one."""
    text = block.text.replace(ADDRESS, address)
    if block.language == "python":
        return [sys.executable, "-c", text]
    return ["bash", "-euo", "pipefail", "-c", f"[ ! -e .kept ] || . ./.kept\nset -a\n{text}\nexport -p > .kept"]


def test_the_table_of_errors_is_whole() -> None:
    text = (DOCS / "integrating.md").read_text(encoding="utf-8").split("## Errors")[1].split("## Keys")[0]
    rows = {int(status): set(re.findall(r"`([a-z-]+)`", kinds)) for status, kinds in re.findall(r"^\| (\d{3}) \| ([^|]*) \|", text, re.MULTILINE)}  # fmt: skip
    rows[499] = {"client-left"}
    known: dict[int, set[str]] = {}
    for kind, (status, _) in _STATUS.items():
        known.setdefault(status, set()).add(problem_of(kind("x"))["type"].removeprefix(TYPES))
    assert rows == known
