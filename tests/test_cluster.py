"""Two replicas with everything they share, as it is run: one is killed under load, and nothing is lost.

The servers are real (Milvus, PostgreSQL, an S3-compatible one); without Milvus's, `make install-milvus`, it is skipped.
"""

import random
import signal
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from index.postgres.postgres_database import PostgresDatabase
from index.postgres.postgres_keys import PostgresKeys
from tests.http_client import parts, refused
from tests.key_holder import a_key, bearer
from tests.milvus_homes import milvus_uri, new_prefix
from tests.object_server import object_server
from tests.pictures import jpeg
from tests.postgres_server import PostgresServer
from tests.server_process import started
from tests.test_sweeper import until

GALLERY = "/v1/galleries/default"
CLIENTS = 3
IDS = 4  # of each client; nobody else writes them
PICTURES = 24  # that they choose from, each by its number
IMPORTED = 400  # more than are written before the first of them are told
SAME = 1e-3  # distance of a picture to itself
PATIENCE = 120.0  # seconds; a lease is 30


@dataclass
class Clients:
    """Clients of both replicas, which ask the other one again where one does not answer; what they were told."""

    addresses: list[str]
    token: str
    pictures: list[bytes]
    holds: dict[str, int | None] = field(default_factory=dict)  # the picture of each image; None: erased
    told: Counter[str] = field(default_factory=Counter)  # requests that were answered, by what they did
    again: int = 0  # requests that were repeated at the other replica
    audited: set[str] = field(default_factory=set)  # ids of answered requests that change something
    failures: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        assert not self.failures, self.failures

    def wait(self, count: int) -> None:
        """Until so many more requests were answered."""
        wanted = self.told.total() + count
        until(lambda: bool(self.failures) or self.told.total() >= wanted, seconds=PATIENCE)
        assert not self.failures, self.failures

    def _work(self, number: int) -> None:
        rng, own = random.Random(number), [f"c{number}-{n}" for n in range(IDS)]
        try:
            with httpx.Client(timeout=60, headers=bearer(self.token)) as http:
                while not self.stop.is_set():
                    self._step(http, own, rng)
        except BaseException as error:
            self.failures.append(error)

    def _step(self, http: httpx.Client, own: list[str], rng: random.Random) -> None:
        what, image_id, picture = rng.random(), rng.choice(own), rng.randrange(PICTURES)
        held = self.holds.get(image_id)
        if what < 0.3:
            files = parts(self.pictures[picture], metadata={"attributes": {"picture": picture}})
            self._ask(http, rng, "PUT", f"images/{image_id}", files=files)
            self.holds[image_id] = picture
            self.told["put"] += 1
        elif what < 0.5:
            chosen = [rng.randrange(PICTURES) for _ in own]
            said = [{"image_id": name, "attributes": {"picture": n}} for name, n in zip(own, chosen, strict=True)]
            sent = parts(*(self.pictures[n] for n in chosen), metadata=said)
            assert self._ask(http, rng, "POST", "images", files=sent).json()["failed"] == 0
            self.holds.update(zip(own, chosen, strict=True))
            self.told["batch"] += 1
        elif what < 0.65:
            self._ask(http, rng, "DELETE", f"images/{image_id}", fine=(204, 404))
            self.holds[image_id] = None
            self.told["erase"] += 1
        elif what < 0.85:
            query = self.pictures[picture if held is None else held]
            answer = self._ask(http, rng, "POST", "search?top_k=1000", content=query).json()
            assert found(answer["matches"], image_id) == (held is not None), (image_id, held)
            self.told["search"] += 1
        else:
            self._ask(http, rng, "GET", f"images/{image_id}/crop", fine=(404,) if held is None else (200,))
            self.told["crop"] += 1

    def _ask(
        self, http: httpx.Client, rng: random.Random, method: str, path: str, *, fine: tuple[int, ...] = (200, 201),
        **more: Any,
    ) -> httpx.Response:  # fmt: skip
        first = rng.randrange(len(self.addresses))
        for attempt, address in enumerate((self.addresses[first], self.addresses[1 - first])):
            try:
                answer = http.request(method, f"{address}{GALLERY}/{path}", **more)
            except httpx.TransportError:
                if attempt:
                    raise
                self.again += 1
                continue
            assert answer.status_code in fine, (method, path, answer.status_code, answer.text)
            if method != "GET" and "search" not in path:
                self.audited.add(answer.headers["X-Request-Id"])
            return answer
        raise AssertionError


