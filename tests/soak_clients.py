"""Clients of every kind for ``scripts.soak``: quick ones, slow ones, rude ones, and what each may be answered.

They speak HTTP through bare sockets: a client library would take the processors that the service is to be measured on.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

GALLERY: Final = "/v1/galleries/default"
BUSY: Final = (429, 503)  # what anybody may be told who comes at a bad time
MAX_BODY: Final = 1_000_000  # bytes; what the service is started with
IDS: Final = 3  # images of each client; nobody else writes them

_PAUSE = (0.02, 0.2)  # seconds after an answer
_BACK_OFF = (0.1, 1.5)  # times what Retry-After says
_BOUNDARY = "frontier"


@dataclass
class Ledger:
    """What was answered, what was broken, and which picture an image may have; None: there is no such image."""

    possible: dict[str, set[int | None]] = field(default_factory=dict)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)

    def begin(self, image_id: str, after: int | None) -> None:
        """It may come to this: nobody has answered yet."""
        self.possible.setdefault(image_id, {None}).add(after)

    def end(self, image_id: str, after: int | None) -> None:
        """It came to this, and to nothing else."""
        self.possible[image_id] = {after}


@dataclass(frozen=True)
class Answer:
    """Status, header fields with small names, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(Exception):
    """The connection ended before an answer."""


class Connection:
    """One connection, made anew where it was closed."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def opened(self) -> asyncio.StreamWriter:
        """Where to write."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams[1]

    async def ask(self, request: bytes) -> Answer:
        """Send and read the answer; once more where a kept connection was closed meanwhile. Raises Lost."""
        kept = self._streams is not None
        try:
            return await self._ask(request)
        except Lost:
            if not kept:
                raise
        return await self._ask(request)

    async def _ask(self, request: bytes) -> Answer:
        try:
            writer = await self.opened()
            writer.write(request)
            with contextlib.suppress(OSError):  # refused before all was sent: the answer says why
                await writer.drain()
            return await self.answer()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Lost(repr(error)) from error

    async def answer(self) -> Answer:
        """The next answer."""
        assert self._streams is not None  # something was sent
        reader = self._streams[0]
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields if each)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(line.split()[1]), headers, body)

    def close(self) -> None:
        """Leave, whatever is under way."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def request(method: str, path: str, body: bytes = b"", kind: str = "image/jpeg") -> bytes:
    """A request as bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def form(pictures: Sequence[bytes], metadata: object = None) -> tuple[bytes, str]:
    """Parts ``image``, and ``metadata`` where there is some; and the content type."""
    pieces = [(f'name="image"; filename="{number}.jpg"', data) for number, data in enumerate(pictures)]
    if metadata is not None:
        pieces.append(('name="metadata"', json.dumps(metadata).encode()))
    parts = [b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (_BOUNDARY.encode(), name.encode(), data)
             for name, data in pieces]  # fmt: skip
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"


