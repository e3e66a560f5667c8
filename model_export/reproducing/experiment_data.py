"""What a reproduction trains and measures on: a data set that is given, or renders with whole meshes held out."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from index.errors import InvalidValue
from model_export.data_sets.data_set import DataSet, Protocol, open_data_set
from model_export.data_sets.renders import RenderConfig, render_data_set
from model_export.data_sets.selection import Selection
from model_export.measuring.protocols import Plan, plan
from model_export.reproducing.budgets import Renders

DEFAULT_HOLD_OUT = "30%"  # of the vehicles of a manifest, which has no test part of its own

_THREE, _TWO = ("front", "rear", "side"), ("front", "rear")


@dataclass(frozen=True, kw_only=True)
class ExperimentData:
    """Where M-Net and V-Net learn, what is held out, and how it is measured."""

    spec: str
    hold_out: str  # see Selection; empty where the data set has a test part
    vnet_spec: str
    vnet_hold_out: str
    leave_out: tuple[str, ...]  # labels that V-Net does not learn; "" for pictures without one
    viewpoints: tuple[str, ...]
    plan: Plan
    digest: str  # of everything above and of all rows

    @property
    def what(self) -> str:
        """One line for the report."""
        [draw, *more] = self.plan.draws[self.largest]
        protocol = f"{self.plan.protocol}{f', {1 + len(more)} draws' if more else ''}"
        held = f", held out: {self.hold_out}" if self.hold_out else ""
        list_name = f" (list {self.largest})" if self.largest else ""
        return f"{self.spec}{list_name}: {protocol}, {len(draw.probes)} probes × {len(draw.gallery)}{held}"

    @property
    def largest(self) -> str:
        """The test list with the largest gallery, whose figures are told."""
        return max(self.plan.draws, key=lambda name: len(self.plan.draws[name][0].gallery))


def given(spec: str, vnet_spec: str, hold_out: str, *, seed: int, viewpoints_needed: bool = True) -> ExperimentData:
    """A data set by its spec; ``vnet_spec`` empty: its own viewpoint labels.

    A manifest holds ``hold_out`` back and is measured from viewpoint to viewpoint where its rows name them, else from
    camera to camera; VeRi-776 and VehicleID are measured by their own protocol. VehicleID has two viewpoints. Raises
    InvalidValue, also where viewpoints are needed and not labelled.
    """
    data = open_data_set(spec)
    own_test = data.protocol != "cross-camera"
    if own_test and hold_out:
        raise InvalidValue(f"--hold-out {hold_out!r}: {spec} has a test part of its own; leave --hold-out away")
    hold_out = "" if own_test else hold_out or DEFAULT_HOLD_OUT
    planned = plan(data, part=hold_out, seed=seed, protocol=_protocol(data, hold_out, seed))
    viewpoints = _TWO if data.protocol == "vehicleid" else _THREE
    labelled = open_data_set(vnet_spec) if vnet_spec else data
    labels = [row.viewpoint or "" for row in labelled.part("train")]
    for name in viewpoints:
        if viewpoints_needed and name not in labels:
            raise InvalidValue(
                f"{vnet_spec or spec} labels no picture {name}, which V-Net has to learn; name a set that does with "
                "--vnet-data"
            )
    digest = hashlib.sha256(json.dumps([spec, hold_out, vnet_spec, viewpoints, seed]).encode())
    for own in (data, labelled):
        digest.update(_digest(own).encode())
    return ExperimentData(
        spec=spec, hold_out=hold_out, vnet_spec=vnet_spec or spec,
        vnet_hold_out=hold_out if vnet_spec in ("", spec) else "",
        leave_out=tuple(sorted(set(labels) - set(viewpoints))), viewpoints=viewpoints, plan=planned,
        digest=digest.hexdigest(),
    )  # fmt: skip


def rendered(renders: Renders, meshes: Path, folder: Path, *, seed: int, processes: int = 2) -> ExperimentData:
    """Vehicles rendered from the meshes in ``meshes`` into ``folder``, once; some whole meshes are held out.

    Raises InvalidValue where there are fewer than four meshes, or where ``folder`` holds other renders.
    """
    names = sorted(path.stem for path in meshes.glob("*.glb"))
    if len(names) < 4:
        raise InvalidValue(f"--meshes {meshes} holds {len(names)} .glb meshes; four are needed, to hold some out")
    held = held_meshes(names, share=renders.held_out, seed=seed)
    config = RenderConfig(
        meshes=meshes, out=folder, identities=renders.identities, views=renders.views, size=renders.size, seed=seed,
        processes=processes,
    )  # fmt: skip
    made = {**asdict(config), "meshes": names}
    made = {key: value for key, value in made.items() if key not in ("out", "processes", "only")}
    note, manifest = folder / "renders.json", folder / "manifest.csv"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != made:
        raise InvalidValue(f"{folder} holds renders of other meshes, sizes or seeds; give another --out, or remove it")
    if not (note.exists() and manifest.exists()):
        render_data_set(config)
        note.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return given(f"manifest:{manifest}", "", f"mesh={','.join(held)}", seed=seed)


def held_meshes(names: Sequence[str], *, share: float, seed: int) -> list[str]:
    """A share of the meshes, drawn by the seed; at least two, so that what is held out is not all of one shape."""
    count = max(2, round(len(names) * share))
    return sorted(np.random.default_rng(seed).permutation(np.array(names))[:count].tolist())


def _protocol(data: DataSet, hold_out: str, seed: int) -> Protocol | None:
    """Cross-viewpoint for a manifest whose held-out rows all name viewpoints, else the data set's own."""
    if data.protocol != "cross-camera":
        return None
    _, held = Selection.parse(hold_out, called="--hold-out").split(data.part("train"), seed=seed)
    return "cross-viewpoint" if all(row.viewpoint for row in held) else None


def _digest(data: DataSet) -> str:
    """Of every row's name and labels, so that rows of other pictures are not taken for these."""
    digest = hashlib.sha256()
    for part, rows in sorted(data.parts.items()):
        for row in rows:
            digest.update(repr((part, row.path.name, row.vehicle_id, row.camera_id, row.viewpoint)).encode())
    return digest.hexdigest()
