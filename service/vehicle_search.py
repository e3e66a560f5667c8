"""The service's door: ``vehicle-search serve``, ``keys``, and ``query`` for whoever asks one."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI

from index.access_key import KeyHome
from index.errors import EmbeddingSpaceMismatch, GalleryNotFound, GalleryUnavailable, VehicleSearchError
from index.gallery import GalleryHome
from index.machine.cpu_quota import usable_cpus
from index.machine.mounts import network_warning
from index.machine.steady_clock import SteadyClock
from index.objects.object_home import open_crops, open_objects
from index.objects.object_store import ObjectStore
from index.postgres.postgres_home import open_database
from index.storage.key_database import KeyDatabase
from service.access.keyring import Keyring
from service.capacity.open_connections import OpenConnections, raise_file_limit
from service.commands.keys_command import keys
from service.commands.query_command import query
from service.gate.http_protocol import http_protocol
from service.gate.tls_files import CIPHERS, TlsFiles
from service.gate.trace_export import TraceExport
from service.settings import PREFIX, Settings, read_settings
from service.signals import Signals
from service.watching.log_lines import JsonLines, set_up_log

if TYPE_CHECKING:
    from index.camera import CameraHome
    from index.feedback.answer_home import FeedbackHome
    from index.gallery import GallerySpec
    from index.postgres.postgres_audit import PostgresAudit
    from index.postgres.postgres_database import PostgresDatabase
    from index.postgres.postgres_imports import PostgresImports
    from index.postgres.postgres_queries import PostgresQueries
    from index.searching.index_device import IndexDevice
    from index.storage.space_reserve import SpaceReserve

_HELP = f"""\
usage: vehicle-search serve [--OPTION VALUE ...]
       vehicle-search keys create | list | revoke [...]
       vehicle-search query PICTURE [...]

Serve galleries over HTTP. Every option is also an environment variable: --queue-size is {PREFIX}QUEUE_SIZE.
With the first key that is made every request needs one.

  vehicle-search serve                                     # 127.0.0.1:8000, galleries in data/, models/default.onnx
  vehicle-search serve --port 9000 --data-dir /srv/vehicles --device cuda
  vehicle-search serve --help                              # every option and its default
  vehicle-search keys create yard-camera --scope write     # also while the service runs; keys --help says more
  vehicle-search query car.jpg --html matches.html         # ask a running service; query --help says more
  vehicle-search --version
"""

_LAST_SECONDS = 1.0  # for requests that are cut off to say so
_LOG = logging.getLogger("service")


class StartError(VehicleSearchError):
    """The service cannot start."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code. What ends the start is one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"vehicle-search {version('vehicle-search')}")
        return 0
    if not words or words[0] not in ("serve", "keys", "query"):
        print(_HELP, end="", file=sys.stdout if words in (["--help"], ["-h"]) else sys.stderr)
        return 0 if words in (["--help"], ["-h"]) else 2
    if words[0] == "query":
        return query(words[1:])
    try:
        if words[0] == "keys":
            return keys(words[1:])
        settings = read_settings(words[1:], prog="vehicle-search serve")
        try:
            return serve(settings)
        except VehicleSearchError as error:
            if settings.log_format == "console":
                raise
            _LOG.critical("%s", error)  # whoever reads JSON lines reads nothing else
            return 2
    except VehicleSearchError as error:
        print(f"vehicle-search: {error}", file=sys.stderr)
        return 2


def serve(settings: Settings) -> int:
    """Load everything, serve until a signal, return 0."""
    began, signals, files = time.perf_counter(), Signals(grace=settings.grace_seconds), raise_file_limit()
    set_up_log(settings.log_format, settings.log_level)
    _require_apart(settings)
    with contextlib.ExitStack() as stores:
        database = None
        if settings.database_url_file is not None:
            database = stores.enter_context(contextlib.closing(open_database(settings.database_url_file)))
        return _serve(settings, signals, stores, database, began, files)


