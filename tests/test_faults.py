"""What the service said it had done is done, however it ends: kill -9 or SIGTERM at random moments, under load.

``FAULT_ROUNDS`` (10; `make fault`: 100) kills a service that often, ``FAULT_SEED`` makes the same draws again.
"""

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.data_folder import DataFolder
from index.embedder import Embedder
from index.gallery import GallerySpec, Kind, Vectors
from index.maintenance.verification import examine
from index.storage.gallery_files import SNAPSHOT
from tests.http_client import parts
from tests.pictures import jpeg
from tests.server_process import EARLY_COMMAND, serving, started

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "10"))
SEED = int(os.environ.get("FAULT_SEED", "0"))
CLIENTS = 4
IDS = 3  # of each client; nobody else writes them
PICTURES = 40  # that they choose from, each by its number
SAME = 1e-3  # distance of a picture to itself

GALLERY = "/v1/galleries/default"


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [jpeg(n, (48, 40)) for n in range(PICTURES)]


@dataclass
class Ledger:
    """Which picture an image may have, by its id: more than one where nobody answered. None: there is no image."""

    possible: dict[str, set[int | None]] = field(default_factory=dict)
    acknowledged: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self, image_id: str, after: int | None) -> None:
        self.possible.setdefault(image_id, {None}).add(after)

    def end(self, image_id: str, after: int | None) -> None:
        self.possible[image_id] = {after}
        with self.changed:
            self.acknowledged += 1
            self.changed.notify()

    def wait(self, count: int) -> None:
        """Until so many more were acknowledged, however slow the machine is."""
        wanted = self.acknowledged + count
        with self.changed:
            self.changed.wait_for(lambda: self.acknowledged >= wanted, timeout=60)


def client(address: str, number: int, pictures: list[bytes], ledger: Ledger, rng: random.Random) -> None:
    """Write, replace, erase and search until nobody answers any more, or with 503."""
    own = [f"c{number}-{n}" for n in range(IDS)]
    ends = contextlib.suppress(httpx.TransportError, _Stopping)
    with ends, httpx.Client(base_url=address, timeout=30, event_hooks={"response": [_require_service]}) as http:
        while True:
            what, image_id, picture = rng.random(), rng.choice(own), rng.randrange(PICTURES)
            if what < 0.45:
                document = {"attributes": {"picture": picture}}
                ledger.begin(image_id, picture)
                http.put(
                    f"{GALLERY}/images/{image_id}", files=parts(pictures[picture], metadata=document)
                ).raise_for_status()
                ledger.end(image_id, picture)
            elif what < 0.6:
                _batch(http, own, pictures, ledger, rng)
            elif what < 0.8:
                ledger.begin(image_id, None)
                assert http.delete(f"{GALLERY}/images/{image_id}").status_code in (204, 404)
                ledger.end(image_id, None)
            else:
                _look(http, own, pictures, ledger)


class _Stopping(Exception):
    """The service stops."""


def _require_service(response: httpx.Response) -> None:
    if response.status_code == 503:
        response.read()
        assert response.json()["type"].endswith("not-ready"), response.text
        raise _Stopping


def _batch(http: httpx.Client, own: list[str], pictures: list[bytes], ledger: Ledger, rng: random.Random) -> None:
    chosen = [rng.randrange(PICTURES) for _ in own]
    documents = [{"image_id": image_id, "attributes": {"picture": n}} for image_id, n in zip(own, chosen, strict=True)]
    for image_id, picture in zip(own, chosen, strict=True):
        ledger.begin(image_id, picture)
    answer = http.post(f"{GALLERY}/images", files=parts(*(pictures[n] for n in chosen), metadata=documents)).json()
    assert answer["failed"] == 0
    for image_id, picture in zip(own, chosen, strict=True):
        ledger.end(image_id, picture)


def _look(http: httpx.Client, own: list[str], pictures: list[bytes], ledger: Ledger) -> None:
    """Search for an own image: what was acknowledged is found at once, by its latest picture."""
    (picture,) = ledger.possible.get(own[0], {None})
    if picture is not None:
        assert _found(http.post(f"{GALLERY}/search?top_k=1000", content=pictures[picture]).json()["matches"], own[0])


def _found(matches: list[dict[str, Any]], image_id: str) -> bool:
    """Whether an image stands once among the matches, at no distance."""
    distances = [match["distance"] for match in matches if match["image_id"] == image_id]
    return len(distances) == 1 and distances[0] <= SAME


