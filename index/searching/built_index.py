"""What the kinds that are built beside the running index have in common: rows by place, retired ones left out.

A built index is made from rows in ascending order of their ids, so that the place of a row is found by bisection and a
place needs no table of ids. Rows are never taken out: HNSW cannot, and a bit a row leaves them out at search time until
their share is worth building anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from index.gallery import BuiltKind, Vectors
from index.machine.cpu_quota import usable_cpus
from index.searching.vector_index import BATCH, NOTHING, Candidates, measured, surely_within

faiss: Any = _faiss  # the stubs that it ships lack much of it
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
QUANTIZERS: dict[Vectors, Any] = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}
_LARGEST_HALF = 65_504  # of fp16; what is beyond counts as that, and ``error`` says what it costs
_CHUNK = 1 << 20  # bytes that FAISS reads and writes at a time
_FEW = 16  # rows ``among`` are measured one by one where they are fewer than this part of all


class BuiltIndex(ABC):
    """See ``index.searching.vector_index.VectorIndex``. Row ids are added in ascending order, each once.

    ``vectors`` says how the index keeps them. Where that is not fp32, distances are off by up to ``error``, the largest
    ‖x − x̂‖ that any row has lost, and are to be measured again from the exact vectors.
    """

    kind: ClassVar[BuiltKind]

    def __init__(self, faiss_index: Any, vectors: Vectors) -> None:
        self.vectors: Vectors = vectors
        self.error = 0.0
        self._index = faiss_index  # trained, and empty unless ``restored``
        self._cores = usable_cpus()
        self._row_ids = np.empty(0, dtype=np.int64)  # by place; with room for more behind the last one
        self._alive = np.empty(0, dtype=np.uint8)  # a bit a place, little-endian
        self._retired = 0

    @classmethod
    @abstractmethod
    def made(cls, dim: int, vectors: Vectors, *, rows: int, sample: NDArray[np.float32]) -> Self:
        """An empty one for about ``rows`` rows, which learns what it has to learn from ``sample`` float32 (n, D)."""

    @classmethod
    def restored(cls, vectors: Vectors, *, rows: int, error: float, read: Callable[[int], bytes]) -> Self:
        """What ``save`` wrote; ``read(n)`` gives its next n bytes and answers for every one of them."""
        row_ids = np.frombuffer(read(8 * rows), dtype="<i8")
        alive = np.frombuffer(read(rows // 8 + 1), dtype=np.uint8)
        restored = cls(faiss.read_index(faiss.PyCallbackIOReader(read, _CHUNK)), vectors)
        restored.error, restored._row_ids, restored._alive = error, row_ids.astype(np.int64), alive.copy()
        restored._retired = rows - int(np.unpackbits(alive, bitorder="little")[:rows].sum())
        return restored

    def save(self, write: Callable[[bytes], object]) -> None:
        """Everything that ``restored`` needs, piece by piece. Nobody may add meanwhile; searches go on."""
        rows = int(self._index.ntotal)
        write(self.row_ids().astype("<i8").tobytes())
        write(self._alive[: rows // 8 + 1].tobytes())
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write, _CHUNK))

    def __len__(self) -> int:
        return int(self._index.ntotal) - self._retired

    @property
    def retired_share(self) -> float:
        """How much of it is in no answer any more."""
        return self._retired / max(int(self._index.ntotal), 1)

    def row_ids(self) -> NDArray[np.int64]:
        """Every row it was given, int64 (n,), ascending, retired ones too."""
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
        if self.vectors == "fp32" and len(places) * _FEW < int(self._index.ntotal) and len(queries) < BATCH:
            return [self._one_by_one(query, places, count) for query in queries]
        bits = np.zeros(len(self._alive), dtype=np.uint8)
        np.bitwise_or.at(bits, places >> 3, (1 << (places & 7)).astype(np.uint8))
        return self._answers(queries, count, total=len(places), everywhere=True, bits=bits)

    def scan(self, queries: NDArray[np.float32], count: int) -> list[Candidates]:
        return self._answers(queries, count, total=len(self), everywhere=True, bits=self._bits())

    @abstractmethod
    def _look_near(self, queries: NDArray[np.float32], count: int, selector: Any) -> Found:
        """FAISS's squared distances and places (Q, count) of rows that ``selector`` lets pass."""

    @abstractmethod
    def _look_everywhere(self, queries: NDArray[np.float32], count: int, selector: Any) -> Found:
        """The same, having looked at every row."""

    def _one_by_one(self, query: NDArray[np.float32], places: NDArray[np.int64], count: int) -> Candidates:
        vectors: NDArray[np.float32] = self._index.reconstruct_batch(places)  # (n, D)
        if len(places) <= count:
            return measured(query, self.row_ids()[places], vectors, certain=np.inf)
        apart = vectors - query
        squares = np.einsum("nd,nd->n", apart, apart)
        near = np.argpartition(squares, count - 1)[:count]
        certain = surely_within(query, float(squares[near[-1]]))  # argpartition leaves the largest there
        return measured(query, self.row_ids()[places[near]], vectors[near], certain=certain)

    def _answers(
        self, queries: NDArray[np.float32], count: int, *, total: int, everywhere: bool, bits: NDArray[np.uint8] | None
    ) -> list[Candidates]:
        if total == 0 or len(queries) == 0:
            return [NOTHING] * len(queries)
        asked = min(count, total)
        selector = None if bits is None else faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        faiss.omp_set_num_threads(self._cores if len(queries) >= BATCH else 1)
        look = self._look_everywhere if everywhere else self._look_near
        squares, places = look(np.ascontiguousarray(queries, dtype=np.float32), asked, selector)  # (Q, asked) each
        return [
            self._candidates(query, square[place >= 0], place[place >= 0], everything=everywhere and asked == total)
            for query, square, place in zip(queries, squares, places, strict=True)  # FAISS pads with −1
        ]

    def _candidates(
        self, query: NDArray[np.float32], squares: NDArray[np.float32], places: NDArray[np.int64], *, everything: bool
    ) -> Candidates:
        certain = np.inf if everything else 0.0
        if len(places) and not everything:
            certain = max(surely_within(query, float(squares[-1])) - self.error, 0.0)
        if self.vectors == "fp32":
            vectors = self._index.reconstruct_batch(places)
            return measured(query, self.row_ids()[places], vectors, certain=certain)
        distances = np.sqrt(np.maximum(squares.astype(np.float64), 0))
        return Candidates(row_ids=self.row_ids()[places], distances=distances, certain=certain, exact=False)

    def _places(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where rows are, those that it does not hold left out."""
        held = self.row_ids()
        places = np.searchsorted(held, row_ids)
        inside = places < len(held)
        inside[inside] = held[places[inside]] == row_ids[inside]
        return places[inside]

    def _bits(self) -> NDArray[np.uint8] | None:
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


def reserve(storage: Any, rows: int) -> None:
    """Room for so many rows in FAISS's storage of codes, which otherwise doubles, and copies, as it grows."""
    storage.codes.resize(rows * storage.code_size)
    storage.codes.resize(0)
