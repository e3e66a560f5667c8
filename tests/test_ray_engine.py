"""``vehicle-index embed --engine ray`` with two workers, which are killed, and whoever directs them, too.

`make test-ray` runs it: Ray is an extra of 80 MB to download, and its processes take seconds to start.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from index.vehicle_index import main
from tests.pictures import jpeg
from tests.same_galleries import require_same

pytestmark = pytest.mark.ray

IMAGES, PART = 240, 12
_PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures large enough that two workers take seconds, each there six times, and one that fails."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    folder = tmp_path_factory.mktemp("crops")
    pictures = [jpeg(n, (2400, 1800)) for n in range(IMAGES // 6)]
    for n in range(IMAGES):
        (folder / f"{n:03}.jpg").write_bytes(pictures[n % len(pictures)])
    (folder / "bad.jpg").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def added(source: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("added") / "data"
    assert main(["add", str(source), "--data-dir", str(data), "--model", str(tiny_model), "--device", "cpu"]) == 1
    return data


def command(source: Path, out: Path, model: Path) -> list[str]:
    own = ["--model", str(model), "--device", "cpu", "--engine", "ray", "--workers", "2", "--part-images", str(PART)]
    return [sys.executable, "-m", "index.vehicle_index", "embed", str(source), "--output", str(out), *own]


def until(what: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait until something is so, while a process runs."""
    end = time.monotonic() + _PATIENCE
    while not what():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.02)


def tables(out: Path) -> int:
    return len(list((out / "parts").glob("*.parquet")))


def children(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def workers(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    found = []
    for each in children(process):
        with contextlib.suppress(psutil.Error):  # it ended just now
            found += [each] if "PartEmbedding" in " ".join(each.cmdline()) else []
    return found


def listening(processes: list[psutil.Process]) -> Iterator[str]:
    """Addresses of which others could ask something."""
    for each in processes:
        for connection in each.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip.removeprefix("::ffff:")


def test_killed_workers_and_killed_directors_lose_nothing(
    source: Path, added: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = command(source, out, tiny_model)
    with subprocess.Popen(words, stderr=subprocess.PIPE) as first:
        try:
            until(lambda: tables(out) >= 2 and len(workers(first)) == 2, first)
            assert set(listening([*children(first), psutil.Process(first.pid)])) <= {"127.0.0.1", "::1"}
            victim = workers(first)[0]
            os.kill(victim.pid, signal.SIGKILL)
            killed_at = tables(out)
            until(lambda: len([each for each in workers(first) if each != victim]) == 2, first)  # one was started again
            until(lambda: tables(out) > killed_at + 2, first)
            writers = workers(first)
        finally:
            first.kill()
    _, left = psutil.wait_procs(writers, timeout=_PATIENCE)
    assert not left  # they end with whoever directs them; two helpers of Ray follow a minute later
    kept = tables(out)
    assert 0 < kept < -(-(IMAGES + 1) // PART)
    assert not (out / "export.json").exists()

    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode == 1, again.stderr
    assert again.stdout == f"{IMAGES} embedded, 1 failed, in 21 parts ({kept} there already): {out}\n"
    assert "bad.jpg" in again.stderr
    assert main(["import", str(out), "--check"]) == 0
    assert main(["import", str(out), "--data-dir", str(tmp_path / "data")]) == 0
    require_same(tmp_path / "data", added)


def test_a_part_that_kills_its_workers_is_named(source: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Every worker is killed as soon as it is there; the run ends, and what it says is one line."""
    with subprocess.Popen(command(source, tmp_path / "out", tiny_model), stderr=subprocess.PIPE) as process:
        end = time.monotonic() + _PATIENCE
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(psutil.Error):
                for each in workers(process):
                    each.kill()
            time.sleep(0.01)
        process.kill()
        assert process.stderr is not None
        last = process.stderr.read().decode().splitlines()[-1]
    assert process.returncode == 2
    assert "4 workers died of part " in last


@pytest.mark.usefixtures("source")
def test_a_cluster_that_is_not_there_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    words = [*command(tmp_path / "a.jpg", tmp_path / "out", tiny_model), "--address", "127.0.0.1:1"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "127.0.0.1:1 cannot be joined" in ended.stderr.splitlines()[-1]