def _serve(
    settings: Settings, signals: Signals, stores: contextlib.ExitStack, database: "PostgresDatabase | None",
    began: float, files: int,
) -> int:  # fmt: skip
    """As ``serve``, with what replicas share; ``stores`` takes what is to be closed at the end."""
    keyring, tls = _keyring(settings, database), _tls(settings)
    traces = TraceExport.from_environment(os.environ)
    listener = _bind(settings)
    try:
        app = _load(settings, keyring, traces, stores, database)
        gc.collect()
        gc.freeze()  # what is loaded stays: each look at it would hold all threads up for 50 ms
        protocol = http_protocol(settings.body_seconds, OpenConnections.within(files))
        config = uvicorn.Config(
            app, http=protocol, ws="none", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=settings.grace_seconds, log_level="warning", lifespan="on",
            ssl_certfile=settings.tls_certificate, ssl_keyfile=settings.tls_key, ssl_ciphers=CIPHERS,
            proxy_headers=settings.trusted_proxies is not None, forwarded_allow_ips=settings.trusted_proxies or "",
        )  # fmt: skip
        if tls is not None:
            config.load()
            assert config.ssl is not None  # noqa: S101  # it has the certificate
            tls.watch(config.ssl)
        server = _Server(config, app, lambda: _ready(settings, app, time.perf_counter() - began))
        signals.hand_over(stop=server.stop, hang_up=app.state.context.reloader.ask)
        server.run(sockets=[listener])
    finally:
        listener.close()
        if tls is not None:
            tls.close()
    return 0


def _require_apart(settings: Settings) -> None:
    """Whoever may import into one gallery could else import the crops of all others."""
    if settings.import_root is None:
        return
    root, data = settings.import_root.resolve(), settings.data_dir.resolve()
    if root.is_relative_to(data) or data.is_relative_to(root):
        raise StartError(
            f"import_root {settings.import_root} and the data folder {settings.data_dir} lie in each other: a client "
            "could import the crops of any gallery; name an import_root beside the data folder"
        )


def _keyring(settings: Settings, database: "PostgresDatabase | None") -> Keyring:
    """The keys that are asked for; where there are none, whoever reaches the service may do everything."""
    keyring = Keyring(KeyDatabase(settings.data_dir) if database is None else _shared_keys(database))
    if keyring.keyless and not settings.loopback and not settings.allow_unauthenticated_remote:
        raise StartError(
            f"host {settings.host} is reachable from other machines and nothing asks who calls: make a key "
            f"(`vehicle-search keys create NAME --scope read`), or put a proxy that asks in front and set {PREFIX}"
            "ALLOW_UNAUTHENTICATED_REMOTE=true, or listen on 127.0.0.1"
        )
    return keyring


def _shared_keys(database: "PostgresDatabase") -> KeyHome:
    from index.postgres.postgres_keys import PostgresKeys

    return PostgresKeys(database)


def _tls(settings: Settings) -> TlsFiles | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_certificate, settings.tls_key)


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(1)  # claims the port; clients wait in the backlog until the model is loaded
    except UnicodeError as error:  # a name that DNS cannot carry
        listener.close()
        raise StartError(f"cannot listen on {settings.host!a}: it is not a host name") from error
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {settings.port} on {settings.host} is in use; stop what listens there or choose another --port"
            ) from error
        raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    return listener


