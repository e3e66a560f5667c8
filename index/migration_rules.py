"""What every home's migrations have in common: what is refused, and how stored crops are looked at anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from index.contract import Contract, Resize
from index.crops import MAX_SIDE, model_crop, read_picture
from index.errors import GalleryConflict, MigrationNotFound, NotMigratable, PictureError
from index.gallery import GallerySpec, Look, Migration
from index.storage.crop_store import is_as_written
from index.storage.space_vectors import LackingRow, RowVector

LOT: Final = 4  # pictures that are looked at together: a search waits for no more than one lot
SHOWN: Final = 20  # images that failed and are told
NAMED: Final = 3  # images without a crop that are told


@dataclass(frozen=True)
class SeenLot:
    """What became of a lot of rows: their vectors, and why each of the others has none."""

    vectors: list[RowVector] = field(default_factory=list)
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)  # by row: image id, reason


class LotLook:
    """What is done with a lot of rows, on any thread: read their crops by ``read``, look at them."""

    def __init__(self, read: Callable[[str], bytes | None], resize: Resize, look: Look) -> None:
        self._read, self._resize, self._look = read, resize, look

    def seen(self, rows: Sequence[LackingRow]) -> SeenLot:
        """Vectors of rows, computed from their crops as ingestion computes them."""
        seen, read, crops = SeenLot(), [], []
        for row in rows:
            try:
                crops.append(model_crop(read_picture(self._bytes(row), max_pixels=MAX_SIDE**2), self._resize))
                read.append(row)
            except PictureError as error:
                seen.failed[row.row_id] = (row.image_id, str(error))
        if not read:
            return seen
        vectors, viewpoints = self._look(np.stack(crops))
        for n, row in enumerate(read):
            viewpoint = None if viewpoints is None else viewpoints[n]
            if np.isfinite(vectors[n]).all() and (viewpoint is None or np.isfinite(viewpoint).all()):
                seen.vectors.append(RowVector(row.row_id, vectors[n], viewpoint))
            else:
                seen.failed[row.row_id] = (row.image_id, "the model's answer to its crop is not finite")
        return seen

    def _bytes(self, row: LackingRow) -> bytes:
        data = None if row.crop is None else self._read(row.crop)
        if row.crop is None or data is None:
            raise PictureError("its crop is missing")
        if not is_as_written(row.crop, data):
            raise PictureError("its crop is not the picture that was written")
        return data


def require_migratable(spec: GallerySpec, contract: Contract, name: str, cropless: Sequence[str], number: int) -> None:
    """Raise NotMigratable; ``cropless`` are some of the ``number`` images that have no crop."""
    if spec.embedding_space == contract.embedding_space:
        raise NotMigratable(
            f"gallery {name} is of the model's embedding space {contract.embedding_space}: nothing to do"
        )
    if not spec.keep_crops:
        raise NotMigratable(
            f"gallery {name} keeps no crops, so its images cannot be embedded anew: ingest the pictures into a new "
            "gallery"
        )
    if number:
        more = ", …" if number > len(cropless) else ""
        raise NotMigratable(
            f"{number:,} images of gallery {name} have no crop ({', '.join(cropless)}{more}): write them again, or "
            "erase them"
        )


def another_open(current: Migration, name: str) -> GalleryConflict:
    """What to raise where a migration to another space is open."""
    return GalleryConflict(
        f"gallery {name} is being migrated to the embedding space {current.to_space}; let that end with "
        f"its model, or cancel it: DELETE /v1/galleries/{name}/migrations/{current.migration_id}, or "
        "`vehicle-index migrate --cancel`"
    )


def none_open(current: Migration | None, contract: Contract, name: str) -> NotMigratable:
    """What to raise where no migration to the model's space is open."""
    wanted = "none" if current is None else f"one to the embedding space {current.to_space}"
    return NotMigratable(f"no migration of gallery {name} to {contract.embedding_space} is open ({wanted} is)")


def over(migration: Migration) -> GalleryConflict:
    """What to raise where a migration is to be cancelled that cannot be."""
    return GalleryConflict(
        f"the migration {migration.migration_id} is {migration.state}; it cannot be cancelled any more"
    )


def unknown(migration_id: str, name: str) -> MigrationNotFound:
    """What to raise for a migration that nobody began."""
    return MigrationNotFound(f"gallery {name} knows no migration {migration_id}")
