"""Which kind of index answers for how many rows, how it is made, and what it takes."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from index.errors import NotEnoughMemory
from index.gallery import BuiltKind, Kind, Vectors
from index.searching.built_index import BuiltIndex
from index.searching.hnsw_index import LINKS, HnswIndex
from index.searching.index_snapshot import SnapshotAbout, SnapshotReader, SnapshotUnusable, open_snapshot
from index.searching.ivf_index import IvfIndex, list_count
from index.searching.mirrored_index import MirroredIndex
from index.searching.quantized_index import QuantizedIndex

# on the host; ``class_of`` knows which of them a device mirrors
CLASSES: Final[dict[BuiltKind, type[BuiltIndex]]] = {"flat": QuantizedIndex, "ivf": IvfIndex, "hnsw": HnswIndex}

_BUILT_FROM = 1000  # rows; fewer are looked at in less than a millisecond, and are too few to learn from
_HNSW_FROM = 20_000  # rows of ``auto``: some 6 ms of looking at every one on one core
_BYTES: dict[Vectors, int] = {"fp32": 4, "fp16": 2, "sq8": 1}
_SPARE = 1.1  # of the memory that is free


def is_mirrored(kind: Kind, vectors: Vectors) -> bool:
    """Whether a device that searches for galleries takes such a one: every row is looked at, in a form that it has."""
    return kind in ("flat", "auto") and vectors != "sq8"


def class_of(kind: BuiltKind, *, mirrored: bool) -> type[BuiltIndex]:
    """What is built; ``mirrored``: where a device takes it."""
    return MirroredIndex if mirrored and kind == "flat" else CLASSES[kind]


def restored(about: SnapshotAbout, reader: SnapshotReader, *, mirrored: bool) -> BuiltIndex:
    """The built index of a snapshot; raises SnapshotUnusable."""
    return class_of(about.kind, mirrored=mirrored).restored(
        about.vectors, rows=about.rows, error=about.error, read=reader.read
    )


def unreadable(folder: Path, *, free: int | None) -> str | None:
    """Why the built index in a snapshot cannot be used though its bytes may be whole; None also where memory is short.

    ``free``: bytes, None: nobody knows. Raises OSError.
    """
    with suppress(NotEnoughMemory), open_snapshot(folder) as opened:
        if opened is None or not opened[0].built:
            return None
        about, reader = opened
        require_memory(estimate(about.kind, about.vectors, about.rows, about.dim), free, "reading the snapshot")
        try:
            restored(about, reader, mirrored=True)
        except SnapshotUnusable as error:
            return str(error)
    return None


def built_kind(
    kind: Kind, vectors: Vectors, rows: int, *, now: BuiltKind | None, mirrored: bool = False
) -> BuiltKind | None:
    """The kind to build for so many rows where ``now`` is built; None: the plain flat index, which needs no building.

    ``mirrored``: a device takes it, which looks at every row of any number sooner than a processor walks a graph.
    ``now`` holds on until the rows are half as many as it began with, so that a gallery at the edge is not built anew
    with every image.
    """
    stays = 2 if now is not None else 1
    if rows * stays < _BUILT_FROM:
        return None
    if mirrored:
        return "flat"
    if kind == "auto":
        kind = "hnsw" if rows * (2 if now == "hnsw" else 1) >= _HNSW_FROM else "flat"
    return None if kind == "flat" and vectors == "fp32" else kind


def estimate(kind: BuiltKind, vectors: Vectors, rows: int, dim: int) -> int:
    """Bytes of memory that an index of so many rows takes."""
    row = dim * _BYTES[vectors] + 8
    match kind:
        case "flat":
            return rows * row
        case "ivf":
            return int(rows * row * 1.25) + rows * 16 + list_count(rows) * dim * 4  # lists grow with some room to spare
        case "hnsw":
            return rows * (row + 2 * LINKS * 4 + 24)  # links of the lowest level; the levels above and their places


def require_memory(needed: int, free: int | None, what: str) -> None:
    """Raise NotEnoughMemory where ``needed`` bytes are not free; ``free`` None: nobody knows."""
    if free is not None and needed * _SPARE > free:
        raise NotEnoughMemory(
            f"{what} needs about {needed / 1e6:,.0f} MB of memory, {free / 1e6:,.0f} MB are free: give it more, or "
            "use vectors fp16 or sq8"
        )
