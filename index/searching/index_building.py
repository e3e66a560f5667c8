"""An index made of what the database holds, without anybody waiting for it."""

import threading
from typing import Final

import numpy as np

from index.gallery import BuiltKind
from index.searching.built_index import BuiltIndex
from index.searching.flat_index import FlatIndex
from index.searching.index_kind import class_of
from index.storage.gallery_database import Bound, GalleryDatabase

_SAMPLE: Final = 150_000  # rows that a built index learns from at most
_LOT: Final = 1024  # rows between two looks at whether to stop


class Stopped(Exception):
    """Whoever wanted the work done has gone."""


def build_index(
    database: GalleryDatabase,
    bound: Bound,
    kind: BuiltKind | None,
    *,
    rows: int,
    up_to: int,
    stopping: threading.Event,
    mirrored: bool = False,
) -> BuiltIndex | FlatIndex:
    """An index of ``kind`` (None: the plain flat one) of the rows with ids up to ``up_to``, about ``rows`` of them.

    ``mirrored`` as ``index_kind.class_of`` takes it. Raises Stopped once ``stopping`` is set.
    """
    dim, every = bound.spec.embedding_dim, -(-rows // _SAMPLE) or 1
    sample = [] if kind is None else [found for _, found in database.vectors(bound, up_to=up_to, every=every)]
    built: BuiltIndex | FlatIndex = FlatIndex(dim)
    if kind is not None and sample:  # all rows may have been erased meanwhile
        built = class_of(kind, mirrored=mirrored).made(
            dim, bound.spec.vectors, rows=rows, sample=np.concatenate(sample)
        )
    for row_ids, vectors in database.vectors(bound, up_to=up_to):
        for start in range(0, len(row_ids), _LOT):
            if stopping.is_set():
                raise Stopped
            built.add(row_ids[start : start + _LOT], vectors[start : start + _LOT])
    return built
