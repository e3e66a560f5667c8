"""Which data folder, which gallery and which model a command works on: options that many commands take."""

import argparse
from pathlib import Path

from index.data_folder import DEFAULT
from index.gallery import KINDS, VECTORS

_KIND = (
    "of a gallery that is created: flat looks at every image, hnsw and ivf at few, and miss about one near image in a "
    "hundred; auto is flat while that is quick, then hnsw (default: flat)"
)
_VECTORS = (
    "of a gallery that is created: how its index keeps them in memory, 4, 2 or 1 byte a number; distances stay exact "
    "(default: fp32)"
)


def add_data_dir(command: argparse.ArgumentParser) -> None:
    """``--data-dir``, a folder that is there or is made."""
    command.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the galleries (default: data)")


def add_gallery(command: argparse.ArgumentParser, what: str) -> None:
    """``--gallery``, the one to do ``what`` with, unless it is named the default one."""
    command.add_argument("--gallery", default=DEFAULT, help=f"gallery to {what} (default: {DEFAULT})")


def add_galleries(command: argparse.ArgumentParser) -> None:
    """``--gallery`` of a command that works on all."""
    command.add_argument("--gallery", help="one gallery (default: all)")


def add_device(command: argparse.ArgumentParser) -> None:
    """``--device`` and ``--gpu-model-memory`` of a command that runs a model."""
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the model runs (default: auto)"
    )
    command.add_argument(
        "--gpu-model-memory", type=int, default=0, metavar="BYTES",
        help="of the GPU that the model may take (default: 0, as many as it asks for)",
    )  # fmt: skip


def add_kind(command: argparse.ArgumentParser) -> None:
    """``--kind`` and ``--vectors`` of a command that may create a gallery; None where they are not given."""
    command.add_argument("--kind", choices=KINDS, help=_KIND)
    command.add_argument("--vectors", choices=VECTORS, help=_VECTORS)