def _load(
    settings: Settings, keyring: Keyring, traces: TraceExport | None, stores: contextlib.ExitStack,
    database: "PostgresDatabase | None",
) -> FastAPI:  # fmt: skip
    from index.bulk.import_job import ImportFolder, ImportHome
    from index.gallery import GallerySpec
    from index.storage.kept_query import QueryHome
    from index.storage.query_store import QueryStore
    from service.application import create_app
    from service.embedding.loaded_models import LoadedModels, open_model
    from service.watching.usable_galleries import galleries_of

    if (warning := network_warning(settings.data_dir)) is not None:
        _LOG.warning("%s", warning)
    workers = settings.threads or usable_cpus()
    embedder = open_model(settings.model, settings)
    previous = None
    if settings.previous_model is not None:
        previous = open_model(settings.previous_model, settings, alone=False)
        if previous.contract.embedding_space == embedder.contract.embedding_space:
            raise StartError(
                f"previous_model {settings.previous_model} makes vectors of the same embedding space as model "
                f"{settings.model}, so galleries need not move: leave it out"
            )
    erasing_clock = SteadyClock()
    home, reserve = _home(settings, GallerySpec.for_model(embedder.contract), erasing_clock, stores, database)
    for name, problem in home.problems().items():
        _LOG.error("gallery %s answers 503, the others are served: %s", name, problem)
    models = LoadedModels(present=embedder, previous=previous)
    for gallery in galleries_of(home):
        try:
            if models.of(gallery) is previous:
                _LOG.info(
                    "gallery %s answers by the previous model %s; POST /v1/galleries/%s/migrations moves it to %s",
                    gallery.name, previous.contract.name, gallery.name, embedder.contract.name,
                )  # fmt: skip
        except EmbeddingSpaceMismatch as error:
            _LOG.warning("%s", error)
    if settings.audit and settings.read_only and settings.audit_dir is None and database is None:
        raise StartError(
            "a service that only reads writes nothing to its data folder: say audit_dir, or leave out audit"
        )
    imports: ImportHome
    query_store: QueryHome
    if database is None:
        imports = ImportFolder(settings.data_dir, read_only=settings.read_only)
        query_store = QueryStore(
            settings.data_dir, hours=settings.query_hours, max_bytes=settings.max_query_bytes,
            read_only=settings.read_only, erasing_clock=erasing_clock, reserve=reserve,
        )  # fmt: skip
    else:
        objects = _objects(settings, stores)
        imports = _shared_imports(settings, stores, database, objects)
        query_store = _shared_queries(settings, database, objects, erasing_clock)
    return create_app(
        settings=settings, embedder=embedder, home=home, workers=workers, imports=imports, previous=previous,
        keyring=keyring, traces=traces, erasing_clock=erasing_clock, query_store=query_store,
        audit_table=None if database is None else _shared_audit(database),
        cameras=None if database is None else _shared_cameras(database, settings),
    )  # fmt: skip


def _shared_imports(
    settings: Settings, stores: contextlib.ExitStack, database: "PostgresDatabase", objects: ObjectStore
) -> "PostgresImports":
    from index.postgres.gallery_claim import GalleryClaim
    from index.postgres.postgres_imports import PostgresImports

    claim = None
    if not settings.read_only:
        shared = settings.milvus_uri is not None
        claim = stores.enter_context(contextlib.closing(GalleryClaim(database, shared=shared)))
    imports = PostgresImports(database, objects, settings.data_dir, read_only=settings.read_only, claim=claim)
    return stores.enter_context(contextlib.closing(imports))


def _shared_queries(
    settings: Settings, database: "PostgresDatabase", objects: ObjectStore, erasing_clock: SteadyClock
) -> "PostgresQueries":
    from index.postgres.postgres_queries import PostgresQueries

    return PostgresQueries(
        database, objects, hours=settings.query_hours, max_bytes=settings.max_query_bytes, erasing_clock=erasing_clock
    )


def _shared_audit(database: "PostgresDatabase") -> "PostgresAudit":
    from index.postgres.postgres_audit import PostgresAudit

    return PostgresAudit(database)


def _shared_cameras(database: "PostgresDatabase", settings: Settings) -> "CameraHome":
    from index.postgres.postgres_cameras import PostgresCameras

    return PostgresCameras(database, read_only=settings.read_only)


def _objects(settings: Settings, stores: contextlib.ExitStack) -> ObjectStore:
    """Where crops, archives and kept queries are that every replica needs."""
    if settings.crops_url is None:
        return stores.enter_context(contextlib.closing(open_objects(str(settings.data_dir / "objects"))))
    objects = open_crops(
        settings.crops_url, endpoint=settings.crops_endpoint, access_key_file=settings.crops_access_key_file,
        secret_key_file=settings.crops_secret_key_file,
    )  # fmt: skip
    return stores.enter_context(contextlib.closing(objects))


