"""The application, put together from its parts; nothing happens at import."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from index.bulk.import_job import ImportHome
from index.camera import CameraHome
from index.embedder import Embedder
from index.errors import VehicleSearchError
from index.gallery import GalleryHome
from index.machine.free_memory import free_memory
from index.machine.library_versions import library_versions
from index.storage.camera_folder import CameraFolder
from index.storage.kept_query import QueryHome
from index.storage.query_store import QueryStore
from service.access.audit_log import AuditHome, AuditLog
from service.access.audit_pages import AuditReader, read_page
from service.access.caller import Callers
from service.access.cross_origin import CrossOrigin, read_origins
from service.access.keyring import Keyring
from service.access.shared_audit import AuditTable, SharedAudit, read_shared_page
from service.background.importer import Importer
from service.background.migrator import Migrator
from service.background.reloader import Reloader
from service.background.sweeper import Sweeper
from service.capacity.body_memory import BodyMemory
from service.capacity.limited_places import LimitedPlaces
from service.context import Context
from service.embedding.engine import Engine
from service.embedding.kept_queries import KeptQueries
from service.embedding.loaded_models import LoadedModels, open_model, told_of
from service.gate.access_log import AccessLog
from service.gate.audit_trail import AuditTrail, require_audit
from service.gate.inference_errors import InferenceErrors
from service.gate.middleware import CallerGuard, PlainPaths, RequestLimit, RequestMetrics
from service.gate.route_access import open_paths, require_access
from service.gate.trace_export import TraceExport, TraceSpans
from service.openapi.api_docs import add_docs
from service.routes import (
    audit_routes,
    camera_routes,
    feedback_routes,
    gallery_routes,
    image_routes,
    import_routes,
    inference_routes,
    key_routes,
    migration_routes,
    probe_routes,
    query_routes,
    search_routes,
    status_routes,
    trail_routes,
)
from service.routes.console_routes import Console, add_console
from service.settings import Settings
from service.trails.lettering import Lettering
from service.trails.map_tiles import tile_origin
from service.watching.gallery_failures import GalleryFailures
from service.watching.metrics import Metrics
from service.watching.request_trace import RequestTraces
from service.watching.usable_galleries import ask_each, index_problems
from service.wire.problems import BadPicture, on_bad_picture, on_bug, on_http_exception, on_known_error

_DESCRIPTION = """
A picture of a vehicle in, the pictures of the same vehicle out, ranked by Euclidean distance.

Every route can be tried from this page. Start with **search**: choose the gallery `default`, pick a picture, execute.
Errors are `application/problem+json`; the field `detail` says what to do.
"""


def routed_app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The routes and what they say of themselves, without the parts that they answer by."""
    app = FastAPI(
        title="Vehicle search", version=version("vehicle-search"), description=_DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False,
        # FastAPI's own would tell query strings, which may say whom somebody looks for
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        dependencies=[Depends(require_access), Depends(require_audit)],
        generate_unique_id_function=lambda route: route.name,
        exception_handlers={
            VehicleSearchError: on_known_error, BadPicture: on_bad_picture, HTTPException: on_http_exception,
            Exception: on_bug,
        },
    )  # fmt: skip
    rooms = (
        search_routes, query_routes, trail_routes, image_routes, import_routes, camera_routes, gallery_routes,
        migration_routes, key_routes, audit_routes, status_routes, probe_routes, inference_routes, feedback_routes,
    )  # fmt: skip
    for room in rooms:
        app.include_router(room.router)
    add_docs(app)
    return app


