"""The model that answers, and the one before it for galleries that have not moved yet.

A gallery is searched and written with the model of its own embedding space. Both models share the workers, so two of
them take more memory and no more cores. Who has work to do asks for a model once and does all of it with that one: the
model that answers may be another the next time (see ``service.background.reloader``).
"""

import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from index.embedder import Embedder
from index.errors import EmbeddingSpaceMismatch
from index.gallery import Gallery
from index.machine.cpu_quota import usable_cpus
from service.settings import Settings

_ALONE_THREADS = 8  # for a picture that is alone; a model this size gains little by more

_LOG = logging.getLogger("service.loaded_models")

T = TypeVar("T")


def open_model(file: Path, settings: Settings, *, alone: bool = True) -> Embedder:
    """A model file as the service runs it, ``alone``: one that may have all cores; raises what ``Embedder`` raises."""
    threads = min(settings.threads or usable_cpus(), _ALONE_THREADS) if alone else 1
    return Embedder(
        file, device=settings.device, threads=1, alone_threads=threads, gpu_memory=settings.gpu_model_memory
    )


def told_of(embedder: Embedder) -> dict[str, str]:
    """What is told of a loaded model where there is little room."""
    contract = embedder.contract
    return {
        "name": contract.name, "fingerprint": embedder.fingerprint, "provider": embedder.provider,
        "precision": contract.precision,
    }  # fmt: skip


class LoadedModels:
    """``present`` fills new galleries and is what galleries are migrated to; ``previous`` is there where one is set.

    ``steady`` is held by whoever binds a gallery to the present model's space, and while that model is replaced.
    """

    def __init__(self, *, present: Embedder, previous: Embedder | None = None) -> None:
        self._present, self.previous = present, previous
        self.steady = threading.Lock()

    @property
    def present(self) -> Embedder:
        """The model that answers now; ask once for a piece of work."""
        return self._present

    def replace(self, present: Embedder) -> None:
        """Let another model answer whoever asks from now on; for whoever holds ``steady``."""
        self._present = present

    def like(self, embedder: Embedder) -> Embedder:
        """The present model where its vectors may be compared with this one's, else that one itself."""
        present = self._present
        return present if present.contract.embedding_space == embedder.contract.embedding_space else embedder

    def of(self, gallery: Gallery) -> Embedder:
        """The model whose vectors may be compared with the gallery's; EmbeddingSpaceMismatch where none is loaded."""
        space = gallery.spec.embedding_space
        present = self._present
        for embedder in (present, self.previous):
            if embedder is not None and embedder.contract.embedding_space == space:
                return embedder
        try:
            gallery.spec.require_space(present.contract, gallery.name)
        except EmbeddingSpaceMismatch as error:
            for migration in gallery.migrations():
                if migration.open and migration.to_space == present.contract.embedding_space:
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


def spaces_of(*embedders: Embedder | None) -> frozenset[str]:
    """The embedding spaces of models."""
    return frozenset(embedder.contract.embedding_space for embedder in embedders if embedder is not None)
