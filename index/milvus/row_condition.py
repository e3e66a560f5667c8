"""Filters and retention as an expression that Milvus reads, and as a look at one row.

Whatever a client says stands in quotes as JSON writes it: what would end them is escaped.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from index.gallery import Filters
from index.milvus.image_row import NEVER, ImageRow, tag
from index.storage.stored_time import microseconds

EVERY: Final = "row_id > 0"  # of every row; a query must ask for something


@dataclass(frozen=True)
class RowCondition:
    """What passes ``filters`` and was ingested at ``since`` (microseconds since 1970) or later."""

    filters: Filters
    since: int | None

    @property
    def expression(self) -> str:
        """Of rows, whether or not they are current; empty where every row passes."""
        asked, parts = self.filters, list[str]()
        for field in ("image_id", "camera_id", "vehicle_id", "viewpoint"):
            if values := getattr(asked, field):
                parts.append(one_of(field, values))
        if asked.exclude_camera_id:
            parts.append(f"not ({one_of('camera_id', asked.exclude_camera_id)})")
        if asked.captured_after is not None:
            parts.append(f"captured_at >= {microseconds(asked.captured_after)}")
        if asked.captured_before is not None:
            parts.append(f"captured_at > {NEVER} and captured_at < {microseconds(asked.captured_before)}")
        for name, values in asked.attributes.items():
            parts.append(f"array_contains_any(tags, {[tag(name, value) for value in values]})")
        if self.since is not None:
            parts.append(f"ingested_at >= {self.since}")
        return all_of(*parts)

    def passes(self, row: ImageRow) -> bool:
        """Whether a row with ALL its fields passes."""
        asked, fields = self.filters, row.fields
        for field in ("image_id", "camera_id", "vehicle_id", "viewpoint"):
            values = getattr(asked, field)
            if values and fields[field] not in values:
                return False
        if asked.exclude_camera_id and fields["camera_id"] in asked.exclude_camera_id:
            return False
        captured_at = fields["captured_at"]
        if asked.captured_after is not None and captured_at < microseconds(asked.captured_after):
            return False
        if asked.captured_before is not None and not NEVER < captured_at < microseconds(asked.captured_before):
            return False
        if asked.attributes:
            tags = set(fields["tags"])
            if not all(tags & {tag(name, value) for value in values} for name, values in asked.attributes.items()):
                return False
        return self.since is None or row.ingested_at >= self.since


def all_of(*expressions: str) -> str:
    """That all hold; an empty one always does."""
    return " and ".join(f"({each})" for each in expressions if each)


def one_of(field: str, values: Iterable[str]) -> str:
    """That a field is one of these strings."""
    return f"{field} in [{', '.join(json.dumps(value, ensure_ascii=False) for value in values)}]"


def rows_among(row_ids: Sequence[int]) -> str:
    """That a row is one of these."""
    return f"row_id in {list(row_ids)}"
