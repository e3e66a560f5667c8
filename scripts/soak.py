"""Ten times as many clients as the service takes, for ten minutes, and whether it keeps its promises meanwhile.

    python -m scripts.soak [--seconds 600] [--times 10] [--model models/default.onnx]

A service process of its own; clients of every kind (``tests.soak_clients``), slow senders among them; a process that
asks for ``/livez`` and ``/readyz`` all the time. It says what was answered and draws the memory over the time. It ends
with 1 where a promise is broken: an answer that none may get, a probe that is late, memory, files or threads that grow,
an image that was acknowledged and is not there, or one that is there and should not be.
"""

import argparse
import asyncio
import contextlib
import http.client
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from tqdm import tqdm

from tests.server_process import started
from tests.soak_clients import GALLERY, MAX_BODY, Client, Ledger, send_slowly

PICTURES: Final = Path("examples/demo-gallery/images")
BODY_SECONDS: Final = 5
PROBED_EVERY: Final = 0.05  # seconds
OPENED_LATE: Final = 4  # threads and their connections to a database, which come when they are first needed
SAME: Final = 1e-3  # distance of a picture to itself
_CHART = 8  # lines
_COLUMNS = 72


@dataclass
class Sample:
    """The process at one moment."""

    megabytes: float
    files: int  # sockets apart: these are as many as there are clients
    sockets: int
    threads: int


@dataclass
class Probes:
    """How long probes took, in seconds, and what else than 200 they were told."""

    seconds: list[float] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)

    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@dataclass
