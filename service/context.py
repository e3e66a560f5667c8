"""What every route works with, and how it finds it."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request

from index.camera import CameraHome
from index.embedder import Embedder
from index.errors import ReadOnly
from index.gallery import Gallery, GalleryHome
from index.metadata import check_gallery_name, check_image_id
from service.access.audit_log import AuditHome
from service.access.audit_pages import AuditReader
from service.access.keyring import Keyring
from service.background.importer import Importer
from service.background.migrator import Migrator
from service.background.reloader import Reloader
from service.capacity.body_memory import BodyMemory
from service.embedding.engine import Engine
from service.embedding.kept_queries import KeptQueries
from service.embedding.loaded_models import LoadedModels
from service.settings import Settings
from service.trails.lettering import Lettering
from service.watching.gallery_failures import GalleryFailures
from service.watching.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parts of one running service."""

    settings: Settings
    models: LoadedModels
    engine: Engine
    home: GalleryHome
    failures: GalleryFailures
    metrics: Metrics
    importer: Importer
    keyring: Keyring
    migrator: Migrator
    reloader: Reloader
    bodies: BodyMemory
    cameras: CameraHome
    lettering: Lettering
    queries: KeptQueries
    read_audit: AuditReader
    audit: AuditHome | None = None  # where requests are audited
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)  # the same, on a clock that nobody sets

    @property
    def embedder(self) -> Embedder:
        """The model that answers where no gallery is asked."""
        return self.models.present

    def gallery(self, name: str) -> Gallery:
        """A gallery by the name in a path; raises InvalidValue, GalleryNotFound, GalleryUnavailable."""
        return self.home.get(check_gallery_name(name, pointer="/path/gallery"))

    def comparable(self, name: str) -> Gallery:
        """As :meth:`gallery`, and a model whose vectors may be compared with its is loaded; EmbeddingSpaceMismatch."""
        gallery = self.gallery(name)
        self.models.of(gallery)
        return gallery


def context_of(request: Request) -> Context:
    """The running service's parts."""
    context: Context = request.app.state.context
    return context


async def require_writable(request: Request) -> None:
    """What a route that writes depends on; ReadOnly before its body is read."""
    if context_of(request).settings.read_only:
        raise ReadOnly(
            "this service only reads (read_only): nothing can be written, changed or erased here; send it to the "
            "service that owns the data folder"
        )


def image_id_of(value: str) -> str:
    """An image id from a path; raises InvalidValue."""
    return check_image_id(value, pointer="/path/image_id")
