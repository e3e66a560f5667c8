"""The model file loaded anew under a running service, when somebody asks: POST /v1/model/reload, or SIGHUP.

The new model is opened beside the old one and proved first; then it answers whoever asks from there on, and what is at
work ends with the old one, whose memory is free when the last of that is done. Whatever is wrong with the file, the old
model answers on.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

import numpy as np

from index.contract import fingerprint
from index.embedder import Embedder
from index.errors import (
    ContractError,
    DeviceUnavailable,
    EmbeddingSpaceMismatch,
    ModelError,
    StorageError,
    VehicleSearchError,
)
from index.gallery import Gallery, GalleryHome
from index.machine.heap import return_freed
from service.embedding.loaded_models import LoadedModels, spaces_of
from service.watching.usable_galleries import galleries_of
from service.wire.problems import ModelRefused, NotReady, ReloadUnderWay

_SHOWN = 5  # galleries in a message
_PATIENCE = 2.0  # seconds that what is at work with the old model may take, before memory is returned all the same
_LOOKED_AT_EVERY = 0.01  # seconds

_LOG = logging.getLogger("service.reloader")


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which model it is; without the model, so that nobody keeps that."""

    name: str
    fingerprint: str
    provider: str

    @classmethod
    def of(cls, embedder: Embedder) -> Self:
        """That of a loaded model."""
        return cls(name=embedder.contract.name, fingerprint=embedder.fingerprint, provider=embedder.provider)

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint[:12]})"


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """The model that answered and the one that answers now; the same where the file is what was loaded already."""

    old: ModelIdentity
    new: ModelIdentity
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether another file answers now."""
        return self.new != self.old


class Reloader:
    """Loads the file of the present model anew, one reload at a time. ``open_model`` opens it as the service's are.

    From ``start`` to ``close`` a thread does what was asked for by ``ask``.
    """

    def __init__(
        self, file: Path, models: LoadedModels, home: GalleryHome, open_model: Callable[[Path], Embedder]
    ) -> None:
        self._file, self._models, self._home, self._open_model = file, models, home, open_model
        self._turn = threading.Lock()
        self._asked: SimpleQueue[bool] = SimpleQueue()  # unlike an Event, a signal handler may touch it at any moment
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="reloader", daemon=True)

    def reload(self) -> Reloaded:
        """Load the file and let it answer.

        Raises ReloadUnderWay; ModelRefused where the file is none that can be used; EmbeddingSpaceMismatch where
        galleries would be left without a model; DeviceUnavailable and ModelError where the machine fails it.
        """
        if not self._turn.acquire(blocking=False):
            raise ReloadUnderWay("the model is being loaded anew already; ask again when that has ended")
        try:
            return self._reload()
        finally:
            self._turn.release()

    def ask(self) -> None:
        """Have it done soon; what comes of it is in the log. May be called by a signal handler."""
        self._asked.put(True)

    def start(self) -> None:
        """Begin to listen to ``ask``; what was asked before is done now."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the reload that is under way; none begins after it."""
        self._closed = True
        self._asked.put(False)
        self._thread.join()
        with self._turn:
            pass

    def _work(self) -> None:
        while self._asked.get() and not self._closed:
            self._forget_what_was_asked_meanwhile()
            with self._turn:
                try:
                    self._reload()
                except VehicleSearchError as error:
                    _LOG.error("%s", error)

    def _forget_what_was_asked_meanwhile(self) -> None:
        """The reload that begins now sees the file that is there now, so one is enough; but not what ``close`` says."""
        try:
            while self._asked.get_nowait():
                pass
        except Empty:
            return
        self._asked.put(False)

    def _reload(self) -> Reloaded:
        if self._closed:
            raise NotReady("the service is stopping")
        began, old = time.perf_counter(), ModelIdentity.of(self._models.present)
        left = weakref.ref(self._models.present)
        try:
            new = self._replace()
        except VehicleSearchError as error:
            raise type(error)(f"{error}; {old} answers on") from error
        done = Reloaded(old=old, new=new, seconds=time.perf_counter() - began)
        if done.changed:
            _LOG.info("%s answers instead of %s, on %s, after %.1f s", new, old, new.provider, done.seconds)
            _wait_until_gone(left)
            return_freed()
        else:
            _LOG.info("%s is the file that is loaded already: %s", self._file, old)
        return done

    def _replace(self) -> ModelIdentity:
        """Let the file's model answer; the one that answers then."""
        old = self._models.present
        new = self._opened(old)
        if new is not old:
            self._switch(new)
        return ModelIdentity.of(new)

    def _opened(self, old: Embedder) -> Embedder:
        """The file's model, proved; ``old`` where it is of this file."""
        if self._file.exists() and not self._file.is_file():
            raise ModelRefused(f"{self._file} is no file")
        try:
            if fingerprint(self._file) == old.fingerprint:
                return old
            new = self._open_model(self._file)
        except FileNotFoundError as error:
            raise ModelRefused(f"there is no model file {self._file}") from error
        except OSError as error:
            raise ModelRefused(f"the model file {self._file} cannot be read: {error.strerror}") from error
        except MemoryError as error:
            raise ModelError("there is not enough memory for a second model beside the one that answers") from error
        except DeviceUnavailable:
            raise
        except (ContractError, ModelError) as error:
            raise ModelRefused(str(error)) from error
        if new.provider != old.provider:
            raise DeviceUnavailable(
                f"the new model would run on {new.provider}, the one that answers runs on {old.provider}: too little "
                "of the GPU's memory for both, or a GPU that does not answer; a restart loads the new one alone"
            )
        _require_finite(new)
        return new

    def _switch(self, new: Embedder) -> None:
        with self._models.steady:
            self._require_answerable(new)
            self._models.replace(new)

    def _require_answerable(self, new: Embedder) -> None:
        """Raise EmbeddingSpaceMismatch where a gallery would be left without a model, or a migration without its."""
        previous, space = self._models.previous, new.contract.embedding_space
        if previous is not None and previous.contract.embedding_space == space:
            raise EmbeddingSpaceMismatch(
                f"{self._file} makes vectors of the same embedding space as previous_model, so galleries need not "
                "move: restart the service with it and without previous_model"
            )
        answered = spaces_of(new, previous)
        left = sorted(each.name for each in galleries_of(self._home) if not self._needs(each) <= answered)
        if not left:
            return
        names = ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN:,} more" if len(left) > _SHOWN else "")
        raise EmbeddingSpaceMismatch(
            f"{self._file} makes vectors of embedding space {space}, which may not be compared with what is in, or on "
            f"its way into, {'gallery' if len(left) == 1 else 'galleries'} {names}: keep the file of the model that "
            "answers now, restart the service with it as --previous-model, and migrate (POST "
            f"/v1/galleries/{left[0]}/migrations)"
        )

    def _needs(self, gallery: Gallery) -> frozenset[str]:
        """The spaces whose models a gallery cannot do without: its own, and the one that it is moving to now."""
        present = self._models.present.contract.embedding_space
        try:
            moving = {each.to_space for each in gallery.migrations() if each.open and each.to_space == present}
        except StorageError:  # it answers nothing either
            moving = set()
        return frozenset({gallery.spec.embedding_space, *moving})


def _wait_until_gone(model: weakref.ref[Embedder]) -> None:
    """Until nobody is at work with it, or for a while: it is freed whether or not somebody waits."""
    until = time.monotonic() + _PATIENCE
    while model() is not None and time.monotonic() < until:
        time.sleep(_LOOKED_AT_EVERY)


def _require_finite(embedder: Embedder) -> None:
    embedded = embedder.answer_grey()
    answers = (embedded.embedding, embedded.viewpoint)
    if not all(np.isfinite(each).all() for each in answers if each is not None):
        raise ModelRefused(f"the model {embedder.contract.name} answers a grey picture with values that are not finite")
