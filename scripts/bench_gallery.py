"""Galleries of every kind: recall, searches, inserts, size, cold start, searches while writing.

    python -m scripts.bench_gallery [--rows 100000 1000000] [--kinds flat-fp32 hnsw-fp32 …] [--seconds 5] [--device cuda]

Vectors lie as the default model's do (``tests.clustered_vectors``): unit vectors of 512 numbers, ten to a vehicle, with
the distances within and between vehicles that the demo gallery's embeddings have. A hundred cameras see them, one
picture a second. One thread searches, one query at a time. Rates are told a second of its processor time, which others on
the machine disturb least, and every one stands beside that of looking at all rows, which is the flat fp32 kind without a
filter in the same run. A filter that was asked for before is remembered; "99 new" is the same filter as if it never was.
What ten million rows would take is drawn from the two largest sizes (time a search as a power of the rows).

With ``--device cuda`` the kinds that a GPU takes follow (flat-fp32-cuda, flat-fp16-cuda). Their rates are by the clock,
because a thread that waits for a GPU may or may not compute; run them on a machine that does nothing else. The last
column is what the GPU holds.
"""

import argparse
import json
import math
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import apsw
import numpy as np
import psutil
from numpy.typing import NDArray

from index.errors import IndexDeviceUnavailable
from index.gallery import Filters, GallerySpec, Metadata, NewImage, SearchOptions
from index.local_gallery import LocalGallery
from index.searching.gpu_resources import GpuResources
from index.searching.index_device import IndexDevice
from index.searching.index_snapshot import remove_snapshot
from index.storage.about_rows import write_about
from index.storage.gallery_files import SNAPSHOT
from index.storage.selected_rows import SelectedRows
from tests.clustered_vectors import PICTURES, clustered
from tests.index_kinds import ALL, kind_name

