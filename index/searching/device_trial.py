"""Does a device answer as the processors do? Asked before it answers for anybody.

Whether a flat index on a GPU keeps to a filter, and how exact its distances are, depends on FAISS's build and on the
GPU's kind (its tensor cores round); which of several ways cuVS takes depends on the number of queries, of neighbours
and of rows that pass. So each is tried once for a dimension and form, on vectors that are easy to mistake.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexDeviceUnavailable
from index.gallery import Vectors
from index.searching.index_device import FAILURES, IndexDevice, one_line
from index.searching.placed_index import Found
from index.searching.vector_index import RELATIVE_ERROR

_ROWS: Final = 4096
_QUERIES = (1, 40)
_COUNTS = (1, 10, 100, 2000)
_SHARES = (0.0, 0.5, 0.97)  # of the rows that a filter leaves out
_SPARE = 4  # times the largest error that was seen
_WORST = 2e-3  # such an error is no rounding, in fp16 either
_LARGEST_HALF = 65_504


def as_kept(x: NDArray[np.float32], vectors: Vectors) -> NDArray[np.float32]:
    """Numbers as a device keeps them, as float32: rounded to fp16, or as they are."""
    return x if vectors == "fp32" else x.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).astype(np.float32)


def proven_error(device: IndexDevice, dim: int, vectors: Vectors) -> float:
    """How far off a device's squared distances are, as a share of the squared lengths of the two vectors.

    Raises IndexDeviceUnavailable where it fails, does not keep to a filter, or is too far off.
    """
    with device.lock:
        known = device.proven.get((dim, vectors))
        if known is None:
            try:
                error = _largest_error(device, dim, vectors)
            except FAILURES as failure:
                raise IndexDeviceUnavailable(
                    f"the device {device.name} failed when it was tried with vectors of {dim} numbers ({vectors}): "
                    f"{one_line(failure)}; or use index_device cpu"
                ) from failure
            known = device.proven[dim, vectors] = max(RELATIVE_ERROR, _SPARE * error)
    return known


def _largest_error(device: IndexDevice, dim: int, vectors: Vectors) -> float:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(_ROWS // 64, dim)) / dim**0.5
    spread = rng.normal(size=(_ROWS, dim)) / dim**0.5
    rows = as_kept((np.tile(centres, (64, 1)) + 0.1 * spread).astype(np.float32), vectors)
    queries = as_kept((rows[: max(_QUERIES)] + 0.01 * spread[-max(_QUERIES) :]).astype(np.float32), vectors)
    tried = device.empty(dim, vectors)
    device.add(tried, rows)
    lengths = (rows.astype(np.float64) ** 2).sum(axis=1), (queries.astype(np.float64) ** 2).sum(axis=1)
    exact = lengths[0] + lengths[1][:, None] - 2 * queries.astype(np.float64) @ rows.astype(np.float64).T
    scale = float(lengths[0].max() + lengths[1].max())
    worst = 0.0
    for share in _SHARES:
        passing = rng.random(_ROWS) >= share
        bits = None if share == 0 else np.packbits(passing, bitorder="little")
        for count in (each for each in _COUNTS if each <= passing.sum()):
            for number in _QUERIES:
                found = device.search(tried, queries[:number], count, bits)
                _require_kept(device, found, passing)
                worst = max(worst, _error(found, exact[:number], passing) / scale)
    if not worst < _WORST:
        raise IndexDeviceUnavailable(
            f"the device {device.name} computes distances of {dim} numbers ({vectors}) that are off by {worst:.1e} of "
            "the vectors' squared lengths: use index_device cpu, and report this with the GPU's name"
        )
    return worst


def _require_kept(device: IndexDevice, found: Found, passing: NDArray[np.bool_]) -> None:
    """Raise where a row was found that a filter leaves out."""
    places = found[1]
    if not ((places >= 0) & (places < len(passing))).all() or not passing[places].all():
        raise IndexDeviceUnavailable(
            f"the device {device.name} gives rows that a filter leaves out, so filtered and erased images would come "
            "back: it needs FAISS with cuVS (the extra 'gpu'); or use index_device cpu"
        )


def _error(found: Found, exact: NDArray[np.float64], passing: NDArray[np.bool_]) -> float:
    """The largest error of a search's squares, told or betrayed by what it overlooked; infinite for one told twice."""
    squares, places = found
    count = places.shape[1]
    if any(len(np.unique(chosen)) < count for chosen in places):
        return np.inf
    own = np.take_along_axis(exact, places, axis=1)
    farthest = np.partition(exact[:, passing], count - 1, axis=1)[:, count - 1]
    overlooked = own.max(axis=1) - farthest  # by so much a row too far away was taken to be nearer: two errors
    return float(max(np.abs(squares.astype(np.float64) - own).max(), overlooked.max() / 2))
