"""Vectors of a space beside those that are searched: which rows lack one, writing them, removing them.

Every function works inside the transaction or the snapshot of the connection that it is given.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw
import numpy as np
from numpy.typing import NDArray

from index.contract import Contract
from index.errors import NotMigratable
from index.gallery import GallerySpec
from index.storage.gallery_database import Bound
from index.storage.image_rows import insert_embeddings
from index.storage.row_checksum import OF_EMBEDDING

_LACKING = (
    "FROM images WHERE NOT EXISTS"
    " (SELECT 1 FROM embeddings WHERE embeddings.row_id = images.row_id AND embeddings.space_id = ?)"
)


@dataclass(frozen=True)
class LackingRow:
    """An image without a vector of some space."""

    row_id: int
    image_id: str
    crop: str | None


@dataclass(frozen=True)
class RowVector:
    """What a model says of a row: ``vector`` float32 (D,), ``viewpoint`` float32 (V,) or None."""

    row_id: int
    vector: NDArray[np.float32]
    viewpoint: NDArray[np.float32] | None


def bound_to(connection: apsw.Connection, spec: GallerySpec, contract: Contract) -> Bound:
    """The gallery as it will be in a model's space, which is noted where it is new; NotMigratable where it differs."""
    name, dim, viewpoints = contract.embedding_space, contract.embedding_dim, list(contract.viewpoints)
    connection.execute(
        "INSERT OR IGNORE INTO spaces (name, dim, viewpoints) VALUES (?, ?, ?)", (name, dim, json.dumps(viewpoints))
    )
    space_id, known_dim, known_viewpoints = connection.execute(
        "SELECT space_id, dim, viewpoints FROM spaces WHERE name = ?", (name,)
    ).get
    if (known_dim, json.loads(known_viewpoints)) != (dim, viewpoints):
        raise NotMigratable(f"the gallery knows the embedding space {name} with other dimensions or viewpoints")
    return Bound(space_id, spec.moved_to(contract))


def lacking_rows(connection: apsw.Connection, space_id: int, *, above: int = 0, limit: int) -> list[LackingRow]:
    """The first rows with ids above ``above`` that lack a vector of a space, by id."""
    found = connection.execute(
        f"SELECT row_id, image_id, crop {_LACKING} AND row_id > ? ORDER BY row_id LIMIT ?",
        (space_id, above, limit),
    )
    return [LackingRow(*row) for row in found]


def lacking_count(connection: apsw.Connection, space_id: int) -> int:
    """How many images lack a vector of a space."""
    number: int = connection.execute(f"SELECT count(*) {_LACKING}", (space_id,)).get
    return number


def cropless(connection: apsw.Connection, *, limit: int) -> tuple[list[str], int]:
    """Some images that have no crop, and how many there are."""
    some = [image_id for (image_id,) in connection.execute(
        "SELECT image_id FROM images WHERE crop IS NULL ORDER BY image_id LIMIT ?", (limit,)
    )]  # fmt: skip
    number: int = connection.execute("SELECT count(*) FROM images WHERE crop IS NULL").get
    return some, number


def write_vectors(connection: apsw.Connection, bound: Bound, vectors: Iterable[RowVector]) -> int:
    """Write vectors of rows that are still there and lack one; how many."""
    wanted = [
        (each.row_id, each.vector, each.viewpoint)
        for each in vectors
        if connection.execute(f"SELECT 1 {_LACKING} AND row_id = ?", (bound.space_id, each.row_id)).fetchone()
    ]
    insert_embeddings(connection, wanted, space_id=bound.space_id, viewpoints=bound.spec.viewpoints)
    return len(wanted)


def damaged_vectors(connection: apsw.Connection, bound: Bound, *, above: int = 0) -> list[int]:
    """Rows with ids above ``above`` whose vector of a space is not what was written, or not of its dimension."""
    found = connection.execute(
        "SELECT row_id FROM embeddings WHERE space_id = ? AND row_id > ?"  # noqa: S608
        f" AND (length(vector) <> ? OR checksum IS NOT {OF_EMBEDDING})",
        (bound.space_id, above, 4 * bound.spec.embedding_dim),
    )
    return [row_id for (row_id,) in found]


def remove_vectors(connection: apsw.Connection, space_id: int, row_ids: Sequence[int]) -> None:
    """Erase the vectors of some rows in a space."""
    connection.execute(
        "DELETE FROM embeddings WHERE space_id = ? AND row_id IN (SELECT value FROM json_each(?))",
        (space_id, json.dumps(list(row_ids))),
    )


def some_vectors(connection: apsw.Connection, space_id: int, *, above: int, limit: int) -> list[int]:
    """The first rows with ids above ``above`` that have a vector of a space."""
    found = connection.execute(
        "SELECT row_id FROM embeddings WHERE space_id = ? AND row_id > ? ORDER BY row_id LIMIT ?",
        (space_id, above, limit),
    )
    return [row_id for (row_id,) in found]


def other_spaces(connection: apsw.Connection, needed: Iterable[str]) -> list[int]:
    """Spaces that are neither searched nor ``needed``."""
    found = connection.execute(
        "SELECT space_id FROM spaces WHERE name NOT IN (SELECT value FROM json_each(?))"
        " AND space_id <> (SELECT CAST(value AS INTEGER) FROM about WHERE key = 'space')",
        (json.dumps(list(needed)),),
    )
    return [space_id for (space_id,) in found]


def forget_space(connection: apsw.Connection, space_id: int) -> None:
    """Forget a space that has no vectors any more."""
    connection.execute("DELETE FROM spaces WHERE space_id = ?", (space_id,))
