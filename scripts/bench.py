"""Ratios in one run: what each part costs over the least it could cost.

    python -m scripts.bench [--model models/default.onnx] [--seconds 8]

Every ratio compares two figures of this run, because machines are noisy. Pictures are those of the demo gallery.
"""

import argparse
import itertools
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray
from PIL import Image

from index.bulk.import_plan import ImportPlan
from index.bulk.import_source import plan_sources
from index.bulk.ingestion import EMBEDDED_AT_ONCE, Ingestion, OwnWorkers
from index.crops import model_crop, read_picture
from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import Gallery, GallerySpec, Metadata, NewImage, SearchOptions
from index.machine.cpu_quota import usable_cpus
from tests.server_process import serving

CLIENTS, ROWS = 8, 100_000


def rate(work: Callable[[int], object], *, threads: int, seconds: float) -> float:
    """Calls a second of ``work(n)`` from so many threads."""
    end = time.perf_counter() + seconds
    counts = [0] * threads

    def run(thread: int) -> None:
        while time.perf_counter() < end:
            work(counts[thread] * threads + thread)
            counts[thread] += 1

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
    return sum(counts) / (time.perf_counter() - began)


def median_ms(work: Callable[[], object], times: int = 30) -> float:
    """Median milliseconds of a call."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) * 1000


def fill(gallery: Gallery, dim: int, rows: int) -> None:
    """Random unit vectors."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, 2000):
        x = rng.normal(size=(2000, dim)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        gallery.add(
            [
                NewImage(image_id=f"i{start + n}", metadata=Metadata(), crop=b"", embedding=x[n], viewpoint=None)
                for n in range(2000)
            ]
        )


def memory_mb(model: Path, rows: int, out: "multiprocessing.SimpleQueue[float]") -> None:
    """Resident memory of a process with a model and so many rows; runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        embedder = Embedder(model, device="cpu", threads=1)
        spec = GallerySpec.for_model(embedder.contract, keep_crops=False)
        home = DataFolder(Path(folder), default_spec=spec)
        fill(home.get("default"), spec.embedding_dim, rows)
        home.close()
        home = DataFolder(Path(folder), default_spec=spec)
        home.get("default").search(np.eye(1, spec.embedding_dim, dtype=np.float32), SearchOptions())
        out.put(psutil.Process().memory_info().rss / 2**20)
        home.close()


@dataclass(frozen=True)
class Pace:
    """Pictures a second, and milliseconds of processor time a picture, which other processes hardly change."""

    rate: float
    processor_ms: float


def imports(model: Path, count: int) -> tuple[Pace, Pace]:
    """Of an import of so many different JPEGs into a new gallery, and of the embedder alone.

    The import with the workers that `vehicle-index add` has, the embedder with a thread a core and batches of the same
    size; it is measured before and after, and averaged.
    """
    cores = usable_cpus()
    embedder = Embedder(model, device="cpu", threads=1)
    side = embedder.contract.input_size
    crops = np.random.default_rng(0).integers(0, 256, (EMBEDDED_AT_ONCE, *side, 3), dtype=np.uint8)

    def bare() -> Pace:
        began, done = time.process_time(), itertools.count()
        batches = rate(lambda _: (embedder.embed(crops), next(done)), threads=cores, seconds=15)
        images = next(done) * EMBEDDED_AT_ONCE
        return Pace(batches * EMBEDDED_AT_ONCE, (time.process_time() - began) / images * 1000)

    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        examples = [Image.open(path) for path in sorted(Path("examples/demo-gallery/images").glob("*.jpg"))]
        for n in range(count):
            example, cut = examples[n % len(examples)], n // len(examples)
            size = (example.width - cut % 8, example.height - cut // 8 % 8)
            example.crop((0, 0, *size)).save(pictures / f"{n}.jpg")
        before = bare()
        with (
            closing(DataFolder(Path(folder) / "data", default_spec=GallerySpec.for_model(embedder.contract))) as home,
            closing(OwnWorkers()) as workers,
            closing(ImportPlan()) as plan,
        ):
            began, processor = time.perf_counter(), time.process_time()
            list(plan_sources(plan, [pictures]))
            list(Ingestion(gallery=home.get("default"), embedder=embedder, workers=workers).run(plan))
            seconds, processor = time.perf_counter() - began, time.process_time() - processor
            created = plan.counts()["created"]
        after = bare()
    alone = Pace((before.rate + after.rate) / 2, (before.processor_ms + after.processor_ms) / 2)
    return Pace(created / seconds, processor / created * 1000), alone


def tell_import(model: Path, count: int) -> None:
    """Measure an import and print its lines."""
    ours, bare = imports(model, count)
    print(
        f"import of {count:,} pictures       {ours.rate:8.1f} /s    over the embedder alone {bare.rate:8.1f} /s  = {ours.rate / bare.rate:.2f}"
    )
    print(
        f"  its processor time           {ours.processor_ms:8.1f} ms    under it: the embedder's {bare.processor_ms:6.1f} ms  = {bare.processor_ms / ours.processor_ms:.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/default.onnx"))
    parser.add_argument("--seconds", type=float, default=8, help="of each rate")
    parser.add_argument("--imported", type=int, default=5000, help="pictures that are imported")
    parser.add_argument("--only-import", action="store_true", help="leave everything else out")
    arguments = parser.parse_args()
    if arguments.only_import:
        tell_import(arguments.model, arguments.imported)
        return
    cores = usable_cpus()
    pictures = [path.read_bytes() for path in sorted(Path("examples/demo-gallery/images").glob("*.jpg"))]
    embedder = Embedder(arguments.model, device="cpu", threads=1)
    resize = embedder.contract.resize
    crops = np.stack([model_crop(read_picture(data, max_pixels=10**8), resize) for data in pictures])
    print(f"{embedder.contract.name}, {cores} cores, {len(pictures)} pictures, load average {os.getloadavg()[0]:.1f}")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(arguments.model), options, providers=["CPUExecutionProvider"])
    bare = rate(
        lambda n: session.run(["embedding"], {"crops": crops[n % len(crops)][None]}),
        threads=cores,
        seconds=arguments.seconds,
    )
    ours = rate(lambda n: embedder.embed(crops[n % len(crops)][None]), threads=cores, seconds=arguments.seconds)
    print(f"embedding                      {ours:8.1f} /s    over bare session.run {bare:8.1f} /s  = {ours / bare:.2f}")

    with tempfile.TemporaryDirectory() as folder:
        spec = GallerySpec.for_model(embedder.contract)
        home = DataFolder(Path(folder) / "bare", default_spec=spec)
        gallery = home.get("default")

        def search(n: int) -> object:
            crop = model_crop(read_picture(pictures[n % len(pictures)], max_pixels=10**8), resize)
            return gallery.search(embedder.embed(crop[None]).embedding, SearchOptions())

        embedded = embedder.embed(crops)
        gallery.add(
            [
                NewImage(
                    image_id=f"i{n}",
                    metadata=Metadata(),
                    crop=pictures[n],
                    embedding=embedded.embedding[n],
                    viewpoint=None,
                )
                for n in range(len(pictures))
            ]
        )
        limit = rate(search, threads=cores, seconds=arguments.seconds)
        home.close()
        with serving(Path(folder) / "bare", arguments.model) as server:
            local = threading.local()

            def ask(n: int) -> None:
                if not hasattr(local, "client"):
                    local.client = httpx.Client(base_url=server, timeout=60)
                answer = local.client.post("/v1/galleries/default/search", content=pictures[n % len(pictures)])
                answer.raise_for_status()

            for clients in (1, CLIENTS):
                http = rate(ask, threads=clients, seconds=arguments.seconds)
                print(
                    f"HTTP searches, {clients} client{'s' if clients > 1 else ' '}        {http:8.1f} /s    over bare on {cores} cores  {limit:8.1f} /s  = {http / limit:.2f}"
                )

        home = DataFolder(
            Path(folder) / "large", default_spec=GallerySpec.for_model(embedder.contract, keep_crops=False)
        )
        large = home.get("default")
        fill(large, spec.embedding_dim, ROWS)
        query: NDArray[np.float32] = embedded.embedding[:1]
        one = median_ms(lambda: large.search(query, SearchOptions()))
        embedding = median_ms(lambda: embedder.embed(crops[:1]))
        print(
            f"search in {ROWS:,} rows         {one:8.1f} ms    over embedding        {embedding:8.1f} ms  = {one / embedding:.2f}"
        )
        home.close()

    tell_import(arguments.model, arguments.imported)
    context = multiprocessing.get_context("spawn")
    for rows in (0, ROWS):
        out: multiprocessing.SimpleQueue[float] = context.SimpleQueue()
        process = context.Process(target=memory_mb, args=(arguments.model, rows, out))
        process.start()
        size = out.get()
        process.join()
        print(f"memory with {rows:>7,} rows       {size:8.0f} MiB")


if __name__ == "__main__":
    main()
