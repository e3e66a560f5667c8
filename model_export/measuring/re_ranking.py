"""k-reciprocal re-ranking.

Zhong, Zheng, Cao, Li 2017, "Re-ranking person re-identification with k-reciprocal encoding".

A picture's code is a sparse vector over all pictures, probes and gallery alike: exp(−d²) of its expanded k-reciprocal
neighbours R*(p, k₁), averaged over the codes of its k₂ nearest (local query expansion). The distance of two pictures is
the Jaccard distance of their codes and their own distance, weighted by λ:

    d* = (1 − λ) · (1 − Σ min(V_p, V_g) / Σ max(V_p, V_g)) + λ · d²

with d² divided by the largest of its row, as in the authors' code. Codes are held sparse and rows of distances are made
when asked for, so that memory grows with the number of pictures, not with its square. It looks at all probes at once,
which no search can: for comparing with papers only.
"""

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.errors import InvalidValue
from model_export.measuring.distances import Euclidean, Positions, block_rows

K1, K2, LAMBDA = 20, 6, 0.3  # the paper's
LIMIT_BYTES = 4 << 30

_BYTES_AN_ENTRY = 32  # of a code: twice a number and its place, and the sort between them


class KReciprocal:
    """Codes of all of ``vectors`` float32 (N, D); ``between`` then gives re-ranked distances.

    Raises InvalidValue, before anything is computed, where the codes could need more than ``limit_bytes``.
    """

    def __init__(
        self, vectors: NDArray[np.float32], *, k1: int = K1, k2: int = K2, weight: float = LAMBDA,
        limit_bytes: int = LIMIT_BYTES, progress: bool = False,
    ) -> None:  # fmt: skip
        count = len(vectors)
        require_fits(count, k1=k1, k2=k2, limit_bytes=limit_bytes)
        self._vectors, self._weight = vectors, weight
        nearest, farthest = _neighbours(vectors, k1 + 1, progress=progress)
        self._farthest = farthest  # (N,) largest d² of each row
        rows = _codes(vectors, nearest, farthest, k1, progress=progress)
        if k2 > 1:
            rows = [_mean_code([rows[other] for other in own[:k2]]) for own in nearest]
        self._starts = np.concatenate([[0], np.cumsum([len(places) for places, _ in rows])])
        self._places = np.concatenate([places for places, _ in rows])
        self._values = np.concatenate([values for _, values in rows])

    def between(self, probes: Positions, gallery: Positions) -> "ReRanked":
        """Distances of rows ``probes`` (Q,) to rows ``gallery`` (G,)."""
        return ReRanked(self, probes, gallery)

    def code(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """A row's code: the pictures it names and their weights, which add up to 1."""
        own = slice(self._starts[row], self._starts[row + 1])
        return self._places[own], self._values[own]

    def own_distances(self, probes: Positions, gallery: Positions) -> NDArray[np.float32]:
        """λ · d², d² divided by its row's largest, (q, G)."""
        block = Euclidean(self._vectors, probes, gallery).block(0, len(probes))
        block *= block
        block *= (self._weight / self._farthest[probes])[:, None].astype(np.float32)
        return block

    @property
    def jaccard_weight(self) -> float:
        """1 − λ."""
        return 1 - self._weight


class ReRanked:
    """Re-ranked distances, see :class:`~model_export.measuring.distances.Distances`."""

    def __init__(self, codes: KReciprocal, probes: Positions, gallery: Positions) -> None:
        self._codes, self._probes, self._gallery = codes, probes, gallery
        parts = [codes.code(int(row)) for row in gallery]
        named = np.concatenate([places for places, _ in parts])
        order = np.argsort(named, kind="stable")
        owners = np.repeat(np.arange(len(gallery), dtype=np.int32), [len(places) for places, _ in parts])
        self._named, self._owners = named[order], owners[order]  # who is named, by which gallery picture
        self._values = np.concatenate([values for _, values in parts])[order]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._probes), len(self._gallery)

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        probes = self._probes[start:stop]
        block = self._codes.own_distances(probes, self._gallery)
        for row, probe in zip(block, probes, strict=True):
            shared = np.zeros(len(self._gallery))  # Σ min(V_p, V_g)
            places, values = self._codes.code(int(probe))
            left, right = np.searchsorted(self._named, places), np.searchsorted(self._named, places, side="right")
            for own, a, b in zip(values, left, right, strict=True):
                shared[self._owners[a:b]] += np.minimum(own, self._values[a:b])
            row += self._codes.jaccard_weight * (1 - shared / (2 - shared))
        return block