def _home(
    settings: Settings, spec: "GallerySpec", erasing_clock: SteadyClock, stores: contextlib.ExitStack,
    database: "PostgresDatabase | None",
) -> "tuple[GalleryHome, SpaceReserve | None]":  # fmt: skip
    """The galleries: in the data folder, or on a Milvus server; and space for erasing where that is ours to keep."""
    if settings.milvus_uri is None:
        from index.data_folder import DataFolder

        folder = DataFolder(
            settings.data_dir, default_spec=spec, read_only=settings.read_only, erasing_clock=erasing_clock,
            device=_index_device(settings), max_galleries=settings.max_galleries,
        )  # fmt: skip
        return folder, folder.reserve
    from index.milvus.milvus_home import MilvusHome
    from index.objects.crop_home import CropHome

    if (settings.data_dir / "galleries").is_dir():
        _LOG.warning("galleries in %s are not served: milvus_uri is set", settings.data_dir)
    objects = _objects(settings, stores)
    home = MilvusHome(
        settings.milvus_uri, crops=CropHome(objects), feedback=_feedback(settings, database, objects),
        own_folder=settings.data_dir, token_file=settings.milvus_token_file, prefix=settings.milvus_prefix,
        default_spec=spec, erasing_clock=erasing_clock, read_only=settings.read_only,
        max_galleries=settings.max_galleries,
    )  # fmt: skip
    return home, None


def _feedback(settings: Settings, database: "PostgresDatabase | None", objects: ObjectStore) -> "FeedbackHome":
    """Where what is said of galleries lies that are not in the data folder."""
    if database is None:
        from index.feedback.feedback_folder import FeedbackFolder

        return FeedbackFolder(settings.data_dir / "feedback", read_only=settings.read_only)
    from index.postgres.postgres_feedback import PostgresFeedback

    return PostgresFeedback(database, objects)


def _index_device(settings: Settings) -> "IndexDevice | None":
    """What galleries are searched on, beside the processors; it is made once and lives as long as they do."""
    from index.searching.gpu_resources import GpuResources

    if settings.index_device == "cpu":
        return None
    return GpuResources(cap=settings.gpu_index_memory or None, scratch=settings.gpu_scratch_memory)


def _ready(settings: Settings, app: FastAPI, seconds: float) -> None:
    """Tell a person what to copy; a program that it is ready."""
    base = f"{'http' if settings.tls_certificate is None else 'https'}://{_reachable(settings.host)}:{settings.port}"
    picture = "examples/query.jpg" if Path("examples/query.jpg").is_file() else "YOUR_PICTURE.jpg"
    context = app.state.context
    contract = context.embedder.contract
    add = (
        f'  add yours: curl -F image=@YOUR_PICTURE.jpg -F \'metadata=[{{"camera_id": "c001"}}]\' '
        f"{base}/v1/galleries/default/images\n"
    )
    greeting = (
        f"vehicle-search is ready after {seconds:.1f} s: model {contract.name} on {context.embedder.provider}, "
        f"{_first_gallery(context.home)}{_searched_on(settings)}{', only reading' if settings.read_only else ''}"
    )
    if settings.log_format == "json":  # containers mix both streams, and whoever reads them reads nothing else
        print(JsonLines().format(_LOG.makeRecord(_LOG.name, logging.INFO, "", 0, greeting, (), None)), flush=True)
        return
    print(
        f"{greeting}\n\n"
        f"  search:    curl --data-binary @{picture} '{base}/v1/galleries/default/search?top_k=5'\n"
        f"  try it:    {base}/docs\n{'' if settings.read_only else add}",
        flush=True,
    )


def _searched_on(settings: Settings) -> str:
    return "" if settings.index_device == "cpu" else f", searched on {settings.index_device}"


def _first_gallery(home: GalleryHome) -> str:
    """What there is to search."""
    try:
        return f"{home.get('default').count():,} images in gallery default"
    except GalleryUnavailable:
        return "gallery default is damaged (the log says more)"
    except GalleryNotFound:
        return f"galleries: {', '.join(home.names()) or 'none'}"


def _reachable(host: str) -> str:
    """The host of an address to copy."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{here}]" if ":" in here else here


class _Server(uvicorn.Server):
    """Says when it is ready, turns readiness off as soon as it is told to stop, and exits with 0.

    Told twice, it gives running requests no more time; all else is as it was.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, on_ready: Any) -> None:
        super().__init__(config)
        self._app, self._on_ready = app, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are heard all along; see ``service.signals``."""
        yield

    def stop(self, times: int) -> None:
        """Stop in order; told more than once, at once."""
        self._app.state.stopping = self.should_exit = True
        self.force_exit = times > 1

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # it has waited for nobody, and left the rest to us
            tasks = list(self.server_state.tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_LAST_SECONDS)
            await self.lifespan.shutdown()


if __name__ == "__main__":
    sys.exit(main())
