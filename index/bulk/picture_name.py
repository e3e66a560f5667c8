"""What a picture is called that nobody named, and what a name of VeRi-776 says."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from index.crops import Box
from index.gallery import Metadata

SUFFIXES: Final = (".jpg", ".jpeg", ".mpo", ".png", ".webp", ".bmp", ".gif")  # what is looked for in folders
VERI_PARTS: Final = ("train", "query", "test")  # of VeRi-776: folders image_train, …, lists name_train.txt, …

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")  # ":" stands for the "/" of a path
_LONGEST_ID = 128
_KEPT = 100  # characters of a path that is made fit by a hash
_VERI = re.compile(r"(\d{4})_(c\d{3})_(\d{1,15})_\d+\.jpg", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class NamedPicture:
    """The image_id and metadata that a picture has by its path. ``shared``: pictures of this id are the same one."""

    image_id: str
    metadata: Metadata
    shared: bool = False


def is_picture(path: PurePath) -> bool:
    """Whether a file is one by its name; what macOS writes beside every file is none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def named_picture(path: PurePath, folder: PurePath | None = None) -> NamedPicture:
    """What a picture is by its path below what was given; ``folder`` is the name of that, which VeRi's parts need.

    In VeRi-776 all probes stand among the test pictures too.
    """
    parent = path.parent.name or ("" if folder is None else folder.name)
    part = parent.lower().removeprefix("image_")
    match = _VERI.fullmatch(path.name) if parent.lower() == f"image_{part}" and part in VERI_PARTS else None
    if match is None:
        return NamedPicture(image_id=derived_id(path), metadata=Metadata())
    vehicle_id, camera_id, frame = match.groups()
    metadata = Metadata(vehicle_id=vehicle_id, camera_id=camera_id.lower(), attributes={"frame": int(frame)})
    return NamedPicture(image_id=path.stem, metadata=metadata, shared=True)


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
