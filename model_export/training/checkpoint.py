"""Checkpoints: everything a later day needs, written so that a crash leaves the old one or the new one."""

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from index.errors import InvalidValue, ModelError
from model_export.training.configuration import as_mapping, from_mapping

_FORMAT = 2
_NO_SPACE = 1 << 20  # bytes free; torch tells a disk that fills up as something else
_MAY_CHANGE = {
    "out", "data_root", "name", "vnet", "warm_start", "fit.iterations", "fit.checkpoint_every", "fit.evaluate_every",
    "fit.workers", "fit.cache_mb", "fit.device",
}  # fmt: skip


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary name beside ``path``, flush to the disk, rename.

    Raises ModelError where that fails; what was at ``path`` is then still there.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format": _FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch turns an error of the file into one of its own
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        if shutil.disk_usage(path.parent).free < _NO_SPACE:
            reason = os.strerror(errno.ENOSPC)
        raise ModelError(
            f"checkpoint {path} was not written: {reason}; free some space or choose another out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise ModelError now where a checkpoint could not be written at the end of a long training."""
    if path.is_dir():
        raise ModelError(f"checkpoint {path} cannot be written: it is a folder; choose another out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(path.name + ".partial")
        probe.touch()
        probe.unlink(missing_ok=True)  # another process of the run may have been as fast
    except OSError as error:
        raise ModelError(f"checkpoint {path} cannot be written: {error.strerror}; choose another out") from error


def require_another(out: Path, source: Path) -> None:
    """Raise InvalidValue where what is written is a folder, or would replace what it is made from."""
    if out.is_dir():
        raise InvalidValue(f"--out {out} is a folder; name a file")
    if out.exists() and source.exists() and out.samefile(source):
        raise InvalidValue(f"--out {out} is the model that it would be made from; choose another")


def checkpoint_to_resume(path: Path, *, kind: str, config: object, resume: bool) -> dict[str, Any] | None:
    """What a run goes on from, None where it begins; raises ModelError now for what would fail at the end.

    That is a place that cannot be written, and a checkpoint of another run.
    """
    content = begun(path, kind=kind, resume=resume)
    if content is None:
        return None
    if "adaptation" in content:
        raise ModelError(f"{path} is an adapted model; vehicle-model adapt goes on with it, or give another out")
    if "fit" not in content:
        raise ModelError(f"{path} holds a finished model without its optimizer; leave --resume away")
    theirs = from_mapping(type(config), content["config"])  # keys newer than the checkpoint stand at their defaults
    require_same_run(as_mapping(theirs), as_mapping(config), path)
    return content


def begun(path: Path, *, kind: str, resume: bool) -> dict[str, Any] | None:
    """The checkpoint at ``path``, None where there is none or it is not gone on with; raises ModelError."""
    require_writable(path)
    return load_checkpoint(path, kind=kind) if resume and path.exists() else None


def set_aside(path: Path) -> None:
    """Keep what is at ``path`` under another name, so that a run that begins there loses nothing. For one process."""
    if not path.exists():
        return
    names = (f"{path.name}.before{n}" for n in ("", *(f"-{n}" for n in range(2, 1000))))
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    path.replace(aside)
    tqdm.write(f"the checkpoint that was at {path} is now {aside}", file=sys.stderr)


def require_same_run(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: Path) -> None:
    """Raise ModelError naming the first key in which a run differs from the one that it would go on with.

    Where and how long it runs may differ, what it learns from and how may not.
    """
    changed = first_difference(theirs, ours, but=_MAY_CHANGE)
    if changed:
        raise ModelError(f"{path} was trained with {changed}; give another out, or leave --resume away")


def first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], *, but: Collection[str] = ()) -> str:
    """The first key in which two configurations differ, with both values; empty where they are the same."""
    before, now = _flat(theirs), _flat(ours)
    for key in sorted(before.keys() | now.keys()):
        if key not in but and before.get(key) != now.get(key):
            return f"{key} = {before.get(key)!r}, now it is {now.get(key)!r}"
    return ""


def _flat(document: object, prefix: str = "") -> dict[str, object]:
    pairs = (
        document.items() if isinstance(document, Mapping) else enumerate(document) if isinstance(document, list) else ()
    )
    flat: dict[str, object] = {}
    for key, value in pairs:
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping | list) else {name: value}
    return flat


def hash_of(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names and values in hex: which weights these are."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path, *, kind: str) -> dict[str, Any]:
    """Read a checkpoint of ``kind`` (``vnet`` or ``mvan``); raises ModelError when it is another thing."""
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist; vehicle-model train or train-vnet writes one")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost anything for bytes that are wrong, with advice better not followed
        raise ModelError(f"checkpoint {path} cannot be read: it is damaged or no checkpoint") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelError(f"{path} is not a checkpoint of this release (format {_FORMAT})")
    if content.get("kind") != kind:
        raise ModelError(f"{path} is a {content.get('kind')} checkpoint, a {kind} one is needed")
    return content
