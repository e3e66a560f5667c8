"""The soak in small: a service under far more clients than it takes keeps its promises, and a broken one is told."""

import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ["--times", "3", "--queue-size", "6", "--slow", "20", "--late", "30"]  # tests share their machine


def soak(model: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scripts.soak", "--model", str(model), *SMALL, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.timeout(300)
def test_twenty_seconds_of_it(tiny_model: Path) -> None:
    run = soak(tiny_model, "--seconds", "20", "--growth", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "BROKEN" not in run.stdout
    for promise in ("told 429", "every answer", "/livez is prompt", "MB resident", "none else", "SIGTERM", "sound"):
        assert promise in run.stdout, run.stdout
    for what in ("put", "add", "search", "slow head", "slow body", "too many chunks"):
        assert f"  {what} " in run.stdout, run.stdout


@pytest.mark.timeout(300)
def test_a_promise_that_is_broken_is_told(tiny_model: Path) -> None:
    run = soak(tiny_model, "--seconds", "3", "--growth", "-1")  # nothing takes less than nothing
    assert run.returncode == 1, run.stdout + run.stderr
    assert "BROKEN  MB resident" in run.stdout
