"""Which pictures seem to show one vehicle, from embeddings and cameras alone: clusters by re-ranked distance.

As unsupervised re-identification does since Song et al. 2020 ("Unsupervised domain adaptive re-identification: theory
and practice"): Jaccard distances of k-reciprocal codes, clustered by DBSCAN (Ester et al. 1996).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import DBSCAN

from index.errors import InvalidValue
from model_export.measuring.re_ranking import KReciprocal

_BLOCK = 256  # rows of distances at a time
_TINY = 1e-6  # in place of 0, which a sparse matrix would take for "far"


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """How pictures are grouped."""

    k1: int = 20  # neighbours that may be reciprocal
    k2: int = 6  # neighbours whose codes are averaged
    radius: float = 0.5  # Jaccard distance up to which two pictures are neighbours: more makes larger clusters
    neighbours: int = 2  # pictures within the radius, itself counted, that make a cluster grow
    centred: bool = True  # subtract each camera's mean first: what all its pictures share is the camera

    def __post_init__(self) -> None:
        if not 0 < self.radius < 1:
            raise InvalidValue(f"radius must lie between 0 and 1, not {self.radius}")
        for name in ("k1", "k2", "neighbours"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} must be at least 1, not {getattr(self, name)}")


def clusters(vectors: NDArray[np.float32], cameras: Sequence[str], config: ClusterConfig) -> NDArray[np.intp]:
    """The cluster of each picture, (N,); −1 for one that is like no other. ``vectors`` are unit float32 (N, D)."""
    if len(vectors) < 2:
        return np.full(len(vectors), -1)
    if config.centred:
        vectors = _centred(vectors, cameras)
    near = _near(KReciprocal(vectors, k1=min(config.k1, len(vectors) - 1), k2=config.k2, weight=0.0), config.radius)
    found: NDArray[np.intp] = DBSCAN(
        eps=config.radius, min_samples=config.neighbours, metric="precomputed"
    ).fit_predict(near)
    return found


def _centred(vectors: NDArray[np.float32], cameras: Sequence[str]) -> NDArray[np.float32]:
    names, number = np.unique(np.asarray(cameras), return_inverse=True)
    moved = vectors.copy()
    for camera in range(len(names)):
        moved[number == camera] -= vectors[number == camera].mean(0)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(np.where(length > 0, moved / np.maximum(length, 1e-12), vectors), np.float32)


def _near(codes: KReciprocal, radius: float) -> csr_matrix:
    """Distances up to ``radius``, sparse (N, N)."""
    count = codes.count
    everything = np.arange(count)
    distances = codes.between(everything, everything)
    rows, columns, values = [], [], []
    for start in range(0, count, _BLOCK):
        block = distances.block(start, min(start + _BLOCK, count))
        row, column = np.nonzero(block <= radius)
        rows.append(row + start)
        columns.append(column)
        values.append(np.maximum(block[row, column], _TINY))
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count))
