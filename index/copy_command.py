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
from index.feedback.feedback_folder import FeedbackFolder
from index.gallery import KINDS, VECTORS, Gallery, GalleryHome, GallerySpec
from index.gallery_arguments import add_data_dir, add_galleries
from index.metadata import check_gallery_name
from index.milvus.collection_name import PREFIX
from index.milvus.milvus_server import is_address
from index.objects.object_home import open_crops
from index.transfer.gallery_likeness import SEARCHES, GalleryDigest, agreement, digest
from index.transfer.image_transfer import Transferred, transfer

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_LOCAL, _MILVUS = "local", "milvus"
_ON_MILVUS = (
    "milvus_uri",
    "milvus_token_file",
    "crops_url",
    "crops_endpoint",
    "crops_access_key_file",
    "crops_secret_key_file",
)
_LEAST_AGREEMENT = 0.9  # where an index of one of them looks at few images only
_COPY = f"""\
Copy galleries as they are: vectors, crops, metadata and the times at which images were ingested. No model is needed.
--from and --to are {_LOCAL}, the folder that --data-dir names; or the path of another data folder; or {_MILVUS}, the
server at --milvus-uri with crops at --crops-url, as `vehicle-search serve` is given both. No service may have such a
folder meanwhile; services on {_MILVUS} may go on, but what they write while both are compared makes a difference. Where
{_MILVUS} refuses the kind of a gallery, --kind and --vectors name another.

What is there already as the first has it is left alone: run it again after it was stopped, or to bring what was added
since. --mirror also erases what only the other has. At the end both are read whole and compared: the number of images,
a checksum over all that is stored of them, a crop by its name, and for {SEARCHES} images what a search for each finds
and its crop.
Feedback, cameras, keys and import jobs are not copied.

exit code: 0, 1 where the two are not the same or a gallery is damaged (the others are copied), 2 where nothing could be
done
"""
_EXAMPLES = """\
examples:
  vehicle-index copy --from local --to /srv/vehicles-2
  vehicle-index copy --from local --to /srv/vehicles-2 --gallery yard --as yard-again --kind hnsw
  vehicle-index copy --from local --to /srv/vehicles-2 --check        # compares, and copies nothing
  vehicle-index copy --from local --to milvus --milvus-uri http://milvus.example:19530 --crops-url s3://crops/vehicles
  vehicle-index copy --from milvus --to local --milvus-uri http://milvus.example:19530 --crops-url s3://crops/vehicles
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
    _add_milvus(copy)
    copy.set_defaults(run=_copy)


def _add_milvus(copy: argparse.ArgumentParser) -> None:
    server = copy.add_argument_group(f"the home {_MILVUS}", "as the service's settings of these names")
    server.add_argument("--milvus-uri", metavar="URI", help="the server, http://HOST:PORT")
    server.add_argument("--milvus-token-file", type=Path, metavar="FILE", help="file with its token, USER:PASSWORD")
    server.add_argument(
        "--milvus-prefix", default=PREFIX, metavar="NAME", help=f"of our collections there (default: {PREFIX})"
    )
    server.add_argument(
        "--crops-url", metavar="URL",
        help="where crops are: a folder, or s3://BUCKET/PREFIX; of a service without it: objects in its data folder",
    )  # fmt: skip
    server.add_argument("--crops-endpoint", metavar="URL", help="of an S3-compatible store that is not Amazon's")
    server.add_argument("--crops-access-key-file", type=Path, metavar="FILE", help="file with its access key")
    server.add_argument("--crops-secret-key-file", type=Path, metavar="FILE", help="file with the secret key to it")


def _copy(arguments: argparse.Namespace) -> int:
    if arguments.name is not None and arguments.gallery is None:
        raise InvalidValue("--as names the copy of one gallery: say which by --gallery")
    if arguments.source == arguments.target:
        raise InvalidValue(f"--from and --to are both {arguments.source}: nothing is to be copied")
    _check_milvus(arguments)
    _check_folders(_folder(arguments, arguments.source), _folder(arguments, arguments.target))
    with _opened(arguments, arguments.source) as source:
        names, damaged = source.names(), source.problems()
        if arguments.gallery is not None:
            names, damaged = [source.get(arguments.gallery).name], {}
        for name, problem in damaged.items():
            print(f"{name}: NOT copied: {problem}", file=sys.stderr)
        if not names:
            raise InvalidValue(f"{arguments.source} has no gallery that can be copied")
        first = source.get(DEFAULT if DEFAULT in names else names[0]).spec
        with _opened(arguments, arguments.target, _spec(arguments, first)) as target:
            if arguments.target == _MILVUS and not arguments.check:
                for name in names:
                    _check_kind(arguments, source.get(name).spec, target, arguments.name or name)
            same = [_copied(arguments, source.get(name), target, arguments.name or name) for name in names]
    return int(bool(damaged) or not all(same))


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


def _folder(arguments: argparse.Namespace, where: str) -> Path | None:
    """Of a home that is one."""
    data_dir: Path = arguments.data_dir
    return None if where == _MILVUS else data_dir if where == _LOCAL else Path(where)


def _check_folders(source: Path | None, target: Path | None) -> None:
    """Raise InvalidValue where one data folder would lie in the other, or is the other by another name."""
    if source is None or target is None:
        return
    one, other = source.resolve(), target.resolve()
    if one == other:
        raise InvalidValue(f"--from and --to are both {one}: nothing is to be copied")
    if one in other.parents or other in one.parents:
        raise InvalidValue(
            f"of {one} and {other} one lies in the other: name a folder that is no part of a data folder"
        )


@contextmanager
def _opened(arguments: argparse.Namespace, where: str, spec: GallerySpec | None = None) -> Iterator[GalleryHome]:
    """A home; one that is written to where ``spec`` is given, which is that of a folder's gallery ``default``."""
    path = _folder(arguments, where)
    if path is None:
        with _opened_milvus(arguments, read_only=spec is None or arguments.check) as server:
            yield server
        return
    writing = None if arguments.check else spec
    with closing(DataFolder(path, default_spec=writing, read_only=writing is None)) as home:
        yield home


