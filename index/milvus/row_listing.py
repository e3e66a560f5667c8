"""Part of a gallery's listing. Milvus gives rows in no order but that of their ids, and no place in one.

Where more rows pass than are sorted here, a sample of them says between which two the part lies, and counting says for
sure: a few questions, however many rows there are.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from index.gallery import Order
from index.milvus.collection_rows import CollectionRows
from index.milvus.image_row import KEY, ImageRow
from index.milvus.row_condition import RowCondition, all_of

_SORTED: Final = 8192  # rows that are fetched and sorted
_SAMPLE: Final = 2000
_MARGIN: Final = 60  # places in the sample

Place = str | int


@dataclass(frozen=True)
class RowListing:
    """By ``image_id``, or by ``written``, the greatest first; ``without`` rows that are not current."""

    rows: CollectionRows
    condition: RowCondition
    order: Order
    without: Sequence[int] = ()

    def part(self, after: Place | None, offset: int, limit: int) -> list[ImageRow]:
        """At most ``limit`` current rows with ALL fields, after a place and the first ``offset`` behind it."""
        keys = self.rows.some(self._between(after, None), KEY, _SORTED + 1)
        if len(keys) > _SORTED:
            after, until, offset = self._narrowed(after, offset, limit)
            keys = [key for page in self.rows.pages(self._between(after, until), KEY) for key in page]
        keys.sort(key=self._place, reverse=self.order == "newest")
        found: list[ImageRow] = []
        while len(found) < limit and offset < len(keys):
            some = [key.image_id for key in keys[offset : offset + limit - len(found)]]
            current = self.rows.current(some)
            found += [row for row in current.values() if self.condition.passes(row)]
            offset += len(some)
        return sorted(found, key=self._place, reverse=self.order == "newest")

    def _narrowed(self, after: Place | None, offset: int, limit: int) -> tuple[Place | None, Place | None, int]:
        """Two places that the part lies between, few enough rows apart where that can be, and the offset in them."""
        until: Place | None = None
        margin = _MARGIN
        while (number := self.rows.count(self._between(after, until))) > max(_SORTED, offset + limit):
            sample = self._sample(after, until, number)
            last, first = len(sample) * (offset + limit) // number + margin, len(sample) * offset // number - margin
            moved = False
            nearer = sample[last] if last < len(sample) else until
            if nearer != until and self.rows.count(self._between(after, nearer)) >= offset + limit:
                until, moved = nearer, True
            if first >= 0 and (before := self.rows.count(self._between(after, sample[first]))) <= offset:
                after, offset, moved = sample[first], offset - before, True
            if not moved and margin > len(sample):
                break
            margin = margin if moved else margin * 4
        return after, until, offset

    def _sample(self, after: Place | None, until: Place | None, number: int) -> list[Place]:
        step = number // _SAMPLE | 1  # odd, for the row ids of a writer are multiples of a power of two apart
        some = all_of(f"row_id % {step} == {secrets.randbelow(step)}", self._between(after, until))
        places = [self._place(row) for page in self.rows.pages(some, KEY) for row in page]
        return sorted(places, reverse=self.order == "newest")

    def _place(self, row: ImageRow) -> Place:
        return row.written if self.order == "newest" else row.image_id

    def _between(self, after: Place | None, until: Place | None) -> str:
        """After one place, up to another and with it."""
        signs = ("written <", "written >=") if self.order == "newest" else ("image_id >", "image_id <=")
        ends = (f"{sign} {json.dumps(end)}" for sign, end in zip(signs, (after, until), strict=True) if end is not None)
        without = f"row_id not in {list(self.without)}" if self.without else ""
        return all_of(self.condition.expression, *ends, without)
