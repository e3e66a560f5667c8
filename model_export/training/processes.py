"""Where a run computes: one device a process, started alone or by ``torchrun`` as one of several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import distributed

from index.errors import ModelError

DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Processes:
    """One process among those of a run. Rank 0 measures, logs and writes."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process speaks for the run."""
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def started(wanted: DeviceName) -> Iterator[Processes]:
    """Join the run that ``torchrun`` describes in the environment, or be alone.

    ``auto`` takes a GPU where there is one. Raises ModelError where ``cuda`` is wanted and absent, or where there are
    fewer GPUs than processes on this machine.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = _device(wanted, local)
    if world > 1:
        distributed.init_process_group("gloo" if device.type == "cpu" else "nccl")
    processes = Processes(rank, world, device)
    try:
        yield processes
        processes.wait_for_all()  # the first one still writes; a group that loses a member aborts the others
    finally:
        if world > 1:
            distributed.destroy_process_group()


def _device(wanted: DeviceName, local: int) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelError(
            "fit.device is cuda, but torch finds no GPU; check the driver and that torch is a CUDA build, or set "
            "fit.device=cpu"
        )
    if local >= torch.cuda.device_count():
        raise ModelError(
            f"process {local} of this machine finds {torch.cuda.device_count()} GPUs; start fewer with --nproc-per-node"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
