"""Which collections there are at this moment: one look at their names says where every gallery is.

Names come from the server's catalogue and not from its rows, so that a look takes a millisecond and not the wait for a
tick, and a name that somebody changed is seen by everybody's next look.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from index.milvus.collection_name import CollectionName
from index.milvus.milvus_server import MilvusServer

_OPEN = ("waiting", "running", "closing")


@dataclass(frozen=True)
class Standing:
    """Where one gallery is: the collection that answers, those it was in before, and those beside it.

    ``left`` holds the one that is searched until a migration's end has removed it. ``beside`` are filled, or were.
    """

    serving: CollectionName
    left: tuple[CollectionName, ...]
    beside: tuple[CollectionName, ...]

    @property
    def targets(self) -> tuple[CollectionName, ...]:
        """Those that somebody is to fill; several where two began at once, for a moment."""
        return tuple(each for each in self.beside if each.state in _OPEN)

    @property
    def closing(self) -> CollectionName | None:
        """The one for which writers wait."""
        return next((each for each in self.beside if each.state == "closing"), None)

    def of_migration(self, migration_id: str) -> CollectionName | None:
        """The collection of a migration."""
        there = (self.serving, *self.beside)
        return next((each for each in there if each.migration == migration_id), None)


class CollectionList:
    """The collections of one prefix. Safe to use from any thread; who looks at the same time shares one question."""

    def __init__(self, server: MilvusServer, prefix: str) -> None:
        self._server, self._prefix = server, prefix
        self._guard = threading.Lock()
        self._names: list[CollectionName] = []
        self._looked = -float("inf")

    def names(self, *, age: float = 0.0) -> Sequence[CollectionName]:
        """All as they were at some moment after this was asked, or at most ``age`` seconds before."""
        asked = time.monotonic()
        with self._guard:
            if self._looked < asked - age:
                began = time.monotonic()
                there = (CollectionName.read(each, self._prefix) for each in self._server.call("list_collections"))
                self._names, self._looked = [each for each in there if each is not None], began
            return self._names

    def standing(self, key: str) -> Standing | None:
        """Where a gallery is now, by its ``gallery_key``; None where it is nowhere."""
        return standing_of([each for each in self.names() if each.gallery_key == key])


def standing_of(names: Sequence[CollectionName]) -> Standing | None:
    """Where the gallery is whose collections these are; None where none of them answers."""
    serving = sorted((each for each in names if each.state == "serving"), key=lambda each: each.generation)
    if not serving:
        return None
    return Standing(serving[-1], tuple(serving[:-1]), tuple(each for each in names if each.state != "serving"))