def require_fits(count: int, *, k1: int = K1, k2: int = K2, limit_bytes: int = LIMIT_BYTES) -> None:
    """Raise InvalidValue where the codes of so many pictures could need more than ``limit_bytes``."""
    entries = min(count, k2 * (k1 + 1) * (_half(k1) + 2))  # of one code at most
    needed = count * entries * _BYTES_AN_ENTRY
    if needed > limit_bytes:
        raise InvalidValue(
            f"re-ranking {count:,} pictures (probes and gallery) can need {needed / 2**30:.1f} GiB, the limit is "
            f"{limit_bytes / 2**30:.1f} GiB; measure without --rerank, or on fewer pictures"
        )


def _half(k1: int) -> int:
    return round(k1 / 2)


def _neighbours(
    vectors: NDArray[np.float32], k: int, *, progress: bool
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The k nearest of each row, itself among them, nearest first, int32 (N, k); and its largest d², (N,)."""
    count = len(vectors)
    k = min(k, count)
    everything = np.arange(count)
    distances = Euclidean(vectors, everything, everything)
    nearest, farthest = np.empty((count, k), np.int32), np.empty(count)
    rows = block_rows(count)
    with tqdm(total=count, unit="pictures", desc="neighbours", disable=not progress) as bar:
        for start in range(0, count, rows):
            block = distances.block(start, min(start + rows, count))
            for at, row in enumerate(block, start):
                farthest[at] = max(float(row.max()) ** 2, np.finfo(np.float64).tiny)
                row[at] = -1  # first of its neighbours, also among equals
                found = np.argpartition(row, k - 1)[:k]
                nearest[at] = found[np.lexsort((found, row[found]))]
            bar.update(len(block))
    return nearest, farthest


_Code = tuple[NDArray[np.int32], NDArray[np.float32]]


def _codes(
    vectors: NDArray[np.float32], nearest: NDArray[np.int32], farthest: NDArray[np.float64], k1: int, *, progress: bool
) -> list[_Code]:
    """R*, the k₁-reciprocal neighbours R and those of R that share over two thirds of their own with it, weighted."""
    wide = _reciprocal(nearest)
    narrow = _reciprocal(nearest[:, : _half(k1) + 1])
    codes = []
    for at, own in enumerate(tqdm(wide, unit="pictures", desc="re-rank", disable=not progress)):
        expanded = set(own)
        for candidate in own:
            theirs = narrow[candidate]
            if len(theirs & own) > 2 / 3 * len(theirs):
                expanded |= theirs
        places = np.array(sorted(expanded), np.int32)
        distances = Euclidean(vectors, np.array([at]), places.astype(np.intp)).block(0, 1)[0]
        values = np.exp(-(distances.astype(np.float64) ** 2) / farthest[at])
        codes.append((places, (values / values.sum()).astype(np.float32)))
    return codes


def _reciprocal(nearest: NDArray[np.int32]) -> list[frozenset[int]]:
    """Of each row's neighbours, those that have it among theirs (itself always)."""
    mutual = np.empty(nearest.shape, np.bool_)
    for column in range(nearest.shape[1]):
        mutual[:, column] = (nearest[nearest[:, column]] == np.arange(len(nearest))[:, None]).any(1)
    return [frozenset(own[kept].tolist()) for own, kept in zip(nearest, mutual, strict=True)]


def _mean_code(codes: list[_Code]) -> _Code:
    """The mean of some codes."""
    named = np.concatenate([places for places, _ in codes])
    places, at = np.unique(named, return_inverse=True)
    values = np.bincount(at, weights=np.concatenate([values for _, values in codes])) / len(codes)
    return places, values.astype(np.float32)
