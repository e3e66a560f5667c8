"""``vehicle-index copy``: galleries brought to another home, a folder or a server, and held against the first."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from index.data_folder import DEFAULT, DataFolder
from index.errors import InvalidValue
from index.gallery import KINDS, VECTORS, Gallery, GalleryHome, GallerySpec
from index.gallery_arguments import add_data_dir, add_galleries
from index.metadata import check_gallery_name
from index.transfer.gallery_likeness import SEARCHES, GalleryDigest, agreement, digest
from index.transfer.image_transfer import Transferred, transfer

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_LOCAL = "local"
_LEAST_AGREEMENT = 0.9  # where an index of one of them looks at few images only
_COPY = f"""\
Copy galleries as they are: vectors, crops, metadata and the times at which images were ingested. No model is needed.
--from and --to are {_LOCAL}, the folder that --data-dir names, or the path of another data folder. No service may
have such a folder meanwhile.

What is there already as the first has it is left alone: run it again after it was stopped, or to bring what was added
since. --mirror also erases what only the other has. At the end both are read whole and compared: the number of images,
a checksum over all of them but their crops, and for {SEARCHES} images what a search for each finds and its crop.
Feedback, cameras, keys and import jobs are not copied.

exit code: 0, 1 where the two are not the same, 2 where nothing could be done
"""
_EXAMPLES = """\
examples:
  vehicle-index copy --from local --to /srv/vehicles-2
  vehicle-index copy --from local --to /srv/vehicles-2 --gallery yard --as yard-again --kind hnsw
  vehicle-index copy --from local --to /srv/vehicles-2 --check        # compares, and copies nothing
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    copy = commands.add_parser(
        "copy", help="galleries to another home, compared at the end", description=_COPY, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    copy.add_argument("--from", required=True, dest="source", metavar="HOME", help="where they are")
    copy.add_argument("--to", required=True, dest="target", metavar="HOME", help="where they are to be, too")
    add_data_dir(copy)
    add_galleries(copy)
    copy.add_argument("--as", dest="name", metavar="NAME", help="another name there, for the one that --gallery names")
    copy.add_argument("--kind", choices=KINDS, help="of a gallery that is made (default: as the first's)")
    copy.add_argument("--vectors", choices=VECTORS, help="of a gallery that is made (default: as the first's)")
    copy.add_argument("--mirror", action="store_true", help="erase there what is not here")
    copy.add_argument("--check", action="store_true", help="compare them and copy nothing")
    copy.set_defaults(run=_copy)


def _copy(arguments: argparse.Namespace) -> int:
    if arguments.name is not None and arguments.gallery is None:
        raise InvalidValue("--as names the copy of one gallery: say which by --gallery")
    if arguments.source == arguments.target:
        raise InvalidValue(f"--from and --to are both {arguments.source}: nothing is to be copied")
    with _opened(arguments, arguments.source) as source:
        names = source.names() if arguments.gallery is None else [source.get(arguments.gallery).name]
        if not names:
            raise InvalidValue(f"{arguments.source} has no gallery to copy")
        first = source.get(DEFAULT if DEFAULT in names else names[0]).spec
        with _opened(arguments, arguments.target, _spec(arguments, first)) as target:
            same = [_copied(arguments, source.get(name), target, arguments.name or name) for name in names]
    return int(not all(same))


def _copied(arguments: argparse.Namespace, gallery: Gallery, home: GalleryHome, name: str) -> bool:
    """Bring one gallery there; whether both are the same then."""
    other = (
        home.get(name) if arguments.check else _target(home, check_gallery_name(name), _spec(arguments, gallery.spec))
    )
    if not arguments.check:
        with tqdm(total=gallery.count(), desc=f"copy {name}", unit=" images") as bar:
            done = transfer(gallery, other, mirror=arguments.mirror, progress=bar.update)
        print(f"{name}: {_told(done)}")
        for image_id, problem in done.lost.items():
            print(f"{name}: {image_id} was not copied: {problem}", file=sys.stderr)
    return _compared(gallery, other, name)


def _compared(gallery: Gallery, other: Gallery, name: str) -> bool:
    with tqdm(total=gallery.count() + other.count(), desc=f"compare {name}", unit=" images") as bar:
        own, theirs = (digest(each, progress=bar.update) for each in (gallery, other))
    if not own.agrees(theirs):
        print(f"{name}: not the same: {_seen(own)} here, {_seen(theirs)} there", file=sys.stderr)
        advice = "it has images of its own; --mirror erases them"
        if theirs.images == own.images:
            advice = "it was changed, or its vectors are of another moment; drop it there and copy it anew"
        if theirs.images >= own.images:
            print(f"{name}: {advice}", file=sys.stderr)
        return False
    tried = agreement(gallery, other, own.sample)
    least = 1.0 if {gallery.spec.kind, other.spec.kind} == {"flat"} else _LEAST_AGREEMENT
    good = tried.share >= least and not tried.other_crops
    crops = f"{tried.crops - len(tried.other_crops)} of {tried.crops} crops the same"
    print(
        f"{name}: {_seen(own)} in both; {tried.searches} searches agree to {tried.share:.1%} ({least:.0%} is asked), "
        f"{crops}: {'the same' if good else 'NOT the same'}"
    )
    return good


def _target(home: GalleryHome, name: str, spec: GallerySpec) -> Gallery:
    return home.get(name) if name in home.names() else home.create(name, spec)[0]


def _spec(arguments: argparse.Namespace, own: GallerySpec) -> GallerySpec:
    return replace(own, kind=arguments.kind or own.kind, vectors=arguments.vectors or own.vectors)


@contextmanager
def _opened(arguments: argparse.Namespace, where: str, spec: GallerySpec | None = None) -> Iterator[GalleryHome]:
    """A home; one that is written to where ``spec`` is given, which is that of its gallery ``default``."""
    path = arguments.data_dir if where == _LOCAL else Path(where)
    writing = None if arguments.check else spec
    with closing(DataFolder(path, default_spec=writing, read_only=writing is None)) as home:
        yield home


def _seen(found: GalleryDigest) -> str:
    return f"{found.images:,} images with the checksum {found.checksum[:16]}"


def _told(done: Transferred) -> str:
    parts = [f"{done.created:,} created, {done.updated:,} updated, {done.same:,} there already"]
    parts += [f"{done.erased:,} erased"] if done.erased else []
    parts += [f"{len(done.lost):,} could not be read"] if done.lost else []
    return ", ".join(parts)