def load_until_ended(
    address: str, end: Callable[[], None], pictures: list[bytes], ledger: Ledger, rng: random.Random
) -> None:
    failures: list[BaseException] = []

    def work(number: int, draws: random.Random) -> None:
        try:
            client(address, number, pictures, ledger, draws)
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=work, args=(n, random.Random(rng.random()))) for n in range(CLIENTS)]
    for thread in clients:
        thread.start()
    ledger.wait(rng.randrange(11, 60))
    time.sleep(rng.uniform(0, 0.05))  # at any moment of what is being done
    end()
    for thread in clients:
        thread.join()
    assert not failures, failures


def check(address: str, pictures: list[bytes], ledger: Ledger) -> None:
    """Every image is one that it may be, found by its own picture alone, and nothing else is in any answer."""
    with httpx.Client(base_url=address, timeout=60) as http:
        stored = {
            image["image_id"]: image["attributes"]["picture"]
            for image in http.get(f"{GALLERY}/images", params={"limit": 1000}).json()["images"]
        }
        results = http.post(f"{GALLERY}/search/batch", params={"top_k": 1000}, files=parts(*pictures)).json()["results"]
    for image_id, possible in ledger.possible.items():
        assert stored.get(image_id) in possible, image_id
        ledger.possible[image_id] = {stored.get(image_id)}
    assert stored.keys() <= ledger.possible.keys()
    for number, result in enumerate(results):
        assert {match["image_id"] for match in result["matches"]} == stored.keys()
        for image_id, picture in stored.items():
            assert _found(result["matches"], image_id) == (picture == number), (image_id, picture, number)


@pytest.mark.timeout(240 + 20 * ROUNDS)
@pytest.mark.parametrize(
    ("kind", "vectors", "rounds"),
    [
        ("flat", "fp32", ROUNDS - 2 * (ROUNDS // 6)),
        ("hnsw", "fp32", max(1, ROUNDS // 6)),
        ("ivf", "sq8", max(1, ROUNDS // 6)),
    ],
)
def test_what_was_acknowledged_survives_kill_9(
    kind: Kind, vectors: Vectors, rounds: int, tiny_model: Path, tmp_path: Path, pictures: list[bytes]
) -> None:
    rng, ledger, data = random.Random(SEED), Ledger(), tmp_path / "data"
    spec = GallerySpec.for_model(Embedder(tiny_model, device="cpu").contract, kind=kind, vectors=vectors)
    DataFolder(data, default_spec=spec).close()
    for _ in range(rounds):
        with started(data, tiny_model, door=EARLY_COMMAND) as (address, process):
            check(address, pictures, ledger)
            load_until_ended(address, process.kill, pictures, ledger, rng)
        assert examine(data / "galleries/default").findings == []
    with serving(data, tiny_model, door=EARLY_COMMAND) as address:
        check(address, pictures, ledger)
        assert httpx.get(f"{address}{GALLERY}").json()["kind"] == kind
    assert ledger.acknowledged > 10 * rounds
    assert kind == "flat" or (data / "galleries/default" / SNAPSHOT).exists()


@pytest.mark.timeout(120)
def test_what_was_acknowledged_survives_sigterm(tiny_model: Path, tmp_path: Path, pictures: list[bytes]) -> None:
    """Also where no grace is given, or a second signal ends it: what was told is done, and it ends with 0."""
    rng, ledger, data = random.Random(SEED), Ledger(), tmp_path / "data"
    for times, grace in ((1, 20), (1, 0), (2, 20)):
        with started(data, tiny_model, "--grace-seconds", str(grace)) as (address, process):
            check(address, pictures, ledger)

            def end(process: subprocess.Popen[str] = process, times: int = times) -> None:
                for _ in range(times):
                    process.terminate()

            load_until_ended(address, end, pictures, ledger, rng)
            assert process.wait(30) == 0
        assert examine(data / "galleries/default").findings == []
    with serving(data, tiny_model) as address:
        check(address, pictures, ledger)


def test_erased_added_and_replaced_it_is_one_hit_with_its_last_picture(
    tiny_model: Path, tmp_path: Path, pictures: list[bytes]
) -> None:
    """Before and after the service is killed."""
    ledger = Ledger({"a": {2}, "b": {3}})
    with started(tmp_path / "data", tiny_model) as (address, process), httpx.Client(base_url=address) as http:
        for picture in (0, None, 1, 2):
            if picture is None:
                http.delete(f"{GALLERY}/images/a").raise_for_status()
            else:
                files = parts(pictures[picture], metadata={"attributes": {"picture": picture}})
                http.put(f"{GALLERY}/images/a", files=files).raise_for_status()
        files = parts(pictures[3], metadata={"attributes": {"picture": 3}})
        http.put(f"{GALLERY}/images/b", files=files).raise_for_status()
        check(address, pictures, ledger)
        process.kill()
    for _ in range(2):
        with serving(tmp_path / "data", tiny_model) as address:
            check(address, pictures, ledger)
