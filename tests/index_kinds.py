"""Every kind of index with every form of vectors, and small galleries that take the ways of large ones."""

from functools import cache
from typing import cast

import pytest

from index.errors import IndexDeviceUnavailable
from index.gallery import BuiltKind, Kind, Vectors
from index.searching.built_index import BuiltIndex
from index.searching.gpu_resources import GpuResources
from index.searching.index_device import IndexDevice
from index.searching.index_kind import class_of
from index.searching.mirrored_index import MirroredIndex
from tests.host_device import HostDevice


class OnDevice(tuple[Kind, Vectors]):
    """A kind and form with a device that holds a copy: "host" (``HostDevice``) or "cuda"."""

    device: str

    @classmethod
    def of(cls, kind: Kind, vectors: Vectors, device: str) -> "OnDevice":
        """One."""
        made = cls((kind, vectors))
        made.device = device
        return made


BUILT: list[tuple[Kind, Vectors]] = [
    ("flat", "fp16"), ("flat", "sq8"), ("ivf", "fp32"), ("ivf", "fp16"), ("ivf", "sq8"), ("hnsw", "fp32"),
    ("hnsw", "fp16"), ("hnsw", "sq8"),
]  # fmt: skip
ALL: list[tuple[Kind, Vectors]] = [("flat", "fp32"), *BUILT]
MIRRORED = [
    pytest.param(OnDevice.of("flat", vectors, device), marks=marks)
    for device, marks in (("host", ()), ("cuda", pytest.mark.gpu))
    for vectors in ("fp32", "fp16")
]
BUILT_ANYWHERE = [*BUILT, *MIRRORED]
ALL_ANYWHERE = [*ALL, *MIRRORED]

EARLY = {
    ("index.searching.index_kind", "_BUILT_FROM"): 2,
    ("index.searching.index_upkeep", "_MOVED_FROM"): 1,
    ("index.searching.index_upkeep", "_SNAPSHOT_FROM"): 20,
}


def kind_name(kind: object) -> str:
    """As a test's id."""
    on = f"-on-{kind.device}" if isinstance(kind, OnDevice) else ""
    return "-".join(map(str, kind)) + on if isinstance(kind, tuple) else str(kind)


def build_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is built from two rows on, rows are taken in one by one, and a snapshot is worth it for few."""
    for (module, name), value in EARLY.items():
        monkeypatch.setattr(f"{module}.{name}", value)


@cache
def gpu() -> GpuResources:
    """The one owner of the GPU in this process; the test is skipped where there is none."""
    try:
        return GpuResources()
    except IndexDeviceUnavailable as error:
        pytest.skip(str(error))


def device_of(kind: object) -> IndexDevice | None:
    """What holds the copy, where one does."""
    if not isinstance(kind, OnDevice):
        return None
    return gpu() if kind.device == "cuda" else HostDevice()


def index_class(kind: tuple[Kind, Vectors]) -> type[BuiltIndex]:
    """What is built of a kind."""
    return class_of(cast(BuiltKind, kind[0]), mirrored=isinstance(kind, OnDevice))


def mirror(built: BuiltIndex, kind: object) -> None:
    """Let the device answer, where there is one."""
    if (device := device_of(kind)) is not None:
        assert isinstance(built, MirroredIndex)
        built.mirror(device, "the index", pytest.fail)
