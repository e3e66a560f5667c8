"""Part of a gallery's listing: which rows it has, found by the place after a cursor or by how many come before it."""

from collections.abc import Mapping
from typing import Any, Final

import apsw

from index.errors import InvalidValue
from index.gallery import Order
from index.storage.page_cursor import read_cursor, write_cursor
from index.storage.row_filter import Condition

_ORDER: Final[Mapping[Order, str]] = {"image_id": "image_id", "newest": "row_id DESC"}
_ROW: Final = "#"  # before the number of a row in a cursor; no image_id begins so


def listed_part(
    connection: apsw.Connection, condition: Condition, *, order: Order, limit: int, offset: int
) -> list[tuple[int, str]]:
    """Row ids and image ids of at most ``limit`` rows that pass, in order, after the first ``offset``.

    Those before are gone through in the indexes and the rows of ``images``, never in the vectors.
    """
    found: list[Any] = connection.execute(
        f"SELECT row_id, image_id FROM images WHERE {condition.sql} ORDER BY {_ORDER[order]} LIMIT ? OFFSET ?",  # noqa: S608
        (*condition.bindings, limit, offset),
    ).fetchall()
    return found


def place_after(cursor: str, order: Order, secret: bytes) -> str | int:
    """The image_id, or the row id of the order newest, that a cursor comes after.

    Raises InvalidValue for a cursor that is not of this gallery, or of another order.
    """
    place = read_cursor(cursor, secret)
    if place.startswith(_ROW) is not (order == "newest"):
        raise InvalidValue(
            f"{cursor[:60]!a} is a cursor of another order; go on in the one that gave it", pointer="/query/cursor"
        )
    return int(place.removeprefix(_ROW)) if order == "newest" else place


def after_cursor(cursor: str, order: Order, secret: bytes) -> Condition:
    """What comes after a cursor; raises InvalidValue as :func:`place_after`."""
    place = place_after(cursor, order, secret)
    return Condition("row_id < ?" if order == "newest" else "image_id > ?", (place,))


def cursor_after(row_id: int, image_id: str, order: Order, secret: bytes) -> str:
    """The cursor of what comes after a row."""
    return write_cursor(f"{_ROW}{row_id}" if order == "newest" else image_id, secret)
