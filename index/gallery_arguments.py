"""Which data folder, which gallery and which model a command works on: options that many commands take."""

import argparse
from pathlib import Path

from index.data_folder import DEFAULT


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
