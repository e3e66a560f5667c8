"""Filters and retention as one SQL condition on the table ``images``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from index.gallery import Filters
from index.storage.stored_time import microseconds

SqlValue = str | int | float | bytes | None


@dataclass(frozen=True)
class Condition:
    """An SQL expression and what its question marks stand for."""

    sql: str
    bindings: tuple[SqlValue, ...] = ()

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(f"{self.sql} AND {other.sql}", (*self.bindings, *other.bindings))


def passing(
    filters: Filters, *, space_id: int, since: int | None, listing: Callable[[Condition], bool] = lambda _: True
) -> Condition:
    """Which rows pass ``filters`` and were ingested at ``since`` (microseconds since 1970) or later.

    ``space_id``: the space whose viewpoints are meant. A viewpoint or an attribute stands in a table of its own: SQLite
    lists the rows there that have it and then looks among these, which finds few among many; or, where ``listing`` says
    no to the condition on that table (an SQL select), it looks there for each row that it has come to otherwise.
    """
    condition = Condition("TRUE")
    if filters.image_id:
        condition &= _one_of("image_id", filters.image_id)
    if filters.camera_id:
        condition &= _one_of("camera_id", filters.camera_id)
    if filters.vehicle_id:
        condition &= _one_of("vehicle_id", filters.vehicle_id)
    if filters.exclude_camera_id:
        excluded = _one_of("camera_id", filters.exclude_camera_id)
        condition &= Condition(f"(camera_id IS NULL OR NOT {excluded.sql})", excluded.bindings)
    if filters.viewpoint:
        named = _one_of("viewpoint", filters.viewpoint)
        condition &= _elsewhere("embeddings", Condition("space_id = ?", (space_id,)) & named, listing)
    if filters.captured_after is not None:
        condition &= Condition("captured_at >= ?", (microseconds(filters.captured_after),))
    if filters.captured_before is not None:
        condition &= Condition("captured_at < ?", (microseconds(filters.captured_before),))
    for name, values in filters.attributes.items():
        equal = _one_of("value", values)  # the column has no type of its own, so '1' and 1 differ and 1 and 1.0 do not
        condition &= _elsewhere("attributes", Condition("name = ?", (name,)) & equal, listing)
    return condition if since is None else condition & passing_since(since)


def passing_since(since: int | None) -> Condition:
    """That a row was ingested at ``since`` (microseconds since 1970) or later; None: whenever."""
    return Condition("TRUE") if since is None else Condition("ingested_at >= ?", (since,))


def _elsewhere(table: str, condition: Condition, listing: Callable[[Condition], bool]) -> Condition:
    """That a row of ``table`` with the same row_id passes."""
    listed = Condition(f"SELECT row_id FROM {table} WHERE {condition.sql}", condition.bindings)  # noqa: S608
    if listing(listed):
        return Condition(f"row_id IN ({listed.sql})", condition.bindings)
    return Condition(f"EXISTS ({listed.sql} AND {table}.row_id = images.row_id)", condition.bindings)


def _one_of(column: str, values: Sequence[SqlValue]) -> Condition:
    return Condition(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))
