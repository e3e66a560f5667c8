"""``vehicle-model reproduce`` as it is typed, killed and typed again."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_export.vehicle_model import main

SETTINGS = [
    "--budget", "small", "--hold-out", "part=test", "--tables", "1", "--set-vnet", "fit.iterations=20",
    "--set-vnet", "model.vnet=tiny", "--set-vnet", 'pretrained=""', "--set", "model.vnet=tiny",
    "--set", "fit.iterations=40", "--set", "fit.checkpoint_every=5", "--set", "resize=36", "--set", "model.input_size=32",
    "--set", "sources.0.p=4", "--set", "sources.0.k=2",
]  # fmt: skip


def test_killed_and_started_again_it_goes_on(data: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "model_export.vehicle_model", "reproduce", "--data", str(data / "manifest.csv"), "--out",
        str(tmp_path), *SETTINGS,
    ]  # fmt: skip
    first, second = tmp_path / "rows" / "baseline-1" / "row.json", tmp_path / "rows" / "baseline-2" / "mvan.pt"
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (first.exists() and second.exists()):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    trained = first.stat().st_mtime_ns
    again = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr
    lines = again.stdout.splitlines()
    assert "finished before" in lines[0]  # V-Net
    assert lines[1].startswith("[ 1/6] Baseline-1")
    assert lines[1].endswith("finished before")
    assert first.stat().st_mtime_ns == trained
    assert "(from iteration " in (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert lines[-1].startswith(f"{tmp_path / 'tables.md'}: 6 rows trained")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tables", "9"], "--tables '9'"),
        ([], "--data is needed: the full budget makes no renders"),
        (["--budget", "small"], "--data or --meshes is needed"),
        (["--budget", "small", "--meshes", "{out}"], "holds 0 .glb meshes"),
        (["--data", "manifest:none.csv"], "none.csv does not exist"),
        (["--paper", "none.toml"], "--paper none.toml cannot be read"),
        (["--data", "{data}/manifest.csv", "--set", "fit.margin=1"], "fit.margin is not known"),
        (["--data", "{data}/manifest.csv", "--tables", "7", "--set-vnet", "batch=3"], "--set-vnet does nothing here"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [word.format(data=data, out=tmp_path) for word in words]
    assert main(["reproduce", "--out", str(tmp_path / "out"), *typed]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("vehicle-model: ")
    assert message in told
