"""What can be imported: a manifest.csv, a folder, an archive, a picture file; written down row by row as a plan.

A folder or an archive that holds a manifest.csv is what the manifest says of it. The trees of VeRi-776 are known by
their names. A row that is wrong is planned as a failure; what makes a source unreadable as a whole raises, before
anything is imported.
"""

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Final

from index.bulk.import_plan import ImportPlan, Place
from index.bulk.picture_archive import LIMITS, ArchiveEntry, ArchiveLimits, entry_name, is_archive, open_archive
from index.bulk.picture_name import SUFFIXES, VERI_PARTS, NamedPicture, derived_id, is_picture, named_picture
from index.crops import Box
from index.errors import InvalidValue
from index.gallery import Metadata
from index.manifest import FAILURE, ManifestLine, read_lines, row_of
from index.metadata import ImageDescription, check_metadata

MANIFEST: Final = "manifest.csv"

_TOLD_EVERY = 256  # rows
_LONGEST_LIST = 16 << 20  # bytes of a list of VeRi-776 in an archive: 600,000 names; its own have 1.3 MB


def plan_sources(
    plan: ImportPlan, sources: Sequence[Path], *, limits: ArchiveLimits = LIMITS, root: Path | None = None
) -> Iterator[int]:
    """Write down what the sources hold; says from time to time how many rows that are. ``root``: see ``read_planned``.

    Raises InvalidValue where a source cannot be read, holds nothing, or has an image_id that another source has too.
    """
    for number, path in enumerate(sources):
        planning = _Planning(plan, number, path.parent if _is_csv(path) else path, limits, root)
        for rows, _ in enumerate(planning.source(path)):
            if rows % _TOLD_EVERY == 0:
                yield plan.total
    plan.end_planning()
    yield plan.total


def has_manifest(folder: Path) -> bool:
    """Whether a folder says itself what is in it."""
    return (folder / MANIFEST).is_file()


