"""A gallery filled from an export, without embedding anything again.

An image that is there already as the export has it is left as it is, so an import that was stopped is gone on with by
running it again. What would overwrite something else is found before the first write.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from index.errors import EmbeddingSpaceMismatch, GalleryConflict, InvalidValue, StorageError
from index.exchange.export_note import ExportNote, read_note, require_tables
from index.exchange.image_table import TableRow, crop_path, table_rows, table_schema
from index.gallery import GallerySpec, NewImage, StoredImage
from index.local_gallery import LocalGallery
from index.maintenance.verification import CHANGED_CROP, MISSING_CROP, Finding
from index.storage.crop_store import is_as_written

Progress = Callable[[int], object]

_AT_ONCE = 512  # images a write; their crops are in memory
_SHOWN = 3  # image ids in a message


@dataclass
class GalleryImport:
    """What became of an export's images.

    ``same``: they were there already as the export has them. ``expired``: longer in a gallery than this one keeps.
    ``lost``: what is wrong with the crops of images that were written without one, by image_id.
    """

    created: int = 0
    updated: int = 0
    same: int = 0
    expired: int = 0
    lost: dict[str, str] = field(default_factory=dict)


class ExportFolder:
    """An export that is whole as far as its tables go; raises InvalidValue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note: ExportNote = read_note(folder)
        self._files = require_tables(folder, self.note)
        wanted, images = table_schema(self.note.spec), 0
        for file in self._files:
            with _readable(file), pq.ParquetFile(file) as table:
                if not table.schema_arrow.equals(wanted):
                    raise InvalidValue(f"{file} has other columns than an export of this release")
                images += table.metadata.num_rows
        if images != self.note.images:
            raise InvalidValue(f"{folder} has {images:,} images, not {self.note.images:,}; export again")

    def rows(self) -> Iterator[list[TableRow]]:
        """All rows, some at a time; raises InvalidValue."""
        for file in self._files:
            with _readable(file), pq.ParquetFile(file, pre_buffer=False) as table:  # True keeps all it has read
                for batch in table.iter_batches(batch_size=_AT_ONCE):
                    yield list(table_rows(batch, self.note.spec))

    def crop(self, name: str) -> tuple[bytes, str | None]:
        """A crop's bytes, or none and what is wrong with it."""
        try:
            data = (self.folder / crop_path(name)).read_bytes()
        except FileNotFoundError:
            return b"", MISSING_CROP
        except OSError as error:
            raise StorageError(f"the crop {self.folder / crop_path(name)} cannot be read: {error.strerror}") from error
        if not is_as_written(name, data):
            return b"", CHANGED_CROP
        return data, None

    def findings(self, problems: Mapping[str, str]) -> list[Finding]:
        """Problems by image_id as findings."""
        return [
            Finding(
                gallery=self.note.gallery, what=what,
                subjects=tuple(image_id for image_id, problem in problems.items() if problem == what),
            )
            for what in sorted(set(problems.values()))
        ]  # fmt: skip


def check_export(export: ExportFolder, *, progress: Progress = lambda _: None) -> list[Finding]:
    """Read every row and every crop of an export; what is wrong with it. Raises InvalidValue for a row."""
    problems: dict[str, str] = {}
    for rows in export.rows():
        for row in rows:
            name = row.image.crop_name
            problem = None if name is None else export.crop(name)[1]
            if problem is not None:
                problems[row.image.image_id] = problem
        progress(len(rows))
    return export.findings(problems)


def import_export(
    export: ExportFolder, gallery: LocalGallery, *, replacing: bool, now: datetime,
    progress: Progress = lambda _: None,
) -> GalleryImport:  # fmt: skip
    """Write an export's images into a gallery, each with the time at which it was ingested first.

    Raises EmbeddingSpaceMismatch, and GalleryConflict where the gallery has other images under ids of the export and
    ``replacing`` does not allow to replace them; nothing is written then. StorageFull, StorageError: what is written
    stays, and another import goes on from there.
    """
    _require_space(export.note, gallery)
    if not replacing and gallery.count():
        _require_no_conflict(export, gallery)
    done = GalleryImport()
    for rows in export.rows():
        _import(export, gallery, rows, now, done)
        progress(len(rows))
    return done


