"""A trail as files to hand over: the table, and every picture as it is stored, so that anybody can check it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from index.errors import ImageNotFound, QueryNotFound, StorageError
from index.file_formats.zip_stream import Member, zip_stream
from service.trails.trail import Trail
from service.trails.trail_table import trail_csv

TABLE: Final = "trail.csv"
PICTURES: Final = "pictures"  # folder of the sightings'
LOOKED_FOR: Final = "looked-for"  # and of what was searched with

Picture = Callable[[], tuple[str, bytes]]
"""Gives the name that a picture is kept under, and its bytes; raises ImageNotFound, QueryNotFound and StorageError."""


def trail_archive(trail: Trail, queries: Sequence[Picture], sightings: Sequence[Picture]) -> Iterator[bytes]:
    """The bytes of a .zip, some at a time; one picture is in memory. Pictures are those of the trail, in its order.

    The table comes last and names the file of each; it names none where a picture is gone, cannot be read, or is
    another by now than its SHA-256 says.
    """
    return zip_stream(_members(trail, queries, sightings))


def _members(trail: Trail, queries: Sequence[Picture], sightings: Sequence[Picture]) -> Iterator[Member]:
    looked_for: list[str] = []
    for number, picture in enumerate(queries, 1):
        if (found := _read(picture)) is not None:
            looked_for.append(f"{LOOKED_FOR}/{number}{_extension(found[0])}")
            yield looked_for[-1], found[1]
    files: dict[int, str] = {}
    for sighting, picture in zip(trail.every(), sightings, strict=True):
        found = _read(picture)
        if found is not None and found[0].startswith(f"{sighting.sha256}."):
            files[sighting.number] = f"{PICTURES}/{sighting.number:03}{_extension(found[0])}"
            yield files[sighting.number], found[1]
    yield TABLE, [trail_csv(trail, files=files, looked_for=looked_for)]


def _read(picture: Picture) -> tuple[str, bytes] | None:
    try:
        return picture()
    except (ImageNotFound, QueryNotFound, StorageError):
        return None


def _extension(name: str) -> str:
    return f".{name.rpartition('.')[2]}"