@contextmanager
def _opened_milvus(arguments: argparse.Namespace, *, read_only: bool) -> Iterator[GalleryHome]:
    from index.milvus.milvus_home import MilvusHome
    from index.objects.crop_home import CropHome

    objects = open_crops(
        arguments.crops_url, endpoint=arguments.crops_endpoint, access_key_file=arguments.crops_access_key_file,
        secret_key_file=arguments.crops_secret_key_file,
    )  # fmt: skip
    with closing(objects):
        home = MilvusHome(
            arguments.milvus_uri, crops=CropHome(objects), feedback=FeedbackFolder(arguments.data_dir, read_only=True),
            token_file=arguments.milvus_token_file, prefix=arguments.milvus_prefix, read_only=read_only,
        )  # fmt: skip
        with closing(home):
            yield home


def _check_milvus(arguments: argparse.Namespace) -> None:
    """Raise InvalidValue where options of Milvus are missing or are given for nothing."""
    if _MILVUS not in (arguments.source, arguments.target):
        for name in _ON_MILVUS:
            if getattr(arguments, name) is not None:
                raise InvalidValue(f"--{name.replace('_', '-')} is for --from {_MILVUS} or --to {_MILVUS}")
        return
    if arguments.milvus_uri is None or not is_address(arguments.milvus_uri):
        raise InvalidValue(f"{_MILVUS} needs --milvus-uri, http://HOST:PORT, not {arguments.milvus_uri}")
    if not arguments.crops_url:
        raise InvalidValue(
            f"{_MILVUS} needs --crops-url, where its crops are: the crops_url of the services on it, or, of one "
            "without that setting, objects in its data folder"
        )
    if (arguments.crops_access_key_file is None) is not (arguments.crops_secret_key_file is None):
        raise InvalidValue("--crops-access-key-file and --crops-secret-key-file go together: give both, or neither")


def _check_kind(arguments: argparse.Namespace, own: GallerySpec, home: GalleryHome, name: str) -> None:
    """Raise InvalidValue where Milvus would refuse a gallery that is to be made."""
    from index.milvus.index_settings import index_of

    if name in home.names():
        return
    try:
        index_of(_spec(arguments, own))
    except InvalidValue as error:
        raise InvalidValue(f"{error}: choose one by --kind and --vectors (gallery {name})") from error


def _seen(found: GalleryDigest) -> str:
    return f"{found.images:,} images with the checksum {found.checksum[:16]}"


def _told(done: Transferred) -> str:
    parts = [f"{done.created:,} created, {done.updated:,} updated, {done.same:,} there already"]
    parts += [f"{done.erased:,} erased"] if done.erased else []
    parts += [f"{len(done.lost):,} could not be read"] if done.lost else []
    return ", ".join(parts)
