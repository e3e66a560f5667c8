"""Large imports and a migration: rate, memory, and how long searches take meanwhile.

    python -m scripts.bench_bulk [--imports 30000 100000 300000] [--migrate 100000] [--searches 5]

Pictures are JPEGs of 16 × 16 px, each another, in one TAR; models are the tests' tiny ones (64 px, 32 numbers), so that
what a row costs beside the model is most of what is measured. Imports are `vehicle-index add`, each into a new data
folder; the migration is a service's, with both models loaded, while a client searches so many times a second, then
`vehicle-index migrate` back with nobody searching. Memory is the largest resident size of the process.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from tqdm import tqdm

from tests.server_process import started

DOOR = [sys.executable, "-m", "index.vehicle_index"]
ANSWERING = 20.0  # seconds of searches before the migration


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    processor: float
    megabytes: float

    def told(self, rows: int) -> str:
        """In figures a row."""
        return (
            f"{rows / self.seconds:7.0f} /s by the clock, {self.processor / rows * 1000:.2f} ms of processor time a row, "
            f"largest resident size {self.megabytes:.0f} MB"
        )


def jpeg(number: int) -> bytes:
    """A picture that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


def write_tar(path: Path, rows: int) -> None:
    """An archive of so many pictures."""
    with tarfile.open(path, "w") as tar:
        for n in tqdm(range(rows), desc=f"make {path.name}", unit=" pictures", leave=False):
            tar.members.clear()  # type: ignore[attr-defined]
            data = jpeg(n)
            info = tarfile.TarInfo(f"camera{n % 100:02}/{n:06}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_model(path: Path, seed: int) -> None:
    """A tiny model; runs in a process of its own, because torch is large."""
    from model_export.exporting.onnx_export import export_model
    from tests.conftest import untrained

    export_model(untrained(seed=seed), path)


def cost_of(*command: str) -> Cost:
    """Run a command of the indexer's door, which must succeed."""
    began = time.monotonic()
    process = subprocess.Popen([*DOOR, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"vehicle-index {command[0]} ended with {process.returncode}")
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def largest_resident(pid: int) -> float:
    """Of a process that runs, in MB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1000


@contextlib.contextmanager
def searching(address: str, each: float) -> Iterator[list[float]]:
    """Searches so many times a second, with pictures that are stored; the milliseconds that each took."""
    took: list[float] = []
    end = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while not end.wait(1 / each):
                began = time.perf_counter()
                client.post("/v1/galleries/default/search", content=jpeg(len(took))).raise_for_status()
                took.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        end.set()
        thread.join()


def told(took: list[float]) -> str:
    """Percentiles of milliseconds."""
    p50, p99 = np.percentile(took, (50, 99))
    return f"{len(took):,} searches: median {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(took):.1f} ms"


def migrate(data: Path, old: Path, new: Path, searches: float) -> None:
    """Move a gallery from a model to another under searches, and back without."""
    with started(data, new, "--previous-model", str(old), log=data.with_suffix(".log")) as (address, process):
        with searching(address, searches) as before:
            time.sleep(ANSWERING)
        start = largest_resident(process.pid)
        with searching(address, searches) as meanwhile, httpx.Client(base_url=address, timeout=60) as client:
            began = time.monotonic()
            where = client.post("/v1/galleries/default/migrations").raise_for_status().headers["Location"]
            with tqdm(desc="migrate", unit=" images", leave=False) as bar:
                while (state := client.get(where).raise_for_status().json())["ended_at"] is None:
                    bar.total = state["total"]
                    bar.update(state["done"] - bar.n)
                    time.sleep(2)
            seconds, rows = time.monotonic() - began, state["total"]
        print(
            f"migration of {rows:,} rows, {state['state']}: {rows / seconds:.0f} /s beside {searches:g} searches a second"
        )
        print(f"  before, {told(before)}\n  meanwhile, {told(meanwhile)}")
        print(f"  largest resident size {start:.0f} MB before, {largest_resident(process.pid):.0f} MB at the end")
        process.terminate()
        process.wait(60)
    back = cost_of("migrate", "--data-dir", str(data), "--model", str(old))
    print(f"  and back by `vehicle-index migrate`: {back.told(rows)}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imports", type=int, nargs="*", default=[30_000, 100_000, 300_000], metavar="ROWS")
    parser.add_argument("--migrate", type=int, default=100_000, metavar="ROWS", help="0 leaves it out")
    parser.add_argument("--searches", type=float, default=5, metavar="A_SECOND")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        models = old, new = folder / "old.onnx", folder / "new.onnx"
        for seed, model in enumerate(models):
            process = multiprocessing.get_context("spawn").Process(target=write_model, args=(model, seed))
            process.start()
            process.join()
        for rows in sorted({*arguments.imports, arguments.migrate} - {0}):
            tar, data = folder / f"{rows}.tar", folder / f"data{rows}"
            write_tar(tar, rows)
            cost = cost_of("add", "--data-dir", str(data), "--model", str(old), str(tar))
            print(f"import of {rows:,} rows, load average {os.getloadavg()[0]:.1f}: {cost.told(rows)}", flush=True)
            tar.unlink()
            if rows == arguments.migrate:
                migrate(data, old, new, arguments.searches)


if __name__ == "__main__":
    main()
