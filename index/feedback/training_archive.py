"""Feedback as a data set that the trainer reads: a .zip of pictures and a ``manifest.csv``, made as it is sent.

Pictures come first and the tables last, so that the manifest names what is in the archive: an image that is erased
while it is sent is in it whole, or not at all. ``conflicts.csv`` has the pictures that are left out, and why,
``answers.csv`` every answer as it was given.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from index.errors import ImageNotFound, StorageError
from index.feedback.vehicle_groups import Picture, VehicleGroup, vehicle_groups
from index.file_formats.zip_stream import Member, zip_stream
from index.gallery import Answer, StoredImage

MANIFEST: Final = "manifest.csv"
CONFLICTS: Final = "conflicts.csv"
ANSWERS: Final = "answers.csv"
PICTURES: Final = "pictures"  # folder of the archive
UNKNOWN_CAMERA: Final = "unknown"  # of pictures without one, where others have one: the trainer wants all or none

_LINES_AT_ONCE = 1000

Row = Sequence[str | None]


class Book(Protocol):
    """What holds the answers."""

    def standing(self) -> Iterator[tuple[Answer, Mapping[str, StoredImage]]]: ...

    def picture(self, name: str) -> bytes | None: ...


def training_archive(book: Book, crop: Callable[[str], tuple[str, bytes]]) -> Iterator[bytes]:
    """The bytes of the archive, some at a time; ``crop`` gives content name and bytes of an image's crop.

    In memory are the groups (``vehicle_groups``), a record of each member, and one picture. A picture that cannot be
    read is left out, and told. Raises what ``book`` raises.
    """
    return zip_stream(_members(book, crop))


def _members(book: Book, crop: Callable[[str], tuple[str, bytes]]) -> Iterator[Member]:
    groups = vehicle_groups(book.standing())
    sent: set[str] = set()
    unread: list[tuple[VehicleGroup, Picture, str]] = []
    for group in groups:
        for picture in group.pictures if not group.reasons else ():
            try:
                data = _bytes_of(picture, book, crop)
            except StorageError as error:
                unread.append((group, picture, f"its picture cannot be read: {error}"))
                continue
            if data is not None:
                sent.add(picture.crop)
                yield _path(picture.crop), data
    yield MANIFEST, _lines(_manifest(groups, sent))
    yield CONFLICTS, _lines(_conflicts(groups, unread))
    yield ANSWERS, _lines(_answers((answer for answer, _ in book.standing()), sent))


def _bytes_of(picture: Picture, book: Book, crop: Callable[[str], tuple[str, bytes]]) -> bytes | None:
    """A picture as it is stored; None where it was erased or replaced since. Raises StorageError."""
    if picture.image_id is None:
        return book.picture(picture.crop)
    try:
        name, data = crop(picture.image_id)
    except ImageNotFound:
        return None
    return data if name == picture.crop else None


def _manifest(groups: Iterable[VehicleGroup], sent: set[str]) -> Iterator[Row]:
    pictures = [(group.vehicle_id, each) for group in groups for each in group.pictures if each.crop in sent]
    nowhere = UNKNOWN_CAMERA if any(each.camera_id is not None for _, each in pictures) else None
    yield "path", "vehicle_id", "camera_id", "image_id", "captured_at"
    for vehicle_id, each in pictures:
        yield _path(each.crop), vehicle_id, each.camera_id or nowhere, each.image_id, _time(each.captured_at)


def _conflicts(groups: Iterable[VehicleGroup], unread: Iterable[tuple[VehicleGroup, Picture, str]]) -> Iterator[Row]:
    yield "group", "image_id", "query_id", "vehicle_id", "feedback", "reason"
    number = 0
    for group in groups:
        number += bool(group.reasons)
        for picture in group.pictures if group.reasons else ():
            yield _conflict(str(number), picture, "; ".join(group.reasons))
    for _, picture, reason in unread:
        yield _conflict(None, picture, reason)


def _conflict(group: str | None, picture: Picture, reason: str) -> Row:
    vehicles = " ".join(picture.vehicle_ids) or None
    return group, picture.image_id, picture.query_id, vehicles, " ".join(sorted(picture.answer_ids)), reason


def _answers(answers: Iterable[Answer], sent: set[str]) -> Iterator[Row]:
    yield "feedback", "same", "image_id", "query_image_id", "query_id", "distance", "given_at", "path", "query_path"
    for each in answers:
        paths = [_path(crop) if crop in sent else None for crop in (each.image_crop, each.query_crop)]
        yield (
            each.answer_id, "true" if each.same else "false", each.image_id, each.query_image_id, each.query_id,
            None if each.distance is None else repr(each.distance), _time(each.given_at), *paths,
        )  # fmt: skip


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    """Rows as CSV, some at a time."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    for number, row in enumerate(rows, 1):
        writer.writerow(row)
        if number % _LINES_AT_ONCE == 0:
            yield written.getvalue().encode()
            written.seek(0)
            written.truncate()
    yield written.getvalue().encode()


def _path(crop: str) -> str:
    return f"{PICTURES}/{crop}"


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")