@dataclass(frozen=True)
class _Planning:
    """The planning of one source. Generators give something for every row."""

    plan: ImportPlan
    number: int
    base: Path  # where its manifest stands or would stand
    limits: ArchiveLimits
    root: Path | None

    def source(self, path: Path) -> Iterator[None]:
        self._require_inside(path)
        if _is_csv(path):
            return self._manifest_file(path)
        if path.is_dir():
            return self._manifest_file(path / MANIFEST) if has_manifest(path) else self._folder(path)
        if path.is_file() and is_archive(path):
            return self._archive(path)
        named = NamedPicture(image_id=derived_id(PurePath(path.name)), metadata=Metadata())
        self._image(Place(path=str(path)), named)
        return iter([None])

    def _folder(self, folder: Path) -> Iterator[None]:
        found = False
        for relative, problem in _walk(folder, PurePath()):
            place = Place(path=str(folder / relative))
            if problem is None:
                found = True
                self._image(place, named_picture(relative, PurePath(folder.name)))
            else:
                self.plan.add_failure(place, problem)
            yield
        for place in self._missing(folder):
            found = True
            self._lacks(place)
            yield
        if not found:
            raise InvalidValue(f"there is no picture ({', '.join(SUFFIXES)}) below {folder}")

    def _lacks(self, place: Place) -> None:
        reason = "a list of VeRi-776 names it, and it is not there"
        self.plan.add_failure(place, reason, image_id=PurePath(place.path).stem)

    def _missing(self, folder: Path) -> Iterator[Place]:
        """Pictures that a list of VeRi-776 names and that are not there."""
        for part in VERI_PARTS:
            names, pictures = folder / f"name_{part}.txt", folder / f"image_{part}"
            if names.is_file() and pictures.is_dir():
                self._require_inside(names)
                with names.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
                    for name in _listed(lines):
                        if not (pictures / name).is_file():
                            yield Place(path=str(pictures / name))

    def _manifest_file(self, manifest: Path) -> Iterator[None]:
        if not manifest.is_file():
            raise InvalidValue(f"{manifest} does not exist or is not a file; give the path of a manifest.csv")

        self._require_inside(manifest)

        @lru_cache(maxsize=256)
        def archive_around(folder: Path) -> Path | None:
            return _archive_around(folder, self.root)

        def locate(path: PurePath) -> tuple[Place, str | None]:
            whole = manifest.parent / path
            archive = archive_around(whole.parent)
            if archive is None:
                return Place(path=str(whole)), None
            name, problem = entry_name(whole.relative_to(archive).as_posix())
            return Place(archive=str(archive), path=name), problem

        with manifest.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            yield from self._manifest(lines, manifest.name, manifest.parent, locate)

    def _archive(self, path: Path) -> Iterator[None]:
        with open_archive(path, self.limits) as archive, tempfile.TemporaryFile() as kept:
            place_of_manifest: PurePosixPath | None = None
            another = False
            lists = _VeriLists()
            for entry in archive:
                name = PurePosixPath(entry.name)
                if name.name.lower() == MANIFEST:
                    deeper = place_of_manifest is not None and len(name.parts) > len(place_of_manifest.parts)
                    if deeper:
                        continue
                    another = place_of_manifest is not None and len(name.parts) == len(place_of_manifest.parts)
                    place_of_manifest = name
                    if entry.problem is not None:
                        raise InvalidValue(f"{name} in {path} cannot be read: {entry.problem}")
                    kept.seek(0)
                    kept.truncate()
                    kept.write(entry.read())
                elif not self.plan.note_picture(Place(archive=str(path), path=entry.name), entry.problem):
                    place = Place(archive=str(path), path=entry.name)
                    self.plan.add_failure(place, "the archive has two entries of this name; the first is taken")
                else:
                    lists.look_at(entry)
                yield
            if another:
                raise InvalidValue(f"the archive {path} holds several {MANIFEST} beside each other; leave one")
            if place_of_manifest is None:
                yield from self._entries(path, lists)
            else:
                kept.seek(0)
                yield from self._archive_manifest(path, place_of_manifest, kept)

    def _archive_manifest(self, path: Path, manifest: PurePosixPath, kept: IO[bytes]) -> Iterator[None]:
        def locate(row: PurePath) -> tuple[Place, str | None]:
            name, problem = entry_name(f"{manifest.parent}/{row}" if not row.is_absolute() else str(row))
            place = Place(archive=str(path), path=name)
            return place, problem or self.plan.why_not(place)

        with io.TextIOWrapper(kept, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            yield from self._manifest(lines, str(manifest), PurePath(), locate)

    def _entries(self, path: Path, lists: "_VeriLists") -> Iterator[None]:
        """All pictures of an archive, for want of a manifest; and what lists of VeRi-776 name that is not there."""
        found = False
        listed_folders, folders = lists.folders, set[str]()
        for place, problem in self.plan.noted(str(path)):
            name = PurePosixPath(place.path)
            if not is_picture(name):
                continue
            found = True
            if (folder := str(name.parent)) in listed_folders:
                folders.add(folder)
            if problem is None:
                self._image(place, named_picture(name))
            else:
                self.plan.add_failure(place, problem)
            yield
        if not found:
            raise InvalidValue(f"there is no picture ({', '.join(SUFFIXES)}) in the archive {path}")
        for folder in sorted(folders):
            for listed in lists.names(folder):
                place = Place(archive=str(path), path=f"{folder}/{listed}")
                if not self.plan.is_noted(place):
                    self._lacks(place)
                    yield

    def _manifest(
        self, lines: Iterable[str], name: str, folder: PurePath, locate: Callable[[PurePath], tuple[Place, str | None]]
    ) -> Iterator[None]:
        """Rows of a manifest; ``locate`` finds a path that is relative to it, and what is wrong with that place."""
        first = True
        for line in read_lines(lines, name=name):
            if first:
                self.plan.take_columns(column for column in line.columns if column != FAILURE)
                first = False
            self._line(line, name, folder, locate)
            yield

    def _line(
        self, line: ManifestLine, name: str, folder: PurePath, locate: Callable[[PurePath], tuple[Place, str | None]]
    ) -> None:
        text = line.cells.get("path", "").replace("\\", "/")
        cells = {column: cell for column, cell in line.cells.items() if column not in ("path", FAILURE)}
        place, problem = locate(PurePath(text)) if text else (Place(path=""), None)
        try:
            row = row_of(line, Path())
            described = _described(row.image_id, row.vehicle_id, row.camera_id, row.attributes)
            if problem is not None:
                raise InvalidValue(f"column path: {text!a}: {problem}")
        except InvalidValue as error:
            self.plan.add_failure(place, f"{name} line {line.line}, {error}", cells=cells)
            return
        relative = row.path if not row.path.is_absolute() else PurePath(os.path.relpath(row.path, folder))
        relative = PurePath(os.path.normpath(relative))
        named = NamedPicture(
            image_id=described.image_id or derived_id(relative, row.box),
            metadata=replace(described.metadata, captured_at=row.captured_at),
        )
        self._image(place, named, row.box, cells=cells)

    def _require_inside(self, path: Path) -> None:
        """What a file says of what to import is told in part where it cannot be read."""
        if self.root is not None and not path.resolve().is_relative_to(self.root):
            raise InvalidValue(f"{path} lies outside of the import root")

    def _image(
        self, place: Place, named: NamedPicture, box: Box | None = None, *, cells: Mapping[str, str] | None = None
    ) -> None:
        clash = self.plan.add_image(place, named.image_id, named.metadata, box, source=self.number, cells=cells)
        if clash is None or (named.shared and PurePath(clash.place.path).name == PurePath(place.path).name):
            return
        if clash.source != self.number:
            raise InvalidValue(
                f"{clash.place} and {place} would both be the image {named.image_id}; add the folder around both, or "
                "give each an image_id in a manifest.csv"
            )
        other = clash.place.below(self.base)
        others = {column: cell for column, cell in (cells or {}).items() if column != "image_id"}
        self.plan.add_failure(place, f"its image_id {named.image_id} is that of {other} already", cells=others)


class _VeriLists:
    """The lists of VeRi-776 in an archive, of each part the one that lies least deep."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[PurePosixPath, bytes, str | None]] = {}  # by part: place, text, what is wrong

    @property
    def folders(self) -> set[str]:
        """Where the pictures lie that they name."""
        return {_pictures_of(part, place) for part, (place, *_) in self._kept.items()}

    def look_at(self, entry: ArchiveEntry) -> None:
        """Keep an entry that is such a list."""
        place = PurePosixPath(entry.name)
        part = place.name.removeprefix("name_").removesuffix(".txt")
        if part not in VERI_PARTS or place.name != f"name_{part}.txt":
            return
        if part in self._kept and len(self._kept[part][0].parts) <= len(place.parts):
            return
        text, problem = b"", entry.problem
        if problem is None:
            text = entry.read()
        if len(text) > _LONGEST_LIST:
            text, problem = b"", f"it has {len(text):,} bytes; the limit is {_LONGEST_LIST:,}"
        self._kept[part] = place, text, problem

    def names(self, folder: str) -> Iterator[str]:
        """The pictures that are to be in a folder; raises InvalidValue where its list cannot be read."""
        for part, (place, text, problem) in self._kept.items():
            if _pictures_of(part, place) == folder:
                if problem is not None:
                    raise InvalidValue(f"{place}, a list of VeRi-776, cannot be read: {problem}")
                with io.TextIOWrapper(io.BytesIO(text), encoding="utf-8-sig", errors="surrogateescape") as lines:
                    yield from _listed(lines)


def _pictures_of(part: str, place: PurePosixPath) -> str:
    """The folder of the pictures that a list at ``place`` names."""
    return str(place.parent / f"image_{part}")


def _listed(lines: Iterable[str]) -> Iterator[str]:
    """The names of pictures in a list of VeRi-776."""
    for line in lines:
        name = line.strip()
        if name and "/" not in name and "\0" not in name:
            yield name


def _described(
    image_id: str | None, vehicle_id: str | None, camera_id: str | None, attributes: Mapping[str, object]
) -> ImageDescription:
    return check_metadata(
        {"image_id": image_id, "vehicle_id": vehicle_id, "camera_id": camera_id, "attributes": attributes}
    )


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _walk(folder: Path, below: PurePath) -> Iterator[tuple[PurePath, str | None]]:
    """Pictures below a folder by their relative paths, in order, and folders that cannot be listed, with the reason."""
    try:
        with os.scandir(folder / below) as listing:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing)
    except OSError as error:
        yield below, f"the folder cannot be listed: {error.strerror}"
        return
    for name, is_folder in entries:
        path = below / name
        if is_folder:
            yield from _walk(folder, path)
        elif is_picture(path) and (folder / path).is_file():
            yield path, None


def _archive_around(folder: Path, root: Path | None) -> Path | None:
    """The archive that a path leads into where a folder is expected; None where it leads into none."""
    for path in (folder, *folder.parents):
        if path.is_dir():
            return None
        if path.is_file():
            inside = root is None or path.resolve().is_relative_to(root)
            return path if inside and is_archive(path) else None
    return None