def found(matches: list[dict[str, Any]], image_id: str) -> bool:
    """Whether an image stands once among the matches, at no distance."""
    distances = [match["distance"] for match in matches if match["image_id"] == image_id]
    assert len(distances) <= 1, image_id
    return bool(distances) and distances[0] <= SAME


def stored(http: httpx.Client) -> dict[str, dict[str, Any]]:
    """Every image by its id."""
    images = http.get(f"{GALLERY}/images", params={"limit": 1000}).raise_for_status().json()["images"]
    assert len({each["image_id"] for each in images}) == len(images)
    return {each["image_id"]: each for each in images}


def searched(http: httpx.Client, query_id: str) -> set[str]:
    """Ids of what a kept query finds."""
    answer = http.get(f"{GALLERY}/search", params={"query_id": query_id, "top_k": 1000}).raise_for_status()
    return {match["image_id"] for match in answer.json()["matches"]}


def erased_query(one: httpx.Client, two: httpx.Client, picture: bytes) -> None:
    """One replica keeps a picture, the other describes, shows, searches and erases it, and then neither knows it."""
    files = parts(picture, metadata={"camera_id": "query"})
    two.put(f"{GALLERY}/images/query", files=files).raise_for_status()
    made = one.post("/v1/queries", content=picture)
    path, query_id = made.headers["Location"], made.json()["query_id"]
    assert two.get(path).json() == one.get(path).json() == made.json()
    assert two.get(f"{path}/picture").content == picture
    assert searched(two, query_id) == searched(one, query_id) == {"query"}
    assert two.delete(path).status_code == 204
    for http in (one, two):
        asked = http.get(f"{GALLERY}/search", params={"query_id": query_id})
        for gone in (http.get(path), http.get(f"{path}/picture"), http.delete(path), asked):
            refused(gone, 404, query_id)
    assert one.delete(f"{GALLERY}/images/query").status_code == 204


def check(http: httpx.Client, clients: Clients, erased: str) -> dict[str, bytes]:
    """What was acknowledged is found by its id and by its picture, what was erased is in no answer; the crops."""
    images = stored(http)
    there = {name: picture for name, picture in clients.holds.items() if picture is not None}
    assert {name for name in images if name.startswith("c")} == there.keys()
    assert {name: images[name]["attributes"]["picture"] for name in there} == there
    imported = sorted(images.keys() - there.keys())
    assert len(imported) == IMPORTED - 1
    assert http.get(GALLERY).json()["images"] == len(images)
    gone = [erased, *(name for name, picture in clients.holds.items() if picture is None)]
    assert [http.get(f"{GALLERY}/images/{name}").status_code for name in gone] == [404] * len(gone)
    results = http.post(
        f"{GALLERY}/search/batch", params={"top_k": 1000}, files=parts(*clients.pictures)
    ).json()["results"]  # fmt: skip
    for number, result in enumerate(results):
        assert {match["image_id"] for match in result["matches"]} == images.keys(), number
        for name, picture in there.items():
            assert found(result["matches"], name) == (picture == number), (name, picture, number)
    return {
        name: http.get(f"{GALLERY}/images/{name}/crop").raise_for_status().content for name in [*there, *imported[::10]]
    }


def audited(http: httpx.Client) -> list[dict[str, Any]]:
    """Every entry of the audit log."""
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = http.get("/v1/audit", params={"limit": 1000} | ({"cursor": cursor} if cursor else {})).json()
        entries += page["entries"]
        cursor = page["next"]
        if cursor is None:
            return entries


