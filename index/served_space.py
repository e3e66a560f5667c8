"""What answers the searches of a gallery: one embedding space, and the index of its vectors.

Candidates come from the index, are measured exactly, joined to the database and ranked; where that leaves too few, more
candidates are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import apsw
import numpy as np
from numpy.typing import NDArray

from index.gallery import Filters, GallerySpec, Match, SearchOptions, StoredImage
from index.searching.growing_index import GrowingIndex
from index.searching.index_upkeep import IndexUpkeep
from index.searching.mirrored_index import MirroredIndex
from index.searching.ranking import Hit, rank_hits
from index.searching.vector_index import Candidates, measured
from index.storage import image_rows
from index.storage.facet_counts import FacetCounts
from index.storage.gallery_database import Bound
from index.storage.image_rows import Row
from index.storage.row_filter import Condition, passing
from index.storage.selected_rows import SelectedRows

_EXTRA = 16  # candidates beyond those asked for: ties at the cut, rows that are dropped or excluded
_FILTERED = 2  # times as many where a filter that many pass drops some
_WIDER = 8
_SELECTIVE = 2000  # rows; a filter that fewer pass (or a part of the gallery) is resolved before the search
_SELECTIVE_SHARE, _SELECTIVE_SHARE_QUICK = 4, 25  # the latter of kinds that need not look at every row, or on a GPU
_PATIENCE = 2  # widenings before a filter that many pass, but none near the query, is resolved after all


@dataclass(frozen=True)
class ServedSpace:
    """A space and the index of it. A migration puts another in its place."""

    bound: Bound
    upkeep: IndexUpkeep
    selected_rows: SelectedRows
    facets: FacetCounts

    @property
    def spec(self) -> GallerySpec:
        return self.bound.spec

    @property
    def space_id(self) -> int:
        return self.bound.space_id

    @property
    def index(self) -> GrowingIndex:
        return self.upkeep.index

    def select(
        self, connection: apsw.Connection, condition: Condition, *, tail: str = ""
    ) -> list[tuple[int, StoredImage]]:
        return list(
            image_rows.select(connection, condition, space_id=self.space_id, viewpoints=self.spec.viewpoints, tail=tail)
        )

    def vectors(
        self, connection: apsw.Connection, row_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and exact vectors of those of some rows that exist, in no order."""
        return image_rows.vectors(connection, row_ids, space_id=self.space_id, dim=self.spec.embedding_dim)

    def passing(
        self, filters: Filters, *, since: int | None, listing: Callable[[Condition], bool] = lambda _: True
    ) -> Condition:
        """What passes a filter in this space, of rows that came at ``since`` (microseconds since 1970) or later."""
        return passing(filters, space_id=self.space_id, since=since, listing=listing)

    def search(
        self, connection: apsw.Connection, queries: NDArray[np.float32], options: SearchOptions, *, since: int | None
    ) -> list[list[Match]]:
        """Matches of queries (n, D), each in order, in a view of the database whose rows are all in the index."""
        if options.group_by is not None:
            grouped = [self._grouped(connection, query, options, since=since) for query in queries]
            return [self._matches(connection, hits, embeddings=options.embeddings) for hits in grouped]
        condition = self.passing(options.filters, since=since, listing=lambda _: False)
        among = self._selected(connection, options.filters)
        answers: dict[int, list[Hit]] = {}
        count, widened = options.top_k + _EXTRA, 0
        if among is None and not options.filters.empty:
            count *= _FILTERED
        while pending := [number for number in range(len(queries)) if number not in answers]:
            if widened == _PATIENCE and among is None and not options.filters.empty:
                among = image_rows.row_ids(connection, self.passing(options.filters, since=since))
            everywhere = widened >= _PATIENCE and among is None
            asked = queries[pending]
            found = self.index.scan(asked, count) if everywhere else self.index.search(asked, count, among=among)
            for number, near in zip(pending, found, strict=True):
                hits, complete = rank_hits(*self._joined(connection, queries[number], near, condition), options)
                if complete:
                    answers[number] = hits
            count, widened = count * _WIDER, widened + 1
        return [
            self._matches(connection, answers[number], embeddings=options.embeddings) for number in range(len(queries))
        ]

    def _grouped(
        self, connection: apsw.Connection, query: NDArray[np.float32], options: SearchOptions, *, since: int | None
    ) -> list[Hit]:
        """The best image of each vehicle.

        Where these do not show soon, vehicles that were found are left out of the next look: one of very many images
        would else hide all others until every row had been looked at, and joined.
        """
        condition = self.passing(options.filters, since=since, listing=lambda _: False)
        among = self._selected(connection, options.filters)
        hits: list[Hit] = []
        others = Condition("TRUE")
        count, looks = options.top_k + _EXTRA, 0
        while True:
            everywhere = looks >= _PATIENCE and among is None
            (near,) = (
                self.index.scan(query[None], count)
                if everywhere
                else self.index.search(query[None], count, among=among)
            )
            candidates, rows = self._joined(connection, query, near, condition & others)
            more, complete = rank_hits(candidates, rows, replace(options, top_k=options.top_k - len(hits)))
            if complete:
                return [*hits, *more]
            count, looks = count * (_WIDER if looks < _PATIENCE or not more else 2), looks + 1
            if more and (everywhere or among is not None):  # nothing nearer was overlooked: these are right
                hits += more
                others &= image_rows.beside([(hit.row_id, rows[hit.row_id].vehicle_id) for hit in more])
                among = image_rows.row_ids(connection, self.passing(options.filters, since=since) & others)

    def _selected(self, connection: apsw.Connection, filters: Filters) -> NDArray[np.int64] | None:
        """The rows that pass a filter, where they are few; None where a search among all rows finds them sooner."""
        if filters.empty:
            return None
        built = self.index.built
        mirrored = isinstance(built, MirroredIndex) and built.mirrored
        slow = built is None or (built.kind == "flat" and not mirrored)
        share = _SELECTIVE_SHARE if slow else _SELECTIVE_SHARE_QUICK
        return self.selected_rows.few(connection, filters, max(_SELECTIVE, len(self.index) // share))

    def _joined(
        self, connection: apsw.Connection, query: NDArray[np.float32], near: Candidates, condition: Condition
    ) -> tuple[Candidates, dict[int, Row]]:
        """What the index found, and those of its rows that pass.

        Where its distances are not exact they are measured again from the vectors in the database.
        """
        if near.exact:
            return near, image_rows.rows_among(connection, near.row_ids, condition)
        rows, vectors = image_rows.rows_and_vectors(
            connection, near.row_ids, condition, space_id=self.space_id, dim=self.spec.embedding_dim
        )
        row_ids = np.fromiter(rows, dtype=np.int64, count=len(rows))
        return measured(query, row_ids, vectors, certain=near.certain), rows

    def _matches(self, connection: apsw.Connection, hits: Sequence[Hit], *, embeddings: bool) -> list[Match]:
        if not hits:
            return []
        row_ids = np.array([hit.row_id for hit in hits], dtype=np.int64)
        images = dict(self.select(connection, image_rows.listed(row_ids)))
        found, vectors = self.vectors(connection, row_ids) if embeddings else (row_ids[:0], ())
        asked = dict(zip(found.tolist(), vectors, strict=True))
        return [
            Match(rank=rank, distance=hit.distance, image=images[hit.row_id], embedding=asked.get(hit.row_id))
            for rank, hit in enumerate(hits, start=1)
        ]
