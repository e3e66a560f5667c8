"""By what a gallery's images can be filtered: counted row by row, and remembered until something changed."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from index.gallery import MOST_ATTRIBUTES, MOST_CAMERAS, MOST_VALUES, Attribute, AttributeFacet, Facets
from index.milvus.image_row import ImageRow
from index.storage.stored_time import moment

_PATIENCE = 20  # times as long as counting took, what was counted answers, where counting takes longer than this:
_SLOW = 2.0  # seconds


@dataclass(frozen=True, kw_only=True)
class _Known:
    facets: Facets
    oldest: int | None
    good_until: float

    def holds(self, change: int, since: int | None) -> bool:
        """Whether they may be told after a change, with all gone that was ingested before ``since``."""
        if since is not None and self.oldest is not None and self.oldest < since:
            return False
        return self.facets.last_change == change or time.monotonic() < self.good_until


class FacetTally:
    """Of one gallery. Safe to use from any thread; they count one by one."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._known: _Known | None = None

    def of(self, change: int, since: int | None, rows: Callable[[], Iterable[ImageRow]]) -> Facets:
        """Those as of a change, of current ``rows``, read TOLD, none ingested before ``since`` (µs since 1970)."""
        with self._counting:
            known = self._known
            if known is not None and known.holds(change, since):
                return known.facets
            began = time.monotonic()
            facets, oldest = _counted(change, rows())
            took = time.monotonic() - began
            good = time.monotonic() + took * _PATIENCE if took > _SLOW else 0.0
            self._known = _Known(facets=facets, oldest=oldest, good_until=good)
            return facets


def _counted(change: int, rows: Iterable[ImageRow]) -> tuple[Facets, int | None]:
    images = 0
    oldest: int | None = None
    first: int | None = None
    last: int | None = None
    vehicles = set[str]()
    cameras, viewpoints = Counter[str](), Counter[str]()
    attributes: dict[str, Counter[Attribute]] = {}
    for row in rows:
        images += 1
        oldest = row.ingested_at if oldest is None else min(oldest, row.ingested_at)
        if row.vehicle_id is not None:
            vehicles.add(row.vehicle_id)
        if row.camera_id is not None:
            cameras[row.camera_id] += 1
        if viewpoint := row.fields["viewpoint"]:
            viewpoints[viewpoint] += 1
        if (captured_at := row.captured_at) is not None:
            first = captured_at if first is None else min(first, captured_at)
            last = captured_at if last is None else max(last, captured_at)
        for name, value in row.attributes.items():
            attributes.setdefault(name, Counter())[value] += 1
    facets = Facets(
        images=images,
        last_change=change,
        vehicles=len(vehicles),
        cameras=_most(cameras, MOST_CAMERAS),
        viewpoints=_most(viewpoints, None),
        attributes=_facets(attributes),
        first_captured_at=None if first is None else moment(first),
        last_captured_at=None if last is None else moment(last),
    )
    return facets, oldest


def _most(counter: Counter[str], most: int | None) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda each: (-each[1], each[0]))[:most]


def _facets(attributes: Mapping[str, Counter[Attribute]]) -> list[AttributeFacet]:
    """Names with most images first; of values as frequent as each other numbers come first, in order."""
    facets = [
        AttributeFacet(
            name=name,
            images=sum(counter.values()),
            values=sorted(counter.items(), key=lambda each: (-each[1], isinstance(each[0], str), each[0]))[
                :MOST_VALUES
            ],
        )
        for name, counter in attributes.items()
    ]
    return sorted(facets, key=lambda facet: (-facet.images, facet.name))[:MOST_ATTRIBUTES]
