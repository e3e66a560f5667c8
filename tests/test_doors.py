"""What the three commands have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

DOORS = ["vehicle-index", "vehicle-model", "vehicle-search"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name(words[0])
    return subprocess.run([command, *words[1:]], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("door", DOORS)
def test_a_door_tells_its_release(door: str) -> None:
    told = run(door, "--version")
    assert told.returncode == 0
    assert told.stdout.split()[0] == door
    assert told.stdout.split()[1][0].isdecimal()


@pytest.mark.parametrize("door", DOORS)
def test_a_door_without_words_shows_how_to_go_on(door: str) -> None:
    silent = run(door)
    assert silent.returncode == 2
    assert f"usage: {door}" in silent.stderr


@pytest.mark.parametrize("door", DOORS)
def test_help_teaches_by_example(door: str) -> None:
    assert run(door, "--help").stdout.count(f"\n  {door} ") >= 3