def _require_space(note: ExportNote, gallery: LocalGallery) -> None:
    ours, theirs = gallery.spec, note.spec
    if (ours.embedding_space, ours.embedding_dim) != (theirs.embedding_space, theirs.embedding_dim):
        raise EmbeddingSpaceMismatch(
            f"gallery {gallery.name} holds vectors of embedding space {ours.embedding_space}, the export has "
            f"{theirs.embedding_space}: import it into a gallery of another name (--gallery NAME makes one), or embed "
            "its crops with this gallery's model (`vehicle-index add`)"
        )
    if ours.viewpoints != theirs.viewpoints:
        raise GalleryConflict(
            f"gallery {gallery.name} knows the viewpoints {', '.join(ours.viewpoints)}, the export has "
            f"{', '.join(theirs.viewpoints)}: import it into a gallery of another name (--gallery NAME makes one)"
        )


def _require_no_conflict(export: ExportFolder, gallery: LocalGallery) -> None:
    others: list[str] = []
    count = 0
    for rows in export.rows():
        stored = gallery.find([row.image.image_id for row in rows])
        for row in rows:
            found = stored.get(row.image.image_id)
            if found is not None and not _is_of(row, found, gallery.spec):
                count += 1
                others += [row.image.image_id] if len(others) < _SHOWN else []
    if count:
        more = ", …" if count > len(others) else ""
        raise GalleryConflict(
            f"gallery {gallery.name} has other images under {count:,} ids of the export ({', '.join(others)}{more}); "
            "nothing was written: --replace replaces them, --gallery NAME imports into another gallery"
        )


def _is_of(row: TableRow, stored: StoredImage, spec: GallerySpec) -> bool:
    """Whether what is stored came from this row, with or without its crop."""
    return replace(_expected(row, spec), crop_name=None) == replace(stored, crop_name=None) and stored.crop_name in (
        None, row.image.crop_name,
    )  # fmt: skip


def _expected(row: TableRow, spec: GallerySpec) -> StoredImage:
    """What a gallery of this spec gives back of a row."""
    return row.image if spec.keep_crops else replace(row.image, crop_name=None)


def _import(
    export: ExportFolder, gallery: LocalGallery, rows: Sequence[TableRow], now: datetime, done: GalleryImport
) -> None:
    """Write what is not there of some rows."""
    days = gallery.spec.retention_days
    alive = [row for row in rows if days is None or row.image.ingested_at >= now - timedelta(days=days)]
    done.expired += len(rows) - len(alive)
    stored = gallery.find([row.image.image_id for row in alive])
    images = []
    for row in alive:
        image_id, found = row.image.image_id, stored.get(row.image.image_id)
        expected = _expected(row, gallery.spec)
        if found != expected:
            crop, problem = (b"", None) if expected.crop_name is None else export.crop(expected.crop_name)
            if problem is not None:
                done.lost[image_id] = problem
            if problem is None or found is None or not _is_of(row, found, gallery.spec):
                images.append(_new_image(row, crop))
    statuses = gallery.add(images)
    done.same += len(alive) - len(images)
    done.created += statuses.count("created")
    done.updated += statuses.count("updated")


def _new_image(row: TableRow, crop: bytes) -> NewImage:
    return NewImage(
        image_id=row.image.image_id, metadata=row.image.metadata, crop=crop, embedding=row.embedding,
        viewpoint=row.probabilities, ingested_at=row.image.ingested_at,
    )  # fmt: skip


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What Parquet's reader says as ours."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise InvalidValue(f"{file} cannot be read: {first}") from error
