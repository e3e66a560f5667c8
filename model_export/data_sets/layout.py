"""Which data set a folder holds: what each layout needs, and what to say when a folder is another one."""

import os
from itertools import islice
from pathlib import Path

from index.errors import InvalidValue

NEEDED = {
    "veri776": ("image_train", "image_query", "image_test"),
    "vehicleid": ("image", "train_test_split"),
    "vehicle-orientation": ("NAME.jpg beside NAME.txt",),
    "uc3m-vri": ("NAME.jpg beside NAME.json",),
}

# Sets that have one of these entries are not read; whoever has one writes a manifest.csv.
_NOT_READ = (
    ("train_test_split/vehicle_info.txt", "VERI-Wild"),
    ("Pic", "VRU"),
    ("bounding_box_train", "a set laid out like Market-1501"),
    ("finegrained_label.xml", "VehicleX"),
)
_LOOKED_AT = 2_000  # entries of a folder that are looked at for a guess
_SHOWN = 8  # entries of a folder that a message names


def require_folder(kind: str, root: Path) -> None:
    """Raise InvalidValue unless ``root`` is a folder."""
    if not root.exists():
        raise InvalidValue(f"{kind}:{root}: there is no such folder")
    if not root.is_dir():
        hint = "unpack it and give the folder" if root.suffix in (".zip", ".tar", ".gz", ".tgz") else "give a folder"
        raise InvalidValue(f"{kind}:{root} is a file; {hint}")


def require_layout(kind: str, root: Path) -> None:
    """Raise InvalidValue unless ``root`` is a folder with the folders that ``kind`` needs."""
    require_folder(kind, root)
    if not all((root / entry).is_dir() for entry in NEEDED[kind]):
        raise wrong_layout(kind, root)


def wrong_layout(kind: str, root: Path) -> InvalidValue:
    """The error for a folder that is not laid out as ``kind``: what was looked for, what is there, what it may be."""
    missing = [entry for entry in NEEDED[kind] if not (root / entry).exists()]
    found = _entries(root)
    shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
    guess = looks_like(root)
    hint = f"; it looks like {guess}" if guess else ""
    return InvalidValue(
        f"{kind}:{root}: looked for {', '.join(missing or NEEDED[kind])}; found {shown or 'nothing'}{hint}"
    )


def looks_like(root: Path) -> str | None:
    """The spec that a folder, or a folder directly in it, seems to be; None where nothing known is seen."""
    for folder in (root, *(root / name for name in _entries(root)[:_SHOWN] if (root / name).is_dir())):
        if guess := _guess(folder):
            return guess
    return None


def _guess(folder: Path) -> str | None:
    for entry, name in _NOT_READ:
        if (folder / entry).exists():
            return f"{name}, which is not read: write a manifest.csv for it"
    for kind in ("veri776", "vehicleid"):
        if all((folder / entry).is_dir() for entry in NEEDED[kind]):
            return f"{kind}:{folder}"
    if (folder / "manifest.csv").is_file():
        return f"manifest:{folder / 'manifest.csv'}"
    names = set(_entries(folder))
    stems = {name.rpartition(".")[0] for name in names if name.lower().endswith((".jpg", ".png"))}
    for ending, kind in ((".json", "uc3m-vri"), (".txt", "vehicle-orientation")):
        if any(f"{stem}{ending}" in names for stem in stems):
            return f"{kind}:{folder}"
    return None


def _entries(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in islice(entries, _LOOKED_AT) if not entry.name.startswith("."))
