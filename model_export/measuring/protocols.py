"""How each data set is measured: who probes whom, and what is left out.

- ``veri776``: part ``query`` against part ``gallery``, the probe's vehicle as its own camera saw it left out (Liu et
  al. 2016, "Large-scale vehicle re-identification in urban surveillance videos"; 1,678 × 11,579 pictures).
- ``vehicleid``: for each test list ten draws of one picture a vehicle into the gallery, all others probe, nothing is
  left out (Liu et al. 2016, "Deep relative distance learning"). A vehicle with one picture stands in the gallery only.
  The lists of 800, 1,600 and 2,400 vehicles are measured, which papers quote; ``part`` names others.
- ``cross-camera``: every picture (or those of part ``test``, or those that ``part`` names) against all pictures of the
  other cameras, the vehicles of training among them.
- ``cross-viewpoint``, for any data set whose rows say their viewpoint: the pictures that ``part`` names (or part
  ``test``, or all) against each other; what shares the probe's viewpoint or camera is left out. It tells whether a
  vehicle is found from a side that the probe does not show.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index.errors import InvalidValue
from index.manifest import ManifestRow
from model_export.data_sets.data_set import DataSet, Protocol
from model_export.data_sets.selection import Selection
from model_export.measuring.distances import Positions
from model_export.measuring.scoring import Label, Rule

DRAWS = 10
PAPER_LISTS = ("800", "1600", "2400")  # of VehicleID
VERI_SIZE = (1678, 11579)  # probes, gallery

_RULES: dict[Protocol, Rule] = {
    "veri776": "same-camera-junk", "vehicleid": "everything", "cross-camera": "other-cameras",
    "cross-viewpoint": "other-viewpoints",
}  # fmt: skip

_ANOTHER_CAMERA = "give it, or a wider --part, vehicles that two cameras saw (camera_id)"
_NEEDED: dict[Rule, str] = {  # where no probe has a match
    "same-camera-junk": _ANOTHER_CAMERA,
    "other-cameras": _ANOTHER_CAMERA,
    "other-viewpoints": "give it, or a wider --part, vehicles that two cameras saw from two viewpoints",
    "everything": "its test list needs vehicles with two pictures or more",
}


@dataclass(frozen=True)
class Draw:
    """One ranking: ``probes`` (Q,) against ``gallery`` (G,), both positions in the plan's rows."""

    probes: Positions
    gallery: Positions


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is embedded, and the rankings that are made of it, by test list (one called "" where there are none)."""

    data_set: str
    protocol: Protocol
    rows: tuple[ManifestRow, ...]
    draws: Mapping[str, tuple[Draw, ...]]
    tested: Positions  # rows whose viewpoint is judged
    note: str = ""  # why the figures are not those of the published protocol

    @property
    def rule(self) -> Rule:
        """What is left out of a probe's ranking."""
        return _RULES[self.protocol]

    def labels(self, positions: Positions) -> list[Label]:
        """(vehicle_id, camera_id) of so many rows."""
        return [(self.rows[at].vehicle_id or "", self.rows[at].camera_id or "") for at in positions]

    def viewpoints(self, positions: Positions) -> list[str]:
        """Labelled viewpoint of so many rows, empty where there is none."""
        return [self.rows[at].viewpoint or "" for at in positions]


def plan(data: DataSet, *, part: str = "", seed: int = 0, protocol: Protocol | None = None) -> Plan:
    """How ``data`` is measured: by its own protocol, or ``cross-viewpoint`` where that is asked for.

    ``part`` narrows the probes: COLUMN=VALUE[,VALUE], or N% of the vehicles drawn by ``seed``; for VehicleID it names
    test lists, LIST[,LIST]. Raises InvalidValue where the data set's own check found it unsound, where a row lacks what
    the protocol needs, and where nothing is left to measure or no probe has a match.
    """
    data.require_sound()
    if protocol not in (None, data.protocol, "cross-viewpoint"):
        raise InvalidValue(f"protocol {protocol} does not fit {data.name}; {data.protocol} and cross-viewpoint do")
    planned = _by_protocol(data, part, seed, protocol)
    for name, draws in planned.draws.items():
        if not all(_any_match(planned, draw) for draw in draws):
            where = f", list {name}" if name else f", part {part}" if part else ""
            raise InvalidValue(
                f"data set {data.name} at {data.root}{where}: no probe has a match in the gallery, so nothing can be "
                f"measured; {_NEEDED[planned.rule]}"
            )
    return planned


def _by_protocol(data: DataSet, part: str, seed: int, protocol: Protocol | None) -> Plan:
    if "cross-viewpoint" in (protocol, data.protocol):
        return _cross_viewpoint(data, part, seed)
    if data.protocol == "vehicleid":
        return _vehicleid(data, part, seed)
    if data.protocol == "veri776":
        return _veri776(data, part, seed)
    return _cross_camera(data, part, seed)


def _any_match(planned: Plan, draw: Draw) -> bool:
    """Whether some probe's vehicle is in the gallery as the plan's rule wants it."""
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)  # (camera, viewpoint) by vehicle
    gallery = zip(planned.labels(draw.gallery), planned.viewpoints(draw.gallery), strict=True)
    for (vehicle, camera), viewpoint in gallery:
        seen[vehicle].add((camera, viewpoint))
    probes = zip(planned.labels(draw.probes), planned.viewpoints(draw.probes), strict=True)
    return any(
        planned.rule == "everything"
        or (other_camera != camera and (planned.rule != "other-viewpoints" or other_viewpoint != viewpoint))
        for (vehicle, camera), viewpoint in probes
        for other_camera, other_viewpoint in seen.get(vehicle, ())
    )


