"""What a finished part of a reproduction leaves behind: a JSON file that says what it was made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.errors import ModelError
from index.whole_file import write_whole
from model_export.training.checkpoint import first_difference, load_checkpoint
from model_export.training.configuration import as_mapping, from_mapping

_PLACES = {
    "out",
    "data_root",
    "vnet",
    "fit.device",
    "fit.workers",
    "fit.cache_mb",
    "fit.checkpoint_every",
    "fit.evaluate_every",
}  # say nothing about the result


def read_record(path: Path, configuration: object, digest: str) -> dict[str, Any] | None:
    """The record at ``path``, None where there is none; ``configuration`` is the dataclass that it is made from.

    Raises ModelError where it was made from another configuration or other pictures, or cannot be read.
    """
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        theirs, digest_then = record["configuration"], record["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be read; remove {path.parent} to make it again") from error
    _require_same(path.parent, theirs, configuration)
    if digest_then != digest:
        raise ModelError(
            f"{path.parent} was made from other pictures, labels or another V-Net; give another --out, or remove it to "
            "make it again"
        )
    return record


def write_record(path: Path, content: Mapping[str, Any], configuration: object, digest: str) -> None:
    """Write beside, flush, rename: a crash leaves no record or a whole one. Raises ModelError."""
    try:
        write_whole(path, json.dumps({**content, "configuration": as_mapping(configuration), "digest": digest}))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written: {error.strerror}; free some space or give another --out"
        ) from error


@dataclass(frozen=True)
class Begun:
    """A training that was left: its iteration, and whether it may go on (a finished one keeps only its weights)."""

    step: int
    resumable: bool


def begun_training(checkpoint: Path, configuration: object, digest: str, *, kind: str) -> Begun | None:
    """How far the training of ``checkpoint`` came, None where there is none; what it begins with is then written down.

    Raises ModelError where the checkpoint is of another configuration or other pictures.
    """
    note = checkpoint.with_name("begun.json")  # a checkpoint itself tells nothing of its pictures
    if not checkpoint.exists():
        write_record(note, {}, configuration, digest)
        return None
    if read_record(note, configuration, digest) is None:
        raise ModelError(f"{checkpoint} says not from which pictures; remove {checkpoint.parent} to make it again")
    content = load_checkpoint(checkpoint, kind=kind)
    _require_same(checkpoint.parent, content["config"], configuration)
    return Begun(step=int(content["step"]), resumable="fit" in content)


def _require_same(folder: Path, theirs: dict[str, Any], ours: object) -> None:
    before = as_mapping(from_mapping(type(ours), theirs))  # keys that are newer stand at their defaults
    changed = first_difference(before, as_mapping(ours), but=_PLACES)
    if changed:
        raise ModelError(f"{folder} was made with {changed}; give another --out, or remove it to make it again")
