"""The order of what was found near a query: by rounded distance, ties by image_id, one of each vehicle where asked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from index.gallery import DISTANCE_DECIMALS, SearchOptions
from index.searching.vector_index import Candidates
from index.storage.image_rows import Row


@dataclass(frozen=True)
class Hit:
    """A row that is an answer; ``distance`` is rounded."""

    row_id: int
    distance: float


def rank_hits(candidates: Candidates, rows: Mapping[int, Row], options: SearchOptions) -> tuple[list[Hit], bool]:
    """The best hits of the candidates, and whether rows beyond them could change anything."""
    distances = np.round(candidates.distances, DISTANCE_DECIMALS).tolist()
    certain = float(np.round(candidates.certain, DISTANCE_DECIMALS))
    known = [
        (distance, rows[row_id].image_id, row_id)
        for row_id, distance in zip(candidates.row_ids.tolist(), distances, strict=True)
        if row_id in rows
    ]
    farthest = np.inf if options.max_distance is None else options.max_distance
    hits: list[Hit] = []
    vehicles: set[str] = set()
    for distance, image_id, row_id in sorted(known):
        if distance > farthest or distance >= certain:
            break  # from ``certain`` on, a row that is not among the candidates might come first
        if image_id in options.exclude_image_ids:
            continue
        vehicle_id = rows[row_id].vehicle_id
        if options.group_by == "vehicle_id" and vehicle_id is not None:
            if vehicle_id in vehicles:
                continue
            vehicles.add(vehicle_id)
        hits.append(Hit(row_id, distance))
        if len(hits) == options.top_k:
            return hits, True
    return hits, certain == np.inf or certain > farthest