def _veri776(data: DataSet, part: str, seed: int) -> Plan:
    query, gallery = _chosen(data.part("query"), part, seed), data.part("gallery")
    rows = (*query, *gallery)
    _require(data, rows, "vehicle_id", "camera_id")
    sizes = len(query), len(gallery)
    whole = "" if part or sizes == VERI_SIZE else (
        f"VeRi-776 has {VERI_SIZE[0]:,} × {VERI_SIZE[1]:,} pictures, this copy {sizes[0]:,} × {sizes[1]:,}: "
        "not to be compared with published figures"
    )  # fmt: skip
    draw = Draw(np.arange(len(query)), np.arange(len(query), len(rows)))
    return Plan(
        data_set=data.name, protocol=data.protocol, rows=rows, draws={"": (draw,)},
        tested=draw.probes if part else _distinct(rows), note=whole,
    )  # fmt: skip


def _cross_camera(data: DataSet, part: str, seed: int) -> Plan:
    rows = tuple(row for own in data.parts.values() for row in own)
    _require(data, rows, "vehicle_id", "camera_id")
    named = data.part(part) if part in data.parts else None
    probes = named or _chosen(data.parts.get("test", rows), part, seed)
    at = {id(row): position for position, row in enumerate(rows)}
    draw = Draw(np.array([at[id(row)] for row in probes], np.intp), np.arange(len(rows)))
    return Plan(
        data_set=data.name, protocol=data.protocol, rows=rows, draws={"": (draw,)}, tested=draw.probes,
    )  # fmt: skip


def _cross_viewpoint(data: DataSet, part: str, seed: int) -> Plan:
    everything = tuple(row for own in data.parts.values() for row in own)
    rows = data.part(part) if part in data.parts else _chosen(data.parts.get("test", everything), part, seed)
    _require(data, rows, "vehicle_id", "camera_id", "viewpoint")
    at = np.arange(len(rows))
    return Plan(data_set=data.name, protocol="cross-viewpoint", rows=rows, draws={"": (Draw(at, at),)}, tested=at)


def _vehicleid(data: DataSet, part: str, seed: int) -> Plan:
    if not data.test_sizes:
        raise InvalidValue(f"data set {data.name} at {data.root} has no test list; VehicleID is measured by its own")
    names = part.split(",") if part else [name for name in PAPER_LISTS if name in data.test_sizes] or data.test_sizes
    for name in names:
        if name not in data.test_sizes:
            raise InvalidValue(f"--part {name!r}: data set {data.name} has the test lists {', '.join(data.test_sizes)}")
    lists = {name: data.test_sizes[name] for name in names}
    wanted = {vehicle for vehicles in lists.values() for vehicle in vehicles}
    rows = tuple(row for row in data.part("gallery") if row.vehicle_id in wanted)
    _require(data, rows, "vehicle_id")
    draws = {name: _vehicleid_draws(rows, vehicles, seed) for name, vehicles in lists.items()}
    return Plan(data_set=data.name, protocol=data.protocol, rows=rows, draws=draws, tested=np.arange(len(rows)))


def _vehicleid_draws(rows: Sequence[ManifestRow], vehicles: Iterable[str], seed: int) -> tuple[Draw, ...]:
    pictures: dict[str, list[int]] = {vehicle: [] for vehicle in vehicles}
    for position, row in enumerate(rows):
        if row.vehicle_id in pictures:
            pictures[row.vehicle_id].append(position)
    owned = [np.array(own, np.intp) for _, own in sorted(pictures.items()) if own]
    if not owned:
        raise InvalidValue("no picture belongs to a vehicle of the test list; nothing can be measured")
    everything = np.sort(np.concatenate(owned))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        gallery = np.array([own[rng.integers(len(own))] for own in owned], np.intp)
        draws.append(Draw(np.setdiff1d(everything, gallery, assume_unique=True), gallery))
    return tuple(draws)


def _distinct(rows: Sequence[ManifestRow]) -> Positions:
    """One position of each picture: VeRi-776's query pictures are in its gallery too."""
    return np.array(sorted({(row.path.name, row.box): at for at, row in enumerate(rows)}.values()), np.intp)


def _chosen(rows: Sequence[ManifestRow], part: str, seed: int) -> tuple[ManifestRow, ...]:
    """The rows that ``part`` names, all where it names none."""
    if not part:
        return tuple(rows)
    return tuple(Selection.parse(part, called="--part").chosen(rows, seed=seed))


def _require(data: DataSet, rows: Sequence[ManifestRow], *columns: str) -> None:
    if not rows:
        raise InvalidValue(f"data set {data.name} at {data.root} has no pictures to measure on")
    if all(row.vehicle_id is None for row in rows):
        raise InvalidValue(
            f"data set {data.name} at {data.root} names no vehicle, so nothing can be found again; it may teach V-Net "
            "(vehicle-model train-vnet)"
        )
    for row in rows:
        for column in columns:
            if getattr(row, column) is None:
                raise InvalidValue(
                    f"data set {data.name} line {row.line}, {row.path.name}: {column} is empty; measuring needs it in "
                    "every row"
                )