QUERIES, TOP_K, CANDIDATES, BATCH = 200, 10, 42, 1000
WIDTH = 15
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def filters(rows: int) -> dict[str, Filters]:
    """By the per cent of the rows that they filter out."""
    instant = BEGIN + timedelta(seconds=rows // 2)
    return {
        "0": Filters(),
        "50": Filters(camera_id=tuple(f"c{n}" for n in range(50))),
        "99": Filters(camera_id=("c7",)),
        "99.99": Filters(captured_after=instant, captured_before=instant + timedelta(seconds=max(rows // 10_000, 1))),
    }


def images(first: int, vectors: NDArray[np.float32]) -> list[NewImage]:
    """Pictures number ``first`` and following."""
    return [
        NewImage(
            image_id=f"i{n}",
            metadata=Metadata(
                vehicle_id=f"v{n // PICTURES}", camera_id=f"c{n % 100}", captured_at=BEGIN + timedelta(seconds=n)
            ),
            crop=b"",
            embedding=vector,
            viewpoint=None,
        )
        for n, vector in enumerate(vectors, first)
    ]


def rate(
    work: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32], seconds: float,
    clock: Callable[[], float] = time.thread_time,
) -> float:  # fmt: skip
    """Calls a second, one query each; of this thread's processor time unless ``clock`` is another."""
    calls, began = 0, clock()
    while (now := clock()) < began + seconds:
        work(queries[calls % len(queries)][None])
        calls += 1
    return calls / (now - began)


def forgetful(gallery: LocalGallery, queries: NDArray[np.float32], options: SearchOptions) -> None:
    """A search by a filter that nobody asked for before."""
    gallery._served = replace(gallery._served, selected_rows=SelectedRows(gallery._served.space_id))
    gallery.search(queries, options)


def fill(gallery: LocalGallery, rows: int, dim: int) -> tuple[float, float]:
    """Rows written a second, in batches of a thousand, each of them on the disk before the next.

    By the clock, and a second of the writer's processor time.
    """
    seconds, busy, first = 0.0, 0.0, 0
    for block in clustered(rows, dim):
        for start in range(0, len(block), BATCH):
            batch = images(first, block[start : start + BATCH])
            began, began_busy = time.perf_counter(), time.thread_time()
            gallery.add(batch)
            seconds += time.perf_counter() - began
            busy += time.thread_time() - began_busy
            first += len(batch)
    return rows / seconds, rows / busy


def with_crops(folder: Path, dim: int, *, rows: int = 5000, size: int = 5000) -> tuple[float, float]:
    """Rows written a second with crops of ``size`` bytes, and files of that size written and flushed, no more."""
    LocalGallery.create(folder, "crops", GallerySpec(embedding_space="bench", embedding_dim=dim, viewpoints=()))
    gallery, random = LocalGallery(folder), np.random.default_rng(0)
    pictures = [b"\xff\xd8\xff" + random.bytes(size - 3) for _ in range(rows)]
    block = [
        replace(i, crop=crop) for i, crop in zip(images(0, next(iter(clustered(rows, dim)))), pictures, strict=True)
    ]
    began = time.perf_counter()
    for start in range(0, rows, BATCH):
        gallery.add(block[start : start + BATCH])
    ours = rows / (time.perf_counter() - began)
    gallery.close(keep_snapshot=False)

    def flush(number: int) -> None:
        handle = os.open(folder / str(number), os.O_CREAT | os.O_WRONLY)
        os.write(handle, pictures[number])
        os.fsync(handle)
        os.close(handle)

    began = time.perf_counter()
    with ThreadPoolExecutor(8) as threads:  # as the crop store flushes
        list(threads.map(flush, range(rows)))
    return ours, rows / (time.perf_counter() - began)


def become(folder: Path, kind: str, vectors: str) -> None:
    """Make a closed gallery one of another kind, which no user can: the same rows need not be written again."""
    connection = apsw.Connection(str(folder / "gallery.sqlite"))
    spec = json.loads(connection.execute("SELECT value FROM about WHERE key = 'spec'").get)
    with connection:
        write_about(connection, {"spec": json.dumps({**spec, "kind": kind, "vectors": vectors})})
    connection.close()
    remove_snapshot(folder)


def opened(on: str) -> IndexDevice | None:
    """What a name means: none, or the GPU, all of which may be taken. One a process."""
    return GpuResources() if on == "cuda" else None


def cold_start(folder: Path, on: str, out: "multiprocessing.SimpleQueue[tuple[float, float, int]]") -> None:
    """Seconds until a gallery is ready, those of them that the process computed, and the bytes that it grew by."""
    device = opened(on)
    before = psutil.Process().memory_info().rss
    began, began_busy = time.perf_counter(), time.process_time()
    gallery = LocalGallery(folder, device=device)
    seconds, busy = time.perf_counter() - began, time.process_time() - began_busy
    out.put((seconds, busy, psutil.Process().memory_info().rss - before))
    gallery.close(keep_snapshot=False)


def apart(folder: Path, on: str) -> tuple[float, float, int]:
    """``cold_start`` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.SimpleQueue[tuple[float, float, int]] = context.SimpleQueue()
    process = context.Process(target=cold_start, args=(folder, on, out))
    process.start()
    measured = out.get()
    process.join()
    return measured


def found(gallery: LocalGallery, queries: NDArray[np.float32], options: SearchOptions) -> list[set[str]]:
    """Ids of the matches of each query."""
    return [{match.image.image_id for match in gallery.search(query[None], options)[0]} for query in queries]


def times_while_writing(gallery: LocalGallery, queries: NDArray[np.float32], seconds: float) -> tuple[float, float]:
    """Milliseconds, the 99th percentile and the longest, while ten images are written in every hundredth of a second.

    They are erased again.
    """
    stop = threading.Event()
    extra = next(iter(clustered(10_000, queries.shape[1], seed=2)))

    def write() -> None:
        number = 0
        while not stop.wait(0.01):
            batch = images(10**9 + 10 * number, extra[10 * number % 9000 :][:10])
            gallery.add(batch)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        gallery.search(queries[len(times) % len(queries)][None], SearchOptions(top_k=TOP_K))
        times.append(time.perf_counter() - began)
    stop.set()
    writer.join()
    gallery.delete_where(Filters(captured_after=BEGIN + timedelta(seconds=10**9 - 1)))
    return float(np.percentile(times, 99)) * 1000, max(times) * 1000


def line(
    folder: Path, name: str, queries: NDArray[np.float32], truth: dict[str, list[set[str]]], base: dict[str, float],
    seconds: float, device: IndexDevice | None,
) -> str:  # fmt: skip
    """Measure one kind; ``base`` holds the rates of the first that was."""
    rows, began = int(base["rows"]), time.perf_counter()
    clock = time.thread_time if device is None else time.perf_counter
    gallery = LocalGallery(folder, device=device)
    gallery._upkeep.rest()
    if (state := gallery.index_state()).device == "cpu" and device is not None:
        raise SystemExit(f"{name} is not searched on the GPU: {state.problem}")
    build = time.perf_counter() - began
    text = f"{name:{WIDTH}}"
    for share, each in filters(rows).items():
        options = SearchOptions(top_k=TOP_K, filters=each)
        own = found(gallery, queries[: len(truth[share])], options)
        recall = np.mean([len(a & b) / max(len(b), 1) for a, b in zip(own, truth[share], strict=True)])
        speed = rate(partial(gallery.search, options=options), queries, seconds, clock)
        text += f"{speed:14,.1f}{speed / base.setdefault('all', speed):8.1f}{recall:8.4f}"
        if share == "0":
            base[name] = speed
        if share == "99":
            speed = rate(partial(forgetful, gallery, options=options), queries, seconds, clock)
            text += f"{speed:14,.1f}{speed / base['all']:8.1f}"
    bare = rate(partial(gallery._index.search, count=CANDIDATES), queries, seconds, clock)
    text += f"{bare:12,.1f}{bare / base.setdefault('bare', bare):8.1f}"
    p99, longest = times_while_writing(gallery, queries, seconds)
    gallery._upkeep.rest()
    gallery.rewrite_snapshot()
    held = "" if device is None else f"{device.taken / rows:8,.0f}"
    gallery.close()
    start, busy, memory = apart(folder, "cpu" if device is None else device.name)
    disk = sum((folder / name).stat().st_size for name in ("gallery.sqlite", SNAPSHOT) if (folder / name).exists())
    share = memory / (rows * queries.shape[1] * 4)
    times = f"{p99:8.1f}{longest:8.1f}{build:9.1f}{start:9.2f}{busy:7.2f}"
    return f"{text}{times}{memory / rows:8,.0f}{share:8.2f}{disk / rows:7,.0f}{held}"


def measure(
    folder: Path, rows: int, dim: int, kinds: list[str], seconds: float, device: IndexDevice | None
) -> dict[str, float]:
    """Print a table; searches a second without a filter by kind."""
    spec = GallerySpec(embedding_space="bench", embedding_dim=dim, viewpoints=(), keep_crops=False)
    LocalGallery.create(folder, "bench", spec)
    gallery = LocalGallery(folder)
    inserts, alone = fill(gallery, rows, dim)
    print(
        f"\n{rows:,} rows × {dim}: {inserts:,.0f} durable inserts a second without crops, {alone:,.0f} of computing alone"
    )
    places = np.random.default_rng(0).permutation(min(rows, 10_000))[:QUERIES]
    queries = next(iter(clustered(10_000, dim, seed=1)))[places].copy()
    truth = {
        name: found(gallery, queries[: QUERIES if name == "0" else 50], SearchOptions(top_k=TOP_K, filters=each))
        for name, each in filters(rows).items()
    }
    gallery.close(keep_snapshot=False)
    head = ""
    for name in filters(rows):
        head += f"{f'-{name} %: /s':>14}{'× all':>8}{'recall':>8}"
        if name == "99":
            head += f"{'99 new: /s':>14}{'× all':>8}"
    head += f"{'bare: /s':>12}{'× flat':>8}{'p99 ms':>8}{'longest':>8}{'build s':>9}{'start s':>9}{'busy':>7}"
    head += f"{'B/row':>8}{'÷ fp32':>8}{'disk':>7}{'' if device is None else '  on GPU'}"
    print(f"{'kind':{WIDTH}}{head}", flush=True)
    base: dict[str, float] = {"rows": rows}
    for name in kinds:
        kind, form, *on = name.split("-")
        become(folder, kind, form)
        print(line(folder, name, queries, truth, base, seconds, device if on else None), flush=True)
    return {name: base[name] for name in kinds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=512, help="default: that of the default model")
    parser.add_argument("--kinds", nargs="+", default=[kind_name(each) for each in ALL], help="flat-fp32 comes first")
    parser.add_argument("--seconds", type=float, default=5, help="of each rate")
    parser.add_argument("--folder", type=Path, help="where the galleries lie while they are measured")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: what a GPU takes, too")
    arguments = parser.parse_args()
    try:
        device = opened(arguments.device)
    except IndexDeviceUnavailable as error:
        raise SystemExit(str(error)) from error
    kinds = [*arguments.kinds, *(f"flat-{form}-cuda" for form in ("fp32", "fp16") if device is not None)]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        ours, bare = with_crops(Path(place), arguments.dim)
    print(f"{ours:,.0f} durable inserts a second with crops of 5 kB; {bare:,.0f} such files written and flushed alone")
    speeds: dict[int, dict[str, float]] = {}
    for rows in sorted(arguments.rows):
        place = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            speeds[rows] = measure(place, rows, arguments.dim, kinds, arguments.seconds, device)
        finally:
            shutil.rmtree(place)
    if len(speeds) > 1:
        (few, slow), (many, fast) = sorted(speeds.items())[-2:]
        for kind in fast:
            power = math.log(slow[kind] / fast[kind]) / math.log(many / few)
            print(
                f"{kind:{WIDTH}} 10,000,000 rows: about {fast[kind] * (many / 10**7) ** power:,.1f} searches a second"
            )


if __name__ == "__main__":
    main()
