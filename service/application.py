"""The application, put together from its parts; nothing happens at import."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from index.bulk.import_job import ImportFolder
from index.embedder import Embedder
from index.errors import VehicleSearchError
from index.gallery import GalleryHome
from service import gallery_routes, image_routes, import_routes, migration_routes, probe_routes, search_routes
from service.api_docs import add_docs
from service.context import Context, ask_each, galleries_of
from service.engine import Engine
from service.gallery_failures import GalleryFailures
from service.importer import Importer
from service.loaded_models import LoadedModels
from service.metrics import Metrics
from service.middleware import CallerGuard, PlainPaths, RequestMetrics
from service.migrator import Migrator
from service.problems import BadPicture, on_bad_picture, on_bug, on_http_exception, on_known_error
from service.settings import Settings
from service.sweeper import Sweeper

_DESCRIPTION = """
A picture of a vehicle in, the pictures of the same vehicle out, ranked by Euclidean distance.

Every route can be tried from this page. Start with **search**: choose the gallery `default`, pick a picture, execute.
Errors are `application/problem+json`; the field `detail` says what to do.
"""


def create_app(
    *, settings: Settings, embedder: Embedder, home: GalleryHome, workers: int, imports: ImportFolder,
    previous: Embedder | None = None,
) -> FastAPI:  # fmt: skip
    """The service around a loaded model, or two, and opened galleries; closes all when it stops."""
    metrics = Metrics()
    engine = Engine(embedder, metrics, workers=workers, queue_size=settings.queue_size, max_pixels=settings.max_pixels)
    contract = embedder.contract
    metrics.model.info(
        {
            "name": contract.name,
            "fingerprint": embedder.fingerprint,
            "provider": embedder.provider,
            "precision": contract.precision,
        }
    )

    failures = GalleryFailures(home)

    def sizes() -> tuple[dict[str, int], dict[str, str]]:
        counts, problems = ask_each(home, lambda gallery: gallery.count())
        return counts, failures.told() | problems

    metrics.watch_galleries(sizes)
    metrics.watch_index_problems(
        lambda: [(gallery.name, int(gallery.index_state().problem is not None)) for gallery in galleries_of(home)]
    )
    metrics.watch_migrations(
        lambda: [
            (name, migration.total - migration.done)
            for name, migrations in ask_each(home, lambda gallery: gallery.migrations())[0].items()
            for migration in migrations
            if migration.open
        ]
    )
    models = LoadedModels(present=embedder, previous=previous)
    migrator = Migrator(home, embedder, engine)
    root = settings.import_root
    importer = Importer(
        imports, home, engine, models, metrics, root=None if root is None else root.resolve(),
        max_pixels=settings.max_pixels,
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as at_the_end:
            at_the_end.callback(home.close)
            if not settings.read_only:
                importer.start()
                at_the_end.callback(importer.close)  # its work may wait for the engine, so that is closed before
            at_the_end.callback(engine.close)
            if not settings.read_only:
                at_the_end.callback(importer.stop)
                migrator.start()
                at_the_end.callback(migrator.close)
                at_the_end.callback(Sweeper(home, seconds=settings.sweep_seconds).close)
            yield

    app = FastAPI(
        title="Vehicle search", version=version("vehicle-search"), description=_DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False,
        exception_handlers={
            VehicleSearchError: on_known_error, BadPicture: on_bad_picture, HTTPException: on_http_exception,
            Exception: on_bug,
        },
    )  # fmt: skip
    app.state.context = Context(
        settings=settings, models=models, engine=engine, home=home, metrics=metrics, migrator=migrator,
        importer=importer, failures=failures,
    )  # fmt: skip
    app.state.stopping = False
    for room in (search_routes, image_routes, import_routes, gallery_routes, migration_routes, probe_routes):
        app.include_router(room.router)
    add_docs(app)
    app.add_middleware(PlainPaths)
    local = settings.loopback or settings.loopback_names_only
    app.add_middleware(CallerGuard, loopback=local)  # keys, when there are some, take its place
    app.add_middleware(RequestMetrics, metrics=metrics)  # outermost: what the guard refuses is counted too
    return app