class Report:
    """Promises, and whether they were kept."""

    broken: int = 0

    def tell(self, kept: bool, promise: str) -> None:
        self.broken += not kept
        print(f"{'kept  ' if kept else 'BROKEN'}  {promise}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 where every promise was kept."""
    args = _arguments(argv)
    report, ledger, pictures = Report(), Ledger(), _pictures()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        data, log = Path(folder) / "data", Path(folder) / "log"
        options = [
            "--queue-size", str(args.queue_size), "--max-body-bytes", str(MAX_BODY), "--body-seconds", str(BODY_SECONDS)
        ]  # fmt: skip
        with started(data, args.model, *options, log=log) as (address, process):
            places = args.queue_size + len(os.sched_getaffinity(0))
            clients = args.times * places
            print(f"{clients} clients of a service that takes {places} requests, {args.seconds:.0f} s, {args.slow} slow "
                  f"heads and {args.slow // 20} slow bodies among them, seed {args.seed}")  # fmt: skip
            before = _sample(process.pid).sockets
            samples, probes = asyncio.run(_load(args, address, process.pid, clients, pictures, ledger))
            _tell_answers(ledger, report)
            _tell_probes(probes, args.late, report)
            _tell_growth(samples, args.growth, report)
            _tell_sockets(process.pid, before, report)
            _tell_images(address, pictures, ledger, report)
            process.terminate()
            report.tell(process.wait(120) == 0, "SIGTERM ends it with 0")
        verified = subprocess.run(
            [sys.executable, "-m", "index.vehicle_index", "verify", "--data-dir", str(data)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        report.tell(
            verified.returncode == 0, f"vehicle-index verify: {verified.stdout.strip() or verified.stderr.strip()}"
        )
        report.tell("Traceback" not in log.read_text(), "no traceback in the log")
    return 1 if report.broken else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long (default: 600)")
    parser.add_argument("--times", type=int, default=10, help="clients for each request that the service takes")
    parser.add_argument("--queue-size", type=int, default=16, help="of the service")
    parser.add_argument("--slow", type=int, default=200, help="clients that send a head a byte at a time")
    parser.add_argument("--model", type=Path, default=Path("models/default.onnx"))
    parser.add_argument(
        "--growth", type=float, default=0.05, help="by how much the last third may exceed the one before"
    )
    parser.add_argument(
        "--late", type=float, default=0.5, help="seconds within which 99 of 100 probes must be answered"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _pictures() -> list[bytes]:
    return [file.read_bytes() for file in sorted(PICTURES.rglob("*.jpg"))[:60]]


async def _load(
    args: argparse.Namespace, address: str, pid: int, clients: int, pictures: Sequence[bytes], ledger: Ledger
) -> tuple[list[Sample], Probes]:
    """Everybody at once until the time is over."""
    loop, samples = asyncio.get_running_loop(), list[Sample]()
    tasks = [
        asyncio.create_task(Client(number, address, pictures, ledger, args.seed).work()) for number in range(clients)
    ]
    for number in range(args.slow + args.slow // 20):
        slow = send_slowly(address, ledger, head=number < args.slow, seconds=BODY_SECONDS)
        tasks.append(asyncio.create_task(slow))
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as pool,
        tqdm(total=round(args.seconds), unit="s", disable=not sys.stderr.isatty()) as bar,
    ):
        probing = loop.run_in_executor(pool, probe, address, args.seconds)
        ends = time.monotonic() + args.seconds
        while time.monotonic() < ends:
            await asyncio.sleep(min(1.0, args.seconds / 60))
            samples.append(_sample(pid))
            bar.n = round(args.seconds - max(0.0, ends - time.monotonic()))
            bar.set_postfix(MB=round(samples[-1].megabytes), broken=sum(ledger.broken.values()))
            if (dead := [task for task in tasks if task.done()]) and (error := dead[0].exception()):
                raise error
        probes = await probing
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return samples, probes


def probe(address: str, seconds: float) -> Probes:
    """Ask ``/livez`` and ``/readyz`` in turn, as whoever watches the service does; in a process of its own."""
    probes, ends, host = Probes(), time.monotonic() + seconds, address.removeprefix("http://")
    turn = 0
    while time.monotonic() < ends:
        path = "/readyz" if turn % 5 == 0 else "/livez"
        began = time.perf_counter()
        with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
            except OSError as error:
                probes.bad[f"{path}: {error!r}"] += 1
            else:
                if answer.status != 200:
                    probes.bad[f"{path}: {answer.status} {body[:150]!r}"] += 1
        if path == "/livez":
            probes.seconds.append(time.perf_counter() - began)
        turn += 1
        time.sleep(PROBED_EVERY)
    return probes


def _sample(pid: int) -> Sample:
    files = _files(pid)
    sockets = sum(file.startswith("socket:") for file in files)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Sample(
        megabytes=int(status["VmRSS"].split()[0]) / 1000, files=len(files) - sockets, sockets=sockets,
        threads=int(status["Threads"]),
    )  # fmt: skip


def _files(pid: int) -> list[str]:
    """What each open file of a process is; those that are closed meanwhile are left out."""
    files = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            files.append(str(file.readlink()))
    return files


def _tell_sockets(pid: int, before: int, report: Report) -> None:
    """Every connection ends when its client has left."""
    ends = time.monotonic() + 3 * BODY_SECONDS
    while (left := _sample(pid).sockets) > before and time.monotonic() < ends:
        time.sleep(0.1)
    report.tell(left <= before, f"sockets: {left} when all have left, {before} before they came")


def _tell_answers(ledger: Ledger, report: Report) -> None:
    by_what: dict[str, Counter[int]] = {}
    for (what, status), count in ledger.statuses.items():
        by_what.setdefault(what, Counter())[status] += count
    for what, statuses in sorted(by_what.items()):
        told = ", ".join(f"{count:,} × {status or 'closed'}" for status, count in sorted(statuses.items()))
        print(f"  {what:16} {told}")
    refused = sum(count for (_, status), count in ledger.statuses.items() if status == 429)
    report.tell(refused > 0, f"more came than it takes: {refused:,} of {ledger.statuses.total():,} were told 429")
    for what, count in ledger.broken.most_common(10):
        print(f"        {count:,} × {what}")
    report.tell(not ledger.broken, "every answer is one that its question may get")


def _tell_probes(probes: Probes, late: float, report: Report) -> None:
    for what, count in probes.bad.most_common(5):
        print(f"        {count:,} × {what}")
    report.tell(not probes.bad, "/livez and /readyz say 200")
    median = statistics.median(probes.seconds)
    report.tell(
        probes.p99() <= late,
        f"/livez is prompt: median {median * 1000:.1f} ms, p99 {probes.p99() * 1000:.1f} ms, longest "
        f"{max(probes.seconds) * 1000:.0f} ms of {len(probes.seconds):,}",
    )


def _tell_growth(samples: Sequence[Sample], growth: float, report: Report) -> None:
    for line in chart([each.megabytes for each in samples]):
        print(line)
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    for name, unit in (("megabytes", "MB resident"), ("files", "open files beside sockets"), ("threads", "threads")):
        before, after = (statistics.median(getattr(each, name) for each in part) for part in (middle, last))
        most = max(getattr(each, name) for each in samples)
        few = 0 if name == "megabytes" else OPENED_LATE
        report.tell(
            after <= before * (1 + growth) + few,
            f"{unit}: {before:.0f} in the middle third, {after:.0f} in the last, {most:.0f} at most",
        )


def chart(values: Sequence[float]) -> Iterator[str]:
    """Values over time as text, the lowest at the bottom."""
    columns = [
        statistics.fmean(values[at * len(values) // _COLUMNS : max(1, -(-(at + 1) * len(values) // _COLUMNS))])
        for at in range(_COLUMNS)
    ]
    low, high = min(columns), max(columns)
    for line in range(_CHART, -1, -1):
        floor = low + (high - low) * line / _CHART
        yield f"  {floor:7.0f} MB │" + "".join("█" if value >= floor else " " for value in columns)


def _tell_images(address: str, pictures: Sequence[bytes], ledger: Ledger, report: Report) -> None:
    """Every image that was acknowledged is there and found by its picture, and nothing else is."""
    with httpx.Client(base_url=address, timeout=60) as http:
        stored, cursor = dict[str, int](), None
        while True:
            page = http.get(f"{GALLERY}/images", params={"limit": 1000} | ({"cursor": cursor} if cursor else {})).json()
            stored |= {each["image_id"]: each["attributes"]["picture"] for each in page["images"]}
            if (cursor := page.get("next")) is None:
                break
        wrong = [name for name, possible in ledger.possible.items() if stored.get(name) not in possible]
        wrong += sorted(stored.keys() - ledger.possible.keys())
        report.tell(
            not wrong, f"the {len(stored):,} images that were acknowledged are there and none else {wrong[:5] or ''}"
        )
        lost = 0
        for number in range(0, len(pictures), 3):
            answer = http.post(
                f"{GALLERY}/search", params={"top_k": 1000, "max_distance": 0.05}, content=pictures[number]
            )
            found = {match["image_id"] for match in answer.json()["matches"] if match["distance"] <= SAME}
            lost += len({name for name, picture in stored.items() if picture == number} - found)
        report.tell(not lost, f"each is found by its own picture (of every third; {lost} were not)")


if __name__ == "__main__":
    sys.exit(main())
