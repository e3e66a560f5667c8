"""``vehicle-index migrate``: a gallery moves to another model."""

import argparse
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.data_folder import DataFolder
from index.embedder import Embedder
from index.errors import NotMigratable
from index.gallery import Migration
from index.gallery_arguments import add_data_dir, add_device, add_galleries
from index.local_gallery import LocalGallery
from index.machine.cpu_quota import usable_cpus
from index.model_path import model_path
from index.piecework import Piecework
from index.text_table import printable

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_MIGRATE = """\
Embed the stored crops of galleries anew with another model, beside the vectors they have, then let the new ones answer.
Killed or stopped with Ctrl-C, the same command goes on where it was; until the last image is embedded and checked the
gallery stays as it is. Galleries that keep no crops cannot be migrated. A gallery whose model makes vectors of the same
embedding space (int8, fp16 and fp32 of one training) needs nothing. While a service holds the folder, send it
POST /v1/galleries/{gallery}/migrations instead.

exit code: 0 every gallery is of the model's embedding space, 1 some are not (each is told), 2 nothing could be done
"""
_EXAMPLES = """\
examples:
  vehicle-index migrate --model models/new.onnx
  vehicle-index migrate --model models/new.onnx --gallery yard
  vehicle-index migrate --cancel
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the door's."""
    command = commands.add_parser(
        "migrate", help="move galleries to another model", description=_MIGRATE, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_data_dir(command)
    add_galleries(command)
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="model file to move to")
    what.add_argument("--cancel", action="store_true", help="give a migration up that has begun; the gallery stays")
    add_device(command)
    command.set_defaults(run=_migrate)


def _migrate(arguments: argparse.Namespace) -> int:
    embedder = None
    if not arguments.cancel:
        embedder = Embedder(
            model_path(arguments.model), device=arguments.device, threads=1, gpu_memory=arguments.gpu_model_memory
        )
    with closing(DataFolder(arguments.data_dir)) as home:
        names = home.names() if arguments.gallery is None else [arguments.gallery]
        galleries = [home.get(name) for name in names]
        if embedder is None:
            cancelled = [_cancelled(gallery) for gallery in galleries]
            done = any(cancelled)
        else:
            moved = [_moved(gallery, embedder) for gallery in galleries]
            done = all(moved)
        if arguments.gallery is None:
            home.require_all()
        return int(not done)


def _cancelled(gallery: LocalGallery) -> bool:
    """Whether there was something to cancel."""
    for migration in gallery.migrations():
        if migration.state in ("waiting", "running"):
            gallery.cancel_migration(migration.migration_id)
            print(f"{gallery.name}: cancelled at {migration.done:,} of {migration.total:,}; it answers as before")
            return True
    print(f"{gallery.name}: no migration to cancel")
    return False


def _moved(gallery: LocalGallery, embedder: Embedder) -> bool:
    """Whether a gallery is of the model's embedding space now."""
    contract, name = embedder.contract, gallery.name
    switched = any(each.state == "switched" for each in gallery.migrations())
    if gallery.spec.embedding_space == contract.embedding_space and not switched:
        print(f"{name}: of the embedding space of {contract.name} already")
        return True
    try:
        begun, _ = gallery.begin_migration(contract, embedder.fingerprint)
    except NotMigratable as error:
        _tell(str(error))
        return False
    with tqdm(total=begun.total, initial=begun.done, desc=f"migrate {name}", unit=" images") as bar:
        ended = _carried_out(gallery, embedder, bar.update)
    return _told(name, ended)


def _carried_out(gallery: LocalGallery, embedder: Embedder, progress: Callable[[int], object]) -> Migration:
    guard = threading.Lock()

    def look(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        embedded = embedder.embed(crops)
        with guard:
            progress(len(crops))
        return embedded.embedding, embedded.viewpoint

    cpus = usable_cpus()
    with ThreadPoolExecutor(cpus) as pool:
        try:
            return gallery.migrate(embedder.contract, look, Piecework(pool.submit, at_once=2 * cpus), threading.Event())
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"what is embedded stays, gallery {gallery.name} answers as before") from error


def _told(name: str, ended: Migration) -> bool:
    if ended.state == "finished":
        print(
            f"{name}: {ended.total:,} images answer by {ended.model} now; the old vectors are removed "
            "(`vehicle-index compact` leaves no byte of them)"
        )
        return True
    for image_id, reason in ended.failed:
        _tell(f"{name}: {image_id}: {reason}")
    _tell(
        f"{name}: {ended.failures:,} images cannot be embedded anew, so the gallery stays as it is: write these again "
        "or erase them, then the same command goes on"
    )
    return False


def _tell(message: str) -> None:
    print(f"vehicle-index: {printable(message)}", file=sys.stderr)
