"""What a run tells while it goes: one JSON object a line, and the same for TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Appends to ``log.jsonl`` in ``folder``; ``step`` counts iterations, ``seconds`` the time since opening."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder))
        self._began = time.monotonic()

    def write(self, step: int, figures: Mapping[str, float], *, kind: str) -> None:
        """Figures of a step; ``kind`` (``train``, ``measure``) is their group."""
        line = {"kind": kind, "step": step, "seconds": round(time.monotonic() - self._began, 3), **figures}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """An RGB picture of a step; TensorBoard shows it."""
        self._board.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        self._board.close()


def log_folder(out: Path) -> Path:
    """Where a run that writes the checkpoint ``out`` logs: ``runs/a.pt`` → ``runs/a-log``."""
    return out.with_name(f"{out.stem}-log")
