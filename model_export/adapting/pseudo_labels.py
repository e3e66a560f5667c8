"""Which pictures seem to show one vehicle, from embeddings and cameras alone.

Two pictures of two cameras are linked where each is the other's nearest, after what all pictures of a camera share has
been subtracted and after hubs, pictures that are near to many, have been moved away: cross-domain similarity local
scaling (CSLS), Conneau et al. 2018, "Word translation without parallel data", section 2.3:

    s(a, b) = 2 cos(a, b) − mean cos(a, its k nearest of b's camera) − mean cos(b, its k nearest of a's camera)

Two pictures of one camera are linked only where they are more alike than nearly all that are linked across cameras.
What is linked, directly or not, is a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from index.errors import InvalidValue

_BLOCK = 1024  # rows of similarities at a time

Links = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]  # one picture, the other, their cosine


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """How pictures are grouped."""

    hubs: int = 5  # k of CSLS
    same_camera: float = 0.95  # share of the links across cameras that a link within one must be closer than; 1: none
    centred: bool = True  # subtract each camera's mean first

    def __post_init__(self) -> None:
        if self.hubs < 1:
            raise InvalidValue(f"hubs must be at least 1, not {self.hubs}")
        if not 0 <= self.same_camera <= 1:
            raise InvalidValue(f"same_camera must lie in 0…1, not {self.same_camera}")


def groups(vectors: NDArray[np.float32], cameras: Sequence[str], config: GroupConfig) -> NDArray[np.intp]:
    """The group of each picture, (N,), numbered from 0; −1 for one that is linked to none.

    ``vectors`` are unit float32 (N, D). Memory grows with the number of pictures, not with its square.
    """
    names, camera = np.unique(np.asarray(cameras), return_inverse=True)
    if config.centred:
        vectors = _centred(vectors, camera)
    own = [np.flatnonzero(camera == number) for number in range(len(names))]
    links = [_mutual(vectors, own[a], own[b], config.hubs) for a, b in combinations(range(len(names)), 2)]
    across = np.concatenate([cosine for _, _, cosine in links] or [np.zeros(0, np.float32)])
    if config.same_camera < 1 and len(across):
        bar = np.quantile(across, config.same_camera)
        for rows in own:
            first, second, cosine = _mutual(vectors, rows, rows, config.hubs)
            links.append((first[cosine > bar], second[cosine > bar], cosine[cosine > bar]))
    return _components(len(vectors), links)


def _centred(vectors: NDArray[np.float32], camera: NDArray[np.intp]) -> NDArray[np.float32]:
    moved = vectors.copy()
    for number in np.unique(camera):
        moved[camera == number] -= vectors[camera == number].mean(0)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-6, moved / np.maximum(length, 1e-6), vectors), np.float32)


def _mutual(vectors: NDArray[np.float32], a: NDArray[np.intp], b: NDArray[np.intp], hubs: int) -> Links:
    """Pairs that are each other's nearest by CSLS.

    Rows ``a`` (n,) and ``b`` (m,) are the same or have none in common.
    """
    left, right, within = vectors[a], vectors[b], a is b
    if min(len(a), len(b)) < 1 + within:
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32)
    crowd_left, crowd_right = _crowd(left, right, hubs, within), _crowd(right, left, hubs, within)
    forth, back = _nearest(left, right, crowd_right, within), _nearest(right, left, crowd_left, within)
    first = np.flatnonzero(back[forth] == np.arange(len(a)))
    second = forth[first]
    if within:
        first, second = first[first < second], second[first < second]
    cosine: NDArray[np.float32] = (left[first] * right[second]).sum(1)
    return a[first], b[second], cosine


def _crowd(left: NDArray[np.float32], right: NDArray[np.float32], hubs: int, within: bool) -> NDArray[np.float32]:
    """Mean cosine of each of ``left`` to its ``hubs`` nearest of ``right``, (n,)."""
    hubs = min(hubs, len(right) - within)
    parts = []
    for start in range(0, len(left), _BLOCK):
        cosine = _cosine(left, right, start, within)
        parts.append(np.partition(cosine, -hubs, 1)[:, -hubs:].mean(1))
    return np.concatenate(parts)


def _nearest(
    left: NDArray[np.float32], right: NDArray[np.float32], crowd: NDArray[np.float32], within: bool
) -> NDArray[np.intp]:
    """For each of ``left`` its nearest of ``right`` by CSLS, (n,); ``crowd`` (m,) is that of ``right``."""
    starts = range(0, len(left), _BLOCK)
    return np.concatenate([(2 * _cosine(left, right, start, within) - crowd).argmax(1) for start in starts])


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32], start: int, within: bool) -> NDArray[np.float32]:
    """Cosines of a block of ``left`` to ``right``; −2 of a picture to itself."""
    cosine = left[start : start + _BLOCK] @ right.T
    if within:
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -2
    return cosine


def _components(count: int, links: Sequence[Links]) -> NDArray[np.intp]:
    first = np.concatenate([np.zeros(0, np.intp), *(own for own, _, _ in links)])
    second = np.concatenate([np.zeros(0, np.intp), *(other for _, other, _ in links)])
    if count == 0:
        return np.zeros(0, np.intp)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    sizes = np.bincount(component)
    number = np.where(sizes > 1, np.cumsum(sizes > 1) - 1, -1)
    return np.asarray(number[component], np.intp)
