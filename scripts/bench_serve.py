"""The service under load, over the least that its work costs and beside two others that serve the same model file.

    python -m scripts.bench_serve [--model models/default.onnx] [--seconds 10] [--rounds 3] [--clients 1 8 64]
                                  [--only ours litserve bentoml] [--work search batch ingest] [--json figures.json]

*limit*: the same bytes decoded, embedded and searched (for ingestion: stored) by bare calls of the ground floor, a thread
a core, in one process without HTTP; for one client one thread, whose model runs on all cores. Peers are LitServe and
BentoML (`scripts/peers`), each with a process a core, and with or without its own batching, whichever was quicker just
before; `make bench-serve` installs them into .venv-peers.
Their galleries are FAISS's flat index in memory: what they ingest is neither on a disk nor found by a search. LitServe
has workers, and so a model, for each of the three routes: search alone would take it about a third of the memory.

All that is compared is measured by turns, so that a noisy machine is noisy to all; servers that have not their turn are
held still. Ratios are those of one turn, and the median of all turns is shown. Clients are one process on the same
cores (`scripts/load_generator.py`); *client ms* is what it takes a request.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import numpy as np
import psutil

from index.crops import model_crop, read_picture, stored_crop
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import Gallery, GallerySpec, Metadata, NewImage, SearchOptions
from index.machine.cpu_quota import usable_cpus
from scripts.load_generator import Job, Load, write_requests
from scripts.process_tree import ProcessTree
from scripts.whole_number import from_one
from tests.server_process import free_port, started

PEERS_PYTHON: Final = Path(".venv-peers/bin/python")
LIMIT, OURS, LITSERVE, BENTOML = "limit", "ours", "litserve", "bentoml"
TOGETHER: Final = 16  # pictures in one batch search or ingestion
CHUNK: Final = 8  # of them that a thread of the limit takes at once
ADDED_AT_ONCE: Final = 2000
WARM_UP: Final = 1.0  # seconds at most before each turn
SAME: Final = 8  # of ten matches that all find: what is nearly as far may change places
OTHER_CLIENTS: Final = 8  # of batch searches and ingestion
PEER_BATCH: Final = 8
_MOST_PIXELS: Final = 50_000_000
_BOUNDARY: Final = "pictures"
Paths = dict[str, str]  # of each work


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One turn of one contestant. A request is one call of the limit's, too."""

    pictures_per_second: float
    p50_ms: float
    p99_ms: float
    p99_over_p50: float
    processor_ms: float  # of the server's processes, a picture
    resident_mb: float
    proportional_mb: float | None  # shared pages counted once
    client_ms: float | None = None  # of the load generator's processor, a request
    outside_ms: float | None = None  # of the server's own total, what was neither decode, queue, embed nor search
    refused: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What is asked in one turn."""

    work: str  # search, batch, ingest
    clients: int
    seconds: float

    @property
    def warm_up(self) -> float:
        """Seconds before it."""
        return min(WARM_UP, self.seconds)

    @property
    def pictures(self) -> int:
        """In one request."""
        return 1 if self.work == "search" else TOGETHER

    @property
    def title(self) -> str:
        """For people."""
        each = "" if self.work == "search" else f" of {TOGETHER} pictures"
        return f"{self.work}{each}, {self.clients} client{'s' if self.clients > 1 else ''}"


class Contestant(Protocol):
    """Whoever is measured."""

    def measure(self, turn: Turn) -> Figures:
        """One turn."""
        ...


class Limit:
    """Bare calls of the ground floor, a thread a core; for one client one thread whose model runs on all cores."""

    def __init__(self, model: Path, searched: Gallery, filled: Gallery, pictures: Sequence[bytes]) -> None:
        self._narrow, self._wide = (Embedder(model, device="cpu", threads=threads) for threads in (1, usable_cpus()))
        self._embedder, self._searched, self._filled = self._narrow, searched, filled
        self._pictures = pictures
        self._added = 0
        self._lock = threading.Lock()

    def measure(self, turn: Turn) -> Figures:
        work = self._ingest if turn.work == "ingest" else self._search
        self._embedder = self._wide if turn.clients == 1 else self._narrow
        each = CHUNK if turn.pictures > 1 else 1
        threads = min(turn.clients, usable_cpus()) if turn.work == "search" else usable_cpus()
        self._run(work, each, threads, turn.warm_up)
        processor = time.process_time()
        latencies, seconds = self._run(work, each, threads, turn.seconds)
        processor = time.process_time() - processor
        memory = psutil.Process().memory_full_info()
        return _figures(
            latencies, seconds=seconds, pictures=each, processor_ms=processor * 1000 / len(latencies) / each,
            resident=memory.rss, proportional=getattr(memory, "pss", None),
        )  # fmt: skip

    def _run(
        self, work: Callable[[list[bytes]], object], each: int, threads: int, seconds: float
    ) -> tuple[list[float], float]:
        """Seconds of each call, and of all."""
        took: list[list[float]] = [[] for _ in range(threads)]
        began = time.perf_counter()

        def run(thread: int) -> None:
            at, now = thread * len(self._pictures) // threads, time.perf_counter()
            while now < began + seconds:
                work([self._pictures[(at + n) % len(self._pictures)] for n in range(each)])
                at, before, now = at + each, now, time.perf_counter()
                took[thread].append(now - before)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))
        return [second for thread in took for second in thread], time.perf_counter() - began

    def _search(self, pictures: list[bytes]) -> object:
        resize = self._embedder.contract.resize
        crops = [model_crop(read_picture(data, max_pixels=_MOST_PIXELS), resize) for data in pictures]
        return self._searched.search(self._embedder.embed(np.stack(crops)).embedding, SearchOptions())

    def _ingest(self, pictures: list[bytes]) -> object:
        resize = self._embedder.contract.resize
        stored = [stored_crop(data, box=None, max_pixels=_MOST_PIXELS) for data in pictures]
        embedded = self._embedder.embed(np.stack([model_crop(one.image, resize) for one in stored]))
        with self._lock:
            first = self._added
            self._added += len(pictures)
        return self._filled.add(
            [
                NewImage(
                    image_id=f"n{first + n}", metadata=Metadata(), crop=one.data, embedding=embedded.embedding[n],
                    viewpoint=None if embedded.viewpoint is None else embedded.viewpoint[n],
                )
                for n, one in enumerate(stored)
            ]
        )  # fmt: skip


class Server:
    """A server process, which sleeps when it has not its turn."""

    def __init__(self, pid: int, port: int, paths: Paths, requests: "Requests") -> None:
        self.tree, self.port = ProcessTree(pid), port
        self._paths, self._requests = paths, requests

    def measure(self, turn: Turn) -> Figures:
        with self.tree.awake():
            before = self.tree.processor_seconds()
            load = self._load(turn)
            processor = self.tree.processor_seconds() - before
            if load.failure:
                print(f"  {turn.title}: {load.failed} failed, the first so: {load.failure[:300]!r}")
            if not load.latencies:
                raise SystemExit(f"no answer of {turn.title} was good: {load.refused} × 429, {load.failure[:500]}")
            return _figures(
                load.latencies, seconds=load.seconds, pictures=turn.pictures,
                processor_ms=processor * 1000 / max(1, load.answers) / turn.pictures,
                resident=self.tree.resident(), proportional=self.tree.proportional(),
                client_ms=load.processor * 1000 / len(load.latencies),
                outside_ms=_outside_ms(load.timings) if turn.work == "search" else None,
                refused=load.refused, failed=load.failed,
            )  # fmt: skip

    def matches(self) -> list[str]:
        """The images that it finds for a picture, so that all can be seen to do the same."""
        with self.tree.awake():
            head, _, body = self._requests.file(self._paths["search"], 1).read_bytes()[8:].partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            fields = dict(line.split(": ") for line in lines[1:])
            size = int(fields["Content-Length"])
            reply = httpx.post(
                f"http://127.0.0.1:{self.port}{lines[0].split()[1]}", content=body[:size], timeout=60,
                headers={"Content-Type": fields["Content-Type"]},
            )  # fmt: skip
        answer = reply.json()
        return [match["image_id"] for match in (answer[0] if isinstance(answer, list) else answer)["matches"]]

    def _load(self, turn: Turn) -> Load:
        job = Job(
            port=self.port, requests=str(self._requests.file(self._paths[turn.work], turn.pictures)),
            clients=turn.clients, seconds=turn.seconds, warm_up=turn.warm_up,
        )  # fmt: skip
        command = [sys.executable, "-m", "scripts.load_generator"]
        done = subprocess.run(command, input=json.dumps(asdict(job)), stdout=subprocess.PIPE, text=True, check=True)
        return Load(**json.loads(done.stdout))


class Requests:
    """Files of prepared requests."""

    def __init__(self, folder: Path, pictures: Sequence[bytes]) -> None:
        self._folder, self._pictures = folder, pictures

    def file(self, path: str, together: int) -> Path:
        """As many requests as there are pictures; ``path`` with ``form:`` before it wants a form for one, too."""
        form = together > 1 or path.startswith("form:")
        plain = path.removeprefix("form:")
        file = self._folder / f"{path.replace('/', '_')}-{together}"
        if not file.exists():
            count = len(self._pictures)
            groups = [[self._pictures[(at + n) % count] for n in range(together)] for at in range(count)]
            write_requests(file, [_request(plain, group, form=form) for group in groups])
        return file


def _request(path: str, pictures: Sequence[bytes], *, form: bool) -> bytes:
    """An HTTP request as it goes over the wire."""
    kind, body = "image/jpeg", pictures[0]
    if form:
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        head = (
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name=image; filename=a.jpg\r\n"
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body = b"".join(head + data + b"\r\n" for data in pictures) + f"--{_BOUNDARY}--\r\n".encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _figures(
    latencies: list[float], *, seconds: float, pictures: int, processor_ms: float, resident: float,
    proportional: float | None, **more: Any,
) -> Figures:  # fmt: skip
    p50, p99 = (float(each) * 1000 for each in np.percentile(latencies, [50, 99]))
    return Figures(
        pictures_per_second=len(latencies) * pictures / seconds, p50_ms=p50, p99_ms=p99, p99_over_p50=p99 / p50,
        processor_ms=processor_ms, resident_mb=resident / 2**20,
        proportional_mb=proportional / 2**20 if proportional else None, **more,
    )  # fmt: skip


def _outside_ms(timings: Sequence[str]) -> float | None:
    """Median milliseconds that a server says it took beside its stages; None where it does not say."""
    read = [json.loads(timing) for timing in timings]
    own = [
        each["total"] - sum(value for name, value in each.items() if name != "total")
        for each in read
        if "total" in each
    ]
    return float(np.median(own)) if own else None


@contextlib.contextmanager
def our_server(folder: Path, model: Path, requests: Requests) -> Iterator[Server]:
    """The service on a data folder."""
    with started(folder, model) as (address, process):
        httpx.put(f"{address}/v1/galleries/filled", json={}, timeout=60).raise_for_status()
        default = "/v1/galleries/default/search"
        paths = {"search": default, "batch": f"{default}/batch", "ingest": "/v1/galleries/filled/images"}
        server = Server(process.pid, int(address.rpartition(":")[2]), paths, requests)
        server.tree.hold_still()
        yield server


@contextlib.contextmanager
def peer_server(name: str, folder: Path, model: Path, requests: Requests, *, batch: int) -> Iterator[Server]:
    """A peer with its own batches of up to so many pictures (1: none)."""
    port = free_port()
    environment = os.environ | {
        "PEER_MODEL": str(model.resolve()), "PEER_ROWS": str(folder / "rows.npz"), "PEER_CORES": str(usable_cpus()),
        "PEER_BATCH": str(batch), "PYTHONPATH": str(Path.cwd()), "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }  # fmt: skip
    words = ["-m", "scripts.peers.litserve_server", str(port)]
    if name == BENTOML:
        service = "scripts.peers.bentoml_service:VehicleSearch"
        words = ["-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen([PEERS_PYTHON.absolute(), *words], env=environment, stdout=log, stderr=log)
        tree = ProcessTree(process.pid)
        try:
            form = "form:" if name == BENTOML and batch > 1 else ""  # its batches are of lists
            paths = {"search": f"{form}/search", "batch": "/search/batch", "ingest": "/images"}
            _wait_for(f"http://127.0.0.1:{port}/search", process, Path(log.name))
            tree.hold_still()
            yield Server(process.pid, port, paths, requests)
        finally:
            tree.end()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until whatever answers there is the service and not a refusal to connect."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.post(url, content=b"no picture", timeout=5).status_code < 600:
                return
        time.sleep(0.2)
    raise SystemExit(f"the peer did not start: {log.read_text()[-800:]}")


def quicker_peer(
    stack: ExitStack, name: str, folder: Path, model: Path, requests: Requests, seconds: float
) -> tuple[Server, str]:
    """The peer with or without its own batching, whichever answers more searches of 8 clients; and what was seen."""
    rates = {}
    for batch in (1, PEER_BATCH):
        with peer_server(name, folder, model, requests, batch=batch) as server:
            rates[batch] = server.measure(Turn(work="search", clients=8, seconds=seconds)).pictures_per_second
    best = max(rates, key=lambda batch: rates[batch])
    told = f"batches of up to {PEER_BATCH}: {rates[PEER_BATCH]:.1f} /s, none: {rates[1]:.1f} /s"
    server = stack.enter_context(peer_server(name, folder, model, requests, batch=best))
    return server, f"{told}; measured {'without' if best == 1 else 'with'} them"


def write_rows(folder: Path, gallery: Gallery, dim: int, rows: int) -> None:
    """Random unit vectors, in the gallery and as peers read them."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names, vehicles = [f"i{n}" for n in range(rows)], [f"v{n // 4}" for n in range(rows)]
    for start in range(0, rows, ADDED_AT_ONCE):
        gallery.add(
            [
                NewImage(
                    image_id=names[n], metadata=Metadata(vehicle_id=vehicles[n], camera_id="c001"), crop=b"",
                    embedding=vectors[n], viewpoint=None,
                )
                for n in range(start, min(start + ADDED_AT_ONCE, rows))
            ]
        )  # fmt: skip
    np.savez(folder / "rows.npz", embedding=vectors, image_id=names, vehicle_id=vehicles)


def _median(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def summary(turns: Sequence[dict[str, Figures]], name: str) -> dict[str, float | None]:
    """The median of each figure of a contestant, and of its ratios to the limit of the same turn."""
    own = [asdict(turn[name]) for turn in turns]
    figures = {key: _median([each[key] for each in own]) for key in own[0]}
    figures["failed"], figures["refused"] = sum(each["failed"] for each in own), sum(each["refused"] for each in own)
    figures["over_limit"] = _median(
        [turn[name].pictures_per_second / turn[LIMIT].pictures_per_second for turn in turns]
    )
    figures["processor_over_limit"] = _median([turn[name].processor_ms / turn[LIMIT].processor_ms for turn in turns])
    return figures


_COLUMNS = (
    ("pictures/s", "pictures_per_second", 11, 1), ("÷ limit", "over_limit", 9, 2), ("p50 ms", "p50_ms", 9, 1),
    ("p99 ms", "p99_ms", 9, 1), ("p99/p50", "p99_over_p50", 9, 2), ("cpu ms", "processor_ms", 8, 2),
    ("÷ limit", "processor_over_limit", 9, 2), ("RSS MB", "resident_mb", 8, 0), ("PSS MB", "proportional_mb", 8, 0),
    ("client ms", "client_ms", 11, 2), ("outside ms", "outside_ms", 12, 2),
)  # fmt: skip


def tell(title: str, told: dict[str, dict[str, float | None]]) -> None:
    """A table of one work and count of clients."""
    print(f"\n{title:34}" + "".join(f"{name:>{width}}" for name, _, width, _ in _COLUMNS))
    for name, figures in told.items():
        cells = (
            f"{'–':>{width}}" if (value := figures[key]) is None else f"{value:{width}.{decimals}f}"
            for _, key, width, decimals in _COLUMNS
        )
        wrong = "".join(f"  {figures[what]:.0f} {what}" for what in ("refused", "failed") if figures[what])
        print(f"  {name:32}" + "".join(cells) + wrong, flush=True)


_COMPARED = ("pictures_per_second", "p50_ms", "p99_ms", "processor_ms", "resident_mb", "proportional_mb")


def behind(told: dict[str, dict[str, float | None]], peer: str) -> list[str]:
    """The figures in which a peer is ahead of ours."""
    pairs = [(key, told[OURS][key], told[peer][key]) for key in _COMPARED]
    return [
        key
        for key, ours, theirs in pairs
        if ours is not None and theirs is not None and (ours < theirs if key == _COMPARED[0] else ours > theirs)
    ]


def _contestants(
    stack: ExitStack, folder: Path, model: Path, only: Sequence[str], rows: int, seconds: float
) -> dict[str, Contestant]:
    pictures = [path.read_bytes() for path in sorted(Path("examples/demo-gallery/images").glob("*.jpg"))]
    requests = Requests(folder, pictures)
    contract = Embedder(model, device="cpu", threads=1).contract
    spec = GallerySpec.for_model(contract)
    with contextlib.closing(DataFolder(folder / "ours", default_spec=spec)) as home:
        write_rows(folder, home.get("default"), spec.embedding_dim, rows)
    home = stack.enter_context(contextlib.closing(DataFolder(folder / "bare", default_spec=spec)))
    write_rows(folder, home.get("default"), spec.embedding_dim, rows)
    home.create("filled", spec)
    found: dict[str, Contestant] = {LIMIT: Limit(model, home.get("default"), home.get("filled"), pictures)}
    print(
        f"{contract.name}, {usable_cpus()} cores, {rows:,} rows, {len(pictures)} pictures, load average "
        f"{os.getloadavg()[0]:.1f}",
        flush=True,
    )
    for name in only:
        if name == OURS:
            found[name] = stack.enter_context(our_server(folder / "ours", model, requests))
        elif not PEERS_PYTHON.exists():
            print(f"{name} is left out: {PEERS_PYTHON} is not there, which `make bench-serve` installs")
        else:
            found[name], told = quicker_peer(stack, name, folder, model, requests, seconds)
            print(f"{name} {peer_version(name)}: {told}", flush=True)
    expected = {name: one.matches() for name, one in found.items() if isinstance(one, Server)}
    if expected and len(set.intersection(*map(set, expected.values()))) < SAME:
        raise SystemExit(f"they do not find the same: {expected}")
    return found


def peer_version(name: str) -> str:
    """Of the peer that is installed."""
    words = ["-c", "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))", name]
    return subprocess.run([PEERS_PYTHON, *words], capture_output=True, text=True, check=True).stdout.strip()


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/default.onnx"))
    parser.add_argument("--seconds", type=_positive, default=10, help="of each turn, after one second of warming up")
    parser.add_argument("--rounds", type=from_one, default=3, help="turns of each")
    parser.add_argument("--rows", type=from_one, default=10_000, help="of the gallery that is searched")
    parser.add_argument("--clients", type=from_one, nargs="+", default=[1, 8, 64], help="that search at a time")
    parser.add_argument("--only", nargs="+", choices=[OURS, LITSERVE, BENTOML], default=[OURS, LITSERVE, BENTOML])
    parser.add_argument(
        "--work", nargs="+", choices=["search", "batch", "ingest"], default=["search", "batch", "ingest"]
    )
    parser.add_argument("--json", type=Path, help="a file for every figure")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left behind, asleep
    turns = [
        Turn(work=work, clients=clients, seconds=arguments.seconds)
        for work in arguments.work
        for clients in (arguments.clients if work == "search" else [OTHER_CLIENTS])
    ]
    report = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contestants = _contestants(stack, folder, arguments.model, arguments.only, arguments.rows, arguments.seconds)
        for turn in turns:
            rounds = [
                {name: contestant.measure(turn) for name, contestant in contestants.items()}
                for _ in range(arguments.rounds)
            ]
            told = {name: summary(rounds, name) for name in contestants}
            tell(turn.title, told)
            for peer in (name for name in (LITSERVE, BENTOML) if OURS in told and name in told):
                print(f"  ours is ahead of {peer} in all figures but: {', '.join(behind(told, peer)) or 'none'}")
            report.append(
                {
                    "work": turn.work, "clients": turn.clients, "pictures": turn.pictures, "median": told,
                    "rounds": [{name: asdict(figures) for name, figures in each.items()} for each in rounds],
                }
            )  # fmt: skip
    if any(turn.work == "ingest" for turn in turns) and len(contestants) > 2:
        print("\ningest: the peers keep pictures in the memory of one process; ours and the limit's are on the disk")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
