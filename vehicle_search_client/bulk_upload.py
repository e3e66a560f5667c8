"""Any number of pictures in batches: cut as they come, so that no more than a few batches are in memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from vehicle_search_client.calls import add_prepared, named
from vehicle_search_client.client_errors import BadRequest, InvalidRequest, Refused, TooLarge, UnusableInput
from vehicle_search_client.conversation import Patience, Talk, asked
from vehicle_search_client.picture_input import NewImage, Picture, picture_bytes, source_of
from vehicle_search_client.replies import AddedImage

UPLOAD_PATIENCE: Final = Patience(retries=12)  # minutes: a restart of the service does not end a long upload
_PICTURES_FAULT: Final = (BadRequest, InvalidRequest, TooLarge)  # everything else would befall the next batch, too


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image whose bytes are at hand."""

    number: int
    image_id: str
    metadata: Mapping[str, Any]
    data: bytes
    source: str | None


@dataclass(frozen=True, kw_only=True)
class BatchSize:
    """Images and bytes of one request at most; one picture that is larger goes alone."""

    images: int = 64
    bytes: int = 16 * 2**20

    def __post_init__(self) -> None:
        if self.images < 1 or self.bytes < 1:
            raise UnusableInput(f"a batch holds at least one image and one byte, not {self.images} and {self.bytes}")


@dataclass
class Batch:
    """What goes in one request, and what cannot because it could not be read. No id stands twice."""

    entries: list[Entry] = field(default_factory=list)
    unread: list[AddedImage] = field(default_factory=list)
    size: int = 0

    @property
    def ids(self) -> set[str]:
        """The ids that it writes."""
        return {entry.image_id for entry in self.entries}

    def __len__(self) -> int:
        return len(self.entries) + len(self.unread)


def batches(images: Iterable[NewImage | Picture], size: BatchSize) -> Iterator[Batch]:
    """Cut images into batches, in order, reading each picture when its turn comes."""
    batch, ids = Batch(), set[str]()
    for number, each in enumerate(images):
        try:
            entry = _entry(number, each)
        except UnusableInput as error:
            batch.unread.append(_failed(number, each, error))
            entry = None
        full = len(batch) >= size.images or (entry is not None and batch.size + len(entry.data) > size.bytes)
        if len(batch) and (full or (entry is not None and entry.image_id in ids)):
            yield batch
            batch, ids = Batch(), set()
        if entry is not None:
            batch.entries.append(entry)
            batch.size += len(entry.data)
            ids.add(entry.image_id)
    if len(batch):
        yield batch


def uploaded(batch: Batch, gallery: str, patience: Patience) -> Talk[list[AddedImage]]:
    """What became of each image of a batch, in order; raises what would befall every further batch, too."""
    sent = (yield from _sent(batch.entries, gallery, patience)) if batch.entries else []
    return sorted([*sent, *batch.unread], key=lambda one: one.number)


def _sent(entries: list[Entry], gallery: str, patience: Patience) -> Talk[list[AddedImage]]:
    """Send; halve what is more than the service takes at once, and what it refuses as a whole for one of it."""
    call = add_prepared([(entry.metadata, entry.data, entry.source) for entry in entries], gallery)
    try:
        added = yield from asked(call, patience)
    except _PICTURES_FAULT as refused:
        if len(entries) == 1:
            return [_refused(entries[0], refused)]
        middle = len(entries) // 2
        first = yield from _sent(entries[:middle], gallery, patience)
        return [*first, *(yield from _sent(entries[middle:], gallery, patience))]
    return [replace(result, number=entry.number) for entry, result in zip(entries, added.results, strict=True)]


def _entry(number: int, each: NewImage | Picture) -> Entry:
    new = named(each)
    assert new.image_id is not None  # noqa: S101  # named() gave it one
    return Entry(
        number=number, image_id=new.image_id, metadata=new.metadata(), data=picture_bytes(new.picture),
        source=source_of(new.picture),
    )  # fmt: skip


def _failed(number: int, each: NewImage | Picture, error: UnusableInput) -> AddedImage:
    new = each if isinstance(each, NewImage) else NewImage(picture=each)
    return AddedImage(
        number=number, image_id=new.image_id, status="failed", problem=error.problem, source=source_of(new.picture)
    )


def _refused(entry: Entry, refused: Refused) -> AddedImage:
    return AddedImage(
        number=entry.number, image_id=entry.image_id, status="failed", problem=refused.problem, source=entry.source
    )


def must_wait(batch: Batch, flying: Iterable[Batch], limit: int) -> bool:
    """Whether a batch has to wait: for room, or for an earlier one that writes an id of its, so that the later wins."""
    others = list(flying)
    return len(others) >= limit or any(not batch.ids.isdisjoint(one.ids) for one in others)
