"""What the indexer reads: a manifest.csv, a folder, or picture files; each picture with its image_id and metadata."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from index.crops import Box
from index.errors import InvalidValue
from index.gallery import Metadata
from index.manifest import ManifestRow, read_manifest
from index.metadata import check_metadata

SUFFIXES: Final = (".jpg", ".jpeg", ".mpo", ".png", ".webp", ".bmp", ".gif")  # what is looked for in folders

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")  # ":" stands for the "/" of a path
_LONGEST_ID = 128
_KEPT = 100  # characters of a path that is made fit by a hash


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """One picture on its way in."""

    path: Path
    image_id: str
    metadata: Metadata
    box: Box | None = None


def read_sources(paths: Iterable[Path]) -> list[PictureSource]:
    """The pictures of manifests, folders (with all below them) and files, in order.

    Raises InvalidValue where a manifest cannot be read, a folder holds no picture, or two pictures have one image_id:
    nothing is written then.
    """
    sources = [source for path in paths for source in _read(path)]
    _require_distinct(sources)
    return sources


def derived_id(path: PurePath, box: Box | None = None) -> str:
    """The image_id of a picture that has none: its relative path with ``:`` for ``/``, and its box where it has one.

    Where an id cannot hold the path, ``-`` stands for what does not fit and a hash of the path is appended, so that
    different paths stay apart.
    """
    text = path.as_posix() + ("" if box is None else f"/{'-'.join(map(str, box))}")
    readable = ":".join(_UNFIT.sub("-", part) for part in text.split("/"))
    if readable == text.replace("/", ":") and len(text) <= _LONGEST_ID and text[0].isalnum():
        return readable
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{readable.lstrip('._:-')[:_KEPT]}-{digest}".lstrip("-")


def _read(path: Path) -> Iterator[PictureSource]:
    if path.suffix.lower() == ".csv":
        for row in read_manifest(path, required=("path",)):
            yield _of_row(row, path)
    elif path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise InvalidValue(f"there is no picture ({', '.join(SUFFIXES)}) below {path}")
        for file in found:
            relative = file.relative_to(path)
            yield PictureSource(path=file, image_id=derived_id(relative), metadata=Metadata())
    else:
        yield PictureSource(path=path, image_id=derived_id(PurePath(path.name)), metadata=Metadata())


def _of_row(row: ManifestRow, manifest: Path) -> PictureSource:
    try:
        described = check_metadata(
            {
                "image_id": row.image_id,
                "vehicle_id": row.vehicle_id,
                "camera_id": row.camera_id,
                "attributes": row.attributes,
            }
        )
    except InvalidValue as error:
        raise InvalidValue(f"{manifest} line {row.line}: {error}") from error
    relative = PurePath(os.path.relpath(row.path, manifest.parent))
    return PictureSource(
        path=row.path,
        image_id=described.image_id or derived_id(relative, row.box),
        metadata=replace(described.metadata, captured_at=row.captured_at),
        box=row.box,
    )


def _require_distinct(sources: Iterable[PictureSource]) -> None:
    """One would replace the other without a word."""
    seen: dict[str, PictureSource] = {}
    for source in sources:
        other = seen.setdefault(source.image_id, source)
        if other is source:
            continue
        raise InvalidValue(
            f"{other.path} and {source.path} would both be the image {source.image_id}; add the folder around both, or "
            "give each an image_id in a manifest.csv"
        )
