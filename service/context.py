"""What every route works with, and how it finds it."""

import contextlib
from dataclasses import dataclass

from starlette.requests import Request

from index.embedder import Embedder
from index.errors import GalleryNotFound
from index.gallery import Gallery, GalleryHome
from index.metadata import check_gallery_name, check_image_id
from service.engine import Engine
from service.importer import Importer
from service.metrics import Metrics
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parts of one running service."""

    settings: Settings
    embedder: Embedder
    engine: Engine
    home: GalleryHome
    metrics: Metrics
    importer: Importer

    def gallery(self, name: str) -> Gallery:
        """A gallery by the name in a path; raises InvalidValue or GalleryNotFound. Opened galleries are at hand."""
        return self.home.get(check_gallery_name(name, pointer="/path/gallery"))

    def comparable(self, name: str) -> Gallery:
        """As :meth:`gallery`, and its vectors may be compared with the model's; else EmbeddingSpaceMismatch."""
        gallery = self.gallery(name)
        gallery.spec.require_space(self.embedder.contract, name)
        return gallery


def context_of(request: Request) -> Context:
    """The running service's parts."""
    context: Context = request.app.state.context
    return context


def galleries_of(home: GalleryHome) -> list[Gallery]:
    """Every gallery, by name; one that is dropped meanwhile is left out."""
    galleries = []
    for name in home.names():
        with contextlib.suppress(GalleryNotFound):
            galleries.append(home.get(name))
    return galleries


def image_id_of(value: str) -> str:
    """An image id from a path; raises InvalidValue."""
    return check_image_id(value, pointer="/path/image_id")
