"""The benchmark of the service, run for moments on the tiny model and without its peers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "scripts.bench_serve"]
MEASURED = ("pictures_per_second", "p50_ms", "p99_ms", "p99_over_p50", "processor_ms", "resident_mb", "over_limit",
            "processor_over_limit")  # fmt: skip


def test_every_figure_of_every_work_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    moments = ["--seconds", "0.3", "--rounds", "2", "--rows", "200", "--clients", "1", "3", "--only", "ours"]
    run = subprocess.run(
        [*COMMAND, "--model", tiny_model, *moments, "--json", figures], capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for title in (
        "search, 1 client ",
        "search, 3 clients",
        "batch of 16 pictures, 8 clients",
        "ingest of 16 pictures, 8",
    ):
        assert title in run.stdout
    turns = json.loads(figures.read_text())
    assert [(turn["work"], turn["clients"]) for turn in turns] == [
        ("search", 1), ("search", 3), ("batch", 8), ("ingest", 8)
    ]  # fmt: skip
    for turn in turns:
        assert len(turn["rounds"]) == 2
        limit, ours = turn["median"]["limit"], turn["median"]["ours"]
        assert all(limit[name] > 0 and ours[name] > 0 for name in MEASURED), turn
        assert limit["over_limit"] == 1
        assert ours["client_ms"] > 0
        assert ours["failed"] == ours["refused"] == 0
        assert (ours["outside_ms"] is not None) == (turn["work"] == "search")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seconds", "-1"], "argument --seconds: '-1' is not a number above 0"),
        (["--seconds", "nan"], "argument --seconds: 'nan' is not a number above 0"),
        (["--clients", "0"], "argument --clients: '0' is not a whole number from 1 on"),
        (["--only", "nonsense"], "argument --only: invalid choice: 'nonsense'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words: list[str], message: str) -> None:
    run = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert message in run.stderr.splitlines()[-1]
