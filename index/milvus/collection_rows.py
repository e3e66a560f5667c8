"""The rows of one gallery's collection: which are current, and which were left behind."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from index.milvus.image_row import ALL, KEY, ImageRow, row_of
from index.milvus.milvus_server import MilvusServer
from index.milvus.row_condition import EVERY, all_of, one_of, rows_among

T = TypeVar("T")
MOST: Final = 16_384  # rows that a query or a search may give
_AT_ONCE = 4096  # ids in an expression
_BYTES = 16 * 2**20  # of vectors in an answer; gRPC's limit is 64 MiB


@dataclass(frozen=True)
class CollectionRows:
    """``name`` is the collection's, ``dim`` D. Every answer has what was written before it was asked."""

    server: MilvusServer
    name: str
    dim: int

    @property
    def vectors_at_once(self) -> int:
        """Rows with vectors in an answer or a write."""
        return max(min(_AT_ONCE, _BYTES // (4 * self.dim)), 1)

    def pages(self, expression: str, fields: Sequence[str]) -> Iterator[list[ImageRow]]:
        """All rows that pass, by ascending row id, some at a time; current or not.

        A row that takes another's place meanwhile has a greater id than that, so that nothing is passed over.
        """
        most = self.vectors_at_once if "embedding" in fields else MOST // 2
        after = 0
        while True:
            rows = self.some(all_of(f"row_id > {after}", expression), fields, most)
            if rows:
                yield rows
                after = max(row.row_id for row in rows)
            if len(rows) < most:
                return

    def some(self, expression: str, fields: Sequence[str], most: int) -> list[ImageRow]:
        """At most so many of the rows that pass, current or not."""
        return [row_of(each) for each in self.server.query(self.name, expression or EVERY, fields, limit=most)]

    def of_images(self, image_ids: Iterable[str], fields: Sequence[str] = ALL) -> dict[str, list[ImageRow]]:
        """Every row of some images, the current one last; of ``vectors_at_once`` images in one view."""
        found: dict[str, dict[int, ImageRow]] = {}
        size = self.vectors_at_once if "embedding" in fields else _AT_ONCE
        for some in batched(dict.fromkeys(image_ids), size):
            for each in self.server.query(self.name, one_of("image_id", some), fields):
                row = row_of(each)
                found.setdefault(row.image_id, {})[row.row_id] = row
        return {image_id: sorted(rows.values(), key=lambda row: row.age) for image_id, rows in found.items()}

    def current(self, image_ids: Iterable[str], fields: Sequence[str] = ALL) -> dict[str, ImageRow]:
        """The current row of those of some images that are there."""
        return {image_id: rows[-1] for image_id, rows in self.of_images(image_ids, fields).items()}

    def named_crops(self, names: Iterable[str]) -> set[str]:
        """Those of some crops that a row names."""
        named = set[str]()
        for some in batched(names, _AT_ONCE):
            named |= {
                row["crop_name"] for row in self.server.query(self.name, one_of("crop_name", some), ["crop_name"])
            }
        return named

    def count(self, expression: str, *, without: Sequence[int] = ()) -> int:
        """How many rows pass, without some."""
        number = self.server.count(self.name, expression or EVERY)
        for some in batched(without, _AT_ONCE):
            number -= self.server.count(self.name, all_of(expression, rows_among(some)))
        return number

    def left_behind(self, after: int, *, every: bool = False) -> list[ImageRow]:
        """Rows that are not current any more though they are there, with KEY, of images written after a row id.

        ``every``: also where two wrote an image for the first time at once, which takes a look at every new row.
        """
        seen = dict[str, int]()
        for page in self.pages(f"row_id > {after}" if every else f"row_id > {after} and parent > 0", (*KEY, "parent")):
            for row in page:
                seen[row.image_id] = seen.get(row.image_id, 0) + (2 if row.parent else 1)
        several = [image_id for image_id, number in seen.items() if number > 1]
        return [row for rows in self.of_images(several, KEY).values() for row in rows[:-1]]

    def insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows: all are seen at once where they are no more than ``vectors_at_once``, else in parts."""
        for some in batched(rows, self.vectors_at_once):
            self.server.insert(self.name, some)

    def delete(self, rows: Iterable[ImageRow]) -> None:
        """Erase rows; of an image the current one last, so that none before it comes back."""
        self.erase(row.row_id for row in sorted(rows, key=lambda row: row.age))

    def erase(self, row_ids: Iterable[int]) -> None:
        """Erase rows by their ids, in order; those that are not there are no error."""
        for some in batched(row_ids, MOST // 2):
            self.server.delete(self.name, some)


def batched(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Things, so many at a time."""
    listed = list(things)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