def create_app(
    *, settings: Settings, embedder: Embedder, home: GalleryHome, workers: int, imports: ImportHome,
    previous: Embedder | None = None, keyring: Keyring | None = None, traces: TraceExport | None = None,
    erasing_clock: Callable[[], datetime] | None = None, query_store: QueryHome | None = None,
    audit_table: AuditTable | None = None, cameras: CameraHome | None = None,
) -> FastAPI:  # fmt: skip
    """The service around a loaded model, or two, and opened galleries; closes all when it stops.

    Without a keyring nobody is asked for a key, without a ``query_store`` no query is kept. ``traces`` takes a span of
    every request. ``erasing_clock``: what the audit log's entries are too old by; ``audit_table`` takes them where
    replicas share one, ``cameras`` are theirs then.
    """
    metrics = Metrics()
    models = LoadedModels(present=embedder, previous=previous)
    engine = Engine(
        models, metrics, workers=workers, queue_size=settings.queue_size, max_pixels=settings.max_pixels,
        batch=settings.model_batch, stuck_seconds=settings.stuck_seconds,
    )  # fmt: skip
    metrics.watch_model(lambda: told_of(models.present))
    failures = GalleryFailures(home)

    def sizes() -> tuple[dict[str, int], dict[str, str]]:
        counts, problems = ask_each(home, lambda gallery: gallery.count())
        return counts, failures.told() | problems

    metrics.queue_limit.set(engine.places)
    metrics.build.info({"version": version("vehicle-search"), **library_versions()})
    metrics.watch_disk(settings.data_dir)
    metrics.watch_logs(lambda: ask_each(home, lambda gallery: gallery.log_bytes())[0].items())
    metrics.watch_galleries(sizes)
    metrics.watch_index_problems(
        lambda: [(name, int(problem is not None)) for name, problem in index_problems(home).items()]
    )
    metrics.watch_migrations(
        lambda: [
            (name, migration.total - migration.done)
            for name, migrations in ask_each(home, lambda gallery: gallery.migrations())[0].items()
            for migration in migrations
            if migration.open
        ]
    )
    migrator = Migrator(home, models, engine, heard=lambda pictures: metrics.batch(pictures, "spare"))
    reloader = Reloader(settings.model, models, home, lambda file: open_model(file, settings))
    queries = KeptQueries(query_store or QueryStore(settings.data_dir, hours=0, max_bytes=0, read_only=True))
    metrics.watch_queries(queries.store.size)
    keyring = keyring or Keyring(None)
    audit, read_audit = _audit(settings, metrics, audit_table, erasing_clock)
    root = settings.import_root
    importer = Importer(
        imports, home, engine, models, metrics, root=None if root is None else root.resolve(),
        max_pixels=settings.max_pixels, max_uploads=settings.max_uploads,
    )  # fmt: skip

    def sweeper() -> Sweeper:
        return Sweeper(home, seconds=settings.sweep_seconds, metrics=metrics, queries=queries)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as at_the_end:
            if traces is not None:
                at_the_end.callback(traces.close)
            at_the_end.callback(home.close)
            if audit is not None:
                at_the_end.callback(audit.close)
            keyring.start()
            at_the_end.callback(keyring.close)
            reloader.start()
            at_the_end.callback(reloader.close)
            if not settings.read_only:
                importer.start()
                at_the_end.callback(importer.close)  # its work may wait for the engine, so that is closed before
            at_the_end.callback(engine.close)
            if not settings.read_only:
                at_the_end.callback(importer.stop)
                migrator.start()
                at_the_end.callback(migrator.close)
                at_the_end.callback(sweeper().close)
            yield

    app = routed_app(lifespan=lifespan)
    if settings.console:
        add_console(app, Console(tiles=None if settings.map_tiles is None else tile_origin(settings.map_tiles)))
    bodies = BodyMemory(settings.max_buffered_bytes)
    places = LimitedPlaces(settings.max_requests, what="requests are in progress", setting="max_requests")
    metrics.watch_memory(free_memory)
    metrics.watch_limits(
        lambda: {
            "queue_size": engine.taken / engine.places,
            "max_requests": places.used,
            "max_buffered_bytes": bodies.taken / settings.max_buffered_bytes,
            "max_galleries": len(home.names()) / settings.max_galleries,
            "max_query_bytes": queries.store.size()[1] / settings.max_query_bytes,
            "max_uploads": importer.uploads.used,
        }
    )
    app.state.context = Context(
        settings=settings, models=models, engine=engine, home=home, metrics=metrics, migrator=migrator,
        reloader=reloader, importer=importer, keyring=keyring, audit=audit, read_audit=read_audit, failures=failures,
        bodies=bodies, queries=queries,
        cameras=cameras or CameraFolder(settings.data_dir, read_only=settings.read_only),
        lettering=Lettering(settings.record_font),
    )  # fmt: skip
    app.state.stopping = False
    if audit is not None:
        app.add_middleware(AuditTrail, log=audit, required=settings.audit_required)
    app.add_middleware(PlainPaths)
    origins = read_origins(settings.cors_origins)
    local = settings.loopback or settings.loopback_names_only
    app.add_middleware(
        CallerGuard, callers=Callers(keyring, metrics), open_paths=open_paths(metrics=settings.metrics_open),
        loopback=local, origins=origins,
    )  # fmt: skip
    app.add_middleware(RequestLimit, places=places, exempt=open_paths(metrics=True))
    if origins:
        app.add_middleware(CrossOrigin, origins=origins)
    app.add_middleware(RequestMetrics, metrics=metrics)  # further out: what the guard refuses is counted too
    if settings.access_log:
        app.add_middleware(AccessLog)
    if traces is not None:
        app.add_middleware(TraceSpans, export=traces)
    app.add_middleware(RequestTraces)
    app.add_middleware(InferenceErrors)  # outermost: whoever refuses, it is said as the protocol wants it
    return app


def _audit(
    settings: Settings, metrics: Metrics, table: AuditTable | None, clock: Callable[[], datetime] | None
) -> tuple[AuditHome | None, AuditReader]:
    """What takes entries, where that is wanted, and what reads them."""
    if table is not None:
        shared = SharedAudit(table, metrics, days=settings.audit_days, erasing_clock=clock) if settings.audit else None
        return shared, partial(read_shared_page, table)
    folder = settings.audit_folder
    log = AuditLog(folder, metrics, days=settings.audit_days, erasing_clock=clock) if settings.audit else None
    return log, partial(read_page, folder)
