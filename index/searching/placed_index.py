"""What every index has in common: rows by place, retired ones left out.

Rows come in ascending order of their ids, so that the place of a row is found by bisection and a place needs no table
of ids. A row that is taken out of every answer stays where it is; a bit a row leaves it out at search time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.gallery import Vectors
from index.machine.cpu_quota import usable_cpus
from index.machine.huge_pages import use_huge_pages
from index.searching.gathered_rows import GatheredRows
from index.searching.vector_index import BATCH, NOTHING, Candidates, measured, surely_within

faiss: Any = _faiss  # the stubs that it ships lack much of it
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
Bits = NDArray[np.uint8] | None  # one a place, little-endian: which rows may be found; None: all
_LARGEST_HALF = 65_504  # of fp16; what is beyond counts as that, and ``error`` says what it costs
_FEW, _FEW_OF_A_BATCH = 2, 16  # rows ``among`` are gathered where they are fewer than one in so many of all
SPARE = 16  # one row in so many more than there are has its memory reserved
_COPIED = 16  # one byte in so many more than the vectors take may be copies of rows that are asked for again
_GATHERED = 1024  # vectors at a time


def selector(bits: Bits) -> Any:
    """FAISS's view of ``bits``, which must outlive it."""
    return None if bits is None else faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))


