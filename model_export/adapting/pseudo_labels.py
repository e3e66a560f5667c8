"""Which pictures seem to show one vehicle, from embeddings and cameras alone.

Two pictures of two cameras are linked where each is the other's nearest, after what all pictures of a camera share has
been subtracted and after hubs, pictures that are near to many, have been moved away: cross-domain similarity local
scaling (CSLS), Conneau et al. 2018, "Word translation without parallel data", section 2.3:

    s(a, b) = 2 cos(a, b) − mean cos(a, its k nearest of b's camera) − mean cos(b, its k nearest of a's camera)

A picture has a nearest in a camera also where its vehicle never passed that one, so a link must be stronger than
chance. Two measures say what chance is: nearly all mutual nearest of one camera, which mostly show two vehicles, and
the value that best parts all links into weak and strong ones (Otsu 1979, "A threshold selection method from gray-level
histograms"). The first is too high where a camera took several pictures of each vehicle, the second where nearly all
links are right; the lower one is taken.

Two pictures of one camera are linked only where they are more alike than nearly all that are linked across cameras.
Those are joined first, then links across cameras, the strongest first, and never two parts of which one camera saw
both: it would have linked them. So a chain of weak links does not make one vehicle of many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from index.errors import InvalidValue

_BLOCK = 1024  # rows of similarities at a time


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """How pictures are grouped."""

    hubs: int = 5  # k of CSLS
    chance: float = 0.95  # share of the mutual nearest of one camera that a link across cameras must be stronger than
    same_camera: float = 0.95  # share of the links across cameras that a link within one must be closer than; 1: none
    centred: bool = True  # subtract each camera's mean first

    def __post_init__(self) -> None:
        if self.hubs < 1:
            raise InvalidValue(f"hubs must be at least 1, not {self.hubs}")
        for name in ("chance", "same_camera"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidValue(f"{name} must lie in 0…1, not {getattr(self, name)}")


@dataclass(frozen=True)
class _Links:
    """Pairs of pictures, all (n,): one, the other, their cosine, and s of the module's formula."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    cosine: NDArray[np.float32]
    strength: NDArray[np.float32]

    def where(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> "_Links":
        return _Links(self.first[kept], self.second[kept], self.cosine[kept], self.strength[kept])


_NONE = _Links(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32), np.zeros(0, np.float32))


def groups(vectors: NDArray[np.float32], cameras: Sequence[str], config: GroupConfig) -> NDArray[np.intp]:
    """The group of each picture, (N,), numbered from 0; −1 for one that is linked to none.

    ``vectors`` are unit float32 (N, D). Memory grows with the number of pictures, not with its square.
    """
    names, camera = np.unique(np.asarray(cameras), return_inverse=True)
    if config.centred:
        vectors = _centred(vectors, camera)
    own = [np.flatnonzero(camera == number) for number in range(len(names))]
    across = _together([_mutual(vectors, own[a], own[b], config.hubs) for a, b in combinations(range(len(names)), 2)])
    within = _together([_mutual(vectors, rows, rows, config.hubs) for rows in own])
    across = across.where(across.strength > _chance(across, within, config.chance))
    alike = np.inf
    if config.same_camera < 1 and len(across.cosine):
        alike = float(np.quantile(across.cosine, config.same_camera))
    return _joined(camera, within.where(within.cosine > alike), across)


def _chance(across: _Links, within: _Links, share: float) -> float:
    """The strength up to which a link says nothing."""
    if not share or len(across.strength) < 2 or not len(within.strength):
        return -np.inf
    return min(_parting(across.strength), float(np.quantile(within.strength, share)))


def _parting(values: NDArray[np.float32]) -> float:
    """Otsu's threshold of values (n,), n ≥ 2: most of their variance then lies between its two sides."""
    ordered = np.sort(values.astype(np.float64))
    low, count = np.arange(1, len(ordered)), len(ordered)  # values below each threshold
    sums = np.cumsum(ordered)
    apart = sums[:-1] / low - (sums[-1] - sums[:-1]) / (count - low)
    at = int((low * (count - low) * apart**2).argmax())
    return float(ordered[at : at + 2].mean())


def _centred(vectors: NDArray[np.float32], camera: NDArray[np.intp]) -> NDArray[np.float32]:
    moved = vectors.copy()
    for number in np.unique(camera):
        moved[camera == number] -= vectors[camera == number].mean(0)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-6, moved / np.maximum(length, 1e-6), vectors), np.float32)


def _mutual(vectors: NDArray[np.float32], a: NDArray[np.intp], b: NDArray[np.intp], hubs: int) -> _Links:
    """Pairs that are each other's nearest by CSLS.

    Rows ``a`` (n,) and ``b`` (m,) are the same or have none in common.
    """
    left, right, within = vectors[a], vectors[b], a is b
    if min(len(a), len(b)) < 1 + within:
        return _NONE
    crowd_left, crowd_right = _crowd(left, right, hubs, within), _crowd(right, left, hubs, within)
    forth, back = _nearest(left, right, crowd_right, within), _nearest(right, left, crowd_left, within)
    first = np.flatnonzero(back[forth] == np.arange(len(a)))
    second = forth[first]
    if within:
        first, second = first[first < second], second[first < second]
    cosine: NDArray[np.float32] = (left[first] * right[second]).sum(1)
    return _Links(a[first], b[second], cosine, 2 * cosine - crowd_left[first] - crowd_right[second])


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


def _together(parts: Sequence[_Links]) -> _Links:
    return _Links(*(
        np.concatenate([getattr(part, name) for part in (_NONE, *parts)])
        for name in ("first", "second", "cosine", "strength")
    ))  # fmt: skip


def _joined(camera: NDArray[np.intp], near: _Links, across: _Links) -> NDArray[np.intp]:
    """The group of each picture, (N,): ``near`` ones joined, then ``across`` as far as cameras allow, by strength."""
    parts = DisjointSet(range(len(camera)))
    for one, other in zip(near.first.tolist(), near.second.tolist(), strict=True):
        parts.merge(one, other)
    seen_by = {root: {int(camera[root])} for root in (parts[n] for n in range(len(camera)))}
    strongest = across.where(np.argsort(-across.strength, kind="stable"))
    for one, other in zip(strongest.first.tolist(), strongest.second.tolist(), strict=True):
        a, b = parts[one], parts[other]
        if seen_by[a].isdisjoint(seen_by[b]):
            parts.merge(one, other)
            seen_by[parts[one]] = seen_by[a] | seen_by[b]
    _, number, size = np.unique([parts[n] for n in range(len(camera))], return_inverse=True, return_counts=True)
    order = np.cumsum(size > 1) - 1
    return np.asarray(np.where(size > 1, order, -1)[number], np.intp)
