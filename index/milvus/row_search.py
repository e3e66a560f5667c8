"""Searching a collection: Milvus finds candidates, and what is current of them is measured and ranked here.

All candidates are read in one view after they were found, so that no answer mixes a write's before and after; their
distances are exact whatever the index keeps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.gallery import GallerySpec, Match, SearchOptions
from index.milvus.collection_rows import MOST, CollectionRows
from index.milvus.image_row import KEY, WHOLE, ImageRow
from index.milvus.index_settings import exact_settings, search_settings
from index.milvus.milvus_server import STRONG
from index.milvus.row_condition import RowCondition, all_of, one_of
from index.searching.ranking import Hit, rank_hits
from index.searching.vector_index import Candidates, measured, surely_within
from index.storage.image_rows import Row

_EXTRA: Final = 16  # candidates beyond those asked for: ties at the cut, rows that are not current or left out
_WIDER: Final = 8
_PATIENCE: Final = 2  # looks before an index that looks at a part of its rows only looks at all


@dataclass(frozen=True)
class _Near:
    """Images that Milvus found near a query, and the distance up to which none is missing."""

    image_ids: Sequence[str]
    certain: float


@dataclass(frozen=True)
class RowSearch:
    """Searches of one collection."""

    rows: CollectionRows
    spec: GallerySpec

    def search(
        self, queries: NDArray[np.float32], options: SearchOptions, condition: RowCondition
    ) -> list[list[Match]]:
        """Matches of queries (n, D), each in order."""
        if options.group_by is not None:
            return [self._grouped(query, options, condition) for query in queries]
        answers: dict[int, list[Match]] = {}
        count, looks = options.top_k + _EXTRA + len(options.exclude_image_ids), 0
        while pending := [number for number in range(len(queries)) if number not in answers]:
            if count > MOST:
                return [
                    answers[number] if number in answers else self._among_all(queries[number], options, condition)
                    for number in range(len(queries))
                ]
            near = self._near(queries[pending], count, condition.expression, everywhere=looks >= _PATIENCE)
            for number, candidates, current in self._read(pending, queries, near, condition):
                hits, complete = rank_hits(candidates, _known(current), options)
                if complete:
                    answers[number] = self._matches(hits, current, options)
            count, looks = (min(count * _WIDER, MOST) if count < MOST else MOST + 1), looks + 1
        return [answers[number] for number in range(len(queries))]

    def _grouped(self, query: NDArray[np.float32], options: SearchOptions, condition: RowCondition) -> list[Match]:
        """The best image of each vehicle; vehicles that were found are left out of later looks."""
        found: dict[int, ImageRow] = {}
        hits: list[Hit] = []
        vehicles, alone = set[str](), set[str]()
        count, looks = options.top_k + _EXTRA + len(options.exclude_image_ids), 0
        while True:
            others = all_of(
                f"not ({one_of('vehicle_id', sorted(vehicles))})" if vehicles else "",
                f"not ({one_of('image_id', sorted(alone))})" if alone else "",
            )
            expression = all_of(condition.expression, others)
            if count > MOST:
                hits += self._ranked_among_all(
                    query, replace(options, top_k=options.top_k - len(hits)), condition, others, found
                )
                break
            near = self._near(query[None], count, expression, everywhere=looks >= _PATIENCE)
            ((_, candidates, current),) = self._read([0], query[None], near, condition)
            rows = {
                row_id: row for row_id, row in _known(current).items()
                if row.vehicle_id not in vehicles and row.image_id not in alone
            }  # fmt: skip
            more, complete = rank_hits(candidates, rows, replace(options, top_k=options.top_k - len(hits)))
            if complete or (more and looks >= _PATIENCE):  # nothing nearer was overlooked: these are right
                hits += more
                found |= current
            if complete:
                break
            if more and looks >= _PATIENCE:
                vehicles |= {each for hit in more if (each := rows[hit.row_id].vehicle_id) is not None}
                alone |= {rows[hit.row_id].image_id for hit in more if rows[hit.row_id].vehicle_id is None}
            else:
                count = min(count * _WIDER, MOST) if count < MOST else MOST + 1
            looks += 1
        return self._matches(hits, found, options)

    def _near(self, queries: NDArray[np.float32], count: int, expression: str, *, everywhere: bool) -> list[_Near]:
        """About ``count`` images near each query."""
        settings = exact_settings(self.spec) if everywhere else search_settings(self.spec, count)
        found: list[list[dict[str, Any]]] = self.rows.server.call(
            "search", self.rows.name, data=list(queries), anns_field="embedding", limit=count, filter=expression,
            output_fields=["image_id"], search_params={"metric_type": "L2", "params": settings},
            consistency_level=STRONG,
        )  # fmt: skip
        passing = None
        near = []
        for query, hits in zip(queries, found, strict=True):
            certain = surely_within(query, hits[-1]["distance"]) if len(hits) else 0.0
            if len(hits) < count:
                if self.spec.kind == "flat":
                    certain = np.inf
                else:  # a graph, or lists, may end before all that passes was seen
                    passing = self.rows.count(expression) if passing is None else passing
                    certain = np.inf if len(hits) >= passing else certain
            near.append(_Near([hit["entity"]["image_id"] for hit in hits], certain))
        return near

    def _read(
        self, numbers: Sequence[int], queries: NDArray[np.float32], near: Sequence[_Near], condition: RowCondition
    ) -> Iterator[tuple[int, Candidates, dict[int, ImageRow]]]:
        """Of each query what is current of the images near it, measured; several in one view where they are few."""
        size = self.rows.vectors_at_once
        start = 0
        while start < len(near):
            end, wanted = start, dict[str, None]()
            while end < len(near) and (end == start or len(wanted) + len(near[end].image_ids) <= size):
                wanted |= dict.fromkeys(near[end].image_ids)
                end += 1
            current = self.rows.current(wanted, WHOLE)
            passing = {image_id: row for image_id, row in current.items() if condition.passes(row)}
            for number, each in zip(numbers[start:end], near[start:end], strict=True):
                rows = {row.row_id: row for name in each.image_ids if (row := passing.get(name)) is not None}
                yield number, _measured(queries[number], rows, each.certain, self.spec.embedding_dim), rows
            start = end

    def _among_all(self, query: NDArray[np.float32], options: SearchOptions, condition: RowCondition) -> list[Match]:
        found: dict[int, ImageRow] = {}
        hits = self._ranked_among_all(query, options, condition, "", found)
        return self._matches(hits, found, options)

    def _ranked_among_all(
        self, query: NDArray[np.float32], options: SearchOptions, condition: RowCondition, others: str,
        found: dict[int, ImageRow],
    ) -> list[Hit]:  # fmt: skip
        """Measure every row that passes; for what a search that gives at most 16,384 rows does not settle."""
        names, distances = list[str](), list[NDArray[np.float64]]()
        for page in self.rows.pages(all_of(condition.expression, others), (*KEY, "embedding")):
            vectors = np.stack([row.vector for row in page]).astype(np.float64)
            distances.append(np.linalg.norm(vectors - query.astype(np.float64), axis=1))
            names += [row.image_id for row in page]
        measures = np.concatenate(distances) if distances else np.empty(0)
        order = np.argsort(measures, kind="stable")
        count = options.top_k + _EXTRA + len(options.exclude_image_ids)
        while True:
            certain = float(measures[order[count]]) if count < len(order) else np.inf
            near = _Near([names[place] for place in order[:count]], certain)
            ((_, candidates, current),) = self._read([0], query[None], [near], condition)
            hits, complete = rank_hits(candidates, _known(current), options)
            if complete:
                found |= current
                return hits
            count *= _WIDER

    def _matches(self, hits: Sequence[Hit], rows: Mapping[int, ImageRow], options: SearchOptions) -> list[Match]:
        return [
            Match(
                rank=rank,
                distance=hit.distance,
                image=rows[hit.row_id].image(self.spec.viewpoints),
                embedding=rows[hit.row_id].vector if options.embeddings else None,
            )
            for rank, hit in enumerate(hits, start=1)
        ]


def _known(rows: Mapping[int, ImageRow]) -> dict[int, Row]:
    return {row_id: Row(row.image_id, row.vehicle_id) for row_id, row in rows.items()}


def _measured(query: NDArray[np.float32], rows: Mapping[int, ImageRow], certain: float, dim: int) -> Candidates:
    vectors = np.stack([row.vector for row in rows.values()]) if rows else np.empty((0, dim), dtype=np.float32)
    return measured(query, np.fromiter(rows, dtype=np.int64, count=len(rows)), vectors, certain=certain)
