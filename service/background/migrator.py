"""Migrations carried on in the background, one gallery at a time, by the workers that searches leave free."""

import logging
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.errors import GALLERY_TROUBLE, GalleryNotFound, NotMigratable, trouble_of
from index.gallery import Gallery, GalleryHome, Migration
from index.piecework import Piecework
from service.embedding.engine import Engine
from service.embedding.loaded_models import LoadedModels
from service.watching.usable_galleries import galleries_of

_REST = 60.0  # seconds until a migration that could not go on is tried again

_LOG = logging.getLogger("service.migrator")


class Migrator:
    """Carries every open migration to the present model on, also those that a restart interrupted.

    The workers that take part are those that requests leave; see ``Engine.spare``. ``heard`` is told how many pictures
    each call of the model got.
    """

    def __init__(
        self, home: GalleryHome, models: LoadedModels, engine: Engine, heard: Callable[[int], None] = lambda _: None
    ) -> None:
        self._home, self._models, self._engine, self._heard = home, models, engine, heard
        self._stop, self._wanted = threading.Event(), threading.Event()
        self._problems: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="migrator", daemon=True)

    def start(self) -> None:
        """Begin to work; a service that only reads never does."""
        self._thread.start()

    def begin(self, gallery: Gallery) -> tuple[Migration, bool]:
        """Begin to move a gallery to the present model; see ``index.gallery.Gallery.begin_migration``."""
        with self._models.steady:
            present = self._models.present
            begun = gallery.begin_migration(present.contract, present.fingerprint)
        self._wanted.set()
        return begun

    def problem(self, gallery: str, migration: Migration) -> str | None:
        """Why an open migration does not go on at the moment."""
        if not migration.open:
            return None
        space = self._models.present.contract.embedding_space
        if migration.to_space != space:
            return (
                f"the loaded model makes the embedding space {space}: load {migration.model}, with which this was "
                "begun, or cancel it"
            )
        return self._problems.get(gallery)

    def close(self) -> None:
        """Stop after the pictures that are being looked at; the next start goes on."""
        self._stop.set()
        self._wanted.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wanted.clear()
            for gallery in galleries_of(self._home):
                if self._stop.is_set():
                    return
                try:
                    self._carry_on(gallery)
                except GalleryNotFound:
                    self._problems.pop(gallery.name, None)  # dropped meanwhile
                except GALLERY_TROUBLE as error:
                    self._problems[gallery.name] = problem = trouble_of(error)
                    _LOG.warning("the migration of gallery %s rests for %.0f s: %s", gallery.name, _REST, problem)
            self._wanted.wait(_REST)

    def _carry_on(self, gallery: Gallery) -> None:
        embedder = self._models.present
        space = embedder.contract.embedding_space
        if not any(each.open and each.to_space == space for each in gallery.migrations()):
            return
        self._problems.pop(gallery.name, None)
        _LOG.info("gallery %s is being migrated to %s", gallery.name, embedder.contract.name)
        spread = Piecework(self._engine.spare, at_once=self._engine.workers, turn=lambda: not self._stop.is_set())

        def look(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
            embedded = self._models.like(embedder).embed(crops)
            self._heard(len(crops))
            return embedded.embedding, embedded.viewpoint

        try:
            ended = gallery.migrate(embedder.contract, look, spread, self._stop)
        except NotMigratable:
            return  # cancelled meanwhile
        _LOG.info(
            "the migration of gallery %s is %s: %s of %s images",
            gallery.name, ended.state, f"{ended.done:,}", f"{ended.total:,}",
        )  # fmt: skip
