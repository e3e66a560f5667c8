"""Every row looked at on a device, which has a copy of the rows; the index itself is on the host and is the truth.

What the device does not have yet, and everything where it cannot answer, is looked at on the host. So an answer is the
same whatever the device does, and sooner where it works.
"""

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexDeviceUnavailable
from index.gallery import Vectors
from index.searching.device_copy import WIDEST, DeviceCopy, nearest
from index.searching.device_trial import as_kept
from index.searching.index_device import FAILURES, IndexDevice, one_line
from index.searching.placed_index import Bits, Found, faiss
from index.searching.quantized_index import QuantizedIndex
from index.searching.vector_index import RELATIVE_ERROR, surely_within

_LOT = 65_536  # rows that are copied at a time; searches have their turn in between
_FEW = 10_000  # rows × queries that the host has gathered when a device has hardly begun (not measured)


class MirroredIndex(QuantizedIndex):
    """See ``BuiltIndex``; fp32 or fp16. One thread adds and mirrors, any number search."""

    def __init__(self, faiss_index: object, vectors: Vectors) -> None:
        super().__init__(faiss_index, vectors)
        self._copy: DeviceCopy | None = None
        self._relative_error = RELATIVE_ERROR  # the largest of any copy that has answered
        self._lost: Callable[[str], None] = lambda _: None

    @classmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        if vectors != "fp32":
            return super().made(dim, vectors, rows=rows, sample=sample)
        exact = faiss.IndexFlat(dim, faiss.METRIC_L2)
        made = cls(exact, vectors)
        made.reserve(rows)
        return made

    @property
    def mirrored(self) -> int:
        """How many rows, retired ones too, the device answers for."""
        copy = self._copy
        return 0 if copy is None else copy.rows

    @property
    def waiting(self) -> int:
        """How many rows, retired ones too, the host answers for."""
        return int(self._index.ntotal) - self.mirrored

    def mirror(self, device: IndexDevice, what: str, lost: Callable[[str], None]) -> None:
        """Copy to the device what it does not have. ``lost`` is told why, if it should fail later, in a search.

        Raises NotEnoughMemory, and the device answers for what it had; IndexDeviceUnavailable, and the host answers.
        """
        copy = self._copy
        if copy is None or copy.closed:
            copy = DeviceCopy(device, int(self._index.d), self.vectors, what)
        rows = int(self._index.ntotal)
        try:
            copy.require_room(rows)
            for start in range(copy.rows, rows, _LOT):
                copy.add(self._index.reconstruct_n(start, min(_LOT, rows - start)))
        except FAILURES as error:
            self._let_go(copy)
            raise IndexDeviceUnavailable(
                f"{what} cannot be copied to the GPU: {one_line(error)}; the processors look at every row until it can"
            ) from error
        except BaseException:
            if copy is not self._copy:
                copy.close()
            raise
        self._relative_error, self._lost = max(self._relative_error, copy.relative_error), lost
        self._copy = copy

    def roomier(self, rows: int) -> Self:
        """As everywhere. The device's copy is of both, since each row lies where it lay; this one is let go of."""
        other = super().roomier(rows)
        other._copy, other._relative_error, other._lost = self._copy, self._relative_error, self._lost
        return other

    def unmirror(self) -> None:
        """Give the device's memory back; the host answers from now on."""
        if (copy := self._copy) is not None:
            self._let_go(copy)

    def _let_go(self, copy: DeviceCopy) -> None:
        self._copy = None
        copy.close()

    def _look_everywhere(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        copy = self._copy
        answer = None if copy is None or count > WIDEST else self._asked(copy, queries, count, bits)
        if answer is None:
            return super()._look_everywhere(queries, count, bits)
        found, covered = answer
        behind = np.arange(covered, int(self._index.ntotal), dtype=np.int64)
        behind = behind if bits is None else behind[_pass(behind, bits)]
        return nearest([found, self._looked_at(queries, behind, count)], len(queries), count) if len(behind) else found

    def _asked(
        self, copy: DeviceCopy, queries: NDArray[np.float32], count: int, bits: Bits
    ) -> tuple[Found, int] | None:
        """The device's answer, measured again; None where it has none, or one that cannot be right."""
        try:
            answer = copy.search(queries, count, bits)
        except FAILURES as error:
            reason = one_line(error)
        else:
            if answer is None:
                return None
            found, covered = answer
            if _possible(found, covered, bits) and (again := self._measured(queries, found)) is not None:
                return again, covered
            reason = "it gave rows or distances that cannot be"
        if copy is self._copy:
            self._let_go(copy)
            self._lost(
                f"the GPU failed in a search: {reason}; until it is tried again the processors look at every row"
            )
        return None

    def _measured(self, queries: NDArray[np.float32], found: Found) -> Found | None:
        """What a device found, at the distances on the host; None where these are others than rounding explains."""
        squares, places = found
        own = np.empty_like(squares)
        for query, told, near, measured in zip(queries, squares, places, own, strict=True):
            measured[:] = self._squares(query, np.ascontiguousarray(near))
            length, far = float(np.linalg.norm(query.astype(np.float64))), measured.astype(np.float64) ** 0.5
            rounding = self._relative_error * (length**2 + (length + far) ** 2)
            lost = self._rounded_away(query)
            if (np.abs(told - measured) > rounding + 2 * far * lost + lost**2).any():
                return None
        order = np.argsort(own, axis=1, kind="stable")
        return np.take_along_axis(own, order, axis=1), np.take_along_axis(places, order, axis=1)

    def _looked_at(self, queries: NDArray[np.float32], places: NDArray[np.int64], count: int) -> Found:
        """Squared distances and places (Q, m) of the nearest of the rows at some places, on the host."""
        near = self._nearest_codes if self.vectors == "fp16" else self._all_of
        found = [near(query, places, count) for query in queries]
        squares, own = (np.stack(each) for each in zip(*found, strict=True))
        return nearest([(squares, own)], len(queries), count)

    def _all_of(self, query: NDArray[np.float32], places: NDArray[np.int64], _: int) -> Found:
        return self._squares(query, places), places

    def _are_few(self, rows: int, queries: int) -> bool:
        return super()._are_few(rows, queries) if self._copy is None else rows * queries <= _FEW

    def _surely_within(self, query: NDArray[np.float32], square: float) -> float:
        """As everywhere; ``square`` was measured again, and a row that the device passed over may be off as well."""
        within = surely_within(query, square, relative_error=2 * self._relative_error)
        return max(within - 2 * self._rounded_away(query), 0.0)

    def _rounded_away(self, query: NDArray[np.float32]) -> float:
        """By how much a distance that the device computes may be off because it rounds the query."""
        return float(np.linalg.norm(query.astype(np.float64) - as_kept(query, self.vectors)))


def _possible(found: Found, covered: int, bits: Bits) -> bool:
    """Whether an answer holds rows that are there and may be found, at distances that are numbers."""
    squares, places = found
    inside = (places >= 0) & (places < covered)
    return bool(inside.all() and np.isfinite(squares).all() and (bits is None or _pass(places, bits).all()))


def _pass(places: NDArray[np.int64], bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    passing: NDArray[np.bool_] = (bits[places >> 3] >> (places & 7) & 1).astype(bool)
    return passing
