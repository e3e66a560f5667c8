"""The exact index: FAISS's flat L2, which takes every new row at once and lets go of old ones."""

import numpy as np
from numpy.typing import NDArray

from index.searching.placed_index import Bits, Found, PlacedIndex, faiss, selector

_RETIRED_AT_LEAST = 256  # rows; taking one row out moves all behind it, 25 ms in 100,000 × 512, so it is done for many
_RETIRED_SHARE = 64


class FlatIndex(PlacedIndex):
    """See ``PlacedIndex``."""

    def __init__(self, dim: int) -> None:
        super().__init__(faiss.IndexFlat(dim, faiss.METRIC_L2), "fp32")

    def retire(self, row_ids: NDArray[np.int64]) -> None:
        """As the protocol says; their memory is freed in larger lots."""
        super().retire(row_ids)
        if self._retired >= max(_RETIRED_AT_LEAST, int(self._index.ntotal) // _RETIRED_SHARE):
            self._take_out()

    def forget(self, row_ids: NDArray[np.int64]) -> None:
        """Take rows out at once, so that their ids may be used again, as those of a write that is rolled back are."""
        super().retire(row_ids)
        self._take_out()

    def living(self) -> NDArray[np.int64]:
        """The rows that can be found, int64 (n,), ascending."""
        return self.row_ids()[self._whether_alive()]

    def stored(self, row_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors (n, D) of rows that are in the index."""
        found: NDArray[np.float32] = self._index.reconstruct_batch(self._places(row_ids))
        return found

    def _look_near(self, queries: NDArray[np.float32], count: int, bits: Bits) -> Found:
        return self._look_everywhere(queries, count, bits)

    def _take_out(self) -> None:
        """Free the memory of retired rows."""
        alive = self._whether_alive()
        retired = np.packbits(~alive, bitorder="little")
        kept = self.row_ids()[alive]
        self._index.remove_ids(selector(retired))
        self._row_ids, self._alive = kept, np.full(len(kept) // 8 + 1, 255, dtype=np.uint8)
        self._retired = 0
        self._copies.clear()
