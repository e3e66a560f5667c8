"""What was measured of a search, an import and each kind of index; docs/benchmarks.md says how, and on what machine.

Of two cores, 2026-11-26, the default model (512 numbers): `make bench-gallery` for the kinds, `make bench-serve` for a
picture over HTTP, `make bench` for a bulk import. A test holds the figures of the kinds against that page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Final

DIM: Final = 512  # numbers a vector
PICTURE_SECONDS: Final = 0.0187  # of a core for a picture that is searched with: its HTTP, decoding and embedding
IMPORT_SECONDS: Final = 0.0168  # of a core for a picture that is imported in bulk
BASE_BYTES: Final = 230e6  # resident, of a service with the default model and no rows
CROP_BYTES: Final = 5000  # of a stored crop, where nobody says otherwise


@dataclass(frozen=True, kw_only=True)
class MeasuredPoint:
    """At so many rows: searches a second of one core, index and database together, without a filter."""

    rows: int
    searches: float
    recall: float  # at 10


@dataclass(frozen=True, kw_only=True)
class MeasuredKind:
    """A kind at two sizes. ``memory``, ``disk``: bytes a row, without crops; ``build``: seconds a row, of two cores."""

    points: tuple[MeasuredPoint, MeasuredPoint]
    memory: float
    disk: float
    build: tuple[float, float]

    def search_seconds(self, rows: float) -> float:
        """Of a core for one search among so many rows: the power of the rows that goes through both points."""
        return self._power(rows, *(1 / point.searches for point in self.points))

    def build_seconds(self, rows: float) -> float:
        """Of two cores to build the index of so many rows; by the same rule for a row's part of it."""
        return rows * self._power(rows, *self.build) if all(self.build) else 0.0

    def beyond(self, rows: float) -> float:
        """How many times the largest size that was measured; at most 1 within it."""
        return rows / self.points[1].rows

    def _power(self, rows: float, first: float, second: float) -> float:
        one, other = self.points
        exponent = log(second / first) / log(other.rows / one.rows)
        return float(first * (rows / one.rows) ** exponent)


KINDS: Final[Mapping[str, MeasuredKind]] = {
    "flat fp32": MeasuredKind(
        points=(
            MeasuredPoint(rows=100_000, searches=125, recall=1.0),
            MeasuredPoint(rows=1_000_000, searches=14, recall=1.0),
        ),
        memory=2180, disk=4616, build=(0, 0),
    ),
    "hnsw sq8": MeasuredKind(
        points=(
            MeasuredPoint(rows=100_000, searches=6.9 * 125, recall=1.0),
            MeasuredPoint(rows=1_000_000, searches=33.9 * 14, recall=0.990),
        ),
        memory=867, disk=3373, build=(0.24e-3, 0.48e-3),
    ),
}  # fmt: skip