@pytest.mark.timeout(400)
def test_one_of_two_replicas_is_killed_under_load_and_nothing_is_lost(
    tiny_model: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    uri, url = milvus_uri(), postgres.new_database()
    key, token = a_key("admin")
    with closing(PostgresDatabase(url)) as database:
        PostgresKeys(database).add(key)
    for name, text in ("url", url), ("access", "a"), ("secret", "b"):
        (tmp_path / name).write_text(text)
    archive = tmp_path / "cars.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for n in range(IMPORTED):
            file.writestr(f"{n:03}.jpg", jpeg(1000 + n, (48, 40)))
    with ExitStack() as stack:
        store = stack.enter_context(object_server())
        options = (
            "--milvus-uri", uri, "--milvus-prefix", new_prefix(), "--database-url-file", str(tmp_path / "url"), "--audit", "--audit-required",
            "--crops-url", "s3://cars/replicas", "--crops-endpoint", store,
            "--crops-access-key-file", str(tmp_path / "access"), "--crops-secret-key-file", str(tmp_path / "secret"),
        )  # fmt: skip
        names = ("one", "two")
        running = [
            stack.enter_context(started(tmp_path / name, tiny_model, *options, log=tmp_path / f"{name}.log"))
            for name in names
        ]
        clients = Clients([address for address, _ in running], token, [jpeg(n, (48, 40)) for n in range(PICTURES)])
        one, two = (
            stack.enter_context(httpx.Client(base_url=address, headers=bearer(token), timeout=60))
            for address, _ in running
        )
        made = one.post("/v1/keys", json={"name": "reader", "scopes": ["read"]})
        reader = bearer(made.json()["token"])
        until(lambda: two.get(GALLERY, headers=reader).status_code == 200, seconds=PATIENCE)

        queries = [
            each.post("/v1/queries", content=clients.pictures[0]).raise_for_status().json()["query_id"] for each in (one, two)
        ]  # fmt: skip

        erased_query(one, two, clients.pictures[0])

        with clients.at_work():
            clients.wait(20)
            with archive.open("rb") as body:
                sent = one.post(f"{GALLERY}/imports", files={"archive": ("cars.zip", body)})
            assert sent.status_code == 202, sent.text
            job = sent.headers["Location"]
            until(lambda: one.get(job).json()["done"] > 0, seconds=PATIENCE)
            owner = _owner(url)
            doomed = next(
                n for n, name in enumerate(names) if (tmp_path / name / "imports-at-work" / str(owner)).exists()
            )
            survivor = (two, one)[doomed]
            erased = _dealt_with(url)
            assert survivor.delete(f"{GALLERY}/images/{erased}").status_code == 204
            process = running[doomed][1]
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            before = survivor.get(job).json()
            assert 0 < before["done"] < IMPORTED, before
            clients.wait(40)
            assert clients.again > 0
            until(
                lambda: _owner(url) not in (owner, None) or survivor.get(job).json()["finished_at"] is not None,
                seconds=PATIENCE,
            )
            clients.wait(20)
        until(lambda: survivor.get(job).json()["finished_at"] is not None, seconds=PATIENCE)
        after = survivor.get(job).json()
        assert (after["state"], after["total"], after["done"], after["failed"]) == ("done", IMPORTED, IMPORTED, 0), (
            after
        )
        assert after["created"] + after["unchanged"] == IMPORTED, after
        pair = [name for name in sorted(stored(survivor)) if not name.startswith("c")][:2]
        said = survivor.post(
            "/v1/feedback", json={"gallery": "default", "image_id": pair[0], "query_image_id": pair[1], "same": True}
        )
        assert said.status_code == 201, said.text

        crops = check(survivor, clients, erased)
        assert survivor.get(GALLERY, headers=reader).status_code == 200
        assert [searched(survivor, query) for query in queries] == [stored(survivor).keys()] * 2
        assert survivor.delete(f"/v1/queries/{queries[doomed]}").status_code == 204
        entries = audited(survivor)
        assert clients.audited <= {each["request_id"] for each in entries}
        assert [each["import_id"] for each in entries if each["action"] == "import"] == [after["id"]]
        assert all(clients.told[what] for what in ("put", "batch", "erase", "search", "crop")), clients.told

        again = stack.enter_context(
            started(tmp_path / names[doomed], tiny_model, *options, log=tmp_path / "again.log")
        )[0]  # fmt: skip
        with httpx.Client(base_url=again, headers=bearer(token), timeout=60) as back:
            assert check(back, clients, erased) == crops
            assert back.get("/v1/feedback", params={"gallery": "default"}).json()["feedback"] == [said.json()]
            assert searched(back, queries[1 - doomed]) == stored(back).keys()
            assert back.get(f"/v1/queries/{queries[doomed]}").status_code == 404
            assert len(audited(back)) >= len(entries)
            assert back.get(GALLERY, headers=reader).status_code == 200
    for path in tmp_path.glob("*.log"):
        assert "Traceback" not in path.read_text(), path.read_text()


def _owner(url: str) -> str | None:
    """Which replica holds the import."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT owner FROM vehicle_search.imports").fetchone()
    return None if row is None else row[0]


def _dealt_with(url: str) -> str:
    """An image that the import has stored and told of."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT min(image_id) FROM vehicle_search.imported").fetchone()
    assert row is not None
    return str(row[0])
