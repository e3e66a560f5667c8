"""Checkpoints: everything a later day needs, written so that a crash leaves the old one or the new one."""

import os
from pathlib import Path
from typing import Any

import torch

from index.errors import ModelError

_FORMAT = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary name beside ``path``, flush to the disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": _FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise ModelError now where a checkpoint could not be written at the end of a long training."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(path.name + ".partial")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ModelError(f"checkpoint {path} cannot be written: {error.strerror}; choose another out") from error


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
