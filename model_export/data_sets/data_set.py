"""A data set as the trainer sees it, whatever its layout on disk: rows by part, and what was odd about them.

``veri776:DIR``, ``vehicleid:DIR``, ``vehicle-orientation:DIR``, ``uc3m-vri:DIR`` and ``manifest:FILE`` (or a bare path)
name one on a command line and in configurations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from index.errors import InvalidValue
from index.manifest import ManifestRow

Protocol = Literal["veri776", "vehicleid", "cross-camera", "cross-viewpoint"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of oddity. ``examples`` are a few of its places, ``fatal`` ones would falsify a result."""

    what: str
    count: int
    examples: tuple[str, ...] = ()
    skipped: int = 0  # pictures left out because of it
    fatal: bool = False


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Rows by part: ``train``, ``query``, ``gallery``; a set without a split has ``train`` only.

    VehicleID has no queries of its own: all its test pictures are ``gallery``, and a seeded draw over ``test_sizes``
    tells queries from gallery.

    ``protocol`` says how it is measured: VeRi-776's own, VehicleID's seeded draws, or every camera against the others.
    """

    name: str
    root: Path
    protocol: Protocol
    parts: Mapping[str, tuple[ManifestRow, ...]]
    findings: tuple[Finding, ...] = ()
    test_sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # VehicleID: vehicles of each test list

    def part(self, name: str) -> tuple[ManifestRow, ...]:
        """Rows of a part; raises InvalidValue naming those that there are."""
        if name not in self.parts:
            raise InvalidValue(f"data set {self.name} has no part {name!r}; it has {', '.join(self.parts)}")
        return self.parts[name]

    def left_out(self) -> tuple[str, ...]:
        """A line for each finding that cost pictures: what, how many, and a few of them."""
        return tuple(
            f"{self.name}: {finding.what}; left out {finding.skipped:,} (as {', '.join(finding.examples)})"
            for finding in self.findings
            if finding.skipped
        )

    def require_sound(self) -> None:
        """Raise InvalidValue where a finding would falsify a result."""
        for finding in self.findings:
            if finding.fatal:
                raise InvalidValue(f"{self.name} at {self.root}: {finding.what} ({', '.join(finding.examples)})")


def open_data_set(spec: str, *, root: Path = Path()) -> DataSet:
    """Read a data set by its spec, paths relative to ``root``; raises InvalidValue for a name or layout not known."""
    kind, sign, place = spec.partition(":")
    if not sign:
        kind, place = "manifest", spec
    readers = _readers()
    if kind not in readers:
        raise InvalidValue(f"data set {spec!r}: {kind!r} is not one of {', '.join(readers)}")
    if not place:
        raise InvalidValue(f"data set {spec!r} names no place; write {kind}:PATH")
    return readers[kind](root / Path(place).expanduser())  # no shell expands the ~ of veri776:~/VeRi


def _readers() -> dict[str, Callable[[Path], DataSet]]:
    from model_export.data_sets.manifest_set import read_manifest_set
    from model_export.data_sets.uc3m_vri import read_uc3m_vri
    from model_export.data_sets.vehicle_orientation import read_vehicle_orientation
    from model_export.data_sets.vehicleid import read_vehicleid
    from model_export.data_sets.veri776 import read_veri776

    return {
        "veri776": read_veri776,
        "vehicleid": read_vehicleid,
        "vehicle-orientation": read_vehicle_orientation,
        "uc3m-vri": read_uc3m_vri,
        "manifest": read_manifest_set,
    }
