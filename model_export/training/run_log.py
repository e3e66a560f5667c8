"""What a run tells while it goes: one JSON object a line, and the same for TensorBoard."""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

_LEAST = 1 << 20  # free bytes below which nothing is logged


class RunLog:
    """Appends to ``log.jsonl`` in ``folder``; ``step`` counts iterations, ``seconds`` the time since opening.

    What cannot be written (a full disk) is told once and left out: no training ends for its log.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._board: SummaryWriter | None = None
        self._began = time.monotonic()
        self._told = False

    def write(self, step: int, figures: Mapping[str, float], *, kind: str) -> None:
        """Figures of a step; ``kind`` (``train``, ``measure``) is their group."""
        line = {"kind": kind, "step": step, "seconds": round(time.monotonic() - self._began, 3), **figures}
        if not self._room():
            return
        with self._unless_full():
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            for name, value in figures.items():
                self._opened().add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """An RGB picture of a step; TensorBoard shows it."""
        if not self._room():
            return
        with self._unless_full():
            self._opened().add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        with self._unless_full():
            self._file.close()
        with self._unless_full():
            if self._board is not None:
                self._board.close()

    def _opened(self) -> SummaryWriter:
        if self._board is None:
            self._board = SummaryWriter(str(self._folder))
        return self._board

    def _room(self) -> bool:
        """Whether there is room: TensorBoard writes from a thread of its own, whose errors nobody can catch."""
        room = shutil.disk_usage(self._folder).free > _LEAST
        if not room:
            self._tell("the disk is full")
        return room

    @contextmanager
    def _unless_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._tell(str(error.strerror))

    def _tell(self, reason: str) -> None:
        if not self._told:
            tqdm.write(f"the log cannot be written: {reason}; the training goes on", file=sys.stderr)
        self._told = True


def log_folder(out: Path) -> Path:
    """Where a run that writes the checkpoint ``out`` logs: ``runs/a.pt`` → ``runs/a-log``."""
    return out.with_name(f"{out.stem}-log")
