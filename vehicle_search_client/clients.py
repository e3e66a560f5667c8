"""The two clients. What they send and how it is read stands in ``calls``; here is who blocks and who awaits."""

import asyncio
import functools
import re
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, Unpack, overload

import httpx
from tqdm import tqdm

from vehicle_search_client import calls
from vehicle_search_client.bulk_upload import UPLOAD_PATIENCE, Batch, BatchSize, batches, must_wait, uploaded
from vehicle_search_client.calls import Call, Filters
from vehicle_search_client.client_errors import UnusableInput
from vehicle_search_client.conversation import Outcome, Patience, Talk, Wait, asked, watched
from vehicle_search_client.picture_input import NewImage, Picture
from vehicle_search_client.replies import AddedImage, ImportReply, MigrationReply, StoredImage
from vehicle_search_client.upload_source import images_of

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_URL: Final = "http://127.0.0.1:8000"
_CONNECT_SECONDS: Final = 5.0
_TOKEN: Final = re.compile(r"[!-~]+")  # what a header of HTTP may hold
_PATIENCE: Final = Patience()
_SIZE: Final = BatchSize()
Source = str | PathLike[str] | Iterable[NewImage | Picture]


class Route(Generic[P, T]):
    """A function of ``calls`` as a method: of the one client it returns the answer, of the other it is awaited."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self._make = make
        self.__doc__, self.__wrapped__ = make.__doc__, make

    @overload
    def __get__(self, client: "VehicleSearch", kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncVehicleSearch", kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, kind: type) -> "Route[P, T]": ...

    def __get__(self, client: Any, kind: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self._make)
        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.ask(self._make(*args, **kwargs))

        return ask


class Routes:
    """Every request that is one question and one answer."""

    search = Route(calls.search)
    search_batch = Route(calls.search_batch)
    similar = Route(calls.similar)
    search_kept = Route(calls.search_kept)
    keep_query = Route(calls.keep_query)
    query = Route(calls.query)
    query_picture = Route(calls.query_picture)
    delete_query = Route(calls.delete_query)
    embeddings = Route(calls.embeddings)
    add_images = Route(calls.add_images)
    put_image = Route(calls.put_image)
    image = Route(calls.image)
    update_image = Route(calls.update_image)
    delete_image = Route(calls.delete_image)
    delete_images = Route(calls.delete_images)
    update_images = Route(calls.update_images)
    page = Route(calls.page)
    crop = Route(calls.crop)
    galleries = Route(calls.galleries)
    gallery = Route(calls.gallery)
    facets = Route(calls.facets)
    create_gallery = Route(calls.create_gallery)
    drop_gallery = Route(calls.drop_gallery)
    import_archive = Route(calls.import_archive)
    import_path = Route(calls.import_path)
    imports = Route(calls.imports)
    import_job = Route(calls.import_job)
    import_failures = Route(calls.import_failures)
    delete_import = Route(calls.delete_import)
    migrate = Route(calls.migrate)
    migrations = Route(calls.migrations)
    migration = Route(calls.migration)
    cancel_migration = Route(calls.cancel_migration)
    give_feedback = Route(calls.give_feedback)
    feedback = Route(calls.feedback)
    delete_feedback = Route(calls.delete_feedback)
    delete_all_feedback = Route(calls.delete_all_feedback)
    export_feedback = Route(calls.export_feedback)
    cameras = Route(calls.cameras)
    set_cameras = Route(calls.set_cameras)
    plan = Route(calls.plan)
    set_plan = Route(calls.set_plan)
    delete_plan = Route(calls.delete_plan)
    trail = Route(calls.trail)
    trail_file = Route(calls.trail_file)
    audit = Route(calls.audit)
    caller = Route(calls.caller)
    access_keys = Route(calls.access_keys)
    create_key = Route(calls.create_key)
    revoke_key = Route(calls.revoke_key)
    model = Route(calls.model)
    status = Route(calls.status)
    reload_model = Route(calls.reload_model)
    alive = Route(calls.alive)
    ready = Route(calls.ready)
    metrics = Route(calls.metrics)


class VehicleSearch(Routes):
    """A service to talk to, from any number of threads. Connections are kept; close it, or use it in ``with``.

    ``api_key`` is sent as a bearer token; ``timeout`` is in seconds, for an answer that goes on coming; ``patience``
    says how often a request is sent again; ``verify`` is a context with the certificates that TLS is checked against.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout: float = 60.0,
        patience: Patience = _PATIENCE, verify: SSLContext | bool = True,
    ) -> None:  # fmt: skip
        self.patience = patience
        self._http = httpx.Client(verify=verify, **_options(url, api_key, timeout))

    def ask(self, call: Call[T]) -> T:
        """The answer to a call; raises what ``client_errors`` has."""
        return self._carry_out(asked(call, self.patience))

    def images(
        self, *, gallery: str = "default", limit: int = 1000, **filters: Unpack[Filters]
    ) -> Iterator[StoredImage]:
        """Every image that passes the filters, in the order of ids; ``limit`` are fetched at a time."""
        cursor: str | None = None
        while True:
            page = self.page(gallery=gallery, limit=limit, cursor=cursor, **filters)
            yield from page.images
            if (cursor := page.next) is None:
                return

    def upload(
        self, source: Source, *, gallery: str = "default", size: BatchSize = _SIZE, in_flight: int = 4,
        progress: bool = True, patience: Patience = UPLOAD_PATIENCE,
    ) -> Generator[AddedImage, None, None]:  # fmt: skip
        """Add any number of pictures, of a folder, a manifest.csv or an iterable; what became of each, in order.

        ``in_flight`` batches are on their way at once; no more than that, and one that is being read, are in memory.
        A picture that is wrong is told in its result. What would befall all others, too (a key, a gallery that is not
        there, a service that stays away, a full disk), is raised.
        """
        stopped = threading.Event()
        images, total = images_of(source)
        flying: deque[tuple[Batch, Future[list[AddedImage]]]] = deque()
        with ExitStack() as at_the_end:
            bar = at_the_end.enter_context(_bar(total, progress))
            pool = at_the_end.enter_context(ThreadPoolExecutor(_at_least_one(in_flight), thread_name_prefix="upload"))
            at_the_end.callback(stopped.set)  # those that wait to try again give up

            def landed() -> list[AddedImage]:
                results = flying.popleft()[1].result()
                bar.update(len(results))
                return results

            for batch in batches(images, size):
                while must_wait(batch, (one for one, _ in flying), in_flight):
                    yield from landed()
                talk = uploaded(batch, gallery, patience)
                flying.append((batch, pool.submit(self._carry_out, talk, stopped)))
            while flying:
                yield from landed()

    def wait_for_import(self, import_id: str, *, progress: bool = True) -> ImportReply:
        """The import when it has ended; ``state`` is done, failed or cancelled."""
        return self._carry_out(watched(calls.import_job(import_id), self.patience, progress=progress, unit=" images"))

    def wait_for_migration(
        self, migration_id: str, *, gallery: str = "default", progress: bool = True
    ) -> MigrationReply:
        """The migration when it has ended; ``state`` is finished, failed or cancelled."""
        look = calls.migration(migration_id, gallery=gallery)
        return self._carry_out(watched(look, self.patience, progress=progress, unit=" images"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _carry_out(self, talk: Talk[T], stopped: threading.Event | None = None) -> T:
        outcome: Outcome = None
        try:
            while True:
                step = talk.send(outcome)
                if isinstance(step, Wait):
                    _pause(step.seconds, stopped)
                    outcome = None
                else:
                    outcome = self._send(step)
        except StopIteration as end:
            result: T = end.value
            return result

    def _send(self, call: Call[Any]) -> Outcome:
        with ExitStack() as opened:
            request = _request(self._http, call, opened)
            try:
                return self._http.send(request)
            except httpx.TransportError as error:
                return error


class AsyncVehicleSearch(Routes):
    """As :class:`VehicleSearch`, every method awaited; used in ``async with``."""

    def __init__(
        self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout: float = 60.0,
        patience: Patience = _PATIENCE, verify: SSLContext | bool = True,
    ) -> None:  # fmt: skip
        self.patience = patience
        self._http = httpx.AsyncClient(verify=verify, **_options(url, api_key, timeout))

    async def ask(self, call: Call[T]) -> T:
        """The answer to a call; raises what ``client_errors`` has."""
        return await self._carry_out(asked(call, self.patience))

    async def images(
        self, *, gallery: str = "default", limit: int = 1000, **filters: Unpack[Filters]
    ) -> AsyncIterator[StoredImage]:
        """Every image that passes the filters, in the order of ids; ``limit`` are fetched at a time."""
        cursor: str | None = None
        while True:
            page = await self.page(gallery=gallery, limit=limit, cursor=cursor, **filters)
            for image in page.images:
                yield image
            if (cursor := page.next) is None:
                return

    async def upload(
        self, source: Source, *, gallery: str = "default", size: BatchSize = _SIZE, in_flight: int = 4,
        progress: bool = True, patience: Patience = UPLOAD_PATIENCE,
    ) -> AsyncGenerator[AddedImage, None]:  # fmt: skip
        """As :meth:`VehicleSearch.upload`; pictures are read in a thread."""
        _at_least_one(in_flight)
        images, total = await asyncio.to_thread(images_of, source)
        flying: deque[tuple[Batch, asyncio.Task[list[AddedImage]]]] = deque()
        cut = batches(images, size)
        with _bar(total, progress) as bar:

            async def landed() -> list[AddedImage]:
                results = await flying[0][1]
                flying.popleft()
                bar.update(len(results))
                return results

            try:
                while (batch := await asyncio.to_thread(next, cut, None)) is not None:
                    while must_wait(batch, (one for one, _ in flying), in_flight):
                        for result in await landed():
                            yield result
                    talk = uploaded(batch, gallery, patience)
                    flying.append((batch, asyncio.create_task(self._carry_out(talk))))
                while flying:
                    for result in await landed():
                        yield result
            finally:
                for _, task in flying:
                    task.cancel()
                await asyncio.gather(*(task for _, task in flying), return_exceptions=True)

    async def wait_for_import(self, import_id: str, *, progress: bool = True) -> ImportReply:
        """The import when it has ended; ``state`` is done, failed or cancelled."""
        look = calls.import_job(import_id)
        return await self._carry_out(watched(look, self.patience, progress=progress, unit=" images"))

    async def wait_for_migration(
        self, migration_id: str, *, gallery: str = "default", progress: bool = True
    ) -> MigrationReply:
        """The migration when it has ended; ``state`` is finished, failed or cancelled."""
        look = calls.migration(migration_id, gallery=gallery)
        return await self._carry_out(watched(look, self.patience, progress=progress, unit=" images"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _carry_out(self, talk: Talk[T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                step = talk.send(outcome)
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = await self._send(step)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _send(self, call: Call[Any]) -> Outcome:
        with ExitStack() as opened:
            request = _request(self._http, call, opened)
            try:
                return await self._http.send(request)
            except httpx.TransportError as error:
                return error


class _Stopped(Exception):
    """An upload that nobody wants the end of."""


def _pause(seconds: float, stopped: threading.Event | None) -> None:
    if stopped is None:
        time.sleep(seconds)
    elif stopped.wait(seconds):
        raise _Stopped


def _options(url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    try:
        base = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise UnusableInput(f"{url!r} is not the address of a service: {error}") from error
    if base.scheme not in ("http", "https") or not base.host:
        raise UnusableInput(f"{url!r} is not the address of a service, such as {DEFAULT_URL}")
    headers = {} if api_key is None else {"Authorization": f"Bearer {_token(api_key)}"}
    return {
        "base_url": base, "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS), pool=None),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=32),
    }  # fmt: skip


def _token(api_key: str) -> str:
    """A key as a header carries it, without the line end of the file that it was read from."""
    token = api_key.strip()
    if not _TOKEN.fullmatch(token):  # it is not shown: messages end up in logs
        raise UnusableInput("api_key is empty, or has signs that no key has; pass what `keys create` printed")
    return token


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any], opened: ExitStack) -> httpx.Request:
    """The call as a request; files that it names are open until ``opened`` closes them."""
    files = None
    if call.files is not None:
        files = [
            (name, (filename, opened.enter_context(part.open("rb")) if isinstance(part, Path) else part, kind))
            for name, (filename, part, kind) in call.files
        ]
    headers = {} if call.content_type is None else {"Content-Type": call.content_type}
    return http.build_request(
        call.method, call.path, params=list(call.query) or None, content=call.content, files=files, headers=headers
    )


def _bar(total: int | None, progress: bool) -> "tqdm[Any]":
    return tqdm(total=total, desc="upload", unit=" pictures", disable=None if progress else True)


def _at_least_one(in_flight: int) -> int:
    if in_flight < 1:
        raise UnusableInput(f"in_flight = {in_flight}: at least one batch is on its way")
    return in_flight
