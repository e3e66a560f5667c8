"""The application, put together from its parts; nothing happens at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from index.bulk.import_job import ImportFolder
from index.embedder import Embedder
from index.errors import VehicleSearchError
from index.gallery import GalleryHome
from service import gallery_routes, image_routes, import_routes, probe_routes, search_routes
from service.api_docs import add_docs
from service.context import Context, galleries_of
from service.engine import Engine
from service.importer import Importer
from service.metrics import Metrics
from service.middleware import CallerGuard, PlainPaths, RequestMetrics
from service.problems import BadPicture, on_bad_picture, on_bug, on_http_exception, on_known_error
from service.settings import Settings
from service.sweeper import Sweeper

_DESCRIPTION = """
A picture of a vehicle in, the pictures of the same vehicle out, ranked by Euclidean distance.

Every route can be tried from this page. Start with **search**: choose the gallery `default`, pick a picture, execute.
Errors are `application/problem+json`; the field `detail` says what to do.
"""


def create_app(
    *, settings: Settings, embedder: Embedder, home: GalleryHome, workers: int, imports: ImportFolder
) -> FastAPI:
    """The service around a loaded model and opened galleries; closes both when it stops."""
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

    metrics.watch_galleries(lambda: [(gallery.name, gallery.count()) for gallery in galleries_of(home)])

    root = settings.import_root
    importer = Importer(
        imports, home, engine, metrics, root=None if root is None else root.resolve(),
        max_pixels=settings.max_pixels,
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeper = Sweeper(home, seconds=settings.sweep_seconds)
        try:
            yield
        finally:
            sweeper.close()
            importer.stop()
            engine.close()
            importer.close()
            home.close()

    app = FastAPI(
        title="Vehicle search", version=version("vehicle-search"), description=_DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False,
        exception_handlers={
            VehicleSearchError: on_known_error, BadPicture: on_bad_picture, HTTPException: on_http_exception,
            Exception: on_bug,
        },
    )  # fmt: skip
    app.state.context = Context(
        settings=settings, embedder=embedder, engine=engine, home=home, metrics=metrics, importer=importer
    )
    app.state.stopping = False
    for room in (search_routes, image_routes, import_routes, gallery_routes, probe_routes):
        app.include_router(room.router)
    add_docs(app)
    app.add_middleware(PlainPaths)
    local = settings.loopback or settings.loopback_names_only
    app.add_middleware(CallerGuard, loopback=local)  # keys, when there are some, take its place
    app.add_middleware(RequestMetrics, metrics=metrics)  # outermost: what the guard refuses is counted too
    return app
