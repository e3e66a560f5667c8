"""The units in docs/operations/install.md and docs/operations/backup.md, as systemd understands them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guide_blocks import blocks_of

SERVICE = "vehicle-search.service"
EXPOSURE = 20  # tenths, of 100; a unit that says nothing of it has 92


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every unit of both pages, with this environment's commands."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    folder = tmp_path_factory.mktemp("units")
    for page in ("install", "backup"):
        for block in blocks_of(Path(f"docs/operations/{page}.md")):
            if block.run_by != "tests/test_systemd_units.py":
                continue
            found = [(SERVICE, block.text)] if block.language == "ini" else []
            found += re.findall(
                r"tee /etc/systemd/system/(\S+) <<'END'\n(.*?)^END$", block.text, re.MULTILINE | re.DOTALL
            )
            for name, text in found:
                (folder / name).write_text(text.replace("/opt/vehicle-search/bin", str(Path(sys.executable).parent)))
    return sorted(folder.iterdir())


def test_systemd_knows_every_word_of_them(units: list[Path]) -> None:
    assert [unit.name for unit in units] == ["vehicle-search-backup.service", "vehicle-search-backup.timer", SERVICE]
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_the_service_is_shown_no_more_than_it_needs(units: list[Path]) -> None:
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", units[-1]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-200:]
