"""The bytes of the pictures of a plan, in the order in which they lie."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from index.bulk.import_plan import ImportPlan, Place, PlannedPicture
from index.bulk.picture_archive import LIMITS, ArchiveEntry, ArchiveLimits, open_archive
from index.errors import InvalidValue

MAX_BYTES: Final = 256 << 20  # of a picture's file


@dataclass(frozen=True, kw_only=True)
class ReadablePicture:
    """A planned picture; ``read`` gives its bytes, from any thread, or raises InvalidValue with the reason.

    ``held`` bytes of it are in memory already: those of an archive, which is read in one direction.
    """

    picture: PlannedPicture
    read: Callable[[], bytes]
    held: int = 0


def read_planned(
    plan: ImportPlan, *, root: Path | None = None, limits: ArchiveLimits = LIMITS
) -> Iterator[ReadablePicture]:
    """Every picture that is still to be imported, archive by archive.

    ``root`` (resolved): files that do not lie below it, also by links, are not read. Raises InvalidValue and OSError
    for an archive that cannot be read at all.
    """
    for archive in plan.archives():
        if not archive:
            for picture in plan.pictures(archive):
                yield ReadablePicture(picture=picture, read=partial(read_file, picture.place, root))
            continue
        awaited = plan.awaited(archive)
        with open_archive(Path(archive), limits) as entries:
            for entry in entries:
                if pieces := plan.take(Place(archive=archive, path=entry.name)):
                    yield from _of_entry(entry, pieces)
                    awaited -= 1
                    if not awaited:
                        break  # what follows need not be unpacked
            for picture in plan.pictures(archive):
                yield ReadablePicture(picture=picture, read=partial(_fail, "the archive has no such entry"))


def read_file(place: Place, root: Path | None = None) -> bytes:
    """The bytes of a file of at most ``MAX_BYTES``; raises InvalidValue with the reason why there are none.

    Devices and pipes are not opened for reading: they would be waited for.
    """
    try:
        path = Path(place.path)
        if root is not None:
            path = path.resolve()  # not strict: what is there and what is not is told of what lies inside alone
            if not path.is_relative_to(root):
                raise InvalidValue("it lies outside of the import root")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidValue("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no file")
            if found.st_size > MAX_BYTES:
                raise InvalidValue(f"it has {found.st_size:,} bytes; the limit is {MAX_BYTES:,}")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)
    except (OSError, ValueError, RuntimeError) as error:  # a path with a NUL; links in a circle
        raise InvalidValue(getattr(error, "strerror", None) or str(error)) from error


def _of_entry(entry: ArchiveEntry, pieces: Sequence[PlannedPicture]) -> Iterator[ReadablePicture]:
    try:
        data = _fail(entry.problem) if entry.problem is not None else entry.read()
    except InvalidValue as error:
        reason = str(error)
        yield from (ReadablePicture(picture=piece, read=partial(_fail, reason)) for piece in pieces)
    else:
        yield from (ReadablePicture(picture=piece, read=lambda: data, held=len(data)) for piece in pieces)


def _fail(problem: str) -> bytes:
    raise InvalidValue(problem)