def chunked(method: str, path: str, body: bytes, *, piece: int = 8192) -> bytes:
    """A request whose body comes in chunks of no length that was told before."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


class Client:
    """One that does what comes to its mind, as quickly as it is answered."""

    def __init__(self, number: int, address: str, pictures: Sequence[bytes], ledger: Ledger, seed: int) -> None:
        self._connection = Connection(address)
        self._pictures, self._ledger = pictures, ledger
        self._draws = random.Random(f"{seed} {number}")
        self._own = [f"c{number}-{n}" for n in range(IDS)]
        self._left = f"left-{number}"  # written by requests that nobody waits for
        self._never = f"never-{number}"  # nothing of this name may ever be stored

    async def work(self) -> None:
        """Until it is cancelled."""
        doings: dict[Callable[[], Awaitable[None]], int] = {
            self.search: 36, self.batch: 8, self.chunks: 4, self.similar: 6, self.page: 3, self.put: 12, self.add: 6,
            self.erase: 4, self.no_picture: 5, self.half_a_picture: 3, self.too_large: 3, self.too_many_chunks: 2,
            self.nonsense: 2, self.leave_while_sending: 3, self.leave_while_waiting: 3,
        }  # fmt: skip
        try:
            while True:
                (do,) = self._draws.choices(list(doings), weights=list(doings.values()))
                try:
                    await do()
                except Lost as error:
                    self._ledger.broken[f"{do.__name__}: no answer, {error}"] += 1
                await asyncio.sleep(self._draws.uniform(*_PAUSE))
        finally:
            self._connection.close()

    async def search(self) -> None:
        """One picture."""
        answer = await self._told("search", request("POST", f"{GALLERY}/search", self._picture()[1]), 200)
        if answer is not None and "matches" not in json.loads(answer.body):
            self._ledger.broken["search: an answer without matches"] += 1

    async def batch(self) -> None:
        """Several at once, one of which is none."""
        body, kind = form([self._picture()[1], b"poison", self._picture()[1], self._picture()[1]])
        answer = await self._told("batch search", request("POST", f"{GALLERY}/search/batch", body, kind), 200)
        if answer is not None:
            failed = ["problem" in each for each in json.loads(answer.body)["results"]]
            if failed != [False, True, False, False]:
                self._ledger.broken[f"batch search: of good, bad, good, good failed {failed}"] += 1

    async def chunks(self) -> None:
        """A picture in chunks."""
        await self._told("chunked search", chunked("POST", f"{GALLERY}/search", self._picture()[1]), 200)

    async def similar(self) -> None:
        """With a stored image."""
        await self._told(
            "similar", request("GET", f"{GALLERY}/images/{self._draws.choice(self._own)}/similar"), 200, 404
        )

    async def page(self) -> None:
        """A page of what there is."""
        await self._told("page", request("GET", f"{GALLERY}/images?limit=20"), 200)

    async def put(self) -> None:
        """Store or replace one image."""
        image_id, (number, picture) = self._draws.choice(self._own), self._picture()
        body, kind = form([picture], {"attributes": {"picture": number}})
        self._ledger.begin(image_id, number)
        if await self._told("put", request("PUT", f"{GALLERY}/images/{image_id}", body, kind), 200, 201):
            self._ledger.end(image_id, number)

    async def add(self) -> None:
        """Store or replace several, and one that is no picture."""
        chosen = [self._picture() for _ in self._own]
        documents = [
            {"image_id": image_id, "attributes": {"picture": number}}
            for image_id, (number, _) in zip(self._own, chosen, strict=True)
        ]
        body, kind = form([*(picture for _, picture in chosen), b"poison"], [*documents, {"image_id": self._never}])
        for image_id, (number, _) in zip(self._own, chosen, strict=True):
            self._ledger.begin(image_id, number)
        answer = await self._told("add", request("POST", f"{GALLERY}/images", body, kind), 200)
        if answer is not None:
            if json.loads(answer.body)["failed"] != 1:
                self._ledger.broken["add: the picture that is none did not fail alone"] += 1
            for image_id, (number, _) in zip(self._own, chosen, strict=True):
                self._ledger.end(image_id, number)

    async def erase(self) -> None:
        """Erase one image."""
        image_id = self._draws.choice(self._own)
        self._ledger.begin(image_id, None)
        if await self._told("erase", request("DELETE", f"{GALLERY}/images/{image_id}"), 204, 404):
            self._ledger.end(image_id, None)

    async def no_picture(self) -> None:
        """Bytes that are no picture."""
        data = self._draws.randbytes(2000)
        await self._told("no picture", request("PUT", f"{GALLERY}/images/{self._never}", data), 415, 400)

    async def half_a_picture(self) -> None:
        """A picture that was cut off."""
        picture = self._picture()[1]
        await self._told("half a picture", request("POST", f"{GALLERY}/search", picture[: len(picture) // 2]), 400)

    async def too_large(self) -> None:
        """More bytes than may be, as the head says."""
        await self._told(
            "too large", request("PUT", f"{GALLERY}/images/{self._never}", bytes(MAX_BODY + 1)), 413, lost=True
        )

    async def too_many_chunks(self) -> None:
        """More bytes than may be, as nobody has said."""
        data = self._picture()[1] + bytes(MAX_BODY)
        await self._told("too many chunks", chunked("PUT", f"{GALLERY}/images/{self._never}", data), 413, lost=True)

    async def nonsense(self) -> None:
        """A filter that is none, or a gallery that is none."""
        if self._draws.random() < 0.5:
            await self._told("unknown filter", request("POST", f"{GALLERY}/search?colour=red", self._picture()[1]), 422)
        else:
            await self._told("unknown gallery", request("GET", "/v1/galleries/nowhere/images"), 404)

    async def leave_while_sending(self) -> None:
        """Send half and leave."""
        whole = request("PUT", f"{GALLERY}/images/{self._never}", self._picture()[1])
        with contextlib.suppress(OSError):
            writer = await self._connection.opened()
            writer.write(whole[: len(whole) * 2 // 3])
            await writer.drain()
            await asyncio.sleep(self._draws.uniform(0, 0.05))
        self._connection.close()

    async def leave_while_waiting(self) -> None:
        """Send all and leave, so that nobody knows what came of it."""
        image_id, (number, picture) = self._left, self._picture()
        body, kind = form([picture], {"attributes": {"picture": number}})
        self._ledger.begin(image_id, number)
        with contextlib.suppress(OSError):
            writer = await self._connection.opened()
            writer.write(request("PUT", f"{GALLERY}/images/{image_id}", body, kind))
            await writer.drain()
            await asyncio.sleep(self._draws.uniform(0, 0.2))
        self._connection.close()

    def _picture(self) -> tuple[int, bytes]:
        number = self._draws.randrange(len(self._pictures))
        return number, self._pictures[number]

    async def _told(self, what: str, asked: bytes, *good: int, lost: bool = False) -> Answer | None:
        """The answer where it is one of ``good``; notes what it is. ``lost``: the connection may end without one."""
        try:
            answer = await self._connection.ask(asked)
        except Lost:
            if not lost:
                raise
            self._ledger.statuses[what, 0] += 1
            return None
        self._ledger.statuses[what, answer.status] += 1
        if answer.status in BUSY:
            await self._wait(what, answer)
        elif answer.status not in good:
            self._ledger.broken[f"{what}: {answer.status}, {answer.body[:200].decode('utf-8', 'replace')}"] += 1
        return answer if answer.status in good else None

    async def _wait(self, what: str, answer: Answer) -> None:
        seconds = answer.headers.get("retry-after", "")
        if answer.status == 429 and not seconds.isdecimal():
            self._ledger.broken[f"{what}: 429 without Retry-After"] += 1
        await asyncio.sleep(int(seconds or 1) * self._draws.uniform(*_BACK_OFF))


async def send_slowly(address: str, ledger: Ledger, *, head: bool, seconds: float) -> None:
    """Send a head or a body a byte at a time, over and over; each must be cut off after ``seconds``, or soon then."""
    whole = request("POST", f"{GALLERY}/search", bytes(10_000))
    cut = whole.index(b"\r\n\r\n") + 4
    what = "slow head" if head else "slow body"
    while True:
        connection = Connection(address)
        try:
            writer = await connection.opened()
            writer.write(whole[: cut // 2 if head else cut])
            trickle = asyncio.create_task(_trickle(writer))
            try:
                async with asyncio.timeout(3 * seconds + 10):
                    answer = await connection.answer()
            finally:
                trickle.cancel()
            ledger.statuses[what, answer.status] += 1
            if answer.status not in (408, *BUSY):
                ledger.broken[f"{what}: {answer.status}"] += 1
        except TimeoutError:
            ledger.broken[f"{what}: not cut off within {3 * seconds + 10:g} s"] += 1
        except (OSError, asyncio.IncompleteReadError):
            ledger.statuses[what, 0] += 1
        finally:
            connection.close()
        await asyncio.sleep(0.5)


async def _trickle(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.5)
