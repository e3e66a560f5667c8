"""The model that answers, and the one before it for galleries that have not moved yet.

A gallery is searched and written with the model of its own embedding space. Both models share the workers, so two of
them take more memory and no more cores.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from index.embedder import Embedder
from index.errors import EmbeddingSpaceMismatch
from index.gallery import Gallery

_LOG = logging.getLogger("service.loaded_models")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadedModels:
    """``present`` fills new galleries and is what galleries are migrated to; ``previous`` is there where one is set."""

    present: Embedder
    previous: Embedder | None = None

    def of(self, gallery: Gallery) -> Embedder:
        """The model whose vectors may be compared with the gallery's; EmbeddingSpaceMismatch where none is loaded."""
        space = gallery.spec.embedding_space
        for embedder in (self.present, self.previous):
            if embedder is not None and embedder.contract.embedding_space == space:
                return embedder
        try:
            gallery.spec.require_space(self.present.contract, gallery.name)
        except EmbeddingSpaceMismatch as error:
            for migration in gallery.migrations():
                if migration.open and migration.to_space == self.present.contract.embedding_space:
                    raise EmbeddingSpaceMismatch(
                        f"gallery {gallery.name} is being migrated to the loaded model, {migration.done:,} of "
                        f"{migration.total:,} images; it answers when that has ended, and until then where the model "
                        "that filled it is loaded, too (previous_model)"
                    ) from error
            raise
        return self.of(gallery)  # it has switched just now

    async def by_its_own(self, gallery: Gallery, work: Callable[[Embedder], Awaitable[T]]) -> T:
        """What ``work`` makes with the gallery's model; once more with the next where the gallery moved meanwhile.

        Raises EmbeddingSpaceMismatch where the gallery's model is not loaded.
        """
        while True:
            with self.turn(gallery) as embedder:
                return await work(embedder)

    @contextmanager
    def turn(self, gallery: Gallery) -> Iterator[Embedder]:
        """The gallery's model, for work that is to be done once more where the block is left without an end.

        An EmbeddingSpaceMismatch ends the block quietly where the gallery moved to another model meanwhile. Raises it
        where the gallery's model is not loaded.
        """
        embedder = self.of(gallery)
        try:
            yield embedder
        except EmbeddingSpaceMismatch:
            if gallery.spec.embedding_space == embedder.contract.embedding_space:
                raise
            _LOG.info("gallery %s has moved to another model: what that overtook is done once more", gallery.name)
