"""A gallery on a Milvus server beside one in a folder, and `vehicle-index copy` between them, in one run.

    make install-milvus
    python -m scripts.bench_milvus [--rows 20000] [--uri http://127.0.0.1:19530]
    python -m scripts.bench_milvus --ticks  # what the server's time tick costs, and whom

Without ``--uri`` it starts the server that `make install-milvus` installed, as it comes (a time tick of 200 ms). Vectors
are random, of 512 numbers and length 1; both galleries are ``flat``, keep no crops, and have one caller.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.data_folder import DEFAULT, DataFolder
from index.feedback.feedback_folder import FeedbackFolder
from index.gallery import Filters, Gallery, GalleryHome, GallerySpec, Metadata, NewImage, SearchOptions
from index.milvus.milvus_home import MilvusHome
from index.objects.crop_home import CropHome
from index.objects.folder_objects import FolderObjects
from index.transfer.gallery_likeness import digest
from index.transfer.image_transfer import transfer
from tests.milvus_homes import new_prefix, started_milvus

DIM = 512
AT_ONCE = 256  # images a write
VEHICLES = 100
ASKED = 20  # times that each question is asked
TICKS = (200, 100, 50, 20)  # ms; 200 is how the server comes
FEW, IDLE_SECONDS = 2000, 20
SPEC = GallerySpec(embedding_space="bench", embedding_dim=DIM, viewpoints=("front", "rear", "side"), keep_crops=False)


@dataclass(frozen=True)
class Figures:
    """Of one gallery: images a second, and milliseconds of each thing that is asked for."""

    stored: float
    asked: dict[str, float]
    facets: float  # seconds


def main() -> None:
    """Measure both, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--uri", help="a server that runs (default: one is started)")
    parser.add_argument("--ticks", action="store_true", help="servers of other time ticks beside one another, instead")
    arguments = parser.parse_args()
    if arguments.ticks:
        _compare_ticks()
    else:
        _compare_homes(arguments.uri, arguments.rows)


def _compare_homes(uri: str | None, rows: int) -> None:
    uri = uri or started_milvus(settings={}).uri
    vectors = np.random.default_rng(0).normal(size=(rows, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory(prefix="bench-milvus-") as name:
        folder = Path(name)
        with (
            closing(_server_home(uri, folder)) as server,
            closing(DataFolder(folder / "own", default_spec=SPEC)) as own,
        ):
            theirs, ours = (_figures(home.get(DEFAULT), vectors) for home in (server, own))
            _tell(theirs, ours)
            server.drop(DEFAULT)
            _copies(server, own, folder / "again")
            server.drop("copied")


def _compare_ticks() -> None:
    """Of each tick: how long a search and a write take, and what a server takes that nobody asks anything."""
    vectors = np.random.default_rng(0).normal(size=(FEW, DIM)).astype(np.float32)
    for tick in TICKS:
        server = started_milvus(settings={"proxy.timeTickInterval": str(tick)})
        with (
            tempfile.TemporaryDirectory(prefix="bench-milvus-") as name,
            closing(_server_home(server.uri, Path(name))) as home,
        ):
            asked = _figures(home.get(DEFAULT), vectors).asked
            began = server.processor_seconds()
            time.sleep(IDLE_SECONDS)
            idle = (server.processor_seconds() - began) / IDLE_SECONDS
        server.kill()
        print(
            f"tick {tick} ms: one search {asked['one search']:,.0f} ms, one image stored {asked['one image stored']:,.0f} ms, "
            f"an idle server {idle:.1%} of a core",
            flush=True,
        )


def _server_home(uri: str, folder: Path) -> MilvusHome:
    crops = CropHome(FolderObjects(folder / "crops"))
    feedback = FeedbackFolder(folder / "feedback")
    return MilvusHome(uri, crops=crops, feedback=feedback, prefix=new_prefix(), default_spec=SPEC)


def _figures(gallery: Gallery, vectors: NDArray[np.float32]) -> Figures:
    images = [
        NewImage(
            image_id=f"i{n:07}", metadata=Metadata(vehicle_id=f"v{n % VEHICLES}", camera_id=f"c{n % 7}"), crop=b"",
            embedding=vector, viewpoint=np.array([0.2, 0.3, 0.5], dtype=np.float32),
        )
        for n, vector in enumerate(vectors)
    ]  # fmt: skip
    began = time.perf_counter()
    for start in range(0, len(images), AT_ONCE):
        gallery.add(images[start : start + AT_ONCE])
    stored = len(images) / (time.perf_counter() - began)
    one_vehicle = SearchOptions(filters=Filters(vehicle_id=("v7",)))
    questions: dict[str, Callable[[int], object]] = {
        "one image stored": lambda n: gallery.add([images[n]]),
        "one search": lambda n: gallery.search(vectors[n][None], SearchOptions()),
        "one search among one vehicle's images": lambda n: gallery.search(vectors[n][None], one_vehicle),
        "a page of the listing, in its midst": lambda _: gallery.page(Filters(), limit=100, offset=len(images) // 2),
    }
    began = time.perf_counter()
    gallery.facets()  # asked again it would be remembered
    facets = time.perf_counter() - began
    return Figures(stored=stored, asked={name: _milliseconds(ask) for name, ask in questions.items()}, facets=facets)


def _milliseconds(ask: Callable[[int], object]) -> float:
    ask(0)
    times = []
    for n in range(ASKED):
        began = time.perf_counter()
        ask(n)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000


def _tell(theirs: Figures, ours: Figures) -> None:
    print(
        f"images stored a second, {AT_ONCE} a write: Milvus {theirs.stored:,.0f}, folder {ours.stored:,.0f}, {theirs.stored / ours.stored:.2f} of it"
    )
    for name, there in theirs.asked.items():
        here = ours.asked[name]
        print(
            f"{name} (median of {ASKED}): Milvus {there:,.0f} ms, folder {here:,.1f} ms, {there / here:,.0f} times as long"
        )
    print(f"facets, counted: Milvus {theirs.facets:,.1f} s, folder {ours.facets:,.2f} s")


def _copies(server: GalleryHome, own: DataFolder, path: Path) -> None:
    """What `vehicle-index copy` does, there and back."""
    source = own.get(DEFAULT)
    count = source.count()
    there, _ = server.create("copied", SPEC)
    with closing(DataFolder(path, default_spec=SPEC)) as home:
        again = home.get(DEFAULT)
        for name, copy in (
            ("copied to Milvus", lambda: transfer(source, there)),
            ("copied from Milvus to a new folder", lambda: transfer(there, again)),
            ("read for the comparison, of Milvus", lambda: digest(there)),
            ("read for the comparison, of the folder", lambda: digest(source)),
        ):
            began = time.perf_counter()
            copy()
            print(f"{name}: {count / (time.perf_counter() - began):,.0f} images a second")
        assert digest(source).agrees(digest(again))  # noqa: S101


if __name__ == "__main__":
    main()
