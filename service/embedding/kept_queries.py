"""The pictures of queries that are kept, and what models made of those that were looked at lately."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from index.crops import Box
from index.storage.kept_query import KeptQuery, QueryHome
from service.embedding.picture_looker import Seen

REMEMBERED: Final = 2000  # parts of pictures, some two kilobytes each

_Key = tuple[str, Box | None, str]  # id of the query, the part of it, fingerprint of the model


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What a model made of a picture: ``embedding`` float32 (D,), ``viewpoint`` float32 (V,) or None."""

    embedding: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None

    @classmethod
    def of(cls, seen: Seen) -> Self:
        """A copy, because what was seen is a part of all that went through the model with it."""
        viewpoint = None if seen.viewpoint is None else seen.viewpoint.copy()
        return cls(embedding=seen.embedding.copy(), viewpoint=viewpoint)


class KeptQueries:
    """``store`` has the pictures; what was made of one is forgotten with it. For any thread.

    What another replica has erased is forgotten by the next sweep; it is not used, as ``store`` is asked first.

    The ``most`` vectors that were asked for last are remembered, so that a search whose filters change is one without
    the model.
    """

    def __init__(self, store: QueryHome, *, most: int = REMEMBERED) -> None:
        self.store, self._most = store, most
        self._guard = threading.Lock()
        self._remembered: OrderedDict[_Key, Remembered] = OrderedDict()

    def remembered(self, query: KeptQuery, box: Box | None, model: str) -> Remembered | None:
        """What the model of this fingerprint made of a part of a picture; None where it is not known any more."""
        key = query.query_id, box, model
        with self._guard:
            if (known := self._remembered.get(key)) is not None:
                self._remembered.move_to_end(key)
        return known

    def remember(self, query: KeptQuery, box: Box | None, model: str, made: Remembered) -> None:
        """Remember what the model of this fingerprint made; raises what ``QueryHome.held`` raises."""
        with self._guard:
            self._remembered[query.query_id, box, model] = made
            while len(self._remembered) > self._most:
                self._remembered.popitem(last=False)
        if not self.store.held([query.query_id]):  # erased meanwhile
            self._forget({query.query_id})

    def erase(self, query_id: str) -> None:
        """Remove a picture, and what was made of it; raises what ``QueryHome.erase`` raises."""
        self.store.erase(query_id)
        self._forget({query_id})

    def sweep(self) -> int:
        """Remove what is over; how many pictures that were. Raises what ``QueryHome.sweep`` raises."""
        gone = self.store.sweep()
        with self._guard:
            known = {query_id for query_id, _, _ in self._remembered}
        self._forget(known - self.store.held(known))
        return len(gone)

    def _forget(self, query_ids: set[str]) -> None:
        with self._guard:
            for key in [each for each in self._remembered if each[0] in query_ids]:
                del self._remembered[key]
