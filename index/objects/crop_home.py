"""Pictures of galleries as objects that every service finds, some of them asked for at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from index.objects.object_store import ObjectMissing, ObjectStore

T = TypeVar("T")
_AT_ONCE: Final = 8  # a store that is asked over a network, or flushes each, is waited for


class CropHome:
    """Crops by gallery and content name, in ``objects``.

    ``gallery`` is unique: one that is dropped and made anew has another. Safe to call from any thread and any number of
    processes at once. Raises StorageError and StorageFull.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def put(self, gallery: str, crops: Mapping[str, bytes]) -> None:
        """Make crops durable; one that is there and damaged is mended."""
        _each(lambda name: self.objects.put(gallery, name, crops[name]), crops)

    def get(self, gallery: str, name: str) -> bytes | None:
        """A crop's bytes, None where there is none."""
        try:
            return self.objects.get(gallery, name)
        except ObjectMissing:
            return None

    def some(self, gallery: str, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those of some crops that are there, by name."""
        read = _each(lambda name: (name, self.get(gallery, name)), names)
        return {name: data for name, data in read if data is not None}

    def missing(self, gallery: str, names: Iterable[str]) -> list[str]:
        """Those of some crops that are not there."""
        asked = list(names)
        there = self.some(gallery, asked)
        return [name for name in asked if name not in there]

    def delete(self, gallery: str, names: Iterable[str]) -> None:
        """Remove crops; those that are not there are no error."""
        _each(lambda name: self.objects.delete(gallery, name), names)

    def names(self, gallery: str) -> Iterator[str]:
        """Every crop's name."""
        return (name for name, _ in self.objects.names(gallery))

    def drop(self, gallery: str) -> None:
        """Remove all crops of a gallery."""
        self.objects.drop(gallery)


def _each(work: Callable[[str], T], names: Iterable[str]) -> list[T]:
    listed = list(names)
    if len(listed) < 2:
        return [work(name) for name in listed]
    with ThreadPoolExecutor(min(_AT_ONCE, len(listed))) as pool:
        return list(pool.map(work, listed))