class PlacedIndex(ABC):
    """See ``index.searching.vector_index.VectorIndex``. Row ids are added in ascending order, each once.

    ``vectors`` says how the index keeps them. Where that is not fp32, distances are off by up to ``error``, the largest
    ‖x − x̂‖ that any row has lost, and are to be measured again from the exact vectors.
    """

    def __init__(self, faiss_index: Any, vectors: Vectors) -> None:
        self.vectors: Vectors = vectors
        self.error = 0.0
        self._index = faiss_index  # trained
        self._cores = usable_cpus()
        self._row_ids = np.empty(0, dtype=np.int64)  # by place; with room for more behind the last one
        self._alive = np.empty(0, dtype=np.uint8)  # a bit a place, little-endian
        self._retired = 0
        self._copies = GatheredRows()

    def __len__(self) -> int:
        return int(self._index.ntotal) - self._retired

    def row_ids(self) -> NDArray[np.int64]:
        """Every row that it holds, int64 (n,), ascending, retired ones too."""
        return self._row_ids[: int(self._index.ntotal)]

    def add(self, row_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        places = slice(int(self._index.ntotal), int(self._index.ntotal) + len(row_ids))
        kept = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.vectors == "fp16":
            kept = kept.clip(-_LARGEST_HALF, _LARGEST_HALF)
        faiss.omp_set_num_threads(self._cores if len(row_ids) >= BATCH else 1)  # for this thread only
        self._index.add(kept)
        self._grow(places.stop)
        self._row_ids[places] = row_ids
        if self.vectors != "fp32" and len(row_ids):
            lost = self._index.reconstruct_n(places.start, len(row_ids)) - vectors
            self.error = max(self.error, float(np.linalg.norm(lost.astype(np.float64), axis=1).max()))

    def retire(self, row_ids: NDArray[np.int64]) -> None:
        """As the protocol says; rows that it does not hold are passed over."""
        places = self._places(row_ids)
        places = places[self._alive[places >> 3] >> (places & 7) & 1 == 1]
        np.bitwise_and.at(self._alive, places >> 3, ~(1 << (places & 7)).astype(np.uint8))
        self._retired += len(places)

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> list[Candidates]:
        if among is None:
            return self._answers(queries, count, total=len(self), everywhere=count >= len(self), bits=self._bits())
        places = self._places(among)
        if not len(places):
            return [NOTHING] * len(queries)
        if self._are_few(len(places), len(queries)):
            exact = np.ascontiguousarray(queries, dtype=np.float32)
            copy = self._copies.copy_of(
                among, partial(self._copied, places), size=len(places) * self._row_size,
                room=int(self._index.ntotal) * self._row_size // _COPIED,
            )  # fmt: skip
            return [self._gathered(query, places, count, copy) for query in exact]
        bits = np.zeros(len(self._alive), dtype=np.uint8)
        np.bitwise_or.at(bits, places >> 3, (1 << (places & 7)).astype(np.uint8))
        return self._answers(queries, count, total=len(places), everywhere=True, bits=bits)

    def scan(self, queries: NDArray[np.float32], count: int) -> list[Candidates]:
        return self._answers(queries, count, total=len(self), everywhere=True, bits=self._bits())

    def use_huge_pages(self) -> None:
        """Move what it holds into larger pages of memory, where the system has any: searches take a fifth less time.

        Others may search meanwhile, nobody may add.
        """
        for numbers, size in self._arrays():
            if numbers.size():
                use_huge_pages(faiss.rev_swig_ptr(numbers.data(), 1).ctypes.data, numbers.size() * size)

    def _arrays(self) -> Iterator[tuple[Any, int]]:
        """FAISS's vectors of numbers that searches read at random, and the bytes of a number."""
        yield self._storage.codes, 1

    @property
    def _row_size(self) -> int:
        """Bytes of a vector where rows are copied to."""
        storage = self._storage
        return int(storage.code_size if isinstance(storage, faiss.IndexFlatCodes) else 4 * storage.d)

    @property
    def _storage(self) -> Any:
        """The FAISS index that holds the vectors by place."""
        return self._index

    def _are_few(self, rows: int, queries: int) -> bool:
        """Whether so many rows are sooner gathered than left to FAISS's selector."""
        return rows * (_FEW if queries < BATCH else _FEW_OF_A_BATCH) < int(self._index.ntotal)

    @abstractmethod
    def _look_near(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        """FAISS's squared distances and places (Q, count) of rows that ``bits`` lets pass."""

    def _look_everywhere(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        """The same, having looked at every row."""
        parameters = faiss.SearchParameters()
        parameters.sel = selector(bits)
        found: Found = self._storage.search(queries, count, params=parameters)
        return found

    def _gathered(self, query: NDArray[np.float32], places: NDArray[np.int64], count: int, copy: Any) -> Candidates:
        """The nearest of the rows at some places, having looked at these alone, or at a ``copy`` where there is one."""
        everything = len(places) <= count
        if copy is not None:
            (squares,), (near,) = copy.search(query[None], min(count, len(places)))
            places = places[near]
        elif isinstance(self._storage, faiss.IndexScalarQuantizer):
            squares, places = self._nearest_codes(query, places, count)
        else:
            squares = self._squares(query, places)
        near = np.arange(len(places)) if len(places) <= count else np.argpartition(squares, count - 1)[:count]
        near = near[np.argsort(squares[near], kind="stable")]
        return self._candidates(query, squares[near], places[near], everything=everything, error=self.error)

    def _nearest_codes(self, query: NDArray[np.float32], places: NDArray[np.int64], count: int) -> Found:
        """Squared distances to the nearest of the rows at some places, and where they are; ``count`` of every lot.

        A lot's codes are copied into an index of their own: FAISS measures codes in a fifth of the time that decoding
        them takes, and has no search of some places.
        """
        lot, found = self._none(), []
        for own, codes in self._codes(places):
            lot.reset()
            lot.add_sa_codes(codes)
            (squares,), (near,) = lot.search(query[None], min(count, len(own)))
            found.append((squares, own[near]))
        return np.concatenate([squares for squares, _ in found]), np.concatenate([near for _, near in found])

    def _codes(self, places: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Some places at a time and the codes that lie there, uint8 (n, bytes), to be used before the next."""
        storage = self._storage
        codes = faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size()).reshape(-1, storage.code_size)
        some = np.empty((_GATHERED, storage.code_size), dtype=np.uint8)
        for start in range(0, len(places), _GATHERED):
            own = places[start : start + _GATHERED]
            np.take(codes, own, axis=0, out=some[: len(own)], mode="clip")  # any mode but the default copies once
            yield own, some[: len(own)]

    def _none(self) -> Any:
        """An index of codes like those of the storage, with none in it."""
        storage = self._storage
        if isinstance(storage, faiss.IndexFlat):
            return faiss.IndexFlat(storage.d, faiss.METRIC_L2)
        none = faiss.IndexScalarQuantizer(storage.d, storage.sq.qtype, faiss.METRIC_L2)
        none.sq, none.is_trained = storage.sq, True
        return none

    def _copied(self, places: NDArray[np.int64]) -> Any:
        """A FAISS index of the rows at some places, in their order."""
        if not isinstance(self._storage, faiss.IndexFlatCodes):  # lists, and no array of codes by place
            copy = faiss.IndexFlat(self._storage.d, faiss.METRIC_L2)
            for start in range(0, len(places), _GATHERED):
                copy.add(self._storage.reconstruct_batch(places[start : start + _GATHERED]))
            return copy
        copy = self._none()
        for _, codes in self._codes(places):
            copy.add_sa_codes(codes)
        return copy

    def _squares(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Squared distances, float32 (n,), to the vectors at some places, as the index keeps them."""
        storage, dim = self._storage, len(query)
        squares = np.empty(len(places), dtype=np.float32)
        if isinstance(storage, faiss.IndexFlat):  # nothing is copied
            pointers = [faiss.swig_ptr(each) for each in (squares, query, places)]
            faiss.fvec_L2sqr_by_idx(pointers[0], pointers[1], storage.get_xb(), pointers[2], dim, 1, len(places))
            return squares
        for start in range(0, len(places), _GATHERED):
            lot = slice(start, start + _GATHERED)
            vectors = storage.reconstruct_batch(places[lot])
            faiss.fvec_L2sqr_ny(
                faiss.swig_ptr(squares[lot]), faiss.swig_ptr(query), faiss.swig_ptr(vectors), dim, len(vectors)
            )
        return squares

    def _answers(
        self, queries: NDArray[np.float32], count: int, *, total: int, everywhere: bool, bits: Bits
    ) -> list[Candidates]:
        if total == 0 or len(queries) == 0:
            return [NOTHING] * len(queries)
        asked = min(count, total)
        # For this thread only. Few queries gain nothing from a second core, and waiting for a busy one costs 20 ms.
        faiss.omp_set_num_threads(self._cores if len(queries) >= BATCH else 1)
        look = self._look_everywhere if everywhere else self._look_near
        squares, places = look(np.ascontiguousarray(queries, dtype=np.float32), asked, bits)  # (Q, asked) each
        return [
            self._candidates(
                query,
                square[place >= 0],
                place[place >= 0],
                everything=everywhere and asked == total,
                error=self.error if everywhere else 0,
            )
            for query, square, place in zip(queries, squares, places, strict=True)  # FAISS pads with −1
        ]

    def _candidates(
        self,
        query: NDArray[np.float32],
        squares: NDArray[np.float32],
        places: NDArray[np.int64],
        *,
        everything: bool,
        error: float,
    ) -> Candidates:
        """Distances computed again as ‖a − b‖ where the vectors are exact, and how far FAISS's order can be trusted.

        ``error``: how far off a row may be that was looked at and not taken; where rows are overlooked anyway, what
        that costs is part of the measured recall.
        """
        certain = np.inf if everything else 0.0
        if len(places) and not everything:
            certain = max(self._surely_within(query, float(squares[-1])) - error, 0.0)
        if self.vectors == "fp32":
            vectors = self._index.reconstruct_batch(places)
            return measured(query, self.row_ids()[places], vectors, certain=certain)
        distances = np.sqrt(np.maximum(squares.astype(np.float64), 0))
        return Candidates(row_ids=self.row_ids()[places], distances=distances, certain=certain, exact=False)

    def _surely_within(self, query: NDArray[np.float32], square: float) -> float:
        """The distance up to which a search whose last squared distance is ``square`` overlooked nothing it saw."""
        return surely_within(query, square)

    def _places(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where rows are, those that it does not hold left out."""
        held = self.row_ids()
        if len(held) and held[-1] - held[0] == len(held) - 1:  # no gaps, so nothing is to be sought
            ahead: NDArray[np.int64] = row_ids - held[0]
            return ahead[(ahead >= 0) & (ahead < len(held))]
        places = np.searchsorted(held, row_ids)
        inside = places < len(held)
        inside[inside] = held[places[inside]] == row_ids[inside]
        return places[inside]

    def _whether_alive(self) -> NDArray[np.bool_]:
        return np.unpackbits(self._alive, count=int(self._index.ntotal), bitorder="little").astype(bool)

    def _bits(self) -> Bits:
        return self._alive if self._retired else None

    def _grow(self, rows: int) -> None:
        """Room for so many rows, all of them alive, a little beyond so that adding few does not copy all."""
        if rows <= len(self._row_ids):
            return
        room = rows + rows // 8
        row_ids = np.empty(room, dtype=np.int64)
        row_ids[: len(self._row_ids)] = self._row_ids
        alive = np.full(room // 8 + 1, 255, dtype=np.uint8)
        alive[: len(self._alive)] = self._alive
        self._row_ids, self._alive = row_ids, alive


def make_room(numbers: Any, size: int) -> None:
    """Room for ``size`` numbers in one of FAISS's vectors, which keeps those that it has."""
    now = numbers.size()
    if size > now:
        numbers.resize(size)
        numbers.resize(now)
