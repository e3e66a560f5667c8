"""Machines for so many rows and searches: sums over what was measured, and what gives way first.

One service answers from one machine. Rows that do not fit there are parted among machines, each of which is asked by
every search (a shard); where these have too few cores all of it is there several times (a copy). Each service that is
asked is sent the picture and embeds it, because none is asked by vector. So a search costs
``shards · (picture + t(rows / shards))`` of a core, where t is what was measured for one machine.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

from index.errors import InvalidValue
from index.planning.measured_points import BASE_BYTES, CROP_BYTES, IMPORT_SECONDS, KINDS, PICTURE_SECONDS, MeasuredKind

BUSY: Final = 0.6  # of the cores at most: beyond, waiting grows quickly
FILLED: Final = 0.7  # of memory and disk at most
MOST_ROWS: Final = 1e12
GIB: Final = 2**30


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One of those that there are; bytes."""

    cores: int = 16
    memory: float = 128 * GIB
    disk: float = 4000 * GIB


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of all together: ``searches`` and ``added`` pictures a second; ``crop`` bytes of each."""

    rows: float
    searches: float = 1.0
    added: float = 0.0
    crop: float = CROP_BYTES

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("searches", 0), ("added", 0), ("crop", 0)):
            value = getattr(self, name)
            if not least <= value <= MOST_ROWS:
                raise InvalidValue(f"{name} = {value:g} is not between {least} and {MOST_ROWS:g}")


@dataclass(frozen=True, kw_only=True)
class CapacityPlan:
    """For one kind of index. Shares are of what a machine has; ``beyond``: rows of a shard over the most measured."""

    kind: str
    shards: int
    copies: int
    memory: float  # bytes a machine
    disk: float
    cores_used: float  # a machine
    search_seconds: float  # of one, when nobody waits
    build_seconds: float  # of a shard's index, once
    first: str  # what gives way first: memory, disk or cores
    beyond: float

    @property
    def machines(self) -> int:
        """All of them."""
        return self.shards * self.copies


def plan(kind: str, load: Load, machine: Machine) -> CapacityPlan:
    """The fewest machines that hold the rows and bear the load; raises InvalidValue where one holds no rows at all."""
    measured = KINDS[kind]
    room = machine.memory * FILLED - BASE_BYTES
    if room <= 0:
        least = BASE_BYTES / GIB / FILLED
        raise InvalidValue(
            f"memory = {machine.memory / GIB:g} GiB holds no rows beside the model; {least:.1f} is the least"
        )
    a_row = measured.disk + load.crop
    shards = max(1, ceil(load.rows * measured.memory / room), ceil(load.rows * a_row / (machine.disk * FILLED)))
    rows = load.rows / shards
    cores = _cores(measured, load, shards)
    copies = max(1, ceil(cores / (shards * machine.cores * BUSY)))
    memory, disk = rows * measured.memory + BASE_BYTES, rows * a_row
    used = cores / (shards * copies)
    shares = {
        "memory": memory / machine.memory / FILLED,
        "disk": disk / machine.disk / FILLED,
        "cores": used / machine.cores / BUSY,
    }
    return CapacityPlan(
        kind=kind, shards=shards, copies=copies, memory=memory, disk=disk, cores_used=used,
        search_seconds=PICTURE_SECONDS + measured.search_seconds(rows), build_seconds=measured.build_seconds(rows),
        first=max(shares, key=lambda name: shares[name]), beyond=measured.beyond(rows),
    )  # fmt: skip


def _cores(measured: MeasuredKind, load: Load, shards: int) -> float:
    """Cores that all machines together are busy with."""
    search = shards * (PICTURE_SECONDS + measured.search_seconds(load.rows / shards))
    return load.searches * search + load.added * IMPORT_SECONDS
